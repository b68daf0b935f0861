//! The IPv4 header (RFC 791).

use super::{Fragment, Glance, Header, Malformed, Octets, OctetsMut, Parse, Plain};
use crate::addr::Protocol;

/// Length of a header without options, in octets.
pub const HEADER: usize = 20;

/// Offset of the addresses, which end the fixed part.
const ADDRESSES: usize = 12;

const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;

impl Parse for [u8; 4] {
    const HEADER: usize = HEADER;
    const HOP_LIMIT: usize = 8;
    const SOURCE: usize = ADDRESSES;
    const HEADER_CHECKSUM: Option<usize> = Some(10);

    #[inline(always)]
    fn glance(octets: &(impl Octets + ?Sized), l3: usize) -> Option<Glance<Self>> {
        let header = octets.read_words::<HEADER>(l3)?;
        if header[0] >> 4 != 4 {
            return None;
        }
        Some(Glance {
            source: [header[12], header[13], header[14], header[15]],
            destination: [header[16], header[17], header[18], header[19]],
            next: header[9],
        })
    }

    #[inline(always)]
    fn header(octets: &(impl Octets + ?Sized), l3: usize) -> Result<Header<Self>, Malformed> {
        let header = octets.read::<ADDRESSES>(l3).ok_or(Malformed)?;
        let [a, b, c, d, e, f, g, h] = octets.read_words(l3 + ADDRESSES).ok_or(Malformed)?;
        let header_len = (header[0] & 0xf) as usize * 4;
        if header[0] >> 4 != 4 || header_len < HEADER {
            return Err(Malformed);
        }
        // A TCP super-packet of more than 64 KiB says 0 (net/ipv4/ip_output.c, iph_set_totlen).
        let total_len = u16::from_be_bytes([header[2], header[3]]) as usize;
        if total_len != 0 && total_len < header_len {
            return Err(Malformed);
        }
        let l4_len = total_len.saturating_sub(header_len);
        let l4 = l3 + header_len;
        let part = u16::from_be_bytes([header[6], header[7]]);
        let fragment = if part & (MORE_FRAGMENTS | OFFSET) != 0 {
            Fragment {
                identification: u16::from_be_bytes([header[4], header[5]]) as u32,
                offset: (part & OFFSET) << 3,
                more: part & MORE_FRAGMENTS != 0,
                protocol: header[9],
            }
        } else {
            Fragment::WHOLE
        };
        Ok(Header {
            l4,
            l4_len,
            source: [a, b, c, d],
            destination: [e, f, g, h],
            fragment,
            protocol: header[9],
            is_last: total_len == header_len,
        })
    }

    #[inline(always)]
    fn plain_tcp(octets: &(impl Octets + ?Sized), l3: usize) -> Option<Plain<Self>> {
        const TCP: u8 = Protocol::Tcp.number();
        let header = octets.read_words::<HEADER>(l3)?;
        let total_len = u16::from_be_bytes([header[2], header[3]]) as usize;
        let part = u16::from_be_bytes([header[6], header[7]]) & (MORE_FRAGMENTS | OFFSET);
        if header[0] != 0x45 || header[9] != TCP || part != 0 || total_len < HEADER {
            return None;
        }
        Some(Plain {
            l4_len: total_len - HEADER,
            source: [header[12], header[13], header[14], header[15]],
            destination: [header[16], header[17], header[18], header[19]],
        })
    }

    #[inline(always)]
    fn write(&self, octets: &mut (impl OctetsMut + ?Sized), offset: usize) -> Option<()> {
        octets.write(offset, *self)
    }

    const ICMP: u8 = 1;
    const ECHO_REQUEST: u8 = 8;
    const ECHO_REPLY: u8 = 0;

    /// Destination unreachable, time exceeded, parameter problem (RFC 792). Routers no longer send source quench (RFC 6633),
    /// and a redirect to a backend means nothing for a VIP.
    #[inline(always)]
    fn is_error(kind: u8) -> bool {
        matches!(kind, 3 | 11 | 12)
    }
}
