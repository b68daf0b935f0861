//! Working memory of a program run, outside its 512 bytes of stack.
//!
//! It also keeps verification short. The verifier knows every value on the stack and walks each way through the parser to
//! the very end with it; of what is read back from here it knows nothing, so all ways become one once the packet is
//! parsed.

use aya_ebpf::btf_maps::PerCpuArray;
use aya_ebpf::macros::btf_map;
use lb_common::addr::Address;
use lb_common::conntrack::ConntrackKey;
use lb_common::fragments::Held;
use lb_common::packet::icmp::Quoted;
use lb_common::packet::unreachable::MAX_QUOTED;
use lb_common::packet::{ETHERNET, Packet, Parse};
use lb_common::pipeline::Room;
use lb_common::redirect::{LocalPod, RemotePods};
use lb_common::rewrite::Rewrite;

use crate::crc::Crc;

/// The working memory. What is in it depends on the family; to the kernel it is words, for its type information (BTF)
/// can't describe a Rust enum that carries data.
#[repr(C)]
pub(crate) struct Scratch {
    packet: [u64; size_of::<Packet<[u8; 16]>>().div_ceil(8)],
    room: [u64; size_of::<Room<[u8; 16]>>().div_ceil(8)],
    quoted: [u64; size_of::<Quoted<[u8; 16]>>().div_ceil(8)],
    key: [u64; size_of::<ConntrackKey<[u8; 16]>>().div_ceil(8)],
    pod: LocalPod,
    out: [u32; size_of::<RemotePods<[u8; 16]>>() / 4],
    octets: [u8; MAX_QUOTED],
    held: Held,
    crc: Crc,
}

/// One element a CPU is enough: a TC program runs with bottom halves disabled, so none interrupts another.
#[btf_map(name = "scratch")]
static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();

impl Scratch {
    /// This CPU's working memory. The pointer is good for the rest of the run.
    #[inline(always)]
    pub(crate) fn get() -> Option<*mut Self> {
        SCRATCH.get_ptr_mut(0)
    }
}

/// Stores the packet.
///
/// # Safety
///
/// `scratch` comes from [`Scratch::get`] in this run; no reference to its packet is in use.
#[inline(always)]
pub(crate) unsafe fn set_packet<A: Copy>(scratch: *mut Scratch, packet: Packet<A>) {
    // SAFETY: by the caller's promise the memory is valid, exclusive and large enough; u64 words align it.
    unsafe {
        (&raw mut (*scratch).packet)
            .cast::<Packet<A>>()
            .write(packet)
    };
}

/// The stored packet, of which the verifier knows nothing.
///
/// # Safety
///
/// `scratch` comes from [`Scratch::get`] in this run, and its packet was stored in this run, by the same family.
#[inline(always)]
pub(crate) unsafe fn packet<'a, A: Copy>(scratch: *mut Scratch) -> &'a Packet<A> {
    // SAFETY: by the caller's promise the memory is valid and holds a packet; u64 words align it.
    unsafe {
        let packet = &*(&raw const (*scratch).packet).cast::<Packet<A>>();
        // Both programs parse behind the Ethernet header only; this offset may be known.
        core::hint::assert_unchecked(packet.l3 == ETHERNET);
        packet
    }
}

/// Makes the stored packet what a rewrite has made of it.
///
/// # Safety
///
/// As for [`packet`]; no reference to the packet is in use.
#[inline(always)]
pub(crate) unsafe fn renew_packet<A: Parse>(scratch: *mut Scratch, rewrite: &Rewrite<A>) {
    // SAFETY: by the caller's promise the memory is valid, exclusive and holds a packet; u64 words align it.
    unsafe { rewrite.renew(&mut *(&raw mut (*scratch).packet).cast::<Packet<A>>()) };
}

/// Stores what the packet quotes.
///
/// # Safety
///
/// As for [`set_packet`].
#[inline(always)]
pub(crate) unsafe fn set_quoted<A: Copy>(scratch: *mut Scratch, quoted: Quoted<A>) {
    // SAFETY: by the caller's promise the memory is valid, exclusive and large enough; u64 words align it.
    unsafe {
        (&raw mut (*scratch).quoted)
            .cast::<Quoted<A>>()
            .write(quoted)
    };
}

/// What the packet quotes.
///
/// # Safety
///
/// `scratch` comes from [`Scratch::get`] in this run, and what the packet quotes was stored in this run, by the same family.
#[inline(always)]
pub(crate) unsafe fn quoted<'a, A: Copy>(scratch: *mut Scratch) -> &'a Quoted<A> {
    // SAFETY: by the caller's promise the memory is valid and holds what is asked for; u64 words align it.
    unsafe { &*(&raw const (*scratch).quoted).cast::<Quoted<A>>() }
}

/// The memory that a decision works in.
///
/// # Safety
///
/// `scratch` comes from [`Scratch::get`] in this run; the reference that an earlier call returned is no longer in use.
#[inline(always)]
pub(crate) unsafe fn room<'a, A: Address>(scratch: *mut Scratch) -> &'a mut Room<A> {
    // SAFETY: by the caller's promise the memory is valid and exclusive; it is large enough, u64 words align it, and any
    // octets are a Room.
    unsafe { &mut *(&raw mut (*scratch).room).cast() }
}

/// Stores the pod that the packet goes to.
///
/// # Safety
///
/// `scratch` comes from [`Scratch::get`] in this run.
#[inline(always)]
pub(crate) unsafe fn set_pod(scratch: *mut Scratch, pod: LocalPod) {
    // SAFETY: by the caller's promise the memory is valid and exclusive.
    unsafe { (&raw mut (*scratch).pod).write(pod) };
}

/// The pod that the packet goes to.
///
/// # Safety
///
/// `scratch` comes from [`Scratch::get`] in this run, and its pod was stored in this run.
#[inline(always)]
pub(crate) unsafe fn pod(scratch: *mut Scratch) -> LocalPod {
    // SAFETY: by the caller's promise the memory is valid and holds a pod.
    unsafe { (&raw const (*scratch).pod).read() }
}

/// Stores the way out that the packet takes.
///
/// # Safety
///
/// `scratch` comes from [`Scratch::get`] in this run.
#[inline(always)]
pub(crate) unsafe fn set_out<A: Address>(scratch: *mut Scratch, out: RemotePods<A>) {
    // SAFETY: by the caller's promise the memory is valid and exclusive; it is large enough, and u32 words align it.
    unsafe { (&raw mut (*scratch).out).cast::<RemotePods<A>>().write(out) };
}

/// The way out that the packet takes.
///
/// # Safety
///
/// `scratch` comes from [`Scratch::get`] in this run, and its way out was stored in this run, by the same family.
#[inline(always)]
pub(crate) unsafe fn out<A: Address>(scratch: *mut Scratch) -> RemotePods<A> {
    // SAFETY: by the caller's promise the memory is valid and holds a way out; u32 words align it.
    unsafe { (&raw const (*scratch).out).cast::<RemotePods<A>>().read() }
}

/// Where the key of a conntrack entry is built.
///
/// # Safety
///
/// `scratch` comes from [`Scratch::get`] in this run; the reference that an earlier call returned is no longer in use.
#[inline(always)]
pub(crate) unsafe fn key<'a, A: Address>(scratch: *mut Scratch) -> &'a mut ConntrackKey<A> {
    // SAFETY: by the caller's promise the memory is valid and exclusive; it is large enough, u64 words align it, and any
    // octets are a key.
    unsafe { &mut *(&raw mut (*scratch).key).cast() }
}

/// Where the headers of an answer are built: in the place of what [`octets`] holds.
///
/// # Safety
///
/// `scratch` comes from [`Scratch::get`] in this run; what was copied to its octets is no longer in use.
#[inline(always)]
pub(crate) unsafe fn headers<'a, const N: usize>(scratch: *mut Scratch) -> &'a mut [u8; N] {
    const { assert!(N <= MAX_QUOTED) };
    // SAFETY: by the caller's promise the memory is valid and exclusive; the assertion says that it is large enough.
    unsafe { &mut *(&raw mut (*scratch).octets).cast() }
}

/// Where octets of the packet can be copied to.
///
/// # Safety
///
/// `scratch` comes from [`Scratch::get`] in this run.
#[inline(always)]
pub(crate) unsafe fn octets(scratch: *mut Scratch) -> *mut u8 {
    // SAFETY: by the caller's promise the memory is valid.
    unsafe { (&raw mut (*scratch).octets).cast() }
}

/// Where a frame that is held is copied to first.
///
/// # Safety
///
/// `scratch` comes from [`Scratch::get`] in this run.
#[inline(always)]
pub(crate) unsafe fn held(scratch: *mut Scratch) -> *mut Held {
    // SAFETY: by the caller's promise the memory is valid.
    unsafe { &raw mut (*scratch).held }
}

/// Stores what becomes of an SCTP packet's checksum.
///
/// # Safety
///
/// `scratch` comes from [`Scratch::get`] in this run.
#[inline(always)]
pub(crate) unsafe fn set_crc(scratch: *mut Scratch, crc: Crc) {
    // SAFETY: by the caller's promise the memory is valid.
    unsafe { (*scratch).crc = crc };
}

/// What becomes of an SCTP packet's checksum.
///
/// # Safety
///
/// `scratch` comes from [`Scratch::get`] in this run, in which it was stored.
#[inline(always)]
pub(crate) unsafe fn crc(scratch: *mut Scratch) -> Crc {
    // SAFETY: by the caller's promise the memory is valid.
    unsafe { (*scratch).crc }
}
