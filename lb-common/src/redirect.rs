//! The redirect path: which pods packets can be handed to past the host's stack, and whether they are.

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

/// What an agent made of the redirect path; the number is what `config` holds. Without a running agent it is off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum RedirectState {
    /// No agent has said.
    Unknown = 0,
    /// Packets between pods of the node go past the host's stack.
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
}

impl RedirectState {
    /// All states.
    pub const ALL: [Self; 7] = [
        Self::Unknown,
        Self::On,
        Self::Off,
        Self::Unsupported,
        Self::Netfilter,
        Self::PolicyRouting,
        Self::Blind,
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
        }
    }

    /// The state in words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "no agent has begun",
            Self::On => "on, between pods of this node",
            Self::Off => "off by --redirect",
            Self::Unsupported => "off: the kernel can't do it",
            Self::Netfilter => "off: netfilter rules would be bypassed",
            Self::PolicyRouting => "off: policy routing rules would be bypassed",
            Self::Blind => "off: what would be bypassed can't be told",
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
