//! How evenly new connections spread over the backends.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::testing::Random;
use crate::testing::strategies::on_both_families;

/// Opens connections from these ends and holds each of three backends to within 3 % of a third.
#[track_caller]
fn assert_even<A: Family>(clients: impl Iterator<Item = (A, u16)>) {
    let (mut dp, _) = serving::<A>(Protocol::Tcp, 3);
    dp.flows.capacity = 40_000;
    let mut counts = BTreeMap::<Vec<u8>, u32>::new();
    let mut total = 0;
    for (address, port) in clients {
        let (backend, _) = forwarded(&dp, &segment(0, SYN).with_source(address, port));
        *counts
            .entry(bytemuck::bytes_of(&backend).to_vec())
            .or_default() += 1;
        total += 1;
    }
    assert_eq!((counts.len(), total), (3, 10_000));
    let third = f64::from(total) / 3.0;
    for (backend, count) in &counts {
        let off = (f64::from(*count) - third).abs() / third;
        assert!(off < 0.03, "{backend:?} got {count} of {total}: {counts:?}");
    }
}

on_both_families! {
    fn ports_in_steps_of_two_as_linux_gives_them_spread_evenly<A>() {
        for client in [1, 100, 200] {
            // Even ports first, and the odd ones when these are used up.
            let ports = (32_768..60_998u16).step_by(2).chain((32_769..60_999).step_by(2));
            assert_even(ports.take(10_000).map(|port| (A::pod(client), port)));
        }
    }

    fn ports_in_steps_of_one_spread_evenly<A>() {
        assert_even((32_768..42_768u16).map(|port| (A::pod(100), port)));
    }

    fn random_ports_spread_evenly<A>() {
        let mut random = Random::new(1);
        let mut ports = BTreeSet::new();
        while ports.len() < 10_000 {
            ports.insert(32_768 + random.below(28_232) as u16);
        }
        assert_even(ports.into_iter().map(|port| (A::pod(100), port)));
    }

    fn many_clients_with_few_connections_each_spread_evenly<A>() {
        let clients = (0..250).flat_map(|n| (0..40).map(move |i| (A::pod(n), 32_768 + 2 * i)));
        assert_even(clients);
    }
}
