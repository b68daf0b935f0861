//! The maps, and which of them belong to an address family.
//!
//! The sizes here are defaults that the agent overrides when it creates the maps.

use aya_ebpf::bindings::{BPF_EXIST, BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, BPF_NOEXIST};
use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::btf_maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray};
use aya_ebpf::macros::btf_map;
use lb_common::affinity::{Affinity, AffinityKey};
use lb_common::backend::{self, Backend};
use lb_common::config::Config;
use lb_common::conntrack::{ConntrackKey, Flow};
use lb_common::entries::{self, Change, Lru};
use lb_common::flows::{self, Bucket};
use lb_common::fragments::{Fragments, FragmentsKey, Held, HeldKey};
use lb_common::frontend::{Frontend, FrontendKey, SLOTS_PER_ELEMENT};
use lb_common::layout::limit;
use lb_common::packet::Parse;
use lb_common::reason::{self, Reason};
use lb_common::redirect::{LocalPod, RemotePods};
use lb_common::service::{self, ServiceName};
use lb_common::service_cidr::ServiceCidrs;
use lb_common::token_bucket::{ECHO_REPLIES, TokenBucket};
use lb_common::{reply_filter, vip_filter};

use crate::{order, verifier};

const MMAPABLE: usize = BPF_F_MMAPABLE as usize;
/// Memory for what is there, not for what could be: the agent alone writes these, and rarely.
const NO_PREALLOC: usize = BPF_F_NO_PREALLOC as usize;

const MAX_FRONTENDS: usize = limit::FRONTENDS as usize;
const BACKEND_ELEMENTS: usize = backend::elements(limit::BACKENDS) as usize;
const MAX_CONNTRACK: usize = limit::CONNTRACK as usize;
const MAX_TRANSIENT: usize = limit::TRANSIENT as usize;
const MAX_FLOW_BUCKETS: usize = flows::buckets(limit::FLOWS) as usize;
const MAX_FRAGMENTS: usize = limit::FRAGMENTS as usize;
const MAX_HELD: usize = limit::HELD as usize;
const MAX_UNSERVED: usize = limit::UNSERVED as usize;
const MAX_AFFINITY: usize = limit::AFFINITY as usize;
const MAX_LOCAL_PODS: usize = limit::LOCAL_PODS as usize;
const MAX_REMOTE_PODS: usize = limit::REMOTE_PODS as usize;
const MAX_SERVICES: usize = limit::SERVICES as usize;
const SLOT_ELEMENTS: usize = (limit::SLOTS / SLOTS_PER_ELEMENT) as usize;
const FILTER_WORDS: usize = vip_filter::WORDS as usize;
const MARK_ELEMENTS: usize = reply_filter::ELEMENTS as usize;
const REASONS: usize = reason::COUNT as usize;
const COUNTS: usize = entries::COUNT as usize;

pub(crate) type Frontends<A> = HashMap<FrontendKey<A>, Frontend, MAX_FRONTENDS, NO_PREALLOC>;
pub(crate) type Backends<A> = Array<Backend<A>, BACKEND_ELEMENTS, MMAPABLE>;
pub(crate) type Conntrack<A> = LruHashMap<ConntrackKey<A>, Flow<A>, MAX_CONNTRACK>;
/// Where most flows are.
pub(crate) type Flows<A> = Array<Bucket<A>, MAX_FLOW_BUCKETS, MMAPABLE>;
/// As conntrack, its list of what is unused is one for all CPUs: a CPU that makes most of the flows has nearly all of the room.
pub(crate) type Transient<A> = LruHashMap<ConntrackKey<A>, Flow<A>, MAX_TRANSIENT>;
pub(crate) type FragmentsOf<A> = LruHashMap<FragmentsKey<A>, Fragments<A>, MAX_FRAGMENTS>;
pub(crate) type HeldOf<A> = LruHashMap<HeldKey<A>, Held, MAX_HELD>;
pub(crate) type ServiceCidrsOf<A> = Array<ServiceCidrs<A>, 1>;
/// There are few as a rule, and a trie has no table of buckets that is there for none. It is asked of packets for nobody alone.
pub(crate) type Unserved<A> = LpmTrie<A, u32, MAX_UNSERVED>;
pub(crate) type LocalPodsOf<A> = HashMap<A, LocalPod, MAX_LOCAL_PODS, NO_PREALLOC>;
pub(crate) type RemotePodsOf<A> = LpmTrie<A, RemotePods<A>, MAX_REMOTE_PODS>;
pub(crate) type Affinities<A> = LruHashMap<AffinityKey<A>, Affinity, MAX_AFFINITY>;

#[btf_map(name = "frontends_v4")]
static FRONTENDS_V4: Frontends<[u8; 4]> = HashMap::new();
#[btf_map(name = "frontends_v6")]
static FRONTENDS_V6: Frontends<[u8; 16]> = HashMap::new();
#[btf_map(name = "backends_v4")]
static BACKENDS_V4: Backends<[u8; 4]> = Array::new();
#[btf_map(name = "backends_v6")]
static BACKENDS_V6: Backends<[u8; 16]> = Array::new();
#[btf_map(name = "conntrack_v4")]
static CONNTRACK_V4: Conntrack<[u8; 4]> = LruHashMap::new();
#[btf_map(name = "conntrack_v6")]
static CONNTRACK_V6: Conntrack<[u8; 16]> = LruHashMap::new();
#[btf_map(name = "flows_v4")]
static FLOWS_V4: Flows<[u8; 4]> = Array::new();
#[btf_map(name = "flows_v6")]
static FLOWS_V6: Flows<[u8; 16]> = Array::new();
#[btf_map(name = "transient_v4")]
static TRANSIENT_V4: Transient<[u8; 4]> = LruHashMap::new();
#[btf_map(name = "transient_v6")]
static TRANSIENT_V6: Transient<[u8; 16]> = LruHashMap::new();
#[btf_map(name = "fragments_v4")]
static FRAGMENTS_V4: FragmentsOf<[u8; 4]> = LruHashMap::new();
#[btf_map(name = "fragments_v6")]
static FRAGMENTS_V6: FragmentsOf<[u8; 16]> = LruHashMap::new();
#[btf_map(name = "held_v4")]
static HELD_V4: HeldOf<[u8; 4]> = LruHashMap::new();
#[btf_map(name = "held_v6")]
static HELD_V6: HeldOf<[u8; 16]> = LruHashMap::new();
#[btf_map(name = "service_cidr_v4")]
static SERVICE_CIDR_V4: ServiceCidrsOf<[u8; 4]> = Array::new();
#[btf_map(name = "service_cidr_v6")]
static SERVICE_CIDR_V6: ServiceCidrsOf<[u8; 16]> = Array::new();
#[btf_map(name = "unserved_v4")]
static UNSERVED_V4: Unserved<[u8; 4]> = LpmTrie::new();
#[btf_map(name = "unserved_v6")]
static UNSERVED_V6: Unserved<[u8; 16]> = LpmTrie::new();
#[btf_map(name = "affinity_v4")]
static AFFINITY_V4: Affinities<[u8; 4]> = LruHashMap::new();
#[btf_map(name = "affinity_v6")]
static AFFINITY_V6: Affinities<[u8; 16]> = LruHashMap::new();
#[btf_map(name = "local_pods_v4")]
static LOCAL_PODS_V4: LocalPodsOf<[u8; 4]> = HashMap::new();
#[btf_map(name = "local_pods_v6")]
static LOCAL_PODS_V6: LocalPodsOf<[u8; 16]> = HashMap::new();
#[btf_map(name = "remote_pods_v4")]
static REMOTE_PODS_V4: RemotePodsOf<[u8; 4]> = LpmTrie::new();
#[btf_map(name = "remote_pods_v6")]
static REMOTE_PODS_V6: RemotePodsOf<[u8; 16]> = LpmTrie::new();

/// Two backend ids.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct SlotPair {
    backend_ids: [u32; 2],
}

#[btf_map(name = "slots")]
static SLOTS: Array<SlotPair, SLOT_ELEMENTS, MMAPABLE> = Array::new();
#[btf_map(name = "vip_filter")]
static VIP_FILTER: Array<u64, FILTER_WORDS, MMAPABLE> = Array::new();
/// The marks of one element.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Marks {
    marks: [u8; reply_filter::MARKS_PER_ELEMENT as usize],
}

#[btf_map(name = "reply_filter")]
static REPLY_FILTER: Array<Marks, MARK_ELEMENTS> = Array::new();
#[btf_map(name = "counters")]
static COUNTERS: PerCpuArray<u64, REASONS> = PerCpuArray::new();
#[btf_map(name = "lru_entries")]
static LRU_ENTRIES: PerCpuArray<u64, COUNTS> = PerCpuArray::new();
/// What pings of VIPs are answered from. Each CPU has its own, so that none waits for another.
#[btf_map(name = "echo_tokens")]
static ECHO_TOKENS: PerCpuArray<TokenBucket, 1> = PerCpuArray::new();
/// Read by tools only.
#[btf_map(name = "services")]
static SERVICES: LpmTrie<[u8; service::PATH], ServiceName, MAX_SERVICES> = LpmTrie::new();
/// Read and written by the agent only.
#[btf_map(name = "config")]
static CONFIG: Array<Config, 1, MMAPABLE> = Array::new();

/// The maps of an address family.
pub(crate) trait FamilyMaps: Parse {
    fn frontends() -> &'static Frontends<Self>;
    fn backends() -> &'static Backends<Self>;
    fn conntrack() -> &'static Conntrack<Self>;
    fn flows() -> &'static Flows<Self>;
    fn transient() -> &'static Transient<Self>;
    fn fragments() -> &'static FragmentsOf<Self>;
    fn held() -> &'static HeldOf<Self>;
    fn service_cidrs() -> &'static ServiceCidrsOf<Self>;
    fn unserved() -> &'static Unserved<Self>;
    fn affinity() -> &'static Affinities<Self>;
    fn local_pods() -> &'static LocalPodsOf<Self>;
    fn remote_pods() -> &'static RemotePodsOf<Self>;
}

impl FamilyMaps for [u8; 4] {
    #[inline(always)]
    fn frontends() -> &'static Frontends<Self> {
        &FRONTENDS_V4
    }
    #[inline(always)]
    fn backends() -> &'static Backends<Self> {
        &BACKENDS_V4
    }
    #[inline(always)]
    fn conntrack() -> &'static Conntrack<Self> {
        &CONNTRACK_V4
    }
    #[inline(always)]
    fn flows() -> &'static Flows<Self> {
        &FLOWS_V4
    }
    #[inline(always)]
    fn transient() -> &'static Transient<Self> {
        &TRANSIENT_V4
    }
    #[inline(always)]
    fn fragments() -> &'static FragmentsOf<Self> {
        &FRAGMENTS_V4
    }
    #[inline(always)]
    fn held() -> &'static HeldOf<Self> {
        &HELD_V4
    }
    #[inline(always)]
    fn service_cidrs() -> &'static ServiceCidrsOf<Self> {
        &SERVICE_CIDR_V4
    }
    #[inline(always)]
    fn unserved() -> &'static Unserved<Self> {
        &UNSERVED_V4
    }
    #[inline(always)]
    fn affinity() -> &'static Affinities<Self> {
        &AFFINITY_V4
    }
    #[inline(always)]
    fn local_pods() -> &'static LocalPodsOf<Self> {
        &LOCAL_PODS_V4
    }
    #[inline(always)]
    fn remote_pods() -> &'static RemotePodsOf<Self> {
        &REMOTE_PODS_V4
    }
}

impl FamilyMaps for [u8; 16] {
    #[inline(always)]
    fn frontends() -> &'static Frontends<Self> {
        &FRONTENDS_V6
    }
    #[inline(always)]
    fn backends() -> &'static Backends<Self> {
        &BACKENDS_V6
    }
    #[inline(always)]
    fn conntrack() -> &'static Conntrack<Self> {
        &CONNTRACK_V6
    }
    #[inline(always)]
    fn flows() -> &'static Flows<Self> {
        &FLOWS_V6
    }
    #[inline(always)]
    fn transient() -> &'static Transient<Self> {
        &TRANSIENT_V6
    }
    #[inline(always)]
    fn fragments() -> &'static FragmentsOf<Self> {
        &FRAGMENTS_V6
    }
    #[inline(always)]
    fn held() -> &'static HeldOf<Self> {
        &HELD_V6
    }
    #[inline(always)]
    fn service_cidrs() -> &'static ServiceCidrsOf<Self> {
        &SERVICE_CIDR_V6
    }
    #[inline(always)]
    fn unserved() -> &'static Unserved<Self> {
        &UNSERVED_V6
    }
    #[inline(always)]
    fn affinity() -> &'static Affinities<Self> {
        &AFFINITY_V6
    }
    #[inline(always)]
    fn local_pods() -> &'static LocalPodsOf<Self> {
        &LOCAL_PODS_V6
    }
    #[inline(always)]
    fn remote_pods() -> &'static RemotePodsOf<Self> {
        &REMOTE_PODS_V6
    }
}

/// The backend id in a slot.
#[inline(always)]
pub(crate) fn slot(index: u32) -> Option<u32> {
    let pair = SLOTS.get_ptr(index / SLOTS_PER_ELEMENT)?;
    // SAFETY: the pointer is into the array's memory, which lives as long as the program; user space stores whole,
    // aligned words there, and a volatile load reads one.
    let ids = unsafe { &raw const (*pair).backend_ids };
    let id = if index % SLOTS_PER_ELEMENT == 0 {
        // SAFETY: as above.
        unsafe { core::ptr::read_volatile(ids.cast::<u32>()) }
    } else {
        // SAFETY: as above; the second of two ids.
        unsafe { core::ptr::read_volatile(ids.cast::<u32>().add(1)) }
    };
    Some(id)
}

/// The backend of an id.
#[inline(always)]
pub(crate) fn backend<A: FamilyMaps>(id: u32) -> Option<Backend<A>> {
    let words = A::backends().get_ptr(id)?.cast::<u32>();
    // SAFETY: the pointer is to an element of the array's memory, which lives as long as the program and has a row's words;
    // user space stores whole, aligned words there, and a volatile load reads one.
    let load = |words: *const u32, index| unsafe { core::ptr::read_volatile(words.add(index)) };
    let state = load(words, Backend::<A>::STATE_WORD);
    let words = order::after(words, state);
    Backend::read(state, |index| load(words, index))
}

/// Whether a bit of the VIP filter is set.
#[inline(always)]
pub(crate) fn filter_has(bit: u32) -> bool {
    let (word, mask) = vip_filter::word_and_mask(bit);
    match VIP_FILTER.get_ptr(word) {
        // SAFETY: the pointer is into the array's memory; user space stores whole, aligned words there.
        Some(word) => unsafe { core::ptr::read_volatile(word) & mask != 0 },
        None => false,
    }
}

/// Where a mark of the reply filter is.
#[inline(always)]
fn mark_at(mark: u32) -> Option<*mut u8> {
    const LAST: usize = reply_filter::MARKS_PER_ELEMENT as usize - 1;
    let (element, place) = reply_filter::element_and_place(mark);
    let marks = REPLY_FILTER.get_ptr_mut(element)?;
    Some(verifier::advance::<LAST>(marks as usize, place as usize) as *mut u8)
}

/// Whether a mark of the reply filter is set.
#[inline(always)]
pub(crate) fn is_marked(mark: u32) -> bool {
    match mark_at(mark) {
        // SAFETY: the pointer is to an octet of the array's memory, which lives as long as the program.
        Some(mark) => unsafe { core::ptr::read_volatile(mark) != 0 },
        None => false,
    }
}

/// Sets a mark of the reply filter. One that is set is not written: all CPUs read it.
#[inline(always)]
pub(crate) fn set_mark(mark: u32) {
    if let Some(mark) = mark_at(mark) {
        // SAFETY: as above; a store of an octet is whole.
        unsafe {
            if core::ptr::read_volatile(mark) == 0 {
                core::ptr::write_volatile(mark, 1);
            }
        }
    }
}

/// Whether an address is in a Service CIDR.
#[inline(always)]
pub(crate) fn is_in_service_cidr<A: FamilyMaps>(address: &A) -> bool {
    match A::service_cidrs().get_ptr(0) {
        // SAFETY: the pointer is into the array's memory, any octets of which are ranges. The agent empties the element before
        // it writes other ranges there, so that none is made of the halves of two.
        Some(cidrs) => unsafe { (*cidrs).contain(address) },
        None => false,
    }
}

/// Whether a Service has an address that is not served here.
#[inline(always)]
pub(crate) fn is_unserved<A: FamilyMaps>(address: &A) -> bool {
    A::unserved().get(&host_prefix(address)).is_some()
}

/// The prefix that is an address alone.
#[inline(always)]
pub(crate) fn host_prefix<A: FamilyMaps>(address: &A) -> Key<A> {
    Key::new(A::OCTETS as u32 * 8, *address)
}

/// Takes a token for an echo reply, and says whether there was one.
#[inline(always)]
pub(crate) fn take_echo_token(now: u32, ticks_per_second: u32) -> bool {
    match ECHO_TOKENS.get_ptr_mut(0) {
        // SAFETY: as for the counters.
        Some(bucket) => unsafe { (*bucket).take(ECHO_REPLIES, now, ticks_per_second) },
        None => false,
    }
}

/// Counts a packet under a reason.
#[inline(always)]
pub(crate) fn count(reason: Reason) {
    if let Some(counter) = COUNTERS.get_ptr_mut(reason as u32) {
        // SAFETY: the element belongs to this CPU, and a TC program is not interrupted by itself on the same CPU.
        unsafe { *counter = (*counter).wrapping_add(1) };
    }
}

/// What is expected of a row that is to be written: it is there, or it is not. An LRU map does not say which it was, and a new one
/// counts.
pub(crate) const IS_THERE: u64 = BPF_EXIST as u64;
pub(crate) const IS_NEW: u64 = BPF_NOEXIST as u64;

/// Inserts or replaces a row of an LRU map whose entries are counted, and returns whether it is there now. One call of the
/// kernel where it is as expected, else two.
#[inline(always)]
pub(crate) fn put<A: FamilyMaps, K, V, const MAX: usize>(
    map: &LruHashMap<K, V, MAX>,
    lru: Lru,
    key: &K,
    row: &V,
    expected: u64,
) -> bool {
    let mut flags = expected;
    if map.insert(key, row, flags).is_err() {
        flags = expected ^ IS_THERE ^ IS_NEW;
        if map.insert(key, row, flags).is_err() {
            return false;
        }
    }
    if flags == IS_NEW {
        count_entry::<A>(lru, Change::Made);
    }
    true
}

/// Removes a row of an LRU map whose entries are counted; one that is not there need not be removed.
#[inline(always)]
pub(crate) fn take_out<A: FamilyMaps, K, V, const MAX: usize>(
    map: &LruHashMap<K, V, MAX>,
    lru: Lru,
    key: &K,
) {
    if map.remove(key).is_ok() {
        count_entry::<A>(lru, Change::Removed);
    }
}

/// Counts a flow that had to go for another in the table of flows.
#[inline(always)]
pub(crate) fn count_displaced<A: FamilyMaps>() {
    count_at(entries::displaced_index(A::OCTETS));
}

#[inline(always)]
fn count_entry<A: FamilyMaps>(lru: Lru, change: Change) {
    count_at(entries::index(A::OCTETS, lru, change));
}

#[inline(always)]
fn count_at(index: u32) {
    if let Some(counter) = LRU_ENTRIES.get_ptr_mut(index) {
        // SAFETY: as for the counters of reasons.
        unsafe { *counter = (*counter).wrapping_add(1) };
    }
}
