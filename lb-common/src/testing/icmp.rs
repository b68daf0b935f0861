//! ICMP errors, serialised from scratch: those that a refused sender should get, and any others.

use super::frame::{Frame, internet_checksum};
use super::l4::L4;
use crate::packet::{ETHERNET, Parse};

impl<A: Parse> Frame<A> {
    /// The frame that refuses this one: port unreachable from the destination to the source (RFC 792, RFC 4443), quoting
    /// the IP header with its options or extension headers and the transport header without its options.
    pub fn port_unreachable(&self) -> Vec<u8> {
        self.port_unreachable_quoting(&self.build())
    }

    /// As [`Frame::port_unreachable`], with the quoted octets taken from `refused`, which starts with an Ethernet header.
    pub fn port_unreachable_quoting(&self, refused: &[u8]) -> Vec<u8> {
        let quoted = &refused[ETHERNET..][..self.ip_len() + self.l4.quoted_len()];
        let mut frame = [&refused[6..12], &refused[0..6]].concat();
        frame.extend(A::ETHERTYPE.to_be_bytes());
        if A::OCTETS == 4 {
            self.icmp(&mut frame, quoted);
        } else {
            self.icmpv6(&mut frame, quoted);
        }
        frame
    }

    /// An ICMP error of any type and code about this frame, from `by` to the frame's sender, that quotes `quoted` octets of
    /// the frame from its IP header on, or all where it has less.
    pub fn icmp_error(&self, by: A, [kind, code]: [u8; 2], quoted: usize) -> Frame<A> {
        let octets = self.build();
        let packet = &octets[ETHERNET..];
        // A rest of the header such as an MTU has.
        let mut payload = vec![kind, code, 0, 0, 0, 0, 0x05, 0x00];
        payload.extend(&packet[..quoted.min(packet.len())]);
        let mut summed = Vec::new();
        if A::OCTETS == 16 {
            summed.extend(bytemuck::bytes_of(&by));
            summed.extend(bytemuck::bytes_of(&self.ip.source));
            summed.extend((payload.len() as u32).to_be_bytes());
            summed.extend([0, 0, 0, A::ICMP]);
        }
        summed.extend(&payload);
        let checksum = internet_checksum(&summed);
        payload[2..4].copy_from_slice(&checksum.to_be_bytes());
        let l4 = L4::Other {
            protocol: A::ICMP,
            payload,
        };
        Frame::new(by, self.ip.source, l4)
    }

    fn icmp(&self, frame: &mut Vec<u8>, quoted: &[u8]) {
        let mut message = vec![3, 3, 0, 0, 0, 0, 0, 0];
        message.extend(quoted);
        let checksum = internet_checksum(&message);
        message[2..4].copy_from_slice(&checksum.to_be_bytes());

        let mut header = vec![0x45, 0xc0];
        header.extend(((20 + message.len()) as u16).to_be_bytes());
        header.extend([0, 0, 0, 0, 64, 1, 0, 0]);
        header.extend(bytemuck::bytes_of(&self.ip.destination));
        header.extend(bytemuck::bytes_of(&self.ip.source));
        let checksum = internet_checksum(&header);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        frame.extend(header);
        frame.extend(message);
    }

    fn icmpv6(&self, frame: &mut Vec<u8>, quoted: &[u8]) {
        let mut message = vec![1, 4, 0, 0, 0, 0, 0, 0];
        message.extend(quoted);
        let mut octets = Vec::new();
        octets.extend(bytemuck::bytes_of(&self.ip.destination));
        octets.extend(bytemuck::bytes_of(&self.ip.source));
        octets.extend((message.len() as u32).to_be_bytes());
        octets.extend([0, 0, 0, 58]);
        octets.extend(&message);
        let checksum = internet_checksum(&octets);
        message[2..4].copy_from_slice(&checksum.to_be_bytes());

        frame.extend([0x60, 0, 0, 0]);
        frame.extend((message.len() as u16).to_be_bytes());
        frame.extend([58, 64]);
        frame.extend(bytemuck::bytes_of(&self.ip.destination));
        frame.extend(bytemuck::bytes_of(&self.ip.source));
        frame.extend(message);
    }
}
