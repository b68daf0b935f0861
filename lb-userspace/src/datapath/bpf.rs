//! The calls of bpf(2) that aya has no safe equal for: links by ifindex, untyped map entries, what is attached to a device.
//!
//! aya attaches by device name, which may pass to another device meanwhile, and tells a link's device to nobody. The
//! structs below are the parts of `union bpf_attr` and of the info structs in the kernel's `include/uapi/linux/bpf.h`
//! that the calls need; the kernel takes a shorter `attr` as one that ends in zeros.

mod cgroup_link;
mod raw_map;

use std::{
    ffi::CString,
    fs, io,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use nix::libc;

use crate::maps::Shape;

pub(super) use cgroup_link::{CgroupLink, cgroup_link, cgroup_link_create};
pub(super) use raw_map::{RawMap, Write};

const PROG_LOAD: u32 = 5;
const OBJ_PIN: u32 = 6;
const OBJ_GET: u32 = 7;
const OBJ_INFO: u32 = 15;
const PROG_QUERY: u32 = 16;
const LINK_CREATE: u32 = 28;
const LINK_UPDATE: u32 = 29;
const LINK_DETACH: u32 = 34;

/// BPF_F_BEFORE; before all, as no other program is named.
const FIRST: u32 = 1 << 3;
const LINK_TYPE_TCX: u32 = 11;
/// At most so many programs can be attached to one side of a device (BPF_MPROG_MAX in `include/linux/bpf_mprog.h`).
const MAX_ATTACHED: usize = 64;

/// Where a program of a device runs: the number is the kernel's `enum bpf_attach_type`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(super) enum AttachType {
    TcxIngress = 46,
    TcxEgress = 47,
}

/// What a file descriptor of bpf(2) stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ObjectKind {
    Map,
    Program,
    Link,
    Other,
}

/// The start of `struct bpf_map_info`.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct MapInfo {
    pub(super) map_type: u32,
    pub(super) id: u32,
    pub(super) key_size: u32,
    pub(super) value_size: u32,
    pub(super) max_entries: u32,
    pub(super) flags: u32,
    pub(super) name: [u8; 16],
    ifindex: u32,
    vmlinux_value_type_id: u32,
    netns_dev: u64,
    netns_ino: u64,
    pub(super) btf_id: u32,
    pub(super) btf_key_type_id: u32,
    pub(super) btf_value_type_id: u32,
    reserved: u32,
}

impl From<MapInfo> for Shape {
    fn from(info: MapInfo) -> Self {
        Self {
            kind: info.map_type,
            key_size: info.key_size,
            value_size: info.value_size,
            flags: info.flags,
            max_entries: info.max_entries,
        }
    }
}

/// The start of `struct bpf_link_info`, with the union's meaning for tcx.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, bytemuck::Pod, bytemuck::Zeroable)]
struct LinkInfo {
    link_type: u32,
    id: u32,
    program_id: u32,
    reserved: u32,
    ifindex: u32,
    attach_type: u32,
}

/// A tcx link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TcxLink {
    pub(super) id: u32,
    pub(super) program_id: u32,
    /// 0 once the device is gone.
    pub(super) ifindex: u32,
    pub(super) attach_type: u32,
}

/// A program on a device and the link that holds it there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Attached {
    pub(super) program_id: u32,
    /// 0 where the program was attached without a link.
    pub(super) link_id: u32,
}

/// The start of the part of `union bpf_attr` that BPF_PROG_LOAD reads.
#[repr(C)]
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
struct LoadAttr {
    kind: u32,
    instructions: u32,
    code: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// Whether the kernel takes these instructions for a program. It is gone at once.
pub(super) fn loads(code: &[u64]) -> bool {
    const SCHED_CLS: u32 = 3;
    // The verifier gives up where it is interrupted.
    (0..10)
        .find_map(|_| {
            let mut attr = LoadAttr {
                kind: SCHED_CLS,
                instructions: code.len() as u32,
                code: code.as_ptr() as u64,
                license: c"GPL".as_ptr() as u64,
                ..LoadAttr::default()
            };
            // SAFETY: code and licence outlive the call, and the number of instructions is the code's.
            match unsafe { bpf(PROG_LOAD, &mut attr) } {
                Ok(fd) => {
                    // SAFETY: the call returned a new descriptor that nobody else owns.
                    drop(unsafe { OwnedFd::from_raw_fd(fd) });
                    Some(true)
                }
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => None,
                Err(_) => Some(false),
            }
        })
        .unwrap_or(false)
}

/// The object pinned at a path.
pub(super) fn get(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let mut attr = PathAttr {
        path: path.as_ptr() as u64,
        ..PathAttr::default()
    };
    // SAFETY: the path is a C string that outlives the call.
    let fd = unsafe { bpf(OBJ_GET, &mut attr) }?;
    // SAFETY: the call returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Gives an object a name in a BPF file system.
pub(super) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let mut attr = PathAttr {
        path: path.as_ptr() as u64,
        fd: object.as_raw_fd(),
        ..PathAttr::default()
    };
    // SAFETY: the path is a C string that outlives the call.
    unsafe { bpf(OBJ_PIN, &mut attr) }.map(drop)
}

/// What a descriptor stands for. The kernel's info call answers for every kind alike, so that is not the way to tell.
pub(super) fn kind(object: BorrowedFd<'_>) -> io::Result<ObjectKind> {
    let target = fs::read_link(format!("/proc/self/fd/{}", object.as_raw_fd()))?;
    let target = target.to_string_lossy();
    Ok(match target.trim_start_matches("anon_inode:") {
        "bpf-map" => ObjectKind::Map,
        "bpf-prog" => ObjectKind::Program,
        // Underscore until Linux 6.x, hyphen since.
        "bpf_link" | "bpf-link" => ObjectKind::Link,
        _ => ObjectKind::Other,
    })
}

/// What the kernel says of a map. The descriptor must be a map's.
pub(super) fn map_info(map: BorrowedFd<'_>) -> io::Result<MapInfo> {
    info(map)
}

/// What the kernel says of a tcx link, none if it is a link of another type. The descriptor must be a link's.
pub(super) fn tcx_link(link: BorrowedFd<'_>) -> io::Result<Option<TcxLink>> {
    let info: LinkInfo = info(link)?;
    Ok((info.link_type == LINK_TYPE_TCX).then_some(TcxLink {
        id: info.id,
        program_id: info.program_id,
        ifindex: info.ifindex,
        attach_type: info.attach_type,
    }))
}

/// Attaches a program to a device of the calling thread's network namespace, before those that are there: a foreign program
/// may end the chain with its verdict, ours hand every packet on.
pub(super) fn link_create(
    program: BorrowedFd<'_>,
    ifindex: u32,
    at: AttachType,
) -> io::Result<OwnedFd> {
    let mut attr = LinkCreateAttr {
        program: program.as_raw_fd(),
        ifindex,
        attach_type: at as u32,
        flags: FIRST,
    };
    // SAFETY: the attributes hold no pointer.
    let fd = unsafe { bpf(LINK_CREATE, &mut attr) }?;
    // SAFETY: the call returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Replaces the program of a link in place: every packet sees the old or the new one.
pub(super) fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = LinkUpdateAttr {
        link: link.as_raw_fd(),
        program: program.as_raw_fd(),
        flags: 0,
        old_program: 0,
    };
    // SAFETY: the attributes hold no pointer.
    unsafe { bpf(LINK_UPDATE, &mut attr) }.map(drop)
}

/// Takes a link's program off its device at once. Removing the last pin would do the same, but some time later.
pub(super) fn link_detach(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = LinkDetachAttr {
        link: link.as_raw_fd(),
    };
    // SAFETY: the attributes hold no pointer.
    unsafe { bpf(LINK_DETACH, &mut attr) }.map(drop)
}

/// What is attached to one side of a device, in the order in which it runs. `EINVAL` where the kernel has no tcx.
pub(super) fn query(ifindex: u32, at: AttachType) -> io::Result<Vec<Attached>> {
    let mut programs = [0u32; MAX_ATTACHED];
    let mut links = [0u32; MAX_ATTACHED];
    let mut attr = QueryAttr {
        ifindex,
        attach_type: at as u32,
        programs: programs.as_mut_ptr() as u64,
        count: MAX_ATTACHED as u32,
        links: links.as_mut_ptr() as u64,
        ..QueryAttr::default()
    };
    // SAFETY: both pointers are to arrays of `count` elements that outlive the call.
    unsafe { bpf(PROG_QUERY, &mut attr) }?;
    Ok(programs
        .iter()
        .zip(links)
        .take(attr.count as usize)
        .map(|(program_id, link_id)| Attached {
            program_id: *program_id,
            link_id,
        })
        .collect())
}

#[repr(C)]
#[derive(Default)]
struct PathAttr {
    path: u64,
    fd: i32,
    flags: u32,
}

#[repr(C)]
struct InfoAttr {
    fd: i32,
    length: u32,
    info: u64,
}

#[repr(C)]
struct LinkCreateAttr {
    program: i32,
    ifindex: u32,
    attach_type: u32,
    flags: u32,
}

#[repr(C)]
struct LinkUpdateAttr {
    link: i32,
    program: i32,
    flags: u32,
    old_program: u32,
}

#[repr(C)]
struct LinkDetachAttr {
    link: i32,
}

#[repr(C)]
#[derive(Default)]
struct QueryAttr {
    ifindex: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    programs: u64,
    count: u32,
    reserved: u32,
    program_flags: u64,
    links: u64,
    link_flags: u64,
    revision: u64,
}

fn info<T: bytemuck::Pod>(object: BorrowedFd<'_>) -> io::Result<T> {
    let mut info = T::zeroed();
    let mut attr = InfoAttr {
        fd: object.as_raw_fd(),
        length: size_of::<T>() as u32,
        info: (&raw mut info) as u64,
    };
    // SAFETY: the pointer is to `length` writable bytes that outlive the call, and any bytes make a `T`.
    unsafe { bpf(OBJ_INFO, &mut attr) }?;
    Ok(info)
}

fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// Calls bpf(2).
///
/// # Safety
/// `attr` must be the part of `union bpf_attr` that the command takes, without padding, and its pointers must be to
/// memory that the kernel may read or write as the command says.
unsafe fn bpf<T>(command: u32, attr: &mut T) -> io::Result<i32> {
    // SAFETY: the caller vouches for the contents, the size is the struct's own.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attr),
            size_of::<T>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result as i32)
}
