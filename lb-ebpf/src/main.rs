//! The BPF object.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

/// There is nothing to run on the host: the object is built by `cargo xtask build-ebpf`.
#[cfg(not(target_arch = "bpf"))]
fn main() {}
