//! The redirect path: which pods packets can be handed to past the host's stack, by which way those of other nodes are reached,
//! and whether packets go so.

use crate::addr::Address;
use crate::layout::map_type;

map_type! {
    /// A pod of this node, by its address: value of `local_pods_v4` and `local_pods_v6`. The agent writes a row only where the
    /// host's stack would send the packet the same way.
    pub struct LocalPod {
        ifindex: u32,
        mac: [u8; 6],
        node_mac: [u8; 6],
    }
}

impl LocalPod {
    /// A pod behind the device `ifindex`. `mac` is the pod's own Ethernet address, `node_mac` the one that the host's stack
    /// sends to it from: that of the device, or of the bridge which the device is a port of.
    pub const fn new(ifindex: u32, mac: [u8; 6], node_mac: [u8; 6]) -> Self {
        Self {
            ifindex,
            mac,
            node_mac,
        }
    }

    /// Index of the host side of the pod's device.
    #[inline(always)]
    pub const fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// The pod's Ethernet address.
    #[inline(always)]
    pub const fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// The Ethernet address that the node has towards the pod.
    #[inline(always)]
    pub const fn node_mac(&self) -> [u8; 6] {
        self.node_mac
    }
}

map_type! {
    /// The way to the pods of another node, by a prefix of their addresses: value of `remote_pods_v4` and `remote_pods_v6`. The
    /// longest prefix counts.
    pub struct RemotePods<A> {
        ifindex: u32,
        gateway: A,
    }
}

impl<A: Address> RemotePods<A> {
    /// Out of the uplink `ifindex`, by a gateway behind it.
    pub const fn new(ifindex: u32, gateway: A) -> Self {
        Self { ifindex, gateway }
    }

    /// The host's stack alone knows the way: a prefix that is left out of a shorter one.
    pub fn unknown() -> Self {
        Self::new(0, A::zeroed())
    }

    /// Index of the uplink, 0 where the way is the host's stack's.
    #[inline(always)]
    pub const fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// The next hop.
    #[inline(always)]
    pub const fn gateway(&self) -> A {
        self.gateway
    }

    /// Whether the host's stack alone knows the way.
    #[inline(always)]
    pub const fn is_unknown(&self) -> bool {
        self.ifindex == 0
    }
}

/// What an agent made of the redirect path; the number is what `config` holds. Without a running agent it is off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum RedirectState {
    /// No agent has said.
    Unknown = 0,
    /// Packets between pods go past the host's stack.
    On = 1,
    /// A flag says that none does.
    Off = 2,
    /// The kernel can't do it.
    Unsupported = 3,
    /// Rules of netfilter would be bypassed.
    Netfilter = 4,
    /// Rules of policy routing would be bypassed.
    PolicyRouting = 5,
    /// What would be bypassed can't be told, or the pods can't be followed.
    Blind = 6,
    /// Policies of IPsec would be bypassed.
    Ipsec = 7,
}

impl RedirectState {
    /// All states.
    pub const ALL: [Self; 8] = [
        Self::Unknown,
        Self::On,
        Self::Off,
        Self::Unsupported,
        Self::Netfilter,
        Self::PolicyRouting,
        Self::Blind,
        Self::Ipsec,
    ];

    /// What a number stands for; one that no version wrote says nothing.
    pub fn from_number(number: u32) -> Self {
        Self::ALL
            .into_iter()
            .find(|state| *state as u32 == number)
            .unwrap_or(Self::Unknown)
    }

    /// The state in a word, for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::On => "on",
            Self::Off => "off",
            Self::Unsupported => "unsupported",
            Self::Netfilter => "netfilter",
            Self::PolicyRouting => "policy-routing",
            Self::Blind => "blind",
            Self::Ipsec => "ipsec",
        }
    }

    /// The state in words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "no agent has begun",
            Self::On => "on, between pods",
            Self::Off => "off by --redirect",
            Self::Unsupported => "off: the kernel can't do it",
            Self::Netfilter => "off: netfilter rules would be bypassed",
            Self::PolicyRouting => "off: policy routing rules would be bypassed",
            Self::Blind => "off: what would be bypassed can't be told",
            Self::Ipsec => "off: IPsec policies would be bypassed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_comes_back_from_its_number_and_others_say_nothing() {
        for state in RedirectState::ALL {
            assert_eq!(RedirectState::from_number(state as u32), state);
        }
        assert_eq!(RedirectState::from_number(99), RedirectState::Unknown);
    }
}
