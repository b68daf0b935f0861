//! The calls of processes that have a program, and what each is called in the object, in the kernel and among the pins.

/// What the pins of these links begin with.
const PIN: &str = "cgroup_";

/// A call of a process on a socket.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Hook {
    /// `recvmsg` on a UDP socket of IPv4.
    Recvmsg4,
    /// `recvmsg` on a UDP socket of IPv6.
    Recvmsg6,
    /// `getpeername` on a socket of IPv4.
    Getpeername4,
    /// `getpeername` on a socket of IPv6.
    Getpeername6,
    /// `sendmsg` to an IPv4 address on a UDP socket.
    Sendmsg4,
    /// `sendmsg` to an IPv6 address on a UDP socket.
    Sendmsg6,
    /// `connect` on a socket of IPv4.
    Connect4,
    /// `connect` on a socket of IPv6.
    Connect6,
}

impl Hook {
    /// All of them, in the order of attaching: what shows a process the VIP is there before the first call is redirected.
    /// They are detached the other way round.
    pub const ALL: [Self; 8] = [
        Self::Recvmsg4,
        Self::Recvmsg6,
        Self::Getpeername4,
        Self::Getpeername6,
        Self::Sendmsg4,
        Self::Sendmsg6,
        Self::Connect4,
        Self::Connect6,
    ];

    /// Name of the program in the object.
    pub fn program(self) -> &'static str {
        match self {
            Self::Recvmsg4 => "recvmsg4",
            Self::Recvmsg6 => "recvmsg6",
            Self::Getpeername4 => "getpeername4",
            Self::Getpeername6 => "getpeername6",
            Self::Sendmsg4 => "sendmsg4",
            Self::Sendmsg6 => "sendmsg6",
            Self::Connect4 => "connect4",
            Self::Connect6 => "connect6",
        }
    }

    /// The kernel's `enum bpf_attach_type`.
    pub(super) fn attach_type(self) -> u32 {
        match self {
            Self::Connect4 => 10,
            Self::Connect6 => 11,
            Self::Sendmsg4 => 14,
            Self::Sendmsg6 => 15,
            Self::Recvmsg4 => 19,
            Self::Recvmsg6 => 20,
            Self::Getpeername4 => 29,
            Self::Getpeername6 => 30,
        }
    }

    /// File name of the pin of its link.
    pub(super) fn pin(self) -> String {
        format!("{PIN}{}", self.program())
    }

    /// Whether a file name is that of a pin of such a link, of any version.
    pub(super) fn is_pin(file_name: &str) -> bool {
        file_name.starts_with(PIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datapath::pins::link_pin;

    #[test]
    fn a_hooks_pin_is_not_taken_for_a_devices_and_the_other_way_round() {
        for hook in Hook::ALL {
            assert!(Hook::is_pin(&hook.pin()));
            assert_eq!(link_pin(&hook.pin()), None, "{hook:?}");
        }
        assert!(!Hook::is_pin("if12_ingress"));
    }
}
