//! ICMP errors as a refused sender should get them, serialised from scratch.

use super::frame::{Frame, internet_checksum};
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
