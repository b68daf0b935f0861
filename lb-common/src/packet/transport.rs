//! The headers of the transport protocols that are balanced, as far as a decision needs them.

use super::sctp::{self, ChunkType};
use super::{Malformed, Octets, Parse, Ports, TcpFlags, Transport, icmp};
use crate::addr::{Port, Protocol};

/// Length of a TCP header without options, in octets.
pub(super) const TCP: usize = 20;
/// Length of a UDP header, in octets.
pub(super) const UDP: usize = 8;

/// Reads the transport header at `l4`. `l4_len` is the room that the IP header gives it, 0 where it does not say: what
/// stands behind is padding of the link, not a header.
#[inline(always)]
pub(super) fn parse<A: Parse>(
    octets: &(impl Octets + ?Sized),
    protocol: u8,
    l4: usize,
    l4_len: usize,
) -> Result<Transport, Malformed> {
    const TCP_NUMBER: u8 = Protocol::Tcp.number();
    const UDP_NUMBER: u8 = Protocol::Udp.number();
    const SCTP_NUMBER: u8 = Protocol::Sctp.number();
    match protocol {
        TCP_NUMBER => {
            let ports = ports(octets, l4)?;
            // From the data offset to the urgent pointer: the read proves that the header is whole.
            let rest = octets.read::<8>(l4 + 12).ok_or(Malformed)?;
            if (l4_len != 0 && l4_len < TCP) || rest[0] >> 4 < 5 {
                return Err(Malformed);
            }
            Ok(Transport::Tcp(ports, TcpFlags::new(rest[1])))
        }
        UDP_NUMBER => {
            let ports = ports(octets, l4)?;
            octets.read::<4>(l4 + 4).ok_or(Malformed)?;
            if l4_len != 0 && l4_len < UDP {
                return Err(Malformed);
            }
            Ok(Transport::Udp(ports))
        }
        SCTP_NUMBER => {
            let ports = ports(octets, l4)?;
            // The whole header of the first chunk: without a chunk, a packet says nothing.
            let chunk = octets.read::<4>(l4 + sctp::FIRST_CHUNK).ok_or(Malformed)?;
            // Without the length, which a jumbogram does not say, the checksum could not follow the change of a port.
            if l4_len < sctp::FIRST_CHUNK + 4 {
                return Err(Malformed);
            }
            Ok(Transport::Sctp(ports, ChunkType(chunk[0]).as_tcp()))
        }
        other if other == A::ICMP && (l4_len == 0 || l4_len >= icmp::HEADER) => {
            // Type and code, of which the code says nothing here: of a single octet the verifier of BPF programs can't tell that
            // it is there.
            match octets.read::<2>(l4) {
                Some([kind, _]) if A::is_error(kind) => Ok(Transport::IcmpError),
                Some([kind, _]) if kind == A::ECHO_REQUEST => {
                    // The answer repeats the header, so all of it must be there.
                    octets.read::<{ icmp::HEADER }>(l4).ok_or(Malformed)?;
                    Ok(Transport::EchoRequest)
                }
                _ => Ok(Transport::Other(other)),
            }
        }
        other => Ok(Transport::Other(other)),
    }
}

#[inline(always)]
fn ports(octets: &(impl Octets + ?Sized), l4: usize) -> Result<Ports, Malformed> {
    let [a, b, c, d] = octets.read_words::<4>(l4).ok_or(Malformed)?;
    Ok(Ports {
        source: Port::from_network([a, b]),
        destination: Port::from_network([c, d]),
    })
}
