//! When the maps were last written, seen from outside: the one element of the pinned map `config` counts completed writes.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use lb_common::config::Config;
use lb_common::layout::name;

const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;
const BPF_OBJ_GET: libc::c_int = 7;

/// The open map `config` of one agent.
pub struct Programmed(OwnedFd);

impl Programmed {
    /// Opens it below the directory that was `lb`'s `--bpffs`. `None`: the agent has not pinned it yet.
    ///
    /// # Errors
    /// When there are pins of several layouts.
    pub fn open(bpffs: &Path) -> Result<Option<Programmed>> {
        let folder = bpffs.join("lb");
        let Ok(entries) = fs::read_dir(&folder) else {
            return Ok(None);
        };
        let layouts: Vec<_> = entries
            .map(|entry| Ok(entry?.path()))
            .collect::<io::Result<_>>()?;
        let layout = match &layouts[..] {
            [] => return Ok(None),
            [layout] => layout,
            _ => bail!("{} holds several layouts: {layouts:?}", folder.display()),
        };
        let pin = layout.join(name::CONFIG);
        let path = CString::new(pin.as_os_str().as_bytes())?;
        let attributes = Pinned {
            path: path.as_ptr() as u64,
            ..Pinned::default()
        };
        // SAFETY: the attributes and the path that they point to live through the call.
        match unsafe { bpf(BPF_OBJ_GET, &attributes) } {
            // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
            Ok(descriptor) => Ok(Some(Programmed(unsafe {
                OwnedFd::from_raw_fd(descriptor)
            }))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| pin.display().to_string()),
        }
    }

    /// How often the desired state was written completely; 0: not yet.
    ///
    /// # Errors
    /// When the kernel refuses the lookup.
    pub fn writes(&self) -> Result<u64> {
        let key = 0_u32;
        let mut value: Config = bytemuck::Zeroable::zeroed();
        let attributes = Element {
            map: self.0.as_raw_fd() as u32,
            padding: 0,
            key: (&raw const key) as u64,
            value: (&raw mut value) as u64,
            flags: 0,
        };
        // SAFETY: key and value live through the call and are as large as the map's, whose layout its path tells.
        unsafe { bpf(BPF_MAP_LOOKUP_ELEM, &attributes) }.context("cannot read the map config")?;
        Ok(value.generation)
    }
}

/// The kernel's `union bpf_attr` for BPF_OBJ_GET.
#[repr(C)]
#[derive(Default)]
struct Pinned {
    path: u64,
    descriptor: u32,
    flags: u32,
}

/// The kernel's `union bpf_attr` for BPF_MAP_LOOKUP_ELEM.
#[repr(C)]
struct Element {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// # Safety
/// `attributes` must be what the kernel wants for this command, and what it points to must be valid.
unsafe fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<i32> {
    // SAFETY: as the caller promises; the size is the struct's own.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>() as u32) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result as i32)
    }
}
