//! One process at a time works with the pins of a BPF file system: an agent, or a cleanup.
//!
//! The lock is flock(2) on the folder of everything that is ours, as a BPF file system has no plain files. It ends with
//! its process, however that ends. A cleanup removes the folder as the last thing that it does under the lock. Who had
//! opened the folder before that may lock what is no longer there, so a lock counts only while the path still leads to
//! what was locked.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use thiserror::Error;

use super::PinPaths;

/// How long a lock is tried: [`is_held`] takes it for a moment, which must keep no agent from starting.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long to wait between two tries.
const PAUSE: Duration = Duration::from_millis(10);

/// The lock could not be had.
#[derive(Debug, Error)]
pub enum LockError {
    /// Another process has it.
    #[error(
        "an agent is running{process} and works with {folder}: stop it first",
        process = .process.map(|id| format!(" (process {id})")).unwrap_or_default(),
        folder = .folder.display()
    )]
    Held {
        /// The folder.
        folder: PathBuf,
        /// Who has it; none where that process can't be seen from here.
        process: Option<u32>,
    },
    /// There is no folder and none can be made, so nobody has the lock either.
    #[error("cannot make the folder {folder}", folder = .folder.display())]
    NoFolder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder can't be opened or locked.
    #[error("cannot lock the folder {folder}", folder = .folder.display())]
    Refused {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The right to work with the pins, until it is dropped or the process ends.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
    made_folder: bool,
}

impl Lock {
    /// Takes the lock, and makes the folder if there is none.
    ///
    /// # Errors
    /// If another process has it, or the folder can't be made, opened or locked.
    pub fn take(paths: &PinPaths) -> Result<Self, LockError> {
        Self::take_pausing(paths, || thread::sleep(PAUSE))
    }

    /// The same, with what is done between two tries.
    fn take_pausing(paths: &PinPaths, mut pause: impl FnMut()) -> Result<Self, LockError> {
        let folder = paths.folder();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let made_folder = make(&folder)?;
            match try_lock(&folder, FlockArg::LockExclusiveNonblock)? {
                Tried::Locked(file) => {
                    return Ok(Self {
                        _file: file,
                        made_folder,
                    });
                }
                Tried::Gone => {}
                Tried::Held(file) if Instant::now() > deadline => {
                    let process = file.metadata().ok().and_then(|of| holder(&of));
                    return Err(LockError::Held { folder, process });
                }
                Tried::Held(_) => pause(),
            }
        }
    }

    /// Whether there was no folder before.
    pub(super) fn made_folder(&self) -> bool {
        self.made_folder
    }
}

/// Whether an agent runs, or a cleanup. It holds the lock for a moment, together with others that ask the same.
///
/// # Errors
/// If the folder is there and can't be opened or locked.
pub fn is_held(paths: &PinPaths) -> Result<bool, LockError> {
    match try_lock(&paths.folder(), FlockArg::LockSharedNonblock)? {
        Tried::Held(_) => Ok(true),
        Tried::Locked(_) | Tried::Gone => Ok(false),
    }
}

enum Tried {
    Locked(Flock<File>),
    /// Another process has it.
    Held(File),
    /// The folder is gone, or another one is in its place.
    Gone,
}

fn try_lock(folder: &Path, how: FlockArg) -> Result<Tried, LockError> {
    let refused = |source| LockError::Refused {
        folder: folder.into(),
        source,
    };
    let file = match File::open(folder) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Tried::Gone),
        Err(error) => return Err(refused(error)),
    };
    let file = match Flock::lock(file, how) {
        Ok(file) => file,
        Err((file, Errno::EWOULDBLOCK)) => return Ok(Tried::Held(file)),
        Err((_, error)) => return Err(refused(error.into())),
    };
    if leads_to(folder, &file).map_err(refused)? {
        Ok(Tried::Locked(file))
    } else {
        Ok(Tried::Gone)
    }
}

/// Whether a path leads to an open file. Its inode's number is not used again while it is open.
fn leads_to(path: &Path, file: &File) -> io::Result<bool> {
    let id = |of: fs::Metadata| (of.dev(), of.ino());
    match fs::metadata(path) {
        Ok(there) => Ok(id(there) == id(file.metadata()?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether it was not there before.
fn make(folder: &Path) -> Result<bool, LockError> {
    match fs::create_dir(folder) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(source) => Err(LockError::NoFolder {
            folder: folder.into(),
            source,
        }),
    }
}

/// The process that has locked a file for itself alone.
fn holder(file: &fs::Metadata) -> Option<u32> {
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let (major, minor) = (libc::major(file.dev()), libc::minor(file.dev()));
    holder_in(&locks, &format!("{major:02x}:{minor:02x}:{}", file.ino()))
}

/// Finds it in `/proc/locks`: `1: FLOCK  ADVISORY  WRITE 4711 00:1b:42 0 EOF` (`proc_locks(5)`). Processes that this
/// process can't see are left out there.
fn holder_in(locks: &str, file: &str) -> Option<u32> {
    locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [_, "FLOCK", _, "WRITE", process, of, ..] if of == file => process.parse().ok(),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, PinPaths) {
        let folder = tempfile::tempdir().unwrap();
        let paths = PinPaths::new(folder.path());
        (folder, paths)
    }

    #[test]
    fn the_second_who_wants_it_is_told_who_has_it_and_gets_it_afterwards() {
        let (_folder, paths) = folder();
        assert!(!is_held(&paths).unwrap(), "there is no folder");
        let first = Lock::take(&paths).unwrap();
        assert!(is_held(&paths).unwrap());
        assert_eq!(
            Lock::take(&paths).unwrap_err().to_string(),
            format!(
                "an agent is running (process {}) and works with {}: stop it first",
                std::process::id(),
                paths.folder().display()
            )
        );
        drop(first);
        assert!(!is_held(&paths).unwrap());
        Lock::take(&paths).unwrap();
    }

    #[test]
    fn who_asks_whether_it_is_held_keeps_nobody_from_taking_it() {
        let (_folder, paths) = folder();
        fs::create_dir(paths.folder()).unwrap();
        let mut asks = Some(try_lock(&paths.folder(), FlockArg::LockSharedNonblock).unwrap());
        let taken = Lock::take_pausing(&paths, || drop(asks.take()));
        assert!(asks.is_none(), "it was held at the first try");
        taken.unwrap();
    }

    #[test]
    fn the_lock_on_a_folder_that_is_no_longer_at_the_path_counts_for_nothing() {
        let (_folder, paths) = folder();
        let removes = Lock::take(&paths).unwrap();
        let opened_before = File::open(paths.folder()).unwrap();
        fs::remove_dir(paths.folder()).unwrap();
        assert!(!leads_to(&paths.folder(), &opened_before).unwrap());
        let next = Lock::take(&paths).unwrap();
        assert!(next.made_folder());
        assert!(!leads_to(&paths.folder(), &opened_before).unwrap());
        drop(removes);
        assert!(is_held(&paths).unwrap(), "the next one still has it");
    }

    #[test]
    fn the_holder_is_the_one_that_has_the_file_for_itself_alone() {
        let locks = "\
1: FLOCK  ADVISORY  WRITE 10 00:1b:7 0 EOF
2: POSIX  ADVISORY  WRITE 11 00:1b:42 0 EOF
3: FLOCK  ADVISORY  READ  12 00:1b:42 0 EOF
4: FLOCK  ADVISORY  WRITE 13 00:1b:42 0 EOF
4: -> FLOCK  ADVISORY  WRITE 14 00:1b:43 0 EOF
";
        assert_eq!(holder_in(locks, "00:1b:42"), Some(13));
        assert_eq!(holder_in(locks, "00:1b:43"), None);
    }
}
