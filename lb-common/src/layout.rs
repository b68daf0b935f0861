//! The names, sizes and the version of the maps, and the macro through which a struct becomes a map key or value.
//!
//! It does not open or create maps: the user side does, by the names and limits that stand here.

/// Version of everything that is pinned. It is part of the pin path, so that programs and agents of different layouts
/// never meet. Bump it whenever a shared struct, a map's type or the meaning of a field changes: a test holds the
/// fingerprint of all of them against this number.
pub const LAYOUT: u32 = 9;

/// The names of the maps, at most 15 bytes: the kernel cuts longer ones.
pub mod name {
    /// IPv4 frontends.
    pub const FRONTENDS_V4: &str = "frontends_v4";
    /// IPv6 frontends.
    pub const FRONTENDS_V6: &str = "frontends_v6";
    /// Selection tables of all service ports.
    pub const SLOTS: &str = "slots";
    /// IPv4 backends by id.
    pub const BACKENDS_V4: &str = "backends_v4";
    /// IPv6 backends by id.
    pub const BACKENDS_V6: &str = "backends_v6";
    /// IPv4 flows.
    pub const FLOWS_V4: &str = "flows_v4";
    /// IPv6 flows.
    pub const FLOWS_V6: &str = "flows_v6";
    /// IPv4 flows that are assured and not over, and that `flows_v4` does not have.
    pub const CONNTRACK_V4: &str = "conntrack_v4";
    /// IPv6 flows that are assured and not over.
    pub const CONNTRACK_V6: &str = "conntrack_v6";
    /// IPv4 flows that are not assured yet, or over.
    pub const TRANSIENT_V4: &str = "transient_v4";
    /// IPv6 flows that are not assured yet, or over.
    pub const TRANSIENT_V6: &str = "transient_v6";
    /// IPv4 clients' backends.
    pub const AFFINITY_V4: &str = "affinity_v4";
    /// IPv6 clients' backends.
    pub const AFFINITY_V6: &str = "affinity_v6";
    /// Bitmap of the addresses that may be a VIP.
    pub const VIP_FILTER: &str = "vip_filter";
    /// Marks of the addresses that a flow may have a backend of.
    pub const REPLY_FILTER: &str = "reply_filter";
    /// Packets by reason.
    pub const COUNTERS: &str = "counters";
    /// How many entries of LRU maps were made and removed.
    pub const LRU_ENTRIES: &str = "lru_entries";
    /// Names of the service ports, for people.
    pub const SERVICES: &str = "services";
    /// What the agent keeps across its own restarts.
    pub const CONFIG: &str = "config";
    /// Service CIDRs of IPv4.
    pub const SERVICE_CIDR_V4: &str = "service_cidr_v4";
    /// Service CIDRs of IPv6.
    pub const SERVICE_CIDR_V6: &str = "service_cidr_v6";
    /// IPv4 addresses that a Service has and that are not served here.
    pub const UNSERVED_V4: &str = "unserved_v4";
    /// IPv6 addresses that a Service has and that are not served here.
    pub const UNSERVED_V6: &str = "unserved_v6";
    /// What was done to the fragments of IPv4 datagrams.
    pub const FRAGMENTS_V4: &str = "fragments_v4";
    /// What was done to the fragments of IPv6 datagrams.
    pub const FRAGMENTS_V6: &str = "fragments_v6";
    /// Fragments of IPv4 datagrams that came before the first.
    pub const HELD_V4: &str = "held_v4";
    /// Fragments of IPv6 datagrams that came before the first.
    pub const HELD_V6: &str = "held_v6";
    /// Which frontends sockets asked for.
    pub const SOCKET_PEERS: &str = "socket_peers";
    /// Sockets' backends.
    pub const SOCKET_AFFINITY: &str = "socket_affinity";
    /// IPv4 pods of this node, for the redirect path.
    pub const LOCAL_PODS_V4: &str = "local_pods_v4";
    /// IPv6 pods of this node, for the redirect path.
    pub const LOCAL_PODS_V6: &str = "local_pods_v6";
    /// Ways to IPv4 pods of other nodes, for the redirect path.
    pub const REMOTE_PODS_V4: &str = "remote_pods_v4";
    /// Ways to IPv6 pods of other nodes, for the redirect path.
    pub const REMOTE_PODS_V6: &str = "remote_pods_v6";

    /// All of them.
    pub const ALL: [&str; 33] = [
        FRONTENDS_V4,
        FRONTENDS_V6,
        SLOTS,
        BACKENDS_V4,
        BACKENDS_V6,
        FLOWS_V4,
        FLOWS_V6,
        CONNTRACK_V4,
        CONNTRACK_V6,
        TRANSIENT_V4,
        TRANSIENT_V6,
        AFFINITY_V4,
        AFFINITY_V6,
        VIP_FILTER,
        REPLY_FILTER,
        COUNTERS,
        LRU_ENTRIES,
        SERVICES,
        CONFIG,
        SOCKET_PEERS,
        SOCKET_AFFINITY,
        FRAGMENTS_V4,
        FRAGMENTS_V6,
        HELD_V4,
        HELD_V6,
        SERVICE_CIDR_V4,
        SERVICE_CIDR_V6,
        UNSERVED_V4,
        UNSERVED_V6,
        LOCAL_PODS_V4,
        LOCAL_PODS_V6,
        REMOTE_PODS_V4,
        REMOTE_PODS_V6,
    ];
    const _: () = {
        let mut i = 0;
        while i < ALL.len() {
            assert!(ALL[i].len() <= 15);
            i += 1;
        }
    };
}

/// Default sizes, in entries. The agent's flags override them when the maps are made.
pub mod limit {
    /// Frontends of one family. A VIP takes one entry for each port, and one for itself.
    pub const FRONTENDS: u32 = 65_536;
    /// Backends of one family. An endpoint takes one entry for each service port that it serves.
    pub const BACKENDS: u32 = 65_536;
    /// Slots of all service ports.
    pub const SLOTS: u32 = 524_288;
    /// Service ports.
    pub const SERVICES: u32 = 65_536;
    /// Flows of one family that the table of [`flows`](crate::flows) has room for: 32 768 buckets of seven.
    pub const FLOWS: u32 = 229_376;
    /// Conntrack entries of one family: flows that are assured and not over. A flow takes two entries, four where a backend
    /// reaches itself.
    pub const CONNTRACK: u32 = 262_144;
    /// Entries of one family for flows that are not assured yet, or over, in numbers as for conntrack. A handshake needs its entries
    /// for the time of a round trip: there is room for the new connections of a tenth of a second under 600 000 forged ones a second.
    pub const TRANSIENT: u32 = 131_072;
    /// Datagrams in fragments of one family that are remembered. No flag sets it: a record is needed for as long as the fragments of
    /// one datagram follow each other, microseconds as a rule.
    pub const FRAGMENTS: u32 = 8_192;
    /// Fragments of one family that are held until the first of their datagram comes, 2 KiB each: a dozen of the largest
    /// datagrams. No flag sets it: what is held for longer than packets overtake each other is lost anyhow.
    pub const HELD: u32 = 512;
    /// Clients of one family whose backend is remembered, and network namespaces whose sockets are one. A client takes one
    /// entry for each service port with session affinity.
    pub const AFFINITY: u32 = 65_536;
    /// Addresses of one family that a Service has and that are not served here. No flag sets it: where there are more, no address
    /// of a Service CIDR is taken for nobody's.
    pub const UNSERVED: u32 = 65_536;
    /// Sockets of which it is remembered which frontend they asked for.
    pub const SOCKETS: u32 = 65_536;
    /// Pods of one family on this node that packets can be handed to past the host's stack. No flag sets it: a node has a few
    /// hundred, and a pod without a row is reached through the stack.
    pub const LOCAL_PODS: u32 = 4_096;
    /// Prefixes of one family of pods' addresses of other nodes. No flag sets it: a node has one for each other node.
    pub const REMOTE_PODS: u32 = 16_384;
}

/// A struct that lives in a map: plain bytes without padding.
pub trait MapType: bytemuck::Pod {
    /// Name of the struct.
    const NAME: &'static str;
    /// Name, offset and size in bytes of each field.
    const FIELDS: &'static [(&'static str, usize, usize)];
}

/// Declares the struct of a map's key or value: refuses padding at compile time (a hash map compares bytes, so an
/// undefined byte is a lookup that misses) and records the fields for the layout's fingerprint. A struct with a parameter
/// is there for addresses of both families. All are aligned to words, as they are in a map: octets would be copied in pairs
/// or one by one.
macro_rules! map_type {
    ($(#[$meta:meta])* pub struct $name:ident { $($fields:tt)+ }) => {
        map_type!(@declare [$(#[$meta])*] [$name] { $($fields)+ });
        map_type!(@bytes $name, stringify!($name), { $($fields)+ });
    };
    ($(#[$meta:meta])* pub struct $name:ident<$address:ident> { $($fields:tt)+ }) => {
        map_type!(@declare [$(#[$meta])*] [$name<$address>] { $($fields)+ });
        const _: () = {
            type $address = [u8; 4];
            map_type!(@bytes $name<$address>, concat!(stringify!($name), "<[u8; 4]>"), { $($fields)+ });
        };
        const _: () = {
            type $address = [u8; 16];
            map_type!(@bytes $name<$address>, concat!(stringify!($name), "<[u8; 16]>"), { $($fields)+ });
        };
    };
    (@declare [$($meta:tt)*] [$($type:tt)+] { $($fields:tt)+ }) => {
        $($meta)*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(C, align(4))]
        pub struct $($type)+ { $($fields)+ }
    };
    (
        @bytes $type:ty, $type_name:expr,
        { $($(#[$meta:meta])* $visibility:vis $field:ident: $field_type:ty),+ $(,)? }
    ) => {
        const _: () = assert!(
            core::mem::size_of::<$type>() == 0 $(+ core::mem::size_of::<$field_type>())+,
            concat!($type_name, " has padding")
        );
        // SAFETY: every field is Zeroable, as the Pod bound below demands.
        unsafe impl bytemuck::Zeroable for $type {}
        // SAFETY: the struct is repr(C), Copy and 'static, each field is Pod (checked by `assert_pod`), and the sizes of
        // the fields add up to the size of the struct, so that there is no padding.
        unsafe impl bytemuck::Pod for $type {}
        const _: () = {
            const fn assert_pod<T: bytemuck::Pod>() {}
            $(assert_pod::<$field_type>();)+
        };
        impl $crate::layout::MapType for $type {
            const NAME: &'static str = $type_name;
            const FIELDS: &'static [(&'static str, usize, usize)] = &[
                $((stringify!($field), core::mem::offset_of!($type, $field), core::mem::size_of::<$field_type>())),+
            ];
        }
    };
}
pub(crate) use map_type;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::affinity::{Affinity, AffinityKey, SocketAffinityKey};
    use crate::flows;
    use crate::fragments::{Fragments, FragmentsKey, Held, HeldKey};
    use crate::redirect::{LocalPod, RemotePods};
    use crate::service_cidr::{self, ServiceCidrs};
    use crate::socket::{SocketKey, SocketPeer};
    use crate::{backend::Backend, config::Config, conntrack, frontend, service::ServiceName};

    type V4 = [u8; 4];
    type V6 = [u8; 16];

    fn describe<T: MapType>(into: &mut String) {
        use std::fmt::Write;
        write!(into, "{}({})", T::NAME, size_of::<T>()).unwrap();
        for (name, offset, size) in T::FIELDS {
            write!(into, " {name}@{offset}+{size}").unwrap();
        }
        into.push('\n');
    }

    #[test]
    fn a_changed_struct_demands_a_new_layout_version() {
        let mut layout = String::new();
        describe::<frontend::FrontendKey<V4>>(&mut layout);
        describe::<frontend::FrontendKey<V6>>(&mut layout);
        describe::<frontend::Frontend>(&mut layout);
        describe::<Backend<V4>>(&mut layout);
        describe::<Backend<V6>>(&mut layout);
        describe::<conntrack::ConntrackKey<V4>>(&mut layout);
        describe::<conntrack::ConntrackKey<V6>>(&mut layout);
        describe::<conntrack::Flow<V4>>(&mut layout);
        describe::<conntrack::Flow<V6>>(&mut layout);
        describe::<flows::Way<V4>>(&mut layout);
        describe::<flows::Way<V6>>(&mut layout);
        describe::<flows::Rest>(&mut layout);
        describe::<AffinityKey<V4>>(&mut layout);
        describe::<AffinityKey<V6>>(&mut layout);
        describe::<Affinity>(&mut layout);
        describe::<SocketAffinityKey>(&mut layout);
        describe::<ServiceName>(&mut layout);
        describe::<Config>(&mut layout);
        describe::<SocketKey>(&mut layout);
        describe::<SocketPeer>(&mut layout);
        describe::<LocalPod>(&mut layout);
        describe::<RemotePods<V4>>(&mut layout);
        describe::<RemotePods<V6>>(&mut layout);
        describe::<FragmentsKey<V4>>(&mut layout);
        describe::<FragmentsKey<V6>>(&mut layout);
        describe::<Fragments<V4>>(&mut layout);
        describe::<Fragments<V6>>(&mut layout);
        describe::<HeldKey<V4>>(&mut layout);
        describe::<HeldKey<V6>>(&mut layout);
        describe::<Held>(&mut layout);
        describe::<service_cidr::Range<V4>>(&mut layout);
        describe::<service_cidr::Range<V6>>(&mut layout);
        describe::<ServiceCidrs<V4>>(&mut layout);
        describe::<ServiceCidrs<V6>>(&mut layout);
        layout.push_str(&format!(
            "slots {} vip_filter {} reply_filter {} ways {}\n",
            crate::frontend::SLOTS_PER_ELEMENT,
            crate::vip_filter::BITS,
            crate::reply_filter::MARKS,
            flows::WAYS
        ));
        // FNV-1a, so that the number does not depend on the standard library's hasher.
        let fingerprint = layout.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
            (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
        });
        assert_eq!(
            (LAYOUT, fingerprint),
            (9, FINGERPRINT),
            "a shared struct changed: bump layout::LAYOUT and set both numbers of this test\n{layout}"
        );
    }

    const FINGERPRINT: u64 = 15857789445645158416;
}
