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
        let header = match &self.l4 {
            L4::Other { protocol, payload }
                if *protocol == A::ICMP && payload[0] == A::ECHO_REQUEST =>
            {
                8
            }
            l4 => l4.quoted_len(),
        };
        let quoted = &refused[ETHERNET..][..self.ip_len() + header];
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
        let checksum = icmp_checksum(&by, &self.ip.source, &payload);
        payload[2..4].copy_from_slice(&checksum.to_be_bytes());
        let l4 = L4::Other {
            protocol: A::ICMP,
            payload,
        };
        Frame::new(by, self.ip.source, l4)
    }

    /// A ping. `id` is what the reply repeats before the data: identifier and sequence number.
    pub fn echo_request(client: A, destination: A, id: u32, data: &[u8]) -> Self {
        Self::echo(client, destination, A::ECHO_REQUEST, id, data)
    }

    /// The frame that answers this ping.
    ///
    /// # Panics
    /// If this is none.
    pub fn echo_reply(&self) -> Vec<u8> {
        let L4::Other { payload, .. } = &self.l4 else {
            panic!("{:?} is no ping", self.l4)
        };
        assert_eq!(payload[0], A::ECHO_REQUEST);
        let id = u32::from_be_bytes([payload[4], payload[5], payload[6], payload[7]]);
        let (source, destination) = (self.ip.destination, self.ip.source);
        let mut reply = Self::echo(source, destination, A::ECHO_REPLY, id, &payload[8..]).build();
        let request = self.build();
        reply[..6].copy_from_slice(&request[6..12]);
        reply[6..12].copy_from_slice(&request[..6]);
        reply
    }

    fn echo(source: A, destination: A, kind: u8, id: u32, data: &[u8]) -> Self {
        let mut payload = vec![kind, 0, 0, 0];
        payload.extend(id.to_be_bytes());
        payload.extend(data);
        let checksum = icmp_checksum(&source, &destination, &payload);
        payload[2..4].copy_from_slice(&checksum.to_be_bytes());
        let l4 = L4::Other {
            protocol: A::ICMP,
            payload,
        };
        Self::new(source, destination, l4)
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

/// The checksum of a message whose own field is zero; in IPv6 it covers a pseudo-header (RFC 4443 section 2.3).
fn icmp_checksum<A: Parse>(source: &A, destination: &A, message: &[u8]) -> u16 {
    let mut summed = Vec::new();
    if A::OCTETS == 16 {
        summed.extend(bytemuck::bytes_of(source));
        summed.extend(bytemuck::bytes_of(destination));
        summed.extend((message.len() as u32).to_be_bytes());
        summed.extend([0, 0, 0, A::ICMP]);
    }
    summed.extend(message);
    internet_checksum(&summed)
}
