//! Why a packet was treated as it was. The number of a reason is the index of its counter in `counters`.

/// Defines the reasons once: number, name for people, meaning.
macro_rules! reasons {
    ($($(#[$doc:meta])+ $variant:ident = $number:literal, $name:literal;)+) => {
        /// Why a packet passed, was rewritten, refused or dropped.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u32)]
        pub enum Reason {
            $($(#[$doc])+ $variant = $number,)+
        }

        impl Reason {
            /// All reasons, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name that tools show.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

reasons! {
    /// Passed: neither IPv4 nor IPv6. Not counted.
    NotIp = 0, "not-ip";
    /// Passed: for no Service, and no reply of a known flow. Not counted, for it is the bulk of other traffic.
    NotForService = 1, "not-for-service";
    /// Passed: the destination is a VIP, the transport protocol is one that is not balanced.
    UnknownProtocol = 2, "unknown-protocol";
    /// Passed: a header is cut short or contradicts itself.
    Malformed = 3, "malformed";
    /// Rewritten: a later fragment, in either direction, as the first one of its datagram was.
    Fragment = 4, "fragment";
    /// Rewritten: first packet of a flow, a backend was selected.
    NewFlow = 5, "new-flow";
    /// Rewritten: packet of a known flow, towards the backend.
    Forward = 6, "forward";
    /// Rewritten: packet of a known flow, towards the client.
    Reply = 7, "reply";
    /// Rewritten: the flow's backend was gone, another one was selected.
    Reselected = 8, "reselected";
    /// Refused: the service port has no usable endpoint anywhere (S-30 a).
    NoEndpoint = 9, "no-endpoint";
    /// Refused: no such port at this VIP (S-30 c).
    UnknownPort = 10, "unknown-port";
    /// Dropped: the policy is Local, endpoints exist, none on this node (S-30 b).
    NoLocalEndpoint = 11, "no-local-endpoint";
    /// Dropped: the selected slot names a backend that does not exist; the sender's next try finds a good one.
    BackendMissing = 12, "backend-missing";
    /// Dropped: the flow table took no new flow.
    FlowTableFull = 13, "flow-table-full";
    /// Dropped: every backend tried already answers the same client port through another frontend, and no other source port that
    /// was tried is free.
    TupleClash = 14, "tuple-clash";
    /// Dropped: the kernel refused to change the packet.
    RewriteFailed = 15, "rewrite-failed";
    /// Dropped: it was to be refused, and the answer could not be made.
    RejectFailed = 16, "reject-failed";
    /// Redirected: a process's socket was given a backend. Calls are counted here and below, not packets.
    SocketForward = 17, "socket-forward";
    /// Refused: the service port that a process turned to has no usable endpoint anywhere (S-30 a).
    SocketNoEndpoint = 18, "socket-no-endpoint";
    /// Refused: a process turned to a port that the VIP does not have (S-30 c).
    SocketUnknownPort = 19, "socket-unknown-port";
    /// Failed: the policy is Local, endpoints exist, none on the process's node (S-30 b).
    SocketNoLocalEndpoint = 20, "socket-no-local-endpoint";
    /// Refused: the selected slots name no backend; the process's next try finds a good one.
    SocketBackendMissing = 21, "socket-backend-missing";
    /// Dropped: a later fragment, and its datagram's first one was refused or dropped; or it has not come, and there is no room
    /// to hold this one.
    FragmentWithoutFirst = 22, "fragment-without-first";
    /// Rewritten: an ICMP error, in either direction, about a packet of a known flow (S-32).
    IcmpError = 23, "icmp-error";
    /// Answered: a ping of a VIP whose Service has an endpoint (S-31).
    Echo = 24, "echo";
    /// Dropped: a ping of a VIP, and more than may be answered have come.
    EchoLimited = 25, "echo-limited";
    /// Held: a later fragment, in either direction, came before the first of its datagram.
    FragmentHeld = 26, "fragment-held";
    /// Rewritten: a SYN that came again because its backend had not answered; it got another one.
    Failover = 27, "failover";
    /// Dropped: the destination is in a Service CIDR, and no Service has it (S-30 d).
    Unallocated = 28, "unallocated";
    /// Failed: a process turned to such an address.
    SocketUnallocated = 29, "socket-unallocated";
    /// Delivered: straight into a pod of this node. This and those up to [`Reason::StackNoDevice`] say how a packet went on,
    /// beside what else was counted for it.
    Delivered = 30, "delivered";
    /// Left to the host's stack: it goes back into the device that it came from.
    StackHairpin = 31, "stack-hairpin";
    /// Left to the host's stack: IPv4 options, IPv6 extension headers, a fragment, or an ICMP error.
    StackHeaders = 32, "stack-headers";
    /// Left to the host's stack: its source is not the address of the pod that sent it.
    StackSource = 33, "stack-source";
    /// Left to the host's stack: its Ethernet header addresses neither the node nor the pod.
    StackLink = 34, "stack-link";
    /// Left to the host's stack: its last hop is used up.
    StackHopLimit = 35, "stack-hop-limit";
    /// Left to the host's stack: it is larger than the device takes that it would leave by.
    StackTooBig = 36, "stack-too-big";
    /// Left to the host's stack: the device that it would leave by is gone.
    StackNoDevice = 37, "stack-no-device";
    /// Dropped: an SCTP packet whose port changes is in fragments, so that its checksum can't follow.
    SctpChecksum = 38, "sctp-checksum";
    /// Rewritten: first packet of a flow, whose client's port already speaks to its backend through another frontend; it got another
    /// source port.
    SourcePort = 39, "source-port";
    /// Sent: straight out of the uplink towards a pod of another node.
    Sent = 40, "sent";
    /// Left to the host's stack: it came from outside to a pod of this node, and not from a pod of another node.
    StackOutside = 41, "stack-outside";
}

/// Number of reasons, which is the number of elements of `counters`.
pub const COUNT: u32 = Reason::ALL.len() as u32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_dense_and_names_are_unique() {
        for (i, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, i, "{reason:?}");
        }
        let names: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|r| r.name()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
    }
}
