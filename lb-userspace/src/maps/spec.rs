//! The shape of every map: type, sizes, flags and the number of entries. One table for whoever makes the maps, opens
//! their pins or checks them. It makes and opens nothing.

mod limits;
mod shape;

use lb_common::affinity::{Affinity, AffinityKey, SocketAffinityKey};
use lb_common::backend::{self, Backend};
use lb_common::config::Config;
use lb_common::conntrack::{ConntrackKey, Flow};
use lb_common::flows::{Bucket, buckets as buckets_for};
use lb_common::fragments::{Fragments, FragmentsKey, Held, HeldKey};
use lb_common::frontend::{Frontend, FrontendKey, SLOTS_PER_ELEMENT};
use lb_common::layout::{limit, name};
use lb_common::redirect::{LocalPod, RemotePods};
use lb_common::service::{self, ServiceName};
use lb_common::service_cidr::ServiceCidrs;
use lb_common::socket::{SocketKey, SocketPeer};
use lb_common::{entries, reason, reply_filter, vip_filter};

use crate::maps::row::{V4, V6};
use crate::model::Family;
pub use limits::{LimitError, Limits, NOT_SERVED};
pub use shape::Shape;

/// `BPF_F_NO_PREALLOC`: entries take memory when they are inserted.
pub const NO_PREALLOC: u32 = 1;
/// `BPF_F_MMAPABLE`: the array can be mapped into memory.
pub const MMAPABLE: u32 = 1 << 10;

/// Type of a map; the number is the kernel's (`enum bpf_map_type`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum MapKind {
    /// `BPF_MAP_TYPE_HASH`.
    Hash = 1,
    /// `BPF_MAP_TYPE_ARRAY`.
    Array = 2,
    /// `BPF_MAP_TYPE_PERCPU_ARRAY`.
    PerCpuArray = 6,
    /// `BPF_MAP_TYPE_LRU_HASH`.
    LruHash = 9,
    /// `BPF_MAP_TYPE_LPM_TRIE`.
    LpmTrie = 11,
}

impl MapKind {
    pub(crate) const ALL: [Self; 5] = [
        Self::Hash,
        Self::Array,
        Self::PerCpuArray,
        Self::LruHash,
        Self::LpmTrie,
    ];

    /// The words for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hash => "hash",
            Self::Array => "array",
            Self::PerCpuArray => "per-CPU array",
            Self::LruHash => "LRU hash",
            Self::LpmTrie => "LPM trie",
        }
    }
}

/// A map of the layout: its name and shape.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MapSpec {
    /// Name of the map and of its pin.
    pub name: &'static str,
    /// Type.
    pub kind: MapKind,
    /// Size of the key in bytes.
    pub key_size: u32,
    /// Size of the value in bytes.
    pub value_size: u32,
    /// Flags at creation.
    pub flags: u32,
    /// Number of entries.
    pub max_entries: u32,
    /// Whether the number of entries is part of the layout, not a limit that a flag sets.
    pub fixed_entries: bool,
}

/// All maps, in the order of [`name::ALL`].
pub fn all(limits: &Limits) -> [MapSpec; 33] {
    let of = |family, entries| limits.entries_of(family, entries);
    let (ipv4, ipv6) = (Family::V4, Family::V6);
    [
        hash(
            name::FRONTENDS_V4,
            size::<FrontendKey<V4>>(),
            size::<Frontend>(),
            of(ipv4, limits.frontends),
        ),
        hash(
            name::FRONTENDS_V6,
            size::<FrontendKey<V6>>(),
            size::<Frontend>(),
            of(ipv6, limits.frontends),
        ),
        MapSpec {
            flags: MMAPABLE,
            fixed_entries: false,
            ..array(
                name::SLOTS,
                size::<[u32; SLOTS_PER_ELEMENT as usize]>(),
                limits.slots.div_ceil(SLOTS_PER_ELEMENT),
            )
        },
        backends::<V4>(
            name::BACKENDS_V4,
            of(ipv4, backend::elements(limits.backends)),
        ),
        backends::<V6>(
            name::BACKENDS_V6,
            of(ipv6, backend::elements(limits.backends)),
        ),
        buckets::<V4>(name::FLOWS_V4, of(ipv4, buckets_for(limits.flows))),
        buckets::<V6>(name::FLOWS_V6, of(ipv6, buckets_for(limits.flows))),
        flows::<V4>(name::CONNTRACK_V4, of(ipv4, limits.conntrack)),
        flows::<V6>(name::CONNTRACK_V6, of(ipv6, limits.conntrack)),
        flows::<V4>(name::TRANSIENT_V4, of(ipv4, limits.transient)),
        flows::<V6>(name::TRANSIENT_V6, of(ipv6, limits.transient)),
        lru(
            name::AFFINITY_V4,
            size::<AffinityKey<V4>>(),
            size::<Affinity>(),
            of(ipv4, limits.affinity),
        ),
        lru(
            name::AFFINITY_V6,
            size::<AffinityKey<V6>>(),
            size::<Affinity>(),
            of(ipv6, limits.affinity),
        ),
        MapSpec {
            flags: MMAPABLE,
            ..array(name::VIP_FILTER, size::<u64>(), vip_filter::WORDS)
        },
        array(
            name::REPLY_FILTER,
            reply_filter::MARKS_PER_ELEMENT,
            reply_filter::ELEMENTS,
        ),
        MapSpec {
            kind: MapKind::PerCpuArray,
            ..array(name::COUNTERS, size::<u64>(), reason::COUNT)
        },
        MapSpec {
            kind: MapKind::PerCpuArray,
            ..array(name::LRU_ENTRIES, size::<u64>(), entries::COUNT)
        },
        trie::<[u8; service::PATH]>(name::SERVICES, size::<ServiceName>(), limits.services),
        MapSpec {
            flags: MMAPABLE,
            ..array(name::CONFIG, size::<Config>(), 1)
        },
        lru(
            name::SOCKET_PEERS,
            size::<SocketKey>(),
            size::<SocketPeer>(),
            limits.sockets,
        ),
        lru(
            name::SOCKET_AFFINITY,
            size::<SocketAffinityKey>(),
            size::<Affinity>(),
            limits.affinity,
        ),
        fragments::<V4>(name::FRAGMENTS_V4, of(ipv4, limit::FRAGMENTS)),
        fragments::<V6>(name::FRAGMENTS_V6, of(ipv6, limit::FRAGMENTS)),
        held::<V4>(name::HELD_V4, of(ipv4, limit::HELD)),
        held::<V6>(name::HELD_V6, of(ipv6, limit::HELD)),
        array(name::SERVICE_CIDR_V4, size::<ServiceCidrs<V4>>(), 1),
        array(name::SERVICE_CIDR_V6, size::<ServiceCidrs<V6>>(), 1),
        unserved::<V4>(name::UNSERVED_V4, of(ipv4, limit::UNSERVED)),
        unserved::<V6>(name::UNSERVED_V6, of(ipv6, limit::UNSERVED)),
        local_pods::<V4>(name::LOCAL_PODS_V4, of(ipv4, limit::LOCAL_PODS)),
        local_pods::<V6>(name::LOCAL_PODS_V6, of(ipv6, limit::LOCAL_PODS)),
        remote_pods::<V4>(name::REMOTE_PODS_V4, of(ipv4, limit::REMOTE_PODS)),
        remote_pods::<V6>(name::REMOTE_PODS_V6, of(ipv6, limit::REMOTE_PODS)),
    ]
}

/// The family that a map is of, if it is of one alone.
pub fn family_of(map: &str) -> Option<Family> {
    if map.ends_with("_v4") {
        Some(Family::V4)
    } else if map.ends_with("_v6") {
        Some(Family::V6)
    } else {
        None
    }
}

impl MapSpec {
    /// The shape of a map made after this spec.
    pub fn shape(&self) -> Shape {
        Shape {
            kind: self.kind as u32,
            key_size: self.key_size,
            value_size: self.value_size,
            flags: self.flags,
            max_entries: self.max_entries,
        }
    }

    /// Whether a map of this shape can be used as it is. Its number of entries may be any where a flag sets it.
    pub fn accepts(&self, found: &Shape) -> bool {
        let expected = self.shape();
        let max_entries = if self.fixed_entries {
            expected.max_entries
        } else {
            found.max_entries
        };
        Shape {
            max_entries,
            ..expected
        } == *found
    }
}

fn hash(name: &'static str, key_size: u32, value_size: u32, max_entries: u32) -> MapSpec {
    MapSpec {
        name,
        kind: MapKind::Hash,
        key_size,
        value_size,
        flags: NO_PREALLOC,
        max_entries,
        fixed_entries: false,
    }
}

fn lru(name: &'static str, key_size: u32, value_size: u32, max_entries: u32) -> MapSpec {
    MapSpec {
        kind: MapKind::LruHash,
        flags: 0,
        ..hash(name, key_size, value_size, max_entries)
    }
}

fn backends<A>(name: &'static str, elements: u32) -> MapSpec {
    MapSpec {
        flags: MMAPABLE,
        fixed_entries: false,
        ..array(name, size::<Backend<A>>(), elements)
    }
}

fn buckets<A>(name: &'static str, buckets: u32) -> MapSpec {
    MapSpec {
        flags: MMAPABLE,
        fixed_entries: false,
        ..array(name, size::<Bucket<A>>(), buckets)
    }
}

fn flows<A>(name: &'static str, max_entries: u32) -> MapSpec {
    let (key, value) = (size::<ConntrackKey<A>>(), size::<Flow<A>>());
    lru(name, key, value, max_entries)
}

fn fragments<A>(name: &'static str, max_entries: u32) -> MapSpec {
    let (key, value) = (size::<FragmentsKey<A>>(), size::<Fragments<A>>());
    lru(name, key, value, max_entries)
}

fn held<A>(name: &'static str, max_entries: u32) -> MapSpec {
    lru(name, size::<HeldKey<A>>(), size::<Held>(), max_entries)
}

fn unserved<A>(name: &'static str, max_entries: u32) -> MapSpec {
    trie::<A>(name, size::<u32>(), max_entries)
}

fn local_pods<A>(name: &'static str, max_entries: u32) -> MapSpec {
    hash(name, size::<A>(), size::<LocalPod>(), max_entries)
}

fn remote_pods<A>(name: &'static str, max_entries: u32) -> MapSpec {
    trie::<A>(name, size::<RemotePods<A>>(), max_entries)
}

fn trie<A>(name: &'static str, value_size: u32, max_entries: u32) -> MapSpec {
    // A key is the number of bits that count, and these.
    let key = size::<u32>() + size::<A>();
    MapSpec {
        kind: MapKind::LpmTrie,
        ..hash(name, key, value_size, max_entries)
    }
}

fn array(name: &'static str, value_size: u32, max_entries: u32) -> MapSpec {
    MapSpec {
        kind: MapKind::Array,
        flags: 0,
        fixed_entries: true,
        ..hash(name, size::<u32>(), value_size, max_entries)
    }
}

const fn size<T>() -> u32 {
    size_of::<T>() as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Families;

    #[test]
    fn every_map_of_the_layout_has_a_spec_in_the_same_order() {
        assert_eq!(all(&Limits::default()).map(|spec| spec.name), name::ALL);
    }

    #[test]
    fn another_limit_is_accepted_and_another_value_size_is_not() {
        let [frontends, ..] = all(&Limits::default());
        let mut found = frontends.shape();
        found.max_entries = 7;
        assert!(frontends.accepts(&found));
        found.value_size += 4;
        assert!(!frontends.accepts(&found));
    }

    #[test]
    fn the_maps_of_a_family_that_is_not_served_have_one_entry_each() {
        let both = all(&Limits::default());
        for (served, other) in [(Family::V4, Family::V6), (Family::V6, Family::V4)] {
            let limits = Limits {
                families: Families::Only(served),
                ..Limits::default()
            };
            for (spec, usual) in all(&limits).into_iter().zip(both) {
                let expected = match family_of(spec.name) {
                    Some(family) if family == other => NOT_SERVED,
                    _ => usual.max_entries,
                };
                assert_eq!(spec.max_entries, expected, "{} of {served:?}", spec.name);
                assert!(usual.accepts(&spec.shape()), "{}", spec.name);
            }
        }
    }

    #[test]
    fn two_slots_share_an_element_and_an_odd_one_has_its_own() {
        for (slots, elements) in [(1, 1), (2, 1), (3, 2), (1000, 500)] {
            let limits = Limits {
                slots,
                ..Limits::default()
            };
            let spec = all(&limits).into_iter().find(|s| s.name == name::SLOTS);
            let entries = spec.map(|spec| spec.max_entries);
            assert_eq!(entries, Some(elements), "{slots} slots");
        }
    }

    #[test]
    fn the_number_of_entries_of_the_filter_is_part_of_its_shape() {
        let specs = all(&Limits::default());
        let filter = specs
            .iter()
            .find(|spec| spec.name == name::VIP_FILTER)
            .unwrap();
        let mut found = filter.shape();
        found.max_entries /= 2;
        assert!(!filter.accepts(&found));
    }

    /// What the kernel takes for a row of a hash, in octets: `struct htab_elem` with key and value, each in words of eight
    /// (`htab_map_alloc` in `kernel/bpf/hashtab.c`).
    fn octets_of_a_row(spec: &MapSpec) -> u32 {
        48 + spec.key_size.next_multiple_of(8) + spec.value_size.next_multiple_of(8)
    }

    #[test]
    fn there_is_an_element_for_each_backend_id_of_few_octets() {
        let specs = all(&Limits::default());
        for (map, budget) in [(name::BACKENDS_V4, 16), (name::BACKENDS_V6, 32)] {
            let spec = specs.iter().find(|spec| spec.name == map).unwrap();
            assert_eq!(spec.value_size.next_multiple_of(8), budget, "{map}");
            assert_eq!(spec.max_entries, limit::BACKENDS + 1, "{map}");
        }
    }

    #[test]
    fn no_row_takes_more_octets_than_its_budget() {
        let specs = all(&Limits::default());
        for (map, budget) in [
            (name::FRONTENDS_V4, 88),
            (name::FRONTENDS_V6, 104),
            (name::AFFINITY_V4, 72),
            (name::AFFINITY_V6, 88),
            (name::SOCKET_PEERS, 112),
            (name::SOCKET_AFFINITY, 80),
            // A flow has two.
            (name::CONNTRACK_V4, 112),
            (name::CONNTRACK_V6, 168),
            (name::TRANSIENT_V4, 112),
            (name::TRANSIENT_V6, 168),
        ] {
            let spec = specs.iter().find(|spec| spec.name == map);
            let octets = spec.map(octets_of_a_row);
            assert!(octets <= Some(budget), "{map}: {octets:?} of {budget}");
            assert!(octets.is_some(), "{map}");
        }
    }
}
