//! The BPF object: two TC programs for each workload device. It takes no decision; `lb-common` does.
//!
//! `from_workload` runs where a pod's packets enter the host (TC ingress), `to_workload` where they leave it for the pod
//! (TC egress). Each parses, asks the pipeline for a verdict and carries it out. `deliver_v4` and `deliver_v6` hand what
//! `from_workload` has dealt with straight into another pod or to the uplink, and `from_uplink` (TC ingress there) what other
//! nodes send straight into its pod, where the agent wants that.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
mod apply;
#[cfg(target_arch = "bpf")]
mod crc;
#[cfg(target_arch = "bpf")]
mod dataplane;
#[cfg(target_arch = "bpf")]
mod echo;
#[cfg(target_arch = "bpf")]
mod express;
#[cfg(target_arch = "bpf")]
mod families;
#[cfg(target_arch = "bpf")]
mod flows;
#[cfg(target_arch = "bpf")]
mod hold;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod near;
#[cfg(target_arch = "bpf")]
mod order;
#[cfg(target_arch = "bpf")]
mod programs;
#[cfg(target_arch = "bpf")]
mod redirect;
#[cfg(target_arch = "bpf")]
mod reject;
#[cfg(target_arch = "bpf")]
mod relate;
#[cfg(target_arch = "bpf")]
mod scratch;
#[cfg(target_arch = "bpf")]
mod skb;
#[cfg(target_arch = "bpf")]
mod sockets;
#[cfg(target_arch = "bpf")]
mod verifier;
#[cfg(target_arch = "bpf")]
mod words;

/// There is nothing to run on the host: the object is built by `cargo xtask build-ebpf`.
#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // No panic is reachable: the verifier would refuse the endless loop.
    loop {}
}

/// The licence that the kernel is told: GPL-compatible, for the helpers that demand it.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
