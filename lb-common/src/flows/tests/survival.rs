//! What is in use stays, whatever the load; what is not makes room.

use std::cell::RefCell;
use std::collections::HashMap;

use super::*;
use crate::conntrack::FlowTable;
use crate::flows::{Near, NoRoom, Tiered, WAYS};
use crate::testing::flow_buckets::FlowBuckets;
use crate::testing::memory::MemoryFlows;

const ROOM: u32 = 4096 * WAYS as u32;
const NOW: u32 = 1_000_000;

fn numbered(number: u32, state: FlowState, now: u32) -> Flow<[u8; 4]> {
    let [_, a, b, c] = number.to_be_bytes();
    let ends = ([10, a, b, c], [10, 96, 0, 10], [10, 244, 0, 1]);
    flow(ends, (32_768 + (number % 28_000) as u16, 80), state, now)
}

fn tiered() -> Tiered<FlowBuckets<[u8; 4]>, MemoryFlows<[u8; 4]>> {
    Tiered {
        near: FlowBuckets::new(ROOM),
        far: MemoryFlows {
            entries: RefCell::new(HashMap::new()),
            capacity: usize::MAX,
        },
    }
}

#[test]
fn no_flow_in_use_is_lost_at_any_load_nor_by_a_flood_of_others() {
    for load in [0.25, 0.5, 0.75, 0.9] {
        let table = tiered();
        let flows = (f64::from(ROOM) * load) as u32;
        for number in 0..flows {
            table.insert(&numbered(number, in_use(), NOW)).unwrap();
        }
        let spilled = table.far.entries.borrow().len() / 2;
        // At a load of 0.9 a quarter of the buckets has more than seven.
        assert!(
            spilled < flows as usize / 8,
            "{spilled} of {flows} at {load}"
        );
        for number in flows..flows + 3 * ROOM {
            table
                .insert(&numbered(number, FlowState::NEW, NOW))
                .unwrap();
        }
        for number in 0..flows {
            let known = numbered(number, in_use(), NOW);
            let mut found = Flow::empty();
            assert!(
                table.find(&known.from_backend(), &mut found),
                "{number} at {load}"
            );
            assert_eq!(found, known);
        }
    }
}

/// One bucket: the order in which its flows go.
#[test]
fn what_is_over_goes_first_then_what_nobody_answers_and_never_what_is_in_use() {
    let second = 250;
    let bucket = FlowBuckets::<[u8; 4]>::new(WAYS as u32);
    let has = |number: u32| {
        let mut found = Flow::empty();
        let key = numbered(number, FlowState::NEW, 0).from_client();
        bucket.find(&key, &mut found) == crate::flows::Sought::Found
    };
    for number in 0..4 {
        bucket.insert(&numbered(number, in_use(), NOW)).unwrap();
    }
    bucket
        .insert(&numbered(4, FlowState::NEW, NOW - 5 * second))
        .unwrap();
    bucket
        .insert(&numbered(5, FlowState::NEW, NOW - 9 * second))
        .unwrap();
    bucket
        .insert(&numbered(6, in_use().with(FlowState::RESET), NOW))
        .unwrap();
    for (goes, comes) in [(6, 7), (5, 8), (4, 9)] {
        assert!(has(goes));
        bucket.insert(&numbered(comes, in_use(), NOW)).unwrap();
        assert!(!has(goes) && has(comes), "{goes} for {comes}");
    }
    assert_eq!(
        bucket.insert(&numbered(10, FlowState::NEW, NOW)),
        Err(NoRoom)
    );
    assert!([0, 1, 2, 3, 7, 8, 9].into_iter().all(has));
    // A day later nobody uses them.
    let later = NOW + 24 * 3600 * second + second;
    bucket.insert(&numbered(11, FlowState::NEW, later)).unwrap();
    assert!(has(11));
}

#[test]
fn a_handshake_that_has_just_begun_stays_for_an_eighth_of_a_second() {
    let bucket = FlowBuckets::<[u8; 4]>::new(WAYS as u32);
    for number in 0..WAYS as u32 {
        bucket
            .insert(&numbered(number, FlowState::NEW, NOW))
            .unwrap();
    }
    let next = |now| numbered(WAYS as u32, FlowState::NEW, now);
    assert_eq!(bucket.insert(&next(NOW)), Err(NoRoom));
    assert_eq!(bucket.insert(&next(NOW + 30)), Err(NoRoom));
    bucket.insert(&next(NOW + 31)).unwrap();
    assert_eq!(bucket.all().len(), WAYS);
}

#[test]
fn a_third_flow_of_a_clients_port_in_a_bucket_has_no_room() {
    let bucket = FlowBuckets::<[u8; 4]>::new(WAYS as u32);
    let ends = |n| ([10, 0, 0, 1], [10, 96, 0, n], [10, 244, 0, n]);
    for n in 1..3 {
        bucket
            .insert(&flow(ends(n), (40_000, 80), in_use(), NOW))
            .unwrap();
    }
    let third = flow(ends(3), (40_000, 80), in_use(), NOW);
    assert_eq!(bucket.insert(&third), Err(NoRoom));
    // The first again, with another backend, takes its own place.
    let again = flow(
        ([10, 0, 0, 1], [10, 96, 0, 1], [10, 244, 0, 9]),
        (40_000, 80),
        in_use(),
        NOW,
    );
    bucket.insert(&again).unwrap();
    assert_eq!(bucket.all().len(), 2);
    assert!(bucket.all().contains(&again));
}
