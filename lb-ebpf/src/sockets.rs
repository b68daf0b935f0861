//! The programs of sockets: they run in the calls of processes, not on packets.
//!
//! They share the tables with the programs of devices, but not their working memory: a packet may arrive, and its program
//! run, in the middle of a call.

mod address;
mod programs;

use core::marker::PhantomData;

use aya_ebpf::Global;
use aya_ebpf::btf_maps::LruHashMap;
use aya_ebpf::helpers::{bpf_get_prandom_u32, bpf_jiffies64};
use aya_ebpf::macros::btf_map;
use lb_common::affinity::{Affinity, SocketAffinityKey};
use lb_common::backend::Backend;
use lb_common::frontend::{Frontend, FrontendKey};
use lb_common::layout::limit;
use lb_common::pipeline::socket::{Scope, Sockets};
use lb_common::socket::{Mapped, SocketKey, SocketPeer};
use lb_common::vip_filter;

use crate::dataplane::{SECRET, TICKS_PER_SECOND};
use crate::maps::{self, FamilyMaps};

const MAX_SOCKETS: usize = limit::SOCKETS as usize;
const MAX_AFFINITY: usize = limit::AFFINITY as usize;
const BPF_ANY: u64 = 0;

#[btf_map(name = "socket_peers")]
static SOCKET_PEERS: LruHashMap<SocketKey, SocketPeer, MAX_SOCKETS> = LruHashMap::new();
#[btf_map(name = "socket_affinity")]
static SOCKET_AFFINITY: LruHashMap<SocketAffinityKey, Affinity, MAX_AFFINITY> = LruHashMap::new();

/// Cookie of the agent's network namespace; 0 where the kernel did not tell it, and the namespace is the machine's first.
#[unsafe(no_mangle)]
static NETNS_COOKIE: Global<u64> = Global::new(0);
/// Number of the [`Scope`].
#[unsafe(no_mangle)]
static SOCKET_SCOPE: Global<u32> = Global::new(Scope::Host as u32);
/// Whether programs may say with which error a call fails (`bpf_set_retval`, Linux 6.1). The verifier does not look at
/// what this forbids, so that kernels without the helper take the programs.
#[unsafe(no_mangle)]
static TELLS_ERRORS: Global<u32> = Global::new(0);

/// The sockets of one address family.
pub(crate) struct Host<A>(PhantomData<A>);

impl<A: FamilyMaps + Mapped> Sockets for Host<A> {
    type Address = A;

    #[inline(always)]
    fn may_be_vip(&self, address: &A) -> bool {
        maps::filter_has(vip_filter::bit(address))
    }

    #[inline(always)]
    fn frontend(&self, key: &FrontendKey<A>) -> Option<Frontend> {
        // SAFETY: copied at once; the agent replaces elements as a whole, and the old one lives until this program ends.
        unsafe { A::frontends().get(key).copied() }
    }

    #[inline(always)]
    fn is_in_service_cidr(&self, address: &A) -> bool {
        maps::is_in_service_cidr(address)
    }

    #[inline(always)]
    fn is_unserved(&self, address: &A) -> bool {
        maps::is_unserved(address)
    }

    #[inline(always)]
    fn slot(&self, index: u32) -> Option<u32> {
        maps::slot(index)
    }

    #[inline(always)]
    fn backend(&self, id: u32) -> Option<Backend<A>> {
        maps::backend(id)
    }

    #[inline(always)]
    fn secret(&self) -> u64 {
        SECRET.load()
    }

    #[inline(always)]
    fn random(&self) -> u32 {
        // SAFETY: a helper without arguments.
        unsafe { bpf_get_prandom_u32() }
    }

    #[inline(always)]
    fn peer(&self, key: &SocketKey) -> Option<SocketPeer> {
        // SAFETY: copied at once. An entry whose memory was given to another key meanwhile shows the process a wrong
        // address once; the two calls would have to be of one socket, or the table full.
        unsafe { SOCKET_PEERS.get(key).copied() }
    }

    #[inline(always)]
    fn remember(&self, key: &SocketKey, peer: &SocketPeer) {
        let _ = SOCKET_PEERS.insert(key, peer, BPF_ANY);
    }

    #[inline(always)]
    fn forget(&self, key: &SocketKey) {
        let _ = SOCKET_PEERS.remove(key);
    }

    #[inline(always)]
    fn affinity(&self, key: &SocketAffinityKey) -> Option<Affinity> {
        // SAFETY: copied at once. Of an entry whose memory was given to another key meanwhile, service port and epoch of the
        // backend tell.
        unsafe { SOCKET_AFFINITY.get(key).copied() }
    }

    #[inline(always)]
    fn set_affinity(&self, key: &SocketAffinityKey, affinity: &Affinity) {
        let _ = SOCKET_AFFINITY.insert(key, affinity, BPF_ANY);
    }

    #[inline(always)]
    fn now(&self) -> u32 {
        // SAFETY: a helper without arguments. The low half is enough for every age that is measured.
        unsafe { bpf_jiffies64() as u32 }
    }

    #[inline(always)]
    fn ticks_per_second(&self) -> u32 {
        TICKS_PER_SECOND.load()
    }
}

/// Whose sockets are served.
#[inline(always)]
fn scope() -> Scope {
    if SOCKET_SCOPE.load() == Scope::All as u32 {
        Scope::All
    } else {
        Scope::Host
    }
}
