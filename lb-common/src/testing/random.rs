//! Frames from a number: the same seed makes the same frames on every machine, so a failure is told by its seed.
//!
//! It shrinks nothing; where that is wanted and proptest at hand, its strategies are better.

use super::frame::{Extension, Frame, Part};
use super::l4::L4;
use crate::packet::Parse;

/// A source of numbers (splitmix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The source of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.number() % limit as u64) as usize
    }

    /// True one time in `n`.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of several.
    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    /// Octets.
    pub fn octets(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.number() as u8).collect()
    }

    /// A frame between two of the given ends, in one of eight with options or extension headers, in one of eight a fragment of a
    /// datagram, in one of 16 of a protocol that is not balanced.
    pub fn frame<A: Parse>(&mut self, sources: &[(A, u16)], destinations: &[(A, u16)]) -> Frame<A> {
        let (source, source_port) = self.pick(sources);
        let (destination, destination_port) = self.pick(destinations);
        let mut frame = Frame::new(
            source,
            destination,
            self.transport(source_port, destination_port),
        );
        if self.one_in(8) {
            self.extend(&mut frame);
        }
        if self.one_in(8) {
            frame.ip.part = Some(Part {
                // Few, so that later fragments find their first.
                identification: self.below(4) as u32,
                offset: (self.below(3) * 64) as u16,
                more: self.one_in(2),
            });
        }
        frame
    }

    fn transport(&mut self, source: u16, destination: u16) -> L4 {
        let len = self.below(40);
        let payload = self.octets(len);
        match self.below(16) {
            0 => L4::Other {
                protocol: self.pick(&[1, 2, 58, 47, 255]),
                payload,
            },
            1..4 => {
                let chunk = self.pick(&[0, 0, 1, 1, 1, 2, 3, 6, 7, 8, 10, 11, 14]);
                let mut l4 = L4::sctp(source, destination, chunk);
                if let L4::Sctp { tag, value, .. } = &mut l4 {
                    *tag = self.number() as u32;
                    value.extend(payload);
                }
                l4
            }
            4..9 => L4::Udp {
                source,
                destination,
                checksum: !self.one_in(4),
                payload,
            },
            _ => {
                let words = self.below(11);
                L4::Tcp {
                    source,
                    destination,
                    flags: self.pick(&[0x02, 0x02, 0x12, 0x10, 0x10, 0x18, 0x11, 0x04, 0x14, 0x03]),
                    sequence: self.number() as u32,
                    options: self.octets(words * 4),
                    payload,
                }
            }
        }
    }

    fn extend<A: Parse>(&mut self, frame: &mut Frame<A>) {
        if A::OCTETS == 4 {
            let words = 1 + self.below(10);
            frame.ip.options = self.octets(words * 4);
            return;
        }
        for _ in 0..1 + self.below(10) {
            let len = 6 + 8 * self.below(4);
            let octets = self.octets(len);
            frame.ip.extensions.push(match self.below(4) {
                0 => Extension::HopByHop(octets),
                1 => Extension::Routing(octets),
                2 => Extension::Authentication(octets),
                _ => Extension::Destination(octets),
            });
        }
    }
}
