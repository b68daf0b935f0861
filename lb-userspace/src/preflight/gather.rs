//! Asks the kernel what the checks need to know: by trying, never by the kernel's version, which tells little of what a
//! distribution put into it.

use std::{fs, io, path::Path};

use aya::{
    maps::{Array, MapData, MapError, MapType},
    programs::{ProgramError, ProgramType},
    sys::{BpfHelper, is_helper_supported, is_map_supported, is_program_supported},
};
use nix::{
    errno::Errno,
    libc,
    sys::{
        statfs::{BPF_FS_MAGIC, statfs},
        statvfs::{FsFlags, statvfs},
    },
};

use super::{Bpffs, BpffsState, Facts, Features, Probe, parse};
use crate::datapath::{
    Attach, Cgroup, Memlock, SocketConfig, object, raise_memlock, tcx_is_supported,
};

/// Lets user space map an array (`include/uapi/linux/bpf.h`).
const BPF_F_MMAPABLE: u32 = 1 << 10;

/// The facts of the calling thread on this machine, for pins in the given BPF file system and the sockets that are to be
/// served. Threads that are started later
/// have the same capabilities and mounts.
///
/// # Errors
/// If `/proc` is not there to be read.
pub fn gather(bpffs: &Path, attach: Attach, sockets: &SocketConfig) -> io::Result<Facts> {
    let read = |path: &str| {
        fs::read_to_string(path)
            .map_err(|e| io::Error::new(e.kind(), format!("cannot read {path}: {e}")))
    };
    let capabilities = parse::effective_capabilities(&read("/proc/thread-self/status")?)
        .ok_or_else(|| io::Error::other("/proc/thread-self/status shows no capabilities"))?;
    let limit = raise_memlock();
    let may_ask = capabilities.missing().is_empty();
    let helpers = object::embedded().and_then(object::helpers);
    let (helpers, object_error) = match helpers {
        Ok(helpers) => (helpers.into_iter().collect(), None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    Ok(Facts {
        attach,
        object_error,
        capabilities,
        bpffs: Bpffs {
            path: bpffs.into(),
            state: bpffs_state(bpffs),
        },
        cgroup: match sockets.scope {
            None => Cgroup::Unwanted,
            Some(_) => {
                let mounted = parse::cgroup2_mount(&read("/proc/thread-self/mountinfo")?);
                Cgroup::find(sockets.cgroup.as_deref(), mounted.as_deref())
            }
        },
        memlock: if may_ask {
            charged(limit)
        } else {
            Memlock::Unlimited
        },
        features: may_ask.then(|| features(&helpers)),
    })
}

fn bpffs_state(path: &Path) -> BpffsState {
    match statfs(path) {
        Ok(found) if found.filesystem_type() != BPF_FS_MAGIC => BpffsState::OtherFileSystem,
        Ok(_) => match statvfs(path) {
            Ok(found) if found.flags().contains(FsFlags::ST_RDONLY) => BpffsState::ReadOnly,
            Ok(_) => BpffsState::Mounted,
            Err(errno) => BpffsState::Unreadable(errno.desc().into()),
        },
        Err(Errno::ENOENT) => BpffsState::Missing,
        Err(errno) => BpffsState::Unreadable(errno.desc().into()),
    }
}

/// Kernels from 5.11 on charge maps to the control group and heed no limit: a map larger than the limit tells.
fn charged(limit: Memlock) -> Memlock {
    let Memlock::Limited(bytes) = limit else {
        return limit;
    };
    let elements = u32::try_from(bytes / 8 + 1).unwrap_or(u32::MAX);
    match Array::<MapData, u64>::create(elements, 0) {
        Ok(_) => Memlock::Unlimited,
        Err(_) => limit,
    }
}

fn features(helpers: &[u32]) -> Features {
    let mut needed = vec![
        ("classifier programs".to_owned(), program()),
        ("hash maps".to_owned(), map(MapType::Hash)),
        ("LRU hash maps".to_owned(), map(MapType::LruHash)),
        ("per-CPU arrays".to_owned(), map(MapType::PerCpuArray)),
        ("arrays that can be mapped".to_owned(), mmapable_array()),
        ("BTF type information".to_owned(), btf()),
    ];
    needed.extend(helpers.iter().map(|number| helper(*number)));
    Features {
        needed,
        tcx: tcx_is_supported(),
    }
}

fn program() -> Probe {
    match is_program_supported(ProgramType::SchedClassifier) {
        Ok(supported) => answer(supported),
        Err(error) => Probe::Unknown(cause(&error)),
    }
}

fn map(map_type: MapType) -> Probe {
    match is_map_supported(map_type) {
        Ok(supported) => answer(supported),
        Err(error) => Probe::Unknown(error.io_error.to_string()),
    }
}

fn mmapable_array() -> Probe {
    match Array::<MapData, u64>::create(1, BPF_F_MMAPABLE) {
        Ok(_) => Probe::Present,
        Err(MapError::CreateError { io_error, .. })
            if io_error.raw_os_error() == Some(libc::EINVAL) =>
        {
            Probe::Missing
        }
        Err(error) => Probe::Unknown(error.to_string()),
    }
}

fn btf() -> Probe {
    answer(aya::features().btf().is_some())
}

/// The helper calls come from the object itself, so that no list of them can be out of date.
fn helper(number: u32) -> (String, Probe) {
    let Some(helper) = helper_of(number) else {
        return (format!("the helper function {number}"), Probe::Missing);
    };
    let name = format!("{helper:?}").replace("BPF_FUNC_", "bpf_");
    let probe = match is_helper_supported(ProgramType::SchedClassifier, helper) {
        Ok(supported) => answer(supported),
        Err(error) => Probe::Unknown(cause(&error)),
    };
    (format!("the helper function {name}"), probe)
}

fn helper_of(number: u32) -> Option<BpfHelper> {
    let known = 1..BpfHelper::__BPF_FUNC_MAX_ID as u32;
    known.contains(&number).then(|| {
        // SAFETY: the enum is repr(u32), and the kernel's list of helpers, from which it is generated, has no gap between
        // 0 and its last element.
        unsafe { std::mem::transmute::<u32, BpfHelper>(number) }
    })
}

fn answer(supported: bool) -> Probe {
    if supported {
        Probe::Present
    } else {
        Probe::Missing
    }
}

fn cause(error: &ProgramError) -> String {
    match error {
        ProgramError::SyscallError(call) => call.io_error.to_string(),
        other => other.to_string(),
    }
}
