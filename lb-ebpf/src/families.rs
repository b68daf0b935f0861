//! Which address families are served. Packets and calls of another are nobody's here.

use aya_ebpf::Global;
use lb_common::addr::Address;
use lb_common::families::{self, IPV4, IPV6};

/// A bit for each. Where the agent serves one alone, the verifier does not look at what is for the other, and takes it out.
#[unsafe(no_mangle)]
static FAMILIES: Global<u32> = Global::new(IPV4 | IPV6);

/// Whether a family is served.
#[inline(always)]
pub(crate) fn serve<A: Address>() -> bool {
    FAMILIES.load() & families::bit(A::OCTETS) != 0
}
