//! Writes archives of the format "newc", which the kernel unpacks as its first file system
//! (`Documentation/driver-api/early-userspace/buffer-format.rst`).

use std::{
    collections::BTreeSet,
    io::{self, Write},
    path::{Component, Path},
};

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;

/// An archive that is being written. Parent folders are made as they are needed.
pub(super) struct Archive<W> {
    out: W,
    number: u32,
    folders: BTreeSet<String>,
}

impl<W: Write> Archive<W> {
    pub(super) fn new(out: W) -> Self {
        Self {
            out,
            number: 0,
            folders: BTreeSet::new(),
        }
    }

    /// A file, which everybody may read and execute.
    pub(super) fn file(&mut self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.parents(path)?;
        self.entry(&name(path), PROGRAM, content)
    }

    /// A symbolic link.
    pub(super) fn link(&mut self, path: &Path, to: &str) -> io::Result<()> {
        self.parents(path)?;
        self.entry(&name(path), LINK, to.as_bytes())
    }

    /// A folder, unless it is there.
    pub(super) fn folder(&mut self, path: &Path) -> io::Result<()> {
        self.parents(path)?;
        let name = name(path);
        if !name.is_empty() && self.folders.insert(name.clone()) {
            self.entry(&name, DIRECTORY, &[])?;
        }
        Ok(())
    }

    /// Ends the archive.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.entry("TRAILER!!!", 0, &[])?;
        self.out.flush()
    }

    fn parents(&mut self, path: &Path) -> io::Result<()> {
        match path.parent() {
            Some(parent) => self.folder(parent),
            None => Ok(()),
        }
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        let len = u32::try_from(content.len()).map_err(io::Error::other)?;
        self.number += 1;
        // inode, mode, owner, group, links, time, size, device (2), the file's own device (2), length of the name, checksum
        let fields = [
            self.number,
            mode,
            0,
            0,
            1,
            0,
            len,
            0,
            0,
            0,
            0,
            name.len() as u32 + 1,
            0,
        ];
        self.out.write_all(b"070701")?;
        for field in fields {
            write!(self.out, "{field:08x}")?;
        }
        self.out.write_all(name.as_bytes())?;
        self.out.write_all(b"\0")?;
        self.pad(6 + fields.len() * 8 + name.len() + 1)?;
        self.out.write_all(content)?;
        self.pad(content.len())
    }

    /// Each part ends at a multiple of four.
    fn pad(&mut self, written: usize) -> io::Result<()> {
        self.out.write_all(&[0; 3][..written.wrapping_neg() % 4])
    }
}

/// A path as archives have it: without the root.
fn name(path: &Path) -> String {
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(part) => Some(part.to_string_lossy()),
        _ => None,
    });
    parts.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_comes_after_its_folders_and_everything_is_aligned() {
        let mut octets = Vec::new();
        let mut archive = Archive::new(&mut octets);
        archive.file(Path::new("/a/b/c"), b"12345").unwrap();
        archive.link(Path::new("/a/l"), "b/c").unwrap();
        archive.finish().unwrap();
        assert_eq!(octets.len() % 4, 0);
        let heads: Vec<usize> = octets
            .windows(6)
            .enumerate()
            .filter(|(_, w)| w == b"070701")
            .map(|(at, _)| at)
            .collect();
        assert!(heads.iter().all(|at| at % 4 == 0), "{heads:?}");
        let named = |at: &usize| {
            let name = &octets[at + 110..];
            String::from_utf8_lossy(&name[..name.iter().position(|&c| c == 0).unwrap()])
                .into_owned()
        };
        let names: Vec<String> = heads.iter().map(named).collect();
        assert_eq!(names, ["a", "a/b", "a/b/c", "a/l", "TRAILER!!!"]);
        assert!(octets.windows(5).any(|window| window == b"12345"));
    }
}
