//! Frames that no sender makes: one thing of a frame changed, where a header says something or anywhere.
//!
//! Headers are found by a walk of its own, which believes every octet and stops where the frame does; the parser under test
//! has no part in it. Checksums are left as they are.

use super::random::Random;
use crate::packet::ETHERNET;

/// A field of a header: offset in the frame and length, both in octets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Field {
    at: usize,
    len: usize,
}

/// Offsets and lengths of what an IPv4 header says.
const IPV4: &[(usize, usize)] = &[
    (0, 1),
    (2, 2),
    (2, 2),
    (4, 2),
    (6, 2),
    (6, 2),
    (8, 1),
    (9, 1),
    (10, 2),
    (12, 4),
    (16, 4),
];
/// The same of an IPv6 header.
const IPV6: &[(usize, usize)] = &[(0, 1), (4, 2), (4, 2), (6, 1), (7, 1), (8, 16), (24, 16)];
/// Of an IPv6 extension header, of which one for fragments is the longest.
const EXTENSION: &[(usize, usize)] = &[(0, 1), (1, 1), (2, 2), (4, 4)];
/// Of a transport header: ports, lengths, checksums, TCP's data offset and flags; type and code of ICMP.
const TRANSPORT: &[(usize, usize)] = &[
    (0, 1),
    (1, 1),
    (0, 2),
    (2, 2),
    (4, 2),
    (6, 2),
    (12, 1),
    (13, 1),
    (16, 2),
];
/// Extension headers that are walked: more than the parser follows.
const MAX_EXTENSIONS: usize = 12;
/// Octets that mean something in one field or another: versions, header lengths, protocols, types, flags.
const TELLING: [u8; 28] = [
    0, 1, 2, 3, 4, 5, 6, 8, 11, 12, 17, 20, 40, 43, 44, 50, 51, 58, 60, 0x40, 0x45, 0x46, 0x4f,
    0x60, 0x80, 132, 0xf0, 0xff,
];
/// EtherTypes: both families, VLAN tags, ARP.
const ETHERTYPES: [[u8; 2]; 5] = [[0x08, 0], [0x86, 0xdd], [0x81, 0], [0x88, 0xa8], [0x08, 6]];

impl Random {
    /// Changes one thing of a frame, which keeps its Ethernet header at least: bits, a field, the length.
    pub fn mutate(&mut self, frame: &mut Vec<u8>) {
        match self.below(32) {
            0..14 => self.change_field(frame),
            14..18 => self.flip_bits(frame),
            18..21 => self.cut(frame),
            21..23 => {
                let padding = 1 + self.below(64);
                frame.extend(self.octets(padding));
            }
            23..26 => self.take_out(frame),
            26..30 => self.put_in(frame),
            30 => frame[12..ETHERNET].copy_from_slice(&self.pick(&ETHERTYPES)),
            _ => {
                let tag = [0x81, 0, 0, self.number() as u8];
                frame.splice(12..12, tag);
            }
        }
    }

    fn change_field(&mut self, frame: &mut [u8]) {
        let fields = fields(frame);
        if fields.is_empty() {
            return;
        }
        let field = self.pick(&fields);
        let new = match self.below(6) {
            0 => self.octets(field.len),
            1 => vec![self.pick(&[0, 0xff]); field.len],
            2 => (0..field.len).map(|_| self.pick(&TELLING)).collect(),
            3 => {
                let same: Vec<_> = fields.iter().filter(|f| f.len == field.len).collect();
                let other = self.pick(&same);
                frame[other.at..][..other.len].to_vec()
            }
            4 => {
                let mut octets = frame[field.at..][..field.len].to_vec();
                let bit = self.below(8 * field.len);
                octets[bit / 8] ^= 1 << (bit % 8);
                octets
            }
            // A little more or less.
            _ => {
                let mut octets = frame[field.at..][..field.len].to_vec();
                let change = self.pick(&[1, 2, 4, 8, 20, 40]);
                let last = octets.last_mut().expect("a field has octets");
                *last = if self.one_in(2) {
                    last.wrapping_add(change)
                } else {
                    last.wrapping_sub(change)
                };
                octets
            }
        };
        frame[field.at..][..field.len].copy_from_slice(&new);
    }

    fn flip_bits(&mut self, frame: &mut [u8]) {
        // Most of them in the headers.
        let end = if self.one_in(4) {
            frame.len()
        } else {
            frame.len().min(ETHERNET + 128)
        };
        for _ in 0..=self.below(4) {
            frame[self.below(end)] ^= 1 << self.below(8);
        }
    }

    fn cut(&mut self, frame: &mut Vec<u8>) {
        let len = ETHERNET + self.below(frame.len() - ETHERNET + 1);
        frame.truncate(len);
        self.maybe_repair(frame);
    }

    fn take_out(&mut self, frame: &mut Vec<u8>) {
        let at = ETHERNET + self.below(frame.len() - ETHERNET + 1);
        let len = self.pick(&[1, 2, 4, 8, 20, 40]).min(frame.len() - at);
        frame.drain(at..at + len);
        self.maybe_repair(frame);
    }

    /// New octets, or a copy of some, where a header begins or anywhere.
    fn put_in(&mut self, frame: &mut Vec<u8>) {
        let len = self.pick(&[1, 2, 4, 8, 8, 16, 20, 24, 40]);
        let anywhere = ETHERNET + self.below(frame.len() - ETHERNET + 1);
        let fields = fields(frame);
        let at = if fields.is_empty() || self.one_in(4) {
            anywhere
        } else {
            self.pick(&fields).at
        };
        let octets = if self.one_in(2) {
            frame[at..].iter().take(len).copied().collect()
        } else {
            self.octets(len)
        };
        frame.splice(at..at, octets);
        self.maybe_repair(frame);
    }

    /// Makes the length that the IP header claims true again, half of the time: what is wrong further in would not be looked at.
    fn maybe_repair(&mut self, frame: &mut [u8]) {
        if frame.len() < ETHERNET + 6 || self.one_in(2) {
            return;
        }
        let len = frame.len() - ETHERNET;
        let (at, len) = if frame[ETHERNET] >> 4 == 6 {
            (ETHERNET + 4, len.saturating_sub(40))
        } else {
            (ETHERNET + 2, len)
        };
        frame[at..at + 2].copy_from_slice(&(len as u16).to_be_bytes());
    }
}

/// The fields of a frame's headers, those of a quoted packet among them.
fn fields(frame: &[u8]) -> Vec<Field> {
    let mut fields = Vec::new();
    let mut l3 = ETHERNET;
    // A packet, and the one that it quotes as an ICMP error.
    for _ in 0..2 {
        let Some(first) = frame.get(l3) else { break };
        let mut add = |from: usize, offsets: &[(usize, usize)]| {
            let field = |(at, len): &(usize, usize)| Field {
                at: from + at,
                len: *len,
            };
            fields.extend(offsets.iter().map(field));
        };
        let l4;
        if first >> 4 == 6 {
            add(l3, IPV6);
            let mut next = frame.get(l3 + 6).copied().unwrap_or(59);
            let mut at = l3 + 40;
            for _ in 0..MAX_EXTENSIONS {
                let len = frame.get(at + 1).copied().unwrap_or(0) as usize;
                let len = match next {
                    0 | 43 | 60 => (len + 1) * 8,
                    44 => 8,
                    51 => (len + 2) * 4,
                    _ => break,
                };
                add(at, EXTENSION);
                next = frame.get(at).copied().unwrap_or(59);
                at += len;
            }
            l4 = at;
        } else {
            add(l3, IPV4);
            l4 = l3 + (first & 0xf) as usize * 4;
        }
        add(l4, TRANSPORT);
        l3 = l4 + 8;
    }
    fields.retain(|field| field.at + field.len <= frame.len());
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Frame, L4, Numbered};

    #[test]
    fn the_fields_of_a_quoted_packet_are_found() {
        let about = Frame::<[u8; 4]>::new(Numbered::pod(1), Numbered::vip(1), L4::tcp(1, 2, 2));
        let error = about.icmp_error(Numbered::pod(9), [3, 3], 28).build();
        let quoted_destination = Field {
            at: ETHERNET + 20 + 8 + 16,
            len: 4,
        };
        assert!(fields(&error).contains(&quoted_destination));
    }

    #[test]
    fn every_frame_can_be_changed_and_keeps_its_ethernet_header() {
        let mut random = Random::new(1);
        let frame = Frame::<[u8; 16]>::new(Numbered::pod(1), Numbered::vip(1), L4::tcp(1, 2, 2));
        for _ in 0..2_000 {
            let mut octets = frame.build();
            for _ in 0..20 {
                random.mutate(&mut octets);
                assert!(octets.len() >= ETHERNET);
            }
        }
    }
}
