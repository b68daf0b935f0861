//! Carries out a rewrite on a packet.

use aya_ebpf::Global;
use lb_common::checksum;
use lb_common::packet::{Octets, Packet, Parse};
use lb_common::rewrite::{Edits, Rewrite};

use crate::crc::Crc;
use crate::programs::{CRC, DROP, ONWARD};
use crate::scratch::{self, Scratch};
use crate::skb::Skb;

/// The changed octets belong to the pseudo-header: where the device shall complete the checksum, they count as well.
const BPF_F_PSEUDO_HDR: u64 = 1 << 4;
/// A checksum of zero means that there is none, and a computed zero is sent as all ones.
const BPF_F_MARK_MANGLED_0: u64 = 1 << 5;
/// The packet is of IPv6: what is added to its checksum and what changes its address cancel out in the buffer's sum.
const BPF_F_IPV6: u64 = 1 << 7;

/// Whether the kernel has [`BPF_F_IPV6`]; the agent sets it. One helper call less for each packet of IPv6.
#[unsafe(no_mangle)]
static KNOWS_IPV6_SUMS: Global<u32> = Global::new(0);

/// Changes address, port and checksums of the packet that was stored in the scratch memory; returns the program's action, where
/// [`CRC`] says that SCTP's checksum has to follow, or [`DROP`] where the kernel refuses. A
/// function of its own, for its stack frame; it does not take the packet itself, for the kernel's type information (BTF)
/// can't describe what a packet carries.
///
/// The header's own octets and the IPv4 checksum are written directly, before the helper calls that end all proofs of
/// bounds. The transport checksum is the helper's alone: the buffer may hold only a part of it, to be completed by the
/// device. One call adds the folded difference of the addresses, a second one that of the ports where one changes, for a partial
/// checksum contains the address and no port.
///
/// Where the device has summed up the whole packet, the buffer's sum must follow. In IPv4 address and header checksum
/// cancel out, so that the helper's own correction for the transport checksum is all. IPv6 has no header checksum, and there is
/// nothing to correct: the helper is told so for TCP, or, where it can't be, the change of the address is added to the sum before,
/// so that its correction is right again. Where a datagram has no checksum nothing is corrected, and the ports are added to the buffer's
/// sum by itself.
#[inline(never)]
pub(crate) fn rewrite<A: Parse, const LEN: usize>(
    skb: Skb,
    scratch: *mut Scratch,
    rewrite: &Rewrite<A>,
) -> i32
where
    A: Into<[u8; LEN]>,
{
    // SAFETY: this run's scratch; the packet was stored before it could be decided on.
    let packet = unsafe { scratch::packet(scratch) };
    try_rewrite(skb, scratch, packet, rewrite).unwrap_or(DROP)
}

#[inline(always)]
fn try_rewrite<A: Parse, const LEN: usize>(
    skb: Skb,
    scratch: *mut Scratch,
    packet: &Packet<A>,
    rewrite: &Rewrite<A>,
) -> Option<i32>
where
    A: Into<[u8; LEN]>,
{
    let edits = rewrite.edits(packet)?;
    edit::<A, LEN>(skb, &edits)?;
    if edits.covered_by_crc != 0 && edits.transport.ports_change() {
        // SAFETY: this run's scratch.
        unsafe { scratch::set_crc(scratch, Crc::of(&edits)) };
        return Some(CRC);
    }
    Some(ONWARD)
}

/// Changes all of a packet but for SCTP's checksum, or nothing where the kernel refuses at once.
#[inline(always)]
pub(crate) fn edit<A: Parse, const LEN: usize>(skb: Skb, edits: &Edits<A>) -> Option<()>
where
    A: Into<[u8; LEN]>,
{
    if let Some(at) = edits.ip_checksum_at {
        let field = skb.read::<2>(at)?;
        skb.write(at, checksum::update(field, edits.address_difference))?;
    }
    let transport = edits.transport;
    if transport.ports_change() {
        skb.write(transport.ports_at, transport.ports.1)?;
    }
    let address: [u8; LEN] = edits.address.into();
    skb.write(edits.address_at, address)?;
    let difference = checksum::fold(edits.address_difference);
    let is_ipv6 = edits.ip_checksum_at.is_none();
    // Where the checksum is optional there may be none that cancels the change out.
    let is_told = is_ipv6
        && edits.has_checksum
        && !edits.transport.checksum_optional
        && KNOWS_IPV6_SUMS.load() != 0;
    if is_ipv6 && !is_told {
        skb.add_to_sum(difference);
    }

    if !edits.has_checksum {
        return Some(());
    }
    let optional = if transport.checksum_optional {
        BPF_F_MARK_MANGLED_0
    } else {
        0
    };
    skb.add_to_l4_checksum(
        transport.checksum_at,
        0,
        difference as u64,
        BPF_F_PSEUDO_HDR | optional | if is_told { BPF_F_IPV6 } else { 0 },
    )?;
    if transport.ports_change() {
        let (old, new) = transport.port_sums();
        let folded = [old, new].map(|sum| checksum::fold(sum) as u64);
        skb.add_to_l4_checksum(transport.checksum_at, folded[0], folded[1], 2 | optional)?;
        if transport.checksum_optional && skb.read::<2>(transport.checksum_at)? == [0, 0] {
            skb.add_to_sum(checksum::fold(checksum::difference(old, new)));
        }
    }
    Some(())
}
