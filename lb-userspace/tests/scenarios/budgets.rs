//! What must not grow: system calls for a change and for everything, and the kernel's memory. No time is measured here; that is
//! `cargo xtask bench userspace`.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use aya::maps::MapData;
use lb_common::layout::name;
use lb_userspace::maps::bpf::BpfMaps;
use lb_userspace::maps::create::create_all;
use lb_userspace::maps::{Limits, Maps, spec};
use lb_userspace::model::{Families, Family};

use crate::agent::{Agent, LIMITS, maps_in_kernel, maps_in_kernel_of};
use crate::bpffs::with_private_bpffs;
use crate::calls::BpfCalls;
use crate::cluster;

/// Rows that one system call writes at most.
const BATCH: u32 = 1_024;
/// One for the frontend. Backends and slots take none, nor does what counts the pass.
const CALLS_FOR_A_CHANGE: u64 = 1;
/// The kernel's memory for all that the agent writes of ten thousand Services of IPv4 with three endpoints each, in octets, in maps of the
/// default size, where both families are served: slots 2.1 MB, backends of IPv4 1.1 MB and of IPv6 2.1 MB, used or not; frontends of
/// IPv4 3.0 MB, of which 1.0 MB are buckets, of IPv6 1.0 MB, buckets alone; names 1.8 MB; the filter 0.1 MB.
const MEMORY: u64 = 11_200_000;
/// The same where IPv4 is served alone: without the frontends and backends of IPv6.
const MEMORY_OF_IPV4: u64 = 8_000_000;

/// Maps that the data plane fills are no part of what Services take.
const OF_SERVICES: [&str; 12] = [
    name::FRONTENDS_V4,
    name::FRONTENDS_V6,
    name::SLOTS,
    name::BACKENDS_V4,
    name::BACKENDS_V6,
    name::VIP_FILTER,
    name::SERVICES,
    name::CONFIG,
    name::SERVICE_CIDR_V4,
    name::SERVICE_CIDR_V6,
    name::UNSERVED_V4,
    name::UNSERVED_V6,
];

#[test]
fn a_change_takes_as_many_system_calls_whatever_the_number_of_services() {
    for services in [1, 100, 5_000] {
        with_private_bpffs(|bpffs| {
            let mut agent = filled(bpffs, services);
            for edition in 1..=12 {
                agent.take_in([cluster::slice_event(services / 2, edition)]);
                let mut calls = BpfCalls::count();
                let outcome = agent.write();
                let calls = calls.so_far();
                assert_eq!((outcome.changed, outcome.failed), (4, 0));
                assert_eq!(
                    calls, CALLS_FOR_A_CHANGE,
                    "{services} Services, change {edition}"
                );
            }
            // What is told again and is the same.
            agent.take_in([cluster::slice_event(services / 2, 12)]);
            let mut calls = BpfCalls::count();
            assert_eq!(agent.write().changed, 0);
            assert_eq!(calls.so_far(), 0, "{services} Services, nothing changed");
        });
    }
}

#[test]
fn everything_takes_a_system_call_for_a_thousand_rows() {
    for services in [1, 100, 5_000] {
        with_private_bpffs(|bpffs| {
            let mut agent = Agent::start(maps_in_kernel(bpffs));
            agent.take_in(cluster::events(services));
            let mut calls = BpfCalls::count();
            let outcome = agent.write();
            let calls = calls.so_far();
            assert_eq!(outcome.failed, 0);
            // Names, frontends, addresses' own rows. Backends, slots and bits of the filter take none.
            let most = 3 * services.div_ceil(BATCH);
            println!("{services} Services: {calls} of {most} system calls");
            assert!(
                calls <= u64::from(most),
                "{services} Services: {calls} calls"
            );
            let frontends = agent.into_maps().frontends().expect("frontends").len();
            assert_eq!(frontends, 2 * services as usize);
        });
    }
}

#[test]
fn the_kernel_keeps_ten_thousand_services_in_few_octets() {
    for (families, most) in [
        (Families::Both, MEMORY),
        (Families::Only(Family::V4), MEMORY_OF_IPV4),
    ] {
        with_private_bpffs(|bpffs| {
            let limits = Limits { families, ..LIMITS };
            let _agent = fill(maps_in_kernel_of(bpffs, limits), 10_000);
            println!("{}:", families.name());
            let mut sum = 0;
            for map in OF_SERVICES {
                let octets = memory(&bpffs.join("bench").join(map));
                println!("{map}: {octets} octets");
                sum += octets;
            }
            println!("together: {sum} of {most} octets");
            assert!(sum <= most, "{families:?}: {sum} octets");
        });
    }
}

#[test]
fn a_family_that_is_not_served_takes_next_to_no_memory() {
    let octets = |family: Family, families| {
        with_private_bpffs(|bpffs| {
            let limits = Limits {
                families,
                ..Limits::default()
            };
            create_all(bpffs, &limits).expect("maps of the default size");
            let maps = name::ALL.into_iter();
            let of_family = maps.filter(|map| spec::family_of(map) == Some(family));
            of_family.map(|map| memory(&bpffs.join(map))).sum::<u64>()
        })
    };
    for (family, other) in [(Family::V4, Family::V6), (Family::V6, Family::V4)] {
        let served = octets(family, Families::Both);
        let rest = octets(family, Families::Only(other));
        println!("{family:?}: {served} octets empty, {rest} where it is not served");
        assert!(rest <= served / 1_000, "{family:?}: {rest} of {served}");
    }
}

fn filled(bpffs: &Path, services: u32) -> Agent<BpfMaps> {
    fill(maps_in_kernel(bpffs), services)
}

fn fill(maps: BpfMaps, services: u32) -> Agent<BpfMaps> {
    let mut agent = Agent::start(maps);
    agent.take_in(cluster::events(services));
    let outcome = agent.write();
    assert_eq!((outcome.failed, outcome.problems.len()), (0, 0));
    agent
}

/// What the kernel says that a pinned map takes, buckets and rows (`map_mem_usage` of its type).
fn memory(pin: &Path) -> u64 {
    let map = MapData::from_pin(pin).expect("a pinned map");
    let info = format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd());
    // The thread has a mount namespace of its own, and shares the descriptors.
    let text = fs::read_to_string(&info).expect("what is known of a descriptor");
    let line = text.lines().find_map(|line| line.strip_prefix("memlock:"));
    let octets = line.expect("memory of the map").trim();
    octets.parse().expect("a number of octets")
}
