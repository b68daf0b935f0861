//! Several threads in a table that is kept full: none ever reads a flow that nobody wrote.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::*;
use crate::flows::{Near, Sought, WAYS};
use crate::testing::Random;
use crate::testing::address::Numbered;
use crate::testing::flow_buckets::FlowBuckets;

/// Operations of each thread; `LB_FLOW_OPERATIONS` sets another number.
const OPERATIONS: u64 = 1_000_000;
const THREADS: u64 = 2;
/// Clients' ports: three for each way.
const PORTS: u64 = 3 * 8 * WAYS as u64;

/// A flow of a connection, of which nearly all follows from `salt`, and that from it.
fn salted<A: Numbered>(port: u64, salt: u16, now: u32) -> Flow<A> {
    let ends = (A::pod(1), A::vip(1), A::pod(salt as u8));
    flow(ends, (port as u16, 80), FlowState::NEW, now).salted(salt)
}

impl<A: Numbered> Flow<A> {
    fn salted(mut self, salt: u16) -> Self {
        self.backend_id = u32::from(salt);
        self.service_id = !u32::from(salt);
        self.epoch = u32::from(salt).rotate_left(7);
        self.previous_id = u32::from(salt) << 16;
        self
    }

    /// Whether all of it was written at once.
    fn is_whole(&self, port: u64) -> bool {
        let salt = self.backend_id as u16;
        let expected = salted(port, salt, self.last_seen()).with_state(self.state());
        *self == expected
    }

    fn with_state(mut self, state: FlowState) -> Self {
        self.see(state, self.last_seen());
        self
    }
}

#[test]
fn a_flow_that_is_found_is_one_that_was_stored() {
    run::<[u8; 4]>();
    run::<[u8; 16]>();
}

fn run<A: Numbered + Sync + Send>() {
    let operations = std::env::var("LB_FLOW_OPERATIONS")
        .map_or(OPERATIONS, |text| text.parse().expect("a number"));
    let table = FlowBuckets::<A>::new(8 * WAYS as u32);
    let (found, torn) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (table, found, torn) = (&table, &found, &torn);
            scope.spawn(move || {
                let mut random = Random::new(thread);
                for now in 0..operations {
                    let number = random.number();
                    let port = number % PORTS;
                    let salted = salted::<A>(port, (number >> 32) as u16, now as u32);
                    match (number >> 48) % 8 {
                        0..3 => {
                            let _ = table.insert(&salted);
                        }
                        3 => {
                            table.remove(&salted);
                        }
                        4 => {
                            let seen = salted.with_state(FlowState::REPLIED);
                            let _ = table.update(&seen);
                        }
                        _ => {
                            let mut flow = Flow::empty();
                            if table.find(&salted.from_client(), &mut flow) == Sought::Found {
                                found.fetch_add(1, Ordering::Relaxed);
                                if !flow.is_whole(port) {
                                    torn.fetch_add(1, Ordering::Relaxed);
                                }
                            }
                        }
                    }
                }
            });
        }
    });
    let (found, torn) = (found.into_inner(), torn.into_inner());
    println!("{operations} operations of {THREADS} threads each: {found} flows found, {torn} torn");
    assert!(found > operations / 8, "only {found} were found");
    assert_eq!(torn, 0);
}
