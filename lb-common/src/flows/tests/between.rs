//! What another CPU does between any two looks at a bucket.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::*;
use crate::flows::{self, Bucket, Memory, WAYS, Words};
use crate::testing::address::Numbered;
use crate::testing::strategies::on_both_families;

/// What happens after so many looks at a word, once.
type Happening = (u32, Box<dyn FnOnce()>);

thread_local! {
    static HAPPENING: RefCell<Option<Happening>> = const { RefCell::new(None) };
}

/// Memory in which something happens meanwhile.
struct Between;

impl Between {
    fn look() {
        let due = HAPPENING.with_borrow_mut(|happening| match happening.take() {
            Some((0, happens)) => Some(happens),
            Some((looks, happens)) => {
                *happening = Some((looks - 1, happens));
                None
            }
            None => None,
        });
        if let Some(happens) = due {
            happens();
        }
    }
}

impl Words for Between {
    unsafe fn load(word: *const u64) -> u64 {
        Self::look();
        // SAFETY: by the caller.
        unsafe { Memory::load(word) }
    }

    unsafe fn store(word: *mut u64, value: u64) {
        Self::look();
        // SAFETY: by the caller.
        unsafe { Memory::store(word, value) }
    }

    unsafe fn swap(word: *mut u64, from: u64, to: u64) -> bool {
        Self::look();
        // SAFETY: by the caller.
        unsafe { Memory::swap(word, from, to) }
    }

    fn nth<const MOST: usize, T>(first: *mut T, number: usize) -> *mut T {
        Memory::nth::<MOST, T>(first, number)
    }

    fn opaque(value: u64) -> u64 {
        Memory::opaque(value)
    }

    fn apart(so_far: u64, one: u64, other: u64) -> u64 {
        Memory::apart(so_far, one, other)
    }
}

fn of_port<A: Numbered>(port: u16) -> Flow<A> {
    flow((A::pod(1), A::vip(1), A::pod(2)), (port, 80), in_use(), 7)
}

/// Enters a flow by what kind of memory is said.
fn enter<A: Address, W: Words>(bucket: *mut Bucket<A>, flow: &Flow<A>) -> bool {
    let hash = flows::hash_of_flow(1, flow, flow.client().port.get());
    // SAFETY: the test's bucket, on which nobody else works.
    unsafe { flows::insert::<A, W>(bucket, hash, flow, 250) }.is_ok()
}

/// Ports of the flows of a bucket, in order.
fn ports<A: Address>(bucket: *const Bucket<A>) -> Vec<u16> {
    let mut ports = Vec::new();
    // SAFETY: as above.
    unsafe { flows::each(bucket, |flow| ports.push(flow.client().port.get())) };
    ports.sort_unstable();
    ports
}

on_both_families! {
    fn a_flow_that_another_cpu_enters_meanwhile_stays_and_is_there_once<A>() {
        // The same flow, and others, of which some prefer the same way.
        for other in 1..=2 * WAYS as u16 {
            for looks in 0.. {
                let mut bucket = Bucket::<A>::empty();
                let at = &raw mut bucket;
                let others = Rc::new(Cell::new(false));
                let meanwhile = others.clone();
                let enters = move || meanwhile.set(enter::<A, Memory>(at, &of_port(other)));
                HAPPENING.set(Some((looks, Box::new(enters))));
                let own = enter::<A, Between>(at, &of_port(1));
                if HAPPENING.take().is_some() {
                    assert!(looks > WAYS as u32, "all looks were tried");
                    break;
                }
                assert!(own || others.get(), "after {looks} looks, beside {other}");
                let mut expected = Vec::from_iter([own.then_some(1), others.get().then_some(other)].into_iter().flatten());
                expected.dedup();
                assert_eq!(ports(at), expected, "after {looks} looks, beside {other}");
            }
        }
    }
}
