//! The BPF object that is part of this binary, and what can be read from it without a kernel.
//!
//! It loads nothing. The object is built by `cargo xtask build-ebpf`; a binary can be built without one, to check and to
//! test what needs none, and says so where one is needed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use aya::util::KernelVersion;
use aya_obj::{Object, ParseError, ProgramSection};
use thiserror::Error;

use super::atomics;
use crate::maps::Shape;

/// The object can't be used.
#[derive(Debug, Error)]
pub enum ObjectError {
    /// Built without it.
    #[error(
        "this binary was built without the BPF object: run `cargo xtask build-ebpf` and build again"
    )]
    NotEmbedded,
    /// It is no object that aya understands.
    #[error("the BPF object can't be read: run `cargo xtask build-ebpf` and build again")]
    Unreadable(#[source] Box<ParseError>),
    /// It is no object file.
    #[error("the BPF object can't be read: run `cargo xtask build-ebpf` and build again")]
    NoFile(#[source] object::Error),
    /// A map of the layout is missing.
    #[error(
        "the BPF object has no map {0:?}: it belongs to another version; run `cargo xtask build-ebpf` and build again"
    )]
    MissingMap(&'static str),
}

/// The embedded object, aligned as an ELF file must be.
///
/// # Errors
/// If there is none.
pub fn embedded() -> Result<&'static [u8], ObjectError> {
    #[cfg(ebpf_object)]
    {
        Ok(aya::include_bytes_aligned!(env!("LB_EBPF_OBJECT")))
    }
    #[cfg(not(ebpf_object))]
    {
        Err(ObjectError::NotEmbedded)
    }
}

/// The embedded object as the running kernel takes it.
///
/// # Errors
/// If there is none, or it can't be read.
pub fn for_kernel() -> Result<&'static [u8], ObjectError> {
    static WITHOUT_ATOMICS: OnceLock<Vec<u8>> = OnceLock::new();
    let object = embedded()?;
    if atomics::are_there() {
        return Ok(object);
    }
    if let Some(object) = WITHOUT_ATOMICS.get() {
        return Ok(object);
    }
    let changed = atomics::without(object).map_err(ObjectError::NoFile)?;
    Ok(WITHOUT_ATOMICS.get_or_init(|| changed))
}

/// Buckets of the table of so many flows that the programs are told of: 0, which is none, where the kernel can't have one.
pub fn flow_buckets(flows: u32) -> u32 {
    if flows == 0 || !atomics::are_there() {
        return 0;
    }
    lb_common::flows::buckets(flows)
}

/// Whether the kernel can be told that a transport checksum is of IPv6 (`BPF_F_IPV6`): since Linux 6.16. Where an older one has it
/// as well nothing is lost but nanoseconds.
pub fn knows_ipv6_sums() -> bool {
    KernelVersion::current().is_ok_and(|kernel| kernel >= KernelVersion::new(6, 16, 0))
}

/// The maps that an object demands, by name, with the sizes that it was compiled with. Read-only data is not among them.
///
/// # Errors
/// If the object can't be read, or lacks one of [`lb_common::layout::name::ALL`].
pub fn map_shapes(object: &[u8]) -> Result<BTreeMap<&'static str, Shape>, ObjectError> {
    let object = parse(object)?;
    lb_common::layout::name::ALL
        .into_iter()
        .map(|name| {
            let map = object.maps.get(name).ok_or(ObjectError::MissingMap(name))?;
            let shape = Shape {
                kind: map.map_type(),
                key_size: map.key_size(),
                value_size: map.value_size(),
                max_entries: map.max_entries(),
                flags: map.map_flags(),
            };
            Ok((name, shape))
        })
        .collect()
}

/// The numbers of the kernel helpers that the programs of devices call (`enum bpf_func_id`). Those of sockets and of the
/// redirect path may be missing, and are not among them.
///
/// # Errors
/// If the object can't be read.
pub fn helpers(object: &[u8]) -> Result<BTreeSet<u32>, ObjectError> {
    /// BPF_JMP | BPF_CALL.
    const CALL: u8 = 0x85;
    /// bpf_redirect_neigh, bpf_redirect_peer, bpf_check_mtu.
    const OF_REDIRECT: [u32; 3] = [152, 155, 163];
    let object = parse(object)?;
    let of_sockets: BTreeSet<usize> = object
        .programs
        .values()
        .filter(|program| matches!(program.section, ProgramSection::CgroupSockAddr { .. }))
        .map(|program| program.section_index)
        .collect();
    Ok(object
        .functions
        .iter()
        .filter(|(key, _)| !of_sockets.contains(&key.0))
        .map(|(_, function)| function)
        .flat_map(|function| &function.instructions)
        // Another source register than 0 is a call inside the object.
        .filter(|instruction| instruction.code == CALL && instruction.src_reg() == 0)
        .map(|instruction| instruction.imm as u32)
        // Functions that its programs call stand among those of the others, so that it is known by what it alone calls.
        .filter(|helper| !OF_REDIRECT.contains(helper))
        .collect())
}

fn parse(object: &[u8]) -> Result<Object, ObjectError> {
    Object::parse(object).map_err(|error| ObjectError::Unreadable(Box::new(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_object_is_refused_with_the_remedy() {
        let error = map_shapes(b"not an ELF file").unwrap_err();
        assert!(
            error.to_string().contains("cargo xtask build-ebpf"),
            "{error}"
        );
    }

    #[cfg(ebpf_object)]
    /// Linux 5.10 has no bpf_check_mtu, which the redirect path alone needs.
    #[test]
    fn what_the_redirect_path_alone_calls_is_not_demanded_of_a_kernel() {
        let helpers = helpers(embedded().unwrap()).unwrap();
        assert!(helpers.contains(&1), "bpf_map_lookup_elem");
        assert!(!helpers.contains(&163), "bpf_check_mtu");
    }

    #[test]
    fn its_maps_are_those_that_are_made_and_opened_without_it() {
        use crate::maps::spec::{Limits, all};

        let shapes = map_shapes(embedded().unwrap()).unwrap();
        for spec in all(&Limits::default()) {
            assert_eq!(shapes[spec.name], spec.shape(), "{}", spec.name);
        }
    }
}
