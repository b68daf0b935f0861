//! Whatever is done, the table in front of a hash map answers as a hash map alone.

use std::cell::RefCell;
use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::conntrack::{ConntrackKey, FlowTable, Peek, Peeked};
use crate::flows::Tiered;
use crate::testing::flow_buckets::FlowBuckets;
use crate::testing::memory::MemoryFlows;
use crate::testing::strategies::{holds, on_both_families};

const NOW: u32 = u32::MAX - 1_000;

#[derive(Clone, Copy, Debug)]
enum Step {
    Insert,
    Update,
    Remove,
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Insert),
        2 => Just(Step::Update),
        1 => Just(Step::Remove)
    ]
}

fn memory<A>() -> MemoryFlows<A> {
    MemoryFlows {
        entries: RefCell::new(HashMap::new()),
        capacity: usize::MAX,
    }
}

fn find<A: Address>(table: &impl FlowTable<A>, key: &ConntrackKey<A>) -> Option<Flow<A>> {
    let (mut flow, mut peek) = (Flow::empty(), Peek::empty());
    let found = table.find(key, &mut flow).then_some(flow);
    match table.peek(key, &mut peek) {
        Peeked::Known => {
            assert!(found.is_some_and(|flow| Peek::of(&flow, key.direction()) == peek));
        }
        Peeked::Unknown => assert!(found.is_none()),
        Peeked::Unsaid => {}
    }
    found
}

on_both_families! {
    // Every flow is in use, so that none may be displaced; a client's port speaks to several frontends, and some flows have
    // another source port.
    fn a_small_table_in_front_of_a_hash_map_answers_as_the_hash_map<A>() {
        let step = (1..4u8, 1..9u16, 1..4u16, 1..3u8, any::<bool>(), steps());
        holds(vec(step, 1..120), |steps| {
            let tiered = Tiered { near: FlowBuckets::<A>::new(14), far: memory() };
            let model = memory();
            for (at, (client, port, frontend, backend, translated, step)) in steps.into_iter().enumerate() {
                let ends = (A::pod(client), A::vip(1), A::pod(100 + backend));
                let mut flow = flow(ends, (port, frontend), in_use(), NOW + at as u32);
                if translated {
                    flow.set_source_port(Port::new(port + 100));
                }
                // As the pipeline: what has the tuple at the backend goes first, and so does an older flow of the connection.
                for key in [flow.from_client(), flow.from_backend()] {
                    let known = find(&model, &key);
                    assert_eq!(find(&tiered, &key), known, "{key:?}");
                    if let (Some(known), Step::Insert) = (known, step) {
                        tiered.remove(&known);
                        model.remove(&known);
                    }
                }
                match (step, find(&model, &flow.from_client())) {
                    (Step::Insert, _) => {
                        tiered.insert(&flow).unwrap();
                        model.insert(&flow).unwrap();
                    }
                    (Step::Update, Some(mut known)) => {
                        let before = known.state();
                        known.see(before.with(FlowState::CLIENT_FIN), NOW + at as u32);
                        tiered.update(&known, before);
                        model.update(&known, before);
                    }
                    (Step::Remove, Some(known)) => {
                        tiered.remove(&known);
                        model.remove(&known);
                    }
                    (_, None) => {}
                }
                for (key, flow) in model.entries.borrow().iter() {
                    assert_eq!(find(&tiered, key).as_ref(), Some(flow), "after {step:?}");
                }
            }
        });
    }

    // A frontend or a backend that the flow does not have, another port or protocol: none finds it.
    fn a_flow_is_found_from_both_its_sides_and_from_no_other<A>() {
        let near = FlowBuckets::<A>::new(7);
        let tiered = Tiered { near, far: memory() };
        let known = flow((A::pod(1), A::vip(1), A::pod(2)), (40_000, 80), in_use(), NOW);
        tiered.insert(&known).unwrap();
        assert_eq!(find(&tiered, &known.from_client()), Some(known));
        assert_eq!(find(&tiered, &known.from_backend()), Some(known));
        for other in [
            flow((A::pod(1), A::vip(2), A::pod(3)), (40_000, 80), in_use(), NOW),
            flow((A::pod(1), A::vip(1), A::pod(3)), (40_000, 81), in_use(), NOW),
            flow((A::pod(1), A::vip(1), A::pod(2)), (40_001, 80), in_use(), NOW),
            flow((A::pod(4), A::vip(1), A::pod(2)), (40_000, 80), in_use(), NOW),
        ] {
            for key in [other.from_client(), other.from_backend()] {
                if !known.is_found_by(&key) {
                    assert_eq!(find(&tiered, &key), None, "{key:?}");
                }
            }
        }
        let mut ports = Flow::empty();
        assert!(tiered.find_ports(&known.from_backend(), &mut ports));
        assert_eq!((ports.frontend().port.get(), ports.client().port.get()), (80, 40_000));
        tiered.remove(&known);
        assert_eq!(find(&tiered, &known.from_client()), None);
    }
}
