//! What the checks know about the machine and the process.

use std::path::PathBuf;

use crate::datapath::{Attach, Cgroup, Memlock};

/// Everything that the verdict depends on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts {
    /// How programs are to be attached.
    pub attach: Attach,
    /// Why the embedded BPF object can't be used, if it can't.
    pub object_error: Option<String>,
    /// Effective capabilities of the process.
    pub capabilities: Capabilities,
    /// The BPF file system that pins are to go to.
    pub bpffs: Bpffs,
    /// The cgroup that the node's own processes are served through.
    pub cgroup: Cgroup,
    /// The limit on locked memory, if this kernel charges maps to it.
    pub memlock: Memlock,
    /// What the kernel can do, none where the process may not ask.
    pub features: Option<Features>,
}

/// A set of capabilities, as the mask that `/proc/<pid>/status` shows (capabilities(7)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capabilities(pub u64);

impl Capabilities {
    const NET_ADMIN: u32 = 12;
    const SYS_ADMIN: u32 = 21;
    const PERFMON: u32 = 38;
    const BPF: u32 = 39;

    /// The needed ones that are not in the set.
    pub fn missing(self) -> Vec<&'static str> {
        let needed = [
            ("CAP_BPF", self.has(Self::BPF) || self.has(Self::SYS_ADMIN)),
            ("CAP_NET_ADMIN", self.has(Self::NET_ADMIN)),
            // The verifier forbids pointer arithmetic that it can't follow to the last bit to those who have less.
            (
                "CAP_PERFMON",
                self.has(Self::PERFMON) || self.has(Self::SYS_ADMIN),
            ),
        ];
        needed
            .into_iter()
            .filter(|(_, has)| !has)
            .map(|(name, _)| name)
            .collect()
    }

    fn has(self, number: u32) -> bool {
        self.0 >> number & 1 == 1
    }
}

/// The BPF file system.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bpffs {
    /// Where it is said to be.
    pub path: PathBuf,
    /// What is there.
    pub state: BpffsState,
}

/// What is at the BPF file system's path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BpffsState {
    /// A BPF file system.
    Mounted,
    /// A BPF file system that can't be written to.
    ReadOnly,
    /// Something else.
    OtherFileSystem,
    /// Nothing.
    Missing,
    /// It can't be told; why.
    Unreadable(String),
}

/// What the kernel can do.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Features {
    /// What the agent can't do without, by a name for people.
    pub needed: Vec<(String, Probe)>,
    /// Whether programs can be attached by tcx.
    pub tcx: bool,
}

impl Features {
    pub(super) fn names(&self, of: impl Fn(&Probe) -> bool) -> Vec<&str> {
        self.needed
            .iter()
            .filter(|(_, probe)| of(probe))
            .map(|(name, _)| name.as_str())
            .collect()
    }

    pub(super) fn first_error(&self) -> Option<&str> {
        self.needed.iter().find_map(|(_, probe)| match probe {
            Probe::Unknown(error) => Some(error.as_str()),
            _ => None,
        })
    }
}

/// The answer of a probe.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Probe {
    /// The kernel has it.
    Present,
    /// The kernel does not have it.
    Missing,
    /// The kernel did not answer; why.
    Unknown(String),
}
