//! What proptest draws frames from.

use std::fmt::Debug;
use std::hash::Hash;

use proptest::collection::vec;
use proptest::prelude::*;

use super::address::Numbered;
use super::frame::{Extension, Frame, Part};
use super::l4::L4;
use super::refuse::Refuse;
use crate::socket::Mapped;

/// An address family as the tests take it.
pub(crate) trait Family: Refuse + Numbered + Mapped + Hash + Debug + Arbitrary {}

impl Family for [u8; 4] {}
impl Family for [u8; 16] {}

/// Runs one generic check for each family, as a test named after the check.
macro_rules! on_both_families {
    ($(fn $name:ident<$family:ident>() $body:block)+) => {$(
        mod $name {
            use super::*;

            fn in_family<$family: $crate::testing::strategies::Family>() $body

            #[test]
            fn v4() {
                in_family::<[u8; 4]>();
            }

            #[test]
            fn v6() {
                in_family::<[u8; 16]>();
            }
        }
    )+};
}
pub(crate) use on_both_families;

/// Runs a property over values of a strategy, and fails with the smallest value that breaks it.
#[track_caller]
pub(crate) fn holds<S: Strategy>(strategy: S, property: impl Fn(S::Value)) {
    let config = ProptestConfig {
        cases: 512,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let result = proptest::test_runner::TestRunner::new(config).run(&strategy, |value| {
        property(value);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

/// Whole packets of the protocols that are balanced, with options or extension headers.
pub(crate) fn whole<A: Family>() -> impl Strategy<Value = Frame<A>> {
    frame::<A>(balanced())
}

/// Everything that the builder can make: other protocols and parts of datagrams as well.
pub(crate) fn anything<A: Family>() -> impl Strategy<Value = Frame<A>> {
    let l4 = prop_oneof![4 => balanced(), 1 => other()];
    (frame::<A>(l4), proptest::option::weighted(0.3, part())).prop_map(|(mut frame, part)| {
        frame.ip.part = part;
        frame
    })
}

fn frame<A: Family>(l4: impl Strategy<Value = L4>) -> impl Strategy<Value = Frame<A>> {
    (any::<A>(), any::<A>(), l4, ip_options(), extensions()).prop_map(
        |(source, destination, l4, options, extensions)| {
            let mut frame = Frame::new(source, destination, l4);
            if A::OCTETS == 4 {
                frame.ip.options = options;
            } else {
                frame.ip.extensions = extensions;
            }
            frame
        },
    )
}

fn ip_options() -> impl Strategy<Value = Vec<u8>> {
    (0usize..=10).prop_flat_map(|words| vec(any::<u8>(), words * 4))
}

fn extensions() -> impl Strategy<Value = Vec<Extension>> {
    let octets = || (0usize..4).prop_flat_map(|units| vec(any::<u8>(), 6 + 8 * units));
    vec(
        prop_oneof![
            octets().prop_map(Extension::HopByHop),
            octets().prop_map(Extension::Routing),
            octets().prop_map(Extension::Destination),
            (1usize..8)
                .prop_flat_map(|words| vec(any::<u8>(), 6 + 4 * words))
                .prop_map(Extension::Authentication),
        ],
        0..6,
    )
}

fn balanced() -> impl Strategy<Value = L4> {
    let ports = || (any::<u16>(), any::<u16>());
    let payload = || vec(any::<u8>(), 0..48);
    prop_oneof![
        (ports(), any::<(u8, u32)>(), ip_options(), payload()).prop_map(
            |((source, destination), (flags, sequence), options, payload)| L4::Tcp {
                source,
                destination,
                flags,
                sequence,
                options,
                payload,
            }
        ),
        (ports(), any::<bool>(), payload()).prop_map(
            |((source, destination), checksum, payload)| L4::Udp {
                source,
                destination,
                checksum,
                payload,
            }
        ),
        (ports(), any::<u32>(), chunk(), payload()).prop_map(
            |((source, destination), tag, chunk, rest)| {
                let mut l4 = L4::sctp(source, destination, chunk);
                if let L4::Sctp {
                    tag: old, value, ..
                } = &mut l4
                {
                    *old = tag;
                    value.extend(rest);
                }
                l4
            }
        ),
    ]
}

/// Any chunk, most of them those that say something about the association.
fn chunk() -> impl Strategy<Value = u8> {
    prop_oneof![0u8..=14, any::<u8>()]
}

fn other() -> impl Strategy<Value = L4> {
    let protocol = any::<u8>().prop_filter("a protocol of its own", |protocol| {
        ![0, 6, 17, 43, 44, 51, 60, 132].contains(protocol)
    });
    (protocol, vec(any::<u8>(), 0..48))
        .prop_map(|(protocol, payload)| L4::Other { protocol, payload })
}

fn part() -> impl Strategy<Value = Part> {
    (any::<u32>(), 0u16..8192, any::<bool>()).prop_map(|(identification, units, more)| Part {
        identification,
        offset: units * 8,
        more,
    })
}
