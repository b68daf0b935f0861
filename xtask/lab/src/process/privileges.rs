//! What a program may do: its user, and the capabilities that it keeps. Worked out before the fork, carried out after it,
//! when everything that needs root is done. Nothing in the second half may allocate.

use std::io;
use std::ptr;

/// Version 3 of the kernel's capability sets: two words of 32 bits (`linux/capability.h`).
const VERSION_3: u32 = 0x2008_0522;
/// More than any kernel has: asking for one that does not exist ends the list.
const MOST_CAPABILITIES: u32 = 64;

/// What is given up; by default nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Privileges {
    /// User and group, with no other group.
    pub user: Option<(u32, u32)>,
    /// Bit N: the capability with number N.
    pub capabilities: Option<u64>,
    /// Whether an executed file can give new ones.
    pub no_new: bool,
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Sets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

impl Privileges {
    /// System calls only: no allocation, no lock. The bounding set goes first, as it takes a capability to change it, and
    /// the group before the user, as it takes root.
    pub(super) fn apply(&self) -> io::Result<()> {
        if let Some(kept) = self.capabilities {
            bound(kept)?;
        }
        if let Some((uid, gid)) = self.user {
            // SAFETY: no groups, so no pointer is followed.
            check(unsafe { libc::setgroups(0, ptr::null()) })?;
            // SAFETY: a system call on plain numbers.
            check(unsafe { libc::setgid(gid) })?;
            // SAFETY: as above.
            check(unsafe { libc::setuid(uid) })?;
        }
        if self.capabilities.is_some() {
            inherit_nothing()?;
        }
        if self.no_new {
            // SAFETY: a system call on plain numbers.
            check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
        }
        Ok(())
    }
}

/// Takes all but `kept` out of the bounding set. A program of root gets the whole bounding set when it is executed, so
/// this decides its permitted and effective sets too.
fn bound(kept: u64) -> io::Result<()> {
    for capability in 0..MOST_CAPABILITIES {
        // SAFETY: a system call on plain numbers, which fails for a capability that the kernel does not have.
        if unsafe { libc::prctl(libc::PR_CAPBSET_READ, capability, 0, 0, 0) } < 0 {
            return Ok(());
        }
        if kept & (1 << capability) == 0 {
            // SAFETY: as above.
            check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) })?;
        }
    }
    Ok(())
}

/// Empties the inheritable and the ambient set.
fn inherit_nothing() -> io::Result<()> {
    let ambient = libc::PR_CAP_AMBIENT_CLEAR_ALL;
    // SAFETY: a system call on plain numbers.
    check(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, ambient, 0, 0, 0) })?;
    let mut header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let mut sets = [Sets {
        effective: 0,
        permitted: 0,
        inheritable: 0,
    }; 2];
    // SAFETY: the header and the two words of version 3 live through the call.
    let read = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr()) };
    check(read as libc::c_int)?;
    for word in &mut sets {
        word.inheritable = 0;
    }
    // SAFETY: as above.
    let written = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, sets.as_ptr()) };
    check(written as libc::c_int)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
