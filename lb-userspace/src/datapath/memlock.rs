//! The limit on locked memory, to which kernels before 5.11 charge maps and programs. It does not ask for a version.

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

/// What limits the size of maps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Memlock {
    /// Nothing, or only the control group.
    Unlimited,
    /// This number of bytes, which could not be raised.
    Limited(u64),
}

/// Raises the limit as far as it goes, for this process and its children.
pub fn raise_memlock() -> Memlock {
    let raised = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
    if raised.is_ok() {
        return Memlock::Unlimited;
    }
    let Ok((_, hard)) = getrlimit(Resource::RLIMIT_MEMLOCK) else {
        return Memlock::Unlimited;
    };
    // Without CAP_SYS_RESOURCE at least up to the hard limit.
    let _ = setrlimit(Resource::RLIMIT_MEMLOCK, hard, hard);
    if hard == RLIM_INFINITY {
        Memlock::Unlimited
    } else {
        Memlock::Limited(hard)
    }
}
