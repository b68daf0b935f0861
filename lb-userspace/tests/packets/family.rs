//! The two address families, and the services that the tests run against.

use std::fmt::Debug;
use std::hash::Hash;

use lb_common::addr::Protocol;
use lb_common::frontend::{Frontend, SlotRange};
use lb_common::layout::name;
use lb_common::packet::ETHERNET;
use lb_common::testing::{MemoryDataplane, Numbered, Refuse};

/// An address family, and its maps by name.
pub trait Family: Refuse + Numbered + Hash + Debug + Send + 'static {
    const FRONTENDS: &'static str;
    const BACKENDS: &'static str;
    const FLOWS: &'static str;
    const CONNTRACK: &'static str;
    /// Name of the map of flows that are not assured yet, or over.
    const TRANSIENT: &'static str;
    const AFFINITY: &'static str;
    const SERVICE_CIDR: &'static str;
    const UNSERVED: &'static str;
    const FRAGMENTS: &'static str;
    /// Name of the map of fragments that are held.
    const HELD: &'static str;
    /// Name of the map of pods of this node.
    const LOCAL_PODS: &'static str;
    /// Name of the map of ways to pods of other nodes.
    const REMOTE_PODS: &'static str;

    /// Length of the shortest frame of the family on which the kernel runs a program (`net/bpf/test_run.c`): one with a
    /// whole IP header. What is shorter can be tested in memory only.
    const SHORTEST: usize = ETHERNET + if Self::OCTETS == 4 { 20 } else { 40 };
}

impl Family for [u8; 4] {
    const FRONTENDS: &'static str = name::FRONTENDS_V4;
    const BACKENDS: &'static str = name::BACKENDS_V4;
    const FLOWS: &'static str = name::FLOWS_V4;
    const CONNTRACK: &'static str = name::CONNTRACK_V4;
    const TRANSIENT: &'static str = name::TRANSIENT_V4;
    const AFFINITY: &'static str = name::AFFINITY_V4;
    const SERVICE_CIDR: &'static str = name::SERVICE_CIDR_V4;
    const UNSERVED: &'static str = name::UNSERVED_V4;
    const FRAGMENTS: &'static str = name::FRAGMENTS_V4;
    const HELD: &'static str = name::HELD_V4;
    const LOCAL_PODS: &'static str = name::LOCAL_PODS_V4;
    const REMOTE_PODS: &'static str = name::REMOTE_PODS_V4;
}

impl Family for [u8; 16] {
    const FRONTENDS: &'static str = name::FRONTENDS_V6;
    const BACKENDS: &'static str = name::BACKENDS_V6;
    const FLOWS: &'static str = name::FLOWS_V6;
    const CONNTRACK: &'static str = name::CONNTRACK_V6;
    const TRANSIENT: &'static str = name::TRANSIENT_V6;
    const AFFINITY: &'static str = name::AFFINITY_V6;
    const SERVICE_CIDR: &'static str = name::SERVICE_CIDR_V6;
    const UNSERVED: &'static str = name::UNSERVED_V6;
    const FRAGMENTS: &'static str = name::FRAGMENTS_V6;
    const HELD: &'static str = name::HELD_V6;
    const LOCAL_PODS: &'static str = name::LOCAL_PODS_V6;
    const REMOTE_PODS: &'static str = name::REMOTE_PODS_V6;
}

/// Runs one generic check for each family, as a test named after the check.
macro_rules! on_both_families {
    ($(fn $name:ident<$family:ident>() -> Result<()> $body:block)+) => {$(
        mod $name {
            use super::*;

            fn in_family<$family: $crate::family::Family>() -> Result<()> $body

            #[test]
            fn v4() -> Result<()> {
                in_family::<[u8; 4]>()
            }

            #[test]
            fn v6() -> Result<()> {
                in_family::<[u8; 16]>()
            }
        }
    )+};
}
pub(crate) use on_both_families;

/// Service ids, each a VIP of the same number.
pub const WEB: u8 = 10;
/// TCP port 80 and SCTP port 132 over no endpoint.
pub const EMPTY: u8 = 12;
/// TCP port 80 over endpoints of other nodes only.
pub const ELSEWHERE: u8 = 13;
/// TCP port 80 over slots that name no backend.
pub const BROKEN: u8 = 14;

/// The services of the fixtures: TCP 80, UDP 53 and SCTP 132 of VIP 10 over pod 1 (ports 8080, 5353 and 8132), and VIPs that
/// refuse or drop.
pub fn services<A: Family>() -> MemoryDataplane<A> {
    let mut dp = MemoryDataplane::new();
    dp.serve(1, A::vip(WEB), 80, Protocol::Tcp, &[(A::pod(1), 8080)]);
    dp.serve(2, A::vip(WEB), 53, Protocol::Udp, &[(A::pod(1), 5353)]);
    dp.serve(3, A::vip(EMPTY), 80, Protocol::Tcp, &[]);
    dp.serve(6, A::vip(WEB), 132, Protocol::Sctp, &[(A::pod(1), 8132)]);
    dp.serve(7, A::vip(EMPTY), 132, Protocol::Sctp, &[]);
    let none = SlotRange::default();
    let flags = Frontend::LOCAL_ONLY | Frontend::HAS_ENDPOINTS;
    dp.put_frontend(
        A::vip(ELSEWHERE),
        80,
        Protocol::Tcp,
        Frontend::new(4, none, none, 0, flags),
    );
    let unwritten = SlotRange {
        offset: 100,
        len: 10,
    };
    dp.put_frontend(
        A::vip(BROKEN),
        80,
        Protocol::Tcp,
        Frontend::new(5, unwritten, none, 0, Frontend::HAS_ENDPOINTS),
    );
    dp
}
