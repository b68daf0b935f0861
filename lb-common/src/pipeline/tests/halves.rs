//! Whatever packets come, every flow is found from both sides.

use crate::conntrack::Direction;
use crate::testing::strategies::on_both_families;
use crate::testing::{Populated, Random, Traffic};

/// Packets of a run.
const PACKETS: u32 = 20_000;
/// Rows above which all flows are forgotten, for each packet is followed by a look at all of them.
const MAX_ROWS: usize = 100;

on_both_families! {
    fn no_sequence_of_packets_leaves_half_a_flow<A>() {
        for seed in 0..2 {
            let mut random = Random::new(seed);
            let mut populated = Populated::<A>::default();
            let mut traffic = Traffic::new();
            let mut recent = Vec::new();
            for number in 1..=PACKETS {
                let sent = traffic.next(&populated, &mut random);
                let mut octets = sent.frame.build();
                let dp = &populated.dp;
                let verdict = match sent.direction {
                    Direction::FromClient => dp.send(&mut octets),
                    Direction::FromBackend => dp.receive(&mut octets),
                };
                traffic.learn(&sent, &verdict);
                recent.push(sent);
                if let Some(half) = dp.flows.half() {
                    let last = &recent[recent.len().saturating_sub(8)..];
                    panic!("seed {seed}, packet {number}: {half:?} after {last:#?}");
                }
                if dp.flows.entries.borrow().len() > MAX_ROWS {
                    dp.flows.entries.borrow_mut().clear();
                    recent.clear();
                }
                if random.one_in(50) {
                    dp.advance(random.pick(&[1, 50, 130, 100_000]));
                }
                if random.one_in(500) {
                    populated.change_a_backend(&mut random);
                }
                if random.one_in(2_000) {
                    populated.serve(Vec::new(), &mut random);
                }
            }
        }
    }
}
