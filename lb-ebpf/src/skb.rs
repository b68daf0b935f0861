//! The one place that touches the packet buffer.
//!
//! Reads and writes go through the directly accessible part of the packet; [`Skb::make_headers_accessible`] makes that
//! part long enough first. Every helper that changes the buffer ends all earlier proofs, so each access proves its own
//! bounds.

use aya_ebpf::bindings::{__sk_buff, bpf_redir_neigh, bpf_redir_neigh__bindgen_ty_1};
use aya_ebpf::helpers;
use lb_common::checksum;
use lb_common::packet::unreachable::MAX_QUOTED;
use lb_common::packet::{Octets, OctetsMut};

use crate::scratch::{self, Scratch};
use crate::verifier;
use crate::words;

/// No header that is looked at lies further in: Ethernet, IPv6, extension headers, TCP.
const MAX_OFFSET: usize = 1023;

/// `include/uapi/linux/if_packet.h`.
const PACKET_HOST: u32 = 0;

/// Whether a device takes a packet.
pub(crate) enum Fit {
    /// It does.
    Fits,
    /// The packet is larger than its MTU.
    TooBig,
    /// There is no such device.
    NoDevice,
}

/// A packet in a TC program.
#[derive(Clone, Copy)]
pub(crate) struct Skb(*mut __sk_buff);

impl Skb {
    /// Wraps the program's context.
    #[inline(always)]
    pub(crate) fn new(context: *mut __sk_buff) -> Self {
        Self(context)
    }

    /// EtherType of the packet, in host order.
    #[inline(always)]
    pub(crate) fn ethertype(self) -> u16 {
        // SAFETY: the context is valid while the program runs; the field holds a network-order u16.
        u16::from_be(unsafe { (*self.0).protocol } as u16)
    }

    /// Whether the packet came with a VLAN tag, which the kernel keeps beside it.
    #[inline(always)]
    pub(crate) fn is_tagged(self) -> bool {
        // SAFETY: the context is valid while the program runs.
        unsafe { (*self.0).vlan_present != 0 }
    }

    /// Length of the whole packet in octets.
    #[inline(always)]
    fn len(self) -> u32 {
        // SAFETY: the context is valid while the program runs.
        unsafe { (*self.0).len }
    }

    /// Index of the device that the program runs on.
    #[inline(always)]
    pub(crate) fn ifindex(self) -> u32 {
        // SAFETY: the context is valid while the program runs.
        unsafe { (*self.0).ifindex }
    }

    #[inline(always)]
    fn data(self) -> usize {
        // SAFETY: the context is valid while the program runs.
        unsafe { (*self.0).data as usize }
    }

    #[inline(always)]
    fn data_end(self) -> usize {
        // SAFETY: the context is valid while the program runs.
        unsafe { (*self.0).data_end as usize }
    }

    /// Makes the first `most` octets accessible where the first `usual` were not: most packets have these, and pay for
    /// nothing. A shorter packet pays for a call that finds nothing to do.
    #[inline(always)]
    pub(crate) fn make_headers_accessible(self, usual: u32, most: u32) {
        let len = self.len();
        if self.data() + usual as usize > self.data_end() {
            let wanted = if len < most { len } else { most };
            // SAFETY: the context is valid. A failure leaves the packet as it is, and parsing says that it is cut short.
            unsafe { helpers::bpf_skb_pull_data(self.0, wanted) };
        }
    }

    /// Writes octets at an offset, or nothing where the accessible part ends before.
    #[inline(always)]
    pub(crate) fn write<const N: usize>(self, offset: usize, octets: [u8; N]) -> Option<()> {
        let at = self.at::<N>(offset)?;
        // SAFETY: `at` proved that N octets are accessible.
        unsafe { words::store(at, octets) };
        Some(())
    }

    /// Adds a difference to the checksum field of the transport header, and of the buffer's own sum where it has one.
    /// `flags` are those of `bpf_l4_csum_replace`.
    #[inline(always)]
    pub(crate) fn add_to_l4_checksum(
        self,
        offset: usize,
        from: u64,
        to: u64,
        flags: u64,
    ) -> Option<()> {
        // SAFETY: the context is valid; the helper checks the offset.
        done(unsafe { helpers::bpf_l4_csum_replace(self.0, offset as u32, from, to, flags) })
    }

    /// Adds a difference to the buffer's own sum, where it has one.
    #[inline(always)]
    pub(crate) fn add_to_sum(self, difference: u16) {
        // SAFETY: the context is valid. A failure says that the buffer has no sum.
        unsafe { helpers::bpf_csum_update(self.0, difference as u32) };
    }

    /// Cuts the packet after `len` octets; a shorter one stays as it is.
    #[inline(always)]
    pub(crate) fn cut(self, len: u32) -> Option<()> {
        if self.len() <= len {
            return Some(());
        }
        // SAFETY: the context is valid; the helper checks the length.
        done(unsafe { helpers::bpf_skb_change_tail(self.0, len, 0) })
    }

    /// Makes room for `len` octets behind the Ethernet header, or takes as many away where `len` is negative.
    #[inline(always)]
    pub(crate) fn resize_after_ethernet(self, len: i32) -> Option<()> {
        const BPF_ADJ_ROOM_MAC: u32 = 1;
        // SAFETY: the context is valid; the helper checks the length.
        done(unsafe { helpers::bpf_skb_adjust_room(self.0, len, BPF_ADJ_ROOM_MAC, 0) })
    }

    /// Stores octets at an offset of the packet, accessible or not.
    #[inline(always)]
    pub(crate) fn store<const N: usize>(self, offset: u32, octets: &[u8; N]) -> Option<()> {
        // SAFETY: the context is valid, `octets` are N initialised octets; the helper checks the offset.
        done(unsafe {
            helpers::bpf_skb_store_bytes(self.0, offset, octets.as_ptr().cast(), N as u32, 0)
        })
    }

    /// Stores octets at an offset of the packet, and corrects the buffer's own sum where it has one.
    #[inline(always)]
    pub(crate) fn store_counted<const N: usize>(self, offset: u32, octets: &[u8; N]) -> Option<()> {
        const BPF_F_RECOMPUTE_CSUM: u64 = 1;
        // SAFETY: the context is valid, `octets` are N initialised octets; the helper checks the offset.
        done(unsafe {
            helpers::bpf_skb_store_bytes(
                self.0,
                offset,
                octets.as_ptr().cast(),
                N as u32,
                BPF_F_RECOMPUTE_CSUM,
            )
        })
    }

    /// Copies the whole packet behind `into`, and returns its length in octets, or nothing where it is longer than `MOST`, a
    /// power of two.
    ///
    /// # Safety
    ///
    /// `into` has room for `MOST` octets.
    #[inline(always)]
    pub(crate) unsafe fn copy_whole<const MOST: usize>(self, into: *mut u8) -> Option<u32> {
        let len = core::hint::black_box(self.len());
        if len == 0 || len > MOST as u32 {
            return None;
        }
        let len = verifier::within::<MOST>(len as usize) as u32;
        // SAFETY: the context is valid, there is room for `len` octets by the caller's promise.
        done(unsafe { helpers::bpf_skb_load_bytes(self.0.cast(), 0, into.cast(), len) })?;
        Some(len)
    }

    /// Makes the packet `len` other octets.
    ///
    /// # Safety
    ///
    /// There are as many `octets`, and at most `MOST`, a power of two.
    #[inline(always)]
    pub(crate) unsafe fn replace_whole<const MOST: usize>(
        self,
        octets: *const u8,
        len: u32,
    ) -> Option<()> {
        // Where the device has summed up the packet, the sum follows.
        const BPF_F_RECOMPUTE_CSUM: u64 = 1;
        let len = core::hint::black_box(len);
        if len == 0 || len > MOST as u32 {
            return None;
        }
        let len = verifier::within::<MOST>(len as usize) as u32;
        // SAFETY: the context is valid; the helper checks the length.
        done(unsafe { helpers::bpf_skb_change_tail(self.0, len, 0) })?;
        // SAFETY: the context is valid, the octets are there by the caller's promise; the helper checks the length.
        done(unsafe {
            helpers::bpf_skb_store_bytes(self.0, 0, octets.cast(), len, BPF_F_RECOMPUTE_CSUM)
        })
    }

    /// Puts a copy of the packet back to where it came from: to the queue of received packets of the device, or to that of
    /// packets to be sent.
    #[inline(always)]
    pub(crate) fn put_back(self, received: bool) -> Option<()> {
        const BPF_F_INGRESS: u64 = 1;
        let flags = if received { BPF_F_INGRESS } else { 0 };
        // SAFETY: the context is valid; the helper checks the device.
        done(unsafe { helpers::bpf_clone_redirect(self.0, self.ifindex(), flags) })
    }

    /// Sends the packet out of the device on which the program runs, once the program returns the result.
    #[inline(always)]
    pub(crate) fn send_back(self) -> i32 {
        // SAFETY: a helper that takes numbers.
        unsafe { helpers::bpf_redirect(self.ifindex(), 0) as i32 }
    }

    /// Whether the packet is addressed, by its Ethernet header, to the device that it came in by.
    #[inline(always)]
    pub(crate) fn is_for_device(self) -> bool {
        // SAFETY: the context is valid while the program runs.
        unsafe { (*self.0).pkt_type == PACKET_HOST }
    }

    /// Makes the packet one for whom it reaches, whatever its Ethernet header was taken for where it came in.
    #[inline(always)]
    pub(crate) fn make_for_host(self) {
        if !self.is_for_device() {
            // SAFETY: the context is valid. The kernel takes this type for every packet that it takes for another host's.
            unsafe { helpers::bpf_skb_change_type(self.0, PACKET_HOST) };
        }
    }

    /// Whether a device takes a packet of this size, or segments of it. The IP header's length is asked for, as routers do.
    #[inline(always)]
    pub(crate) fn fits(self, ifindex: u32) -> Fit {
        /// `BPF_MTU_CHK_SEGS`: of a packet that the kernel will cut, what it will be cut into.
        const SEGMENTS: u64 = 1;
        let mut mtu = 0;
        // SAFETY: the context is valid, `mtu` is an initialised number.
        let result =
            unsafe { helpers::bpf_check_mtu(self.0.cast(), ifindex, &raw mut mtu, 0, SEGMENTS) };
        match result {
            0 => Fit::Fits,
            1.. => Fit::TooBig,
            _ => Fit::NoDevice,
        }
    }

    /// Hands the packet to the other end of a pair of devices, as if it had come in there, once the program returns the
    /// result. From TC ingress only.
    #[inline(always)]
    pub(crate) fn redirect_into(self, ifindex: u32) -> i32 {
        // SAFETY: a helper that takes numbers.
        unsafe { helpers::bpf_redirect_peer(ifindex, 0) as i32 }
    }

    /// Sends the packet out of a device to a gateway behind it, whose Ethernet address the kernel finds, once the program returns
    /// the result.
    #[inline(always)]
    pub(crate) fn redirect_by<const N: usize>(self, ifindex: u32, gateway: [u8; N]) -> i32 {
        const AF_INET: u32 = 2;
        const AF_INET6: u32 = 10;
        let mut octets = [0; 16];
        octets[..N].copy_from_slice(&gateway);
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = octets;
        let words = [[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]];
        let mut gateway = bpf_redir_neigh {
            nh_family: if N == 4 { AF_INET } else { AF_INET6 },
            __bindgen_anon_1: bpf_redir_neigh__bindgen_ty_1 {
                ipv6_nh: words.map(u32::from_ne_bytes),
            },
        };
        let len = size_of::<bpf_redir_neigh>() as i32;
        // SAFETY: the gateway is an initialised value of this length, which the helper copies.
        unsafe { helpers::bpf_redirect_neigh(ifindex, &raw mut gateway, len, 0) as i32 }
    }

    #[inline(always)]
    fn at<const N: usize>(self, offset: usize) -> Option<*mut [u8; N]> {
        if offset > MAX_OFFSET {
            return None;
        }
        let at = verifier::advance::<MAX_OFFSET>(self.data(), offset);
        if at + N > self.data_end() {
            return None;
        }
        Some(at as *mut [u8; N])
    }
}

impl OctetsMut for Skb {
    #[inline(always)]
    fn write<const N: usize>(&mut self, offset: usize, octets: [u8; N]) -> Option<()> {
        Skb::write(*self, offset, octets)
    }
}

impl Octets for Skb {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        // SAFETY: `at` proved that N octets are accessible; the type has alignment 1.
        self.at::<N>(offset).map(|at| unsafe { *at })
    }

    #[inline(always)]
    fn read_words<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        // SAFETY: `at` proved that N octets are accessible.
        self.at::<N>(offset).map(|at| unsafe { words::load(at) })
    }

    // Two helper calls and a copy, for the one packet in many that is refused: a loop over its octets would be walked by
    // the verifier for every length that it can have.
    #[inline(always)]
    fn sum(&self, offset: usize, len: usize) -> Option<u16> {
        if len == 0 || len > MAX_QUOTED {
            return None;
        }
        // SAFETY: this run's scratch.
        let copy = unsafe { scratch::octets(Scratch::get()?) };
        let bounded = || verifier::within::<MAX_QUOTED>(len) as u32;
        // SAFETY: the context is valid, the copy has room for `len` octets; the helper checks the offset.
        done(unsafe {
            helpers::bpf_skb_load_bytes(self.0.cast(), offset as u32, copy.cast(), bounded())
        })?;
        // SAFETY: `len` octets were just written there.
        let sum =
            unsafe { helpers::bpf_csum_diff(core::ptr::null_mut(), 0, copy.cast(), bounded(), 0) };
        if sum < 0 {
            None
        } else {
            Some(checksum::fold(sum as u32))
        }
    }
}

#[inline(always)]
fn done(result: i64) -> Option<()> {
    if result == 0 { Some(()) } else { None }
}
