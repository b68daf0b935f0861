//! Links that hold a program at a cgroup.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use super::{LINK_CREATE, LinkCreateAttr, bpf, info};

const LINK_TYPE_CGROUP: u32 = 3;

/// The start of `struct bpf_link_info`, with the union's meaning for cgroups.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, bytemuck::Pod, bytemuck::Zeroable)]
struct LinkInfo {
    link_type: u32,
    id: u32,
    program_id: u32,
    reserved: u32,
    cgroup_id: u64,
    attach_type: u32,
    end: u32,
}

/// A link to a cgroup.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::datapath) struct CgroupLink {
    /// The inode number of the cgroup's folder; 0 once the cgroup is gone or the link detached.
    pub(in crate::datapath) cgroup_id: u64,
    /// The kernel's `enum bpf_attach_type`.
    pub(in crate::datapath) attach_type: u32,
}

/// Attaches a program to a cgroup, behind those that are there.
pub(in crate::datapath) fn cgroup_link_create(
    program: BorrowedFd<'_>,
    cgroup: BorrowedFd<'_>,
    attach_type: u32,
) -> io::Result<OwnedFd> {
    let mut attr = LinkCreateAttr {
        program: program.as_raw_fd(),
        // The field is the target, be it an index or a descriptor.
        ifindex: cgroup.as_raw_fd() as u32,
        attach_type,
        flags: 0,
    };
    // SAFETY: the attributes hold no pointer.
    let fd = unsafe { bpf(LINK_CREATE, &mut attr) }?;
    // SAFETY: the call returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What the kernel says of a link to a cgroup, none if it is a link of another type. The descriptor must be a link's.
pub(in crate::datapath) fn cgroup_link(link: BorrowedFd<'_>) -> io::Result<Option<CgroupLink>> {
    let info: LinkInfo = info(link)?;
    Ok((info.link_type == LINK_TYPE_CGROUP).then_some(CgroupLink {
        cgroup_id: info.cgroup_id,
        attach_type: info.attach_type,
    }))
}
