//! What time is measured by, and what makes it slow.

use std::cell::RefCell;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// How long this thread has had a processor, in the kernel and outside. The work waits for nothing, so on an idle machine this goes like
/// the clock on the wall; on a busy one it leaves out the others.
pub fn busy() -> Duration {
    let now = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock of the thread");
    now.into()
}

/// As after a pause in which others had the processor: walks over more memory than its caches hold.
pub fn cool() {
    const OCTETS: usize = 96 << 20;
    const LINE: usize = 64;
    thread_local! {
        static MEMORY: RefCell<Vec<u8>> = RefCell::new(vec![1; OCTETS]);
    }
    MEMORY.with_borrow_mut(|memory| {
        for octet in memory.iter_mut().step_by(LINE) {
            *octet = octet.wrapping_add(1);
        }
    });
}
