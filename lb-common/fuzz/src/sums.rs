//! Checksums, summed up from scratch by the packet builder's arithmetic, which shares nothing with that of the data plane.

use std::fmt::Debug;

use lb_common::packet::{Fragment, Packet, Parse, Transport};
use lb_common::testing::crc32c::crc32c;
use lb_common::testing::frame::internet_checksum;

/// Which checksums of a packet are right; none where there is none, or where not all that it covers is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sums {
    /// That of the IP header.
    pub header: Option<bool>,
    /// That of TCP, UDP, SCTP or ICMP.
    pub transport: Option<bool>,
}

impl Sums {
    /// Of a packet that was read from a frame.
    pub fn of<A: Parse>(frame: &[u8], packet: &Packet<A>) -> Self {
        Self {
            header: header::<A>(frame, packet.l3, packet.l4),
            transport: transport(frame, packet),
        }
    }

    /// What was right before must be right now.
    ///
    /// # Panics
    /// If it is not.
    #[track_caller]
    pub fn assert_kept(self, before: Self) {
        for (before, after) in [
            (before.header, self.header),
            (before.transport, self.transport),
        ] {
            assert!(
                before != Some(true) || after == Some(true),
                "checksums were {before:?} and are {after:?}"
            );
        }
    }
}

/// Whether an IP header's checksum is right.
pub fn header<A: Parse>(frame: &[u8], l3: usize, l4: usize) -> Option<bool> {
    A::HEADER_CHECKSUM?;
    Some(internet_checksum(frame.get(l3..l4)?) == 0)
}

fn transport<A: Parse>(frame: &[u8], packet: &Packet<A>) -> Option<bool> {
    if packet.fragment != Fragment::WHOLE || packet.l4_len == 0 {
        return None;
    }
    let segment = frame.get(packet.l4..)?.get(..packet.l4_len)?;
    let protocol = match packet.transport {
        Transport::Tcp(..) => 6,
        Transport::Udp(_) if segment[6..8] == [0, 0] => return None,
        Transport::Udp(_) => 17,
        Transport::Sctp(..) => {
            let mut zeroed = segment.to_vec();
            zeroed[8..12].fill(0);
            return Some(crc32c(&zeroed).to_le_bytes() == segment[8..12]);
        }
        Transport::IcmpError | Transport::EchoRequest if A::OCTETS == 4 => {
            return Some(internet_checksum(segment) == 0);
        }
        Transport::IcmpError | Transport::EchoRequest => A::ICMP,
        Transport::Fragment | Transport::Other(_) => return None,
    };
    let ends = A::SOURCE + packet.l3;
    let mut summed = frame[ends..][..2 * A::OCTETS].to_vec();
    summed.extend((segment.len() as u32).to_be_bytes());
    summed.extend([0, 0, 0, protocol]);
    summed.extend(segment);
    Some(internet_checksum(&summed) == 0)
}
