//! The cgroup that the programs of sockets are attached to: which one it is, and why there may be none.

use std::path::{Path, PathBuf};

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};

/// The cgroup to attach to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cgroup {
    /// None is wanted.
    Unwanted,
    /// This one.
    Found(PathBuf),
    /// No cgroup v2 hierarchy is mounted.
    Unmounted,
    /// The mounted hierarchy shows the agent's own cgroup alone: a container without the host's.
    NotTheRoot(PathBuf),
    /// The folder that was named is none of a cgroup v2 hierarchy.
    Foreign(PathBuf),
}

impl Cgroup {
    /// Whether there is one to attach to.
    pub fn is_found(&self) -> bool {
        matches!(self, Self::Found(_))
    }

    /// The cgroup that was named, or else the root of the hierarchy that is mounted. Where a node has cgroup v1 as well,
    /// `/sys/fs/cgroup` may be named for the hierarchy of v2 in its folder `unified`: a manifest need not know the node.
    pub fn find(named: Option<&Path>, mounted: Option<&Path>) -> Self {
        match (named, mounted) {
            (Some(named), _) => {
                let mut candidates = [named.to_owned(), named.join("unified")].into_iter();
                match candidates.find(|folder| is_cgroup2(folder)) {
                    Some(folder) => Self::Found(folder),
                    None => Self::Foreign(named.into()),
                }
            }
            (None, None) => Self::Unmounted,
            (None, Some(mounted)) if !is_root(mounted) => Self::NotTheRoot(mounted.into()),
            (None, Some(mounted)) => Self::Found(mounted.into()),
        }
    }
}

fn is_cgroup2(folder: &Path) -> bool {
    statfs(folder).is_ok_and(|found| found.filesystem_type() == CGROUP2_SUPER_MAGIC)
}

/// Every cgroup but the root tells its events (`Documentation/admin-guide/cgroup-v2.rst` in the kernel). In a cgroup
/// namespace of its own a container takes its own cgroup for the root; this tells them apart.
fn is_root(folder: &Path) -> bool {
    !folder.join("cgroup.events").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_folder_must_be_a_cgroup_and_an_unnamed_one_the_root() {
        let named = Path::new("/proc");
        assert_eq!(
            Cgroup::find(Some(named), None),
            Cgroup::Foreign(named.into())
        );
        assert_eq!(Cgroup::find(None, None), Cgroup::Unmounted);
        let folder = tempfile::tempdir().unwrap();
        let mounted = folder.path();
        assert_eq!(
            Cgroup::find(None, Some(mounted)),
            Cgroup::Found(mounted.into())
        );
        std::fs::write(mounted.join("cgroup.events"), "populated 1\n").unwrap();
        assert_eq!(
            Cgroup::find(None, Some(mounted)),
            Cgroup::NotTheRoot(mounted.into())
        );
    }
}
