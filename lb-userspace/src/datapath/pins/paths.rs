//! Where pins are: `<bpffs>/lb/v<LAYOUT>/<map>` and `<bpffs>/lb/v<LAYOUT>/links/if<ifindex>_<side>`.
//!
//! A BPF file system refuses names with a dot (`bpf_lookup` in the kernel's `kernel/bpf/inode.c`).

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use lb_common::layout::LAYOUT;

use super::PinError;
use crate::datapath::links::Side;

/// Folder of everything that is ours.
const FOLDER: &str = "lb";
const LINKS: &str = "links";

/// The pins of this layout in one BPF file system.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PinPaths {
    bpffs: PathBuf,
}

impl PinPaths {
    /// The pins below a BPF file system's mount point.
    pub fn new(bpffs: impl Into<PathBuf>) -> Self {
        Self {
            bpffs: bpffs.into(),
        }
    }

    /// Mount point of the BPF file system.
    pub fn bpffs(&self) -> &Path {
        &self.bpffs
    }

    /// Folder of everything that is ours, of all layouts.
    pub fn folder(&self) -> PathBuf {
        self.bpffs.join(FOLDER)
    }

    /// Folder of this layout.
    pub fn layout(&self) -> PathBuf {
        self.folder().join(format!("v{LAYOUT}"))
    }

    /// Pin of a map.
    pub fn map(&self, name: &str) -> PathBuf {
        self.layout().join(name)
    }

    /// Folder of the links' pins.
    pub fn links(&self) -> PathBuf {
        self.layout().join(LINKS)
    }

    /// Pin of the link on one side of a device.
    pub fn link(&self, ifindex: u32, side: Side) -> PathBuf {
        self.links().join(link_name(ifindex, side))
    }
}

/// The file name of the pin of the link on a side of a device, in every layout.
pub(in crate::datapath) fn link_name(ifindex: u32, side: Side) -> String {
    format!("if{ifindex}_{}", side.name())
}

/// The folders with the links of layouts other than this binary's.
pub(in crate::datapath) fn links_of_other_layouts(
    paths: &PinPaths,
) -> Result<Vec<PathBuf>, PinError> {
    let layouts = layouts(paths)?.into_iter();
    let others = layouts.filter(|(version, _)| *version != LAYOUT);
    Ok(others.map(|(_, folder)| folder.join("links")).collect())
}

/// The layouts other than this binary's of which something is pinned, for the status and for cleanup.
///
/// # Errors
/// If the folder exists and can't be read.
pub fn other_layouts(paths: &PinPaths) -> Result<Vec<u32>, PinError> {
    let mut others: Vec<u32> = layouts(paths)?
        .into_iter()
        .map(|(version, _)| version)
        .filter(|version| *version != LAYOUT)
        .collect();
    others.sort_unstable();
    Ok(others)
}

/// All layouts of which something is pinned, with their folders.
pub(in crate::datapath) fn layouts(paths: &PinPaths) -> Result<Vec<(u32, PathBuf)>, PinError> {
    let folder = paths.folder();
    let failed = |error| PinError::new("read the folder", &folder, error);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if let Some(version) = entry.file_name().to_str().and_then(layout_version) {
            found.push((version, entry.path()));
        }
    }
    Ok(found)
}

/// The device and the side that the pin of a link is for.
pub(in crate::datapath) fn link_pin(file_name: &str) -> Option<(u32, Side)> {
    let (ifindex, side) = file_name.strip_prefix("if")?.split_once('_')?;
    Some((number(ifindex)?, Side::from_name(side)?))
}

fn layout_version(file_name: &str) -> Option<u32> {
    number(file_name.strip_prefix('v')?)
}

/// A number as this program writes it: no sign, no leading zero.
fn number(digits: &str) -> Option<u32> {
    let number: u32 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_below_the_layouts_folder_and_have_no_dot() {
        let paths = PinPaths::new("/sys/fs/bpf");
        let links = [Side::Ingress, Side::Egress].map(|side| paths.link(12, side));
        assert_eq!(
            paths.map("slots"),
            Path::new(&format!("/sys/fs/bpf/lb/v{LAYOUT}/slots"))
        );
        assert_eq!(links[0], paths.layout().join("links/if12_ingress"));
        assert_eq!(links[1], paths.layout().join("links/if12_egress"));
        assert!(!links[0].to_str().unwrap().contains('.'));
    }

    #[test]
    fn a_links_pin_names_its_device_and_side() {
        assert_eq!(link_pin("if12_egress"), Some((12, Side::Egress)));
        for other in [
            "if12",
            "if_egress",
            "12_egress",
            "if012_egress",
            "if12_up",
            "ifx_egress",
        ] {
            assert_eq!(link_pin(other), None, "{other}");
        }
    }

    #[test]
    fn only_our_own_folders_are_layouts() {
        assert_eq!(layout_version("v0"), Some(0));
        assert_eq!(layout_version("v17"), Some(17));
        for other in ["v", "v01", "v+1", "1", "version1", "v1x"] {
            assert_eq!(layout_version(other), None, "{other}");
        }
    }
}
