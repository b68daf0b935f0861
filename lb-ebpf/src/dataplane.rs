//! The pipeline's world in the kernel: BPF maps, jiffies, read-only globals.
//!
//! All of it is inlined away, but for what would not fit on the stack.

use core::marker::PhantomData;
use core::mem::MaybeUninit;

use aya_ebpf::Global;
use aya_ebpf::helpers::bpf_jiffies64;
use lb_common::affinity::{Affinity, AffinityKey};
use lb_common::backend::Backend;
use lb_common::entries::Lru;
use lb_common::flows::Tiered;
use lb_common::fragments::{Fragments, FragmentsKey};
use lb_common::frontend::{Frontend, FrontendKey};
use lb_common::pipeline::Dataplane;
use lb_common::pipeline::glance::Addresses;
use lb_common::{reply_filter, vip_filter};

use crate::flows::LruFlows;
use crate::maps::{self, FamilyMaps, IS_THERE};
use crate::near::NearFlows;
use crate::scratch::Scratch;

/// Key of the hashes. The agent sets it to the secret that it keeps in `config`.
#[unsafe(no_mangle)]
pub(crate) static SECRET: Global<u64> = Global::new(0);
/// Jiffies in a second. The agent sets it to what the running kernel was built with.
#[unsafe(no_mangle)]
pub(crate) static TICKS_PER_SECOND: Global<u32> = Global::new(250);

const BPF_ANY: u64 = 0;

/// The data plane of one address family.
pub(crate) struct Kernel<A> {
    flows: Tiered<NearFlows<A>, LruFlows<A>>,
}

impl<A: FamilyMaps> Kernel<A> {
    /// The data plane of this run.
    ///
    /// # Safety
    ///
    /// `scratch` comes from [`Scratch::get`] in this run.
    #[inline(always)]
    pub(crate) unsafe fn new(scratch: *mut Scratch) -> Self {
        Self {
            flows: Tiered {
                near: NearFlows(PhantomData),
                // SAFETY: by the caller's promise.
                far: unsafe { LruFlows::new(scratch) },
            },
        }
    }
}

/// What the maps say of addresses by themselves. It needs no scratch memory.
pub(crate) struct KernelAddresses<A>(PhantomData<A>);

impl<A> KernelAddresses<A> {
    pub(crate) const NEW: Self = Self(PhantomData);
}

impl<A: FamilyMaps> Addresses for KernelAddresses<A> {
    type Address = A;

    #[inline(always)]
    fn may_be_vip(&self, address: &A) -> bool {
        maps::filter_has(vip_filter::bit(address))
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
    fn may_be_backend(&self, address: &A) -> bool {
        maps::is_marked(reply_filter::mark(address))
    }
}

impl<A: FamilyMaps> Addresses for Kernel<A> {
    type Address = A;

    #[inline(always)]
    fn may_be_vip(&self, address: &A) -> bool {
        KernelAddresses::NEW.may_be_vip(address)
    }

    #[inline(always)]
    fn is_in_service_cidr(&self, address: &A) -> bool {
        KernelAddresses::NEW.is_in_service_cidr(address)
    }

    #[inline(always)]
    fn is_unserved(&self, address: &A) -> bool {
        KernelAddresses::NEW.is_unserved(address)
    }

    #[inline(always)]
    fn may_be_backend(&self, address: &A) -> bool {
        KernelAddresses::NEW.may_be_backend(address)
    }
}

impl<A: FamilyMaps> Dataplane for Kernel<A> {
    type Flows = Tiered<NearFlows<A>, LruFlows<A>>;

    #[inline(always)]
    fn frontend(&self, key: &FrontendKey<A>) -> Option<Frontend> {
        // SAFETY: copied at once; the agent replaces elements as a whole, and the old one lives until this program ends.
        unsafe { A::frontends().get(key).copied() }
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
    fn affinity(&self, key: &AffinityKey<A>) -> Option<Affinity> {
        let row = A::affinity().get_ptr(key)?;
        let mut affinity = MaybeUninit::uninit();
        // SAFETY: the row's memory stays an affinity's as long as this program runs; the copy is whole.
        unsafe {
            copy_row(row, affinity.as_mut_ptr());
            Some(affinity.assume_init())
        }
    }

    #[inline(always)]
    fn set_affinity(&self, key: &AffinityKey<A>, affinity: &Affinity) {
        maps::put::<A, _, _, _>(A::affinity(), Lru::Affinity, key, affinity, IS_THERE);
    }

    #[inline(always)]
    fn mark_backend(&self, address: &A) {
        maps::set_mark(reply_filter::mark(address));
    }

    #[inline(always)]
    fn flows(&self) -> &Self::Flows {
        &self.flows
    }

    #[inline(always)]
    fn fragments(&self, key: &FragmentsKey<A>, into: &mut Fragments<A>) -> bool {
        recall(key, into)
    }

    #[inline(always)]
    fn remember_fragments(&self, key: &FragmentsKey<A>, fragments: &Fragments<A>) {
        remember(key, fragments);
    }

    #[inline(always)]
    fn take_echo_token(&self) -> bool {
        maps::take_echo_token(self.now(), self.ticks_per_second())
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

    #[inline(always)]
    fn secret(&self) -> u64 {
        SECRET.load()
    }
}

/// Copies a map's value word by word, for a copy in one piece would be a call of a loop over its octets.
///
/// # Safety
///
/// Both are valid for a `T`.
#[inline(always)]
pub(crate) unsafe fn copy_row<T: Copy>(row: *const T, into: *mut T) {
    const { assert!(size_of::<T>() % 4 == 0 && align_of::<T>() % 4 == 0) };
    let (from, to) = (row.cast::<u32>(), into.cast::<u32>());
    let mut word = 0;
    while word < size_of::<T>() / 4 {
        // SAFETY: both are words, by the assertion, and valid by the caller's promise.
        unsafe { to.add(word).write(from.add(word).read_volatile()) };
        word += 1;
    }
}

/// Copies the record of a first fragment, if there is one. As the next, a function of its own because few packets need it.
#[inline(never)]
fn recall<A: FamilyMaps>(key: &FragmentsKey<A>, into: &mut Fragments<A>) -> bool {
    let Some(record) = A::fragments().get_ptr(key) else {
        return false;
    };
    // SAFETY: as for flows; that it is of another datagram by then shows in its identification.
    unsafe { copy_row(record, into) };
    true
}

/// Writes the record of a first fragment. Where the map takes none, the later fragments find none.
#[inline(never)]
fn remember<A: FamilyMaps>(key: &FragmentsKey<A>, fragments: &Fragments<A>) {
    let _ = A::fragments().insert(key, fragments, BPF_ANY);
}
