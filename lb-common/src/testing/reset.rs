//! TCP resets as a refused client should get them, serialised from scratch.

use super::frame::{Frame, internet_checksum};
use super::l4::L4;
use crate::packet::{Parse, TcpFlags};

impl<A: Parse> Frame<A> {
    /// The answer to this frame where it is refused (S-30): a reset for a segment that opens a connection over IPv6, port
    /// unreachable for the rest.
    pub fn refusal(&self) -> Vec<u8> {
        match self.l4 {
            L4::Tcp { flags, .. } if A::OCTETS == 16 && TcpFlags::new(flags).opens() => {
                self.reset()
            }
            _ => self.port_unreachable(),
        }
    }

    /// The reset of the connection that this segment opens, from its destination to its source (RFC 9293 section 3.10.7.1).
    ///
    /// # Panics
    /// If this is no TCP segment over IPv6.
    pub fn reset(&self) -> Vec<u8> {
        let L4::Tcp {
            source,
            destination,
            flags,
            sequence,
            payload,
            ..
        } = &self.l4
        else {
            panic!("no TCP segment: {:?}", self.l4);
        };
        assert_eq!(A::OCTETS, 16, "only IPv6 is answered by a reset");
        let len = payload.len() as u32 + 1 + u32::from(flags & TcpFlags::FIN);
        let mut segment = Vec::new();
        segment.extend(destination.to_be_bytes());
        segment.extend(source.to_be_bytes());
        segment.extend([0; 4]);
        segment.extend(sequence.wrapping_add(len).to_be_bytes());
        segment.extend([0x50, 0x14, 0, 0, 0, 0, 0, 0]);

        let addresses = [self.ip.destination, self.ip.source];
        let mut summed = bytemuck::bytes_of(&addresses[0]).to_vec();
        summed.extend(bytemuck::bytes_of(&addresses[1]));
        summed.extend([0, 0, 0, 20, 0, 0, 0, 6]);
        summed.extend(&segment);
        segment[16..18].copy_from_slice(&internet_checksum(&summed).to_be_bytes());

        let refused = self.build();
        let mut frame = [&refused[6..12], &refused[0..6]].concat();
        frame.extend(A::ETHERTYPE.to_be_bytes());
        frame.extend([0x60, 0, 0, 0, 0, 20, 6, 64]);
        frame.extend(addresses.iter().flat_map(bytemuck::bytes_of));
        frame.extend(segment);
        frame
    }
}
