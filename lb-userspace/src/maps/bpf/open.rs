//! Opens pinned maps, with the check of their shape that aya does not make.

use std::ffi::CString;
use std::hash::Hash;
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use aya::maps::{HashMap, Map, MapData};
use bytemuck::Pod;

use super::error;
use super::mapped::Mapped;
use super::table::Table;
use super::trie::Trie;
use super::wire::Wire;
use crate::maps::MapError;
use crate::maps::spec::{self, Limits, MapSpec, Shape};

/// What the maps are opened for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Reading: no write is possible through what was opened.
    Read,
    /// Reading and writing: for the agent alone.
    Write,
}

/// A directory of pinned maps.
pub struct Pins<'a> {
    /// The directory.
    pub dir: &'a Path,
    /// What its maps are opened for.
    pub access: Access,
}

impl Pins<'_> {
    /// Opens a hash map.
    pub fn table<K: Pod + Eq + Hash, V: Pod>(
        &self,
        name: &'static str,
    ) -> Result<Table<K, V>, MapError> {
        let spec = spec(name);
        let (data, shape) = self.open(&spec)?;
        let fd = data.fd().as_fd().try_clone_to_owned();
        let fd = fd.map_err(|cause| self.unopened(name, cause))?;
        let map = match spec.kind {
            spec::MapKind::LruHash => Map::LruHashMap(data),
            _ => Map::HashMap(data),
        };
        let map: HashMap<MapData, Wire<K>, Wire<V>> =
            map.try_into().map_err(|e| self.failed(name, e))?;
        Ok(Table::new(name, shape.max_entries, map, fd))
    }

    /// Opens an LPM trie.
    pub fn trie<A: Pod + Eq + Hash, V: Pod>(
        &self,
        name: &'static str,
    ) -> Result<Trie<A, V>, MapError> {
        let (data, shape) = self.open(&spec(name))?;
        let fd = data.fd().as_fd().try_clone_to_owned();
        let fd = fd.map_err(|cause| self.unopened(name, cause))?;
        let map = Map::LpmTrie(data).try_into();
        let map = map.map_err(|e| self.failed(name, e))?;
        Ok(Trie::new(name, shape.max_entries, map, fd))
    }

    /// Opens an array of elements of eight bytes, or a multiple, and maps it into memory.
    pub fn mapped(&self, name: &'static str) -> Result<Mapped, MapError> {
        let (data, shape) = self.mappable(name)?;
        Mapped::new(
            name,
            data.fd().as_fd(),
            shape.max_entries * shape.value_size.div_ceil(8),
            self.access == Access::Write,
        )
        .map_err(|cause| self.unopened(name, cause))
    }

    /// Opens an array that is to be mapped into memory.
    ///
    /// A map that is open for reading alone can't be mapped at all (`bpf_map_mmap` in `kernel/bpf/syscall.c` wants a shared mapping,
    /// which mmap makes a private one of). So it is opened for both, and whoever may not write maps it for reading.
    pub fn mappable(&self, name: &'static str) -> Result<(MapData, Shape), MapError> {
        self.open_for(&spec(name), Access::Write)
    }

    /// Checks the shape of a map that nobody reads here.
    pub fn check(&self, name: &'static str) -> Result<(), MapError> {
        self.open(&spec(name)).map(drop)
    }

    /// Opens a map and makes it what `into` says.
    pub fn typed<T>(
        &self,
        name: &'static str,
        into: impl FnOnce(MapData) -> Result<T, aya::maps::MapError>,
    ) -> Result<T, MapError> {
        let (data, _) = self.open(&spec(name))?;
        into(data).map_err(|e| self.failed(name, e))
    }

    fn open(&self, spec: &MapSpec) -> Result<(MapData, Shape), MapError> {
        self.open_for(spec, self.access)
    }

    fn open_for(&self, spec: &MapSpec, access: Access) -> Result<(MapData, Shape), MapError> {
        let fd = get_pinned(&self.path(spec.name), access)
            .map_err(|cause| self.unopened(spec.name, cause))?;
        let data = MapData::from_fd(fd).map_err(|e| self.failed(spec.name, e))?;
        let info = data.info().map_err(|e| self.failed(spec.name, e))?;
        let found = Shape {
            kind: info.map_type().map_or(0, |kind| kind as u32),
            key_size: info.key_size(),
            value_size: info.value_size(),
            flags: info.map_flags() & !ACCESS_FLAGS,
            max_entries: info.max_entries(),
        };
        if !spec.accepts(&found) {
            return Err(MapError::Shape {
                map: spec.name,
                path: self.path(spec.name),
                expected: spec.shape().to_string(),
                found: found.to_string(),
            });
        }
        Ok((data, found))
    }

    /// Where a map is pinned.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn failed(&self, map: &'static str, error: aya::maps::MapError) -> MapError {
        self.unopened(map, error::into_io(error))
    }

    fn unopened(&self, map: &'static str, cause: io::Error) -> MapError {
        MapError::Open {
            map,
            path: self.path(map),
            cause,
        }
    }
}

/// Flags that say how a map may be accessed, not what it is: `BPF_F_RDONLY` and `BPF_F_WRONLY`.
const ACCESS_FLAGS: u32 = uapi::RDONLY | uapi::WRONLY;

/// Numbers of `include/uapi/linux/bpf.h` that libc does not have.
mod uapi {
    /// Command of bpf(2): open a pin.
    pub const OBJ_GET: libc::c_long = 7;
    /// Open for reading from user space.
    pub const RDONLY: u32 = 1 << 3;
    /// Open for writing from user space.
    pub const WRONLY: u32 = 1 << 4;
}

/// The part of `union bpf_attr` that `BPF_OBJ_GET` reads.
#[repr(C)]
struct ObjGet {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// Opens a pin. aya always opens for writing, which the command line must not need.
fn get_pinned(path: &Path, access: Access) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let attributes = ObjGet {
        pathname: path.as_ptr() as u64,
        bpf_fd: 0,
        file_flags: match access {
            Access::Read => uapi::RDONLY,
            Access::Write => 0,
        },
    };
    // SAFETY: the kernel reads the attributes, of the size given, and the string that they point to; both outlive the
    // call. It writes to neither.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            uapi::OBJ_GET,
            &raw const attributes,
            size_of::<ObjGet>(),
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given this descriptor to us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })
}

fn spec(name: &'static str) -> MapSpec {
    let specs = spec::all(&Limits::default());
    match specs.into_iter().find(|spec| spec.name == name) {
        Some(spec) => spec,
        None => unreachable!("every name of the layout has a spec, as a test shows"),
    }
}
