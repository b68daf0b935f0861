//! The IPv6 header and its extension headers (RFC 8200).

use super::{Fragment, Glance, Header, Malformed, Octets, OctetsMut, Parse, Plain};
use crate::addr::Protocol;

/// Length of the fixed header, in octets.
pub const HEADER: usize = 40;

/// Extension headers that are followed; a packet with more is passed. RFC 8504 (section 5.3) lets a node limit them to 8.
const MAX_EXTENSIONS: usize = 8;
/// Octets of extension headers that are followed.
const MAX_EXTENSIONS_LEN: usize = 512;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;

impl Parse for [u8; 16] {
    const HEADER: usize = HEADER;
    const HOP_LIMIT: usize = 7;
    const SOURCE: usize = 8;
    const HEADER_CHECKSUM: Option<usize> = None;

    #[inline(always)]
    fn glance(octets: &(impl Octets + ?Sized), l3: usize) -> Option<Glance<Self>> {
        let header = octets.read_words::<HEADER>(l3)?;
        if header[0] >> 4 != 6 {
            return None;
        }
        let mut ends = [[0; 16]; 2];
        for (i, end) in ends.iter_mut().enumerate() {
            end.copy_from_slice(&header[Self::SOURCE + 16 * i..][..16]);
        }
        Some(Glance {
            source: ends[0],
            destination: ends[1],
            next: header[6],
        })
    }

    #[inline(always)]
    fn header(octets: &(impl Octets + ?Sized), l3: usize) -> Result<Header<Self>, Malformed> {
        let fixed = octets.read::<8>(l3).ok_or(Malformed)?;
        let source = octets.read_words::<16>(l3 + 8).ok_or(Malformed)?;
        let destination = octets.read_words::<16>(l3 + 24).ok_or(Malformed)?;
        if fixed[0] >> 4 != 6 {
            return Err(Malformed);
        }
        // 0 in a jumbogram (RFC 2675) and in the kernel's own super-packets.
        let payload_len = u16::from_be_bytes([fixed[4], fixed[5]]) as usize;

        let mut next = fixed[6];
        let mut skipped = 0;
        let mut fragment = Fragment::WHOLE;
        for _ in 0..MAX_EXTENSIONS {
            let [following, len] = match next {
                HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION => {
                    octets.read::<2>(l3 + HEADER + skipped).ok_or(Malformed)?
                }
                _ => break,
            };
            let len = match next {
                FRAGMENT => {
                    let header = octets.read::<8>(l3 + HEADER + skipped).ok_or(Malformed)?;
                    let part = u16::from_be_bytes([header[2], header[3]]);
                    let part = Fragment {
                        identification: u32::from_be_bytes([
                            header[4], header[5], header[6], header[7],
                        ]),
                        offset: part & 0xfff8,
                        more: part & 1 != 0,
                        protocol: following,
                    };
                    // An atomic fragment (RFC 6946) is a whole datagram.
                    if part.offset != 0 || part.more {
                        fragment = part;
                    }
                    8
                }
                // In units of four octets, not counting the first two (RFC 4302).
                AUTHENTICATION => (len as usize + 2) * 4,
                _ => (len as usize + 1) * 8,
            };
            skipped += len;
            next = following;
            if skipped > MAX_EXTENSIONS_LEN || (payload_len != 0 && skipped > payload_len) {
                return Err(Malformed);
            }
            // What follows the header of a later fragment is data.
            if fragment.offset != 0 {
                break;
            }
        }

        let l4 = l3 + HEADER + skipped;
        let l4_len = payload_len.saturating_sub(skipped);
        Ok(Header {
            l4,
            l4_len,
            source,
            destination,
            fragment,
            protocol: next,
            is_last: payload_len != 0 && l4_len == 0,
        })
    }

    #[inline(always)]
    fn plain_tcp(octets: &(impl Octets + ?Sized), l3: usize) -> Option<Plain<Self>> {
        const TCP: u8 = Protocol::Tcp.number();
        let fixed = octets.read_words::<8>(l3)?;
        if fixed[0] >> 4 != 6 || fixed[6] != TCP {
            return None;
        }
        Some(Plain {
            l4_len: u16::from_be_bytes([fixed[4], fixed[5]]) as usize,
            source: octets.read_words(l3 + Self::SOURCE)?,
            destination: octets.read_words(l3 + Self::SOURCE + 16)?,
        })
    }

    #[inline(always)]
    fn write(&self, octets: &mut (impl OctetsMut + ?Sized), offset: usize) -> Option<()> {
        octets.write(offset, *self)
    }

    const ICMP: u8 = 58;
    const ECHO_REQUEST: u8 = 128;
    const ECHO_REPLY: u8 = 129;

    /// Destination unreachable, packet too big, time exceeded, parameter problem (RFC 4443).
    #[inline(always)]
    fn is_error(kind: u8) -> bool {
        matches!(kind, 1..=4)
    }
}
