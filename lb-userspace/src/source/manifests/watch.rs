//! Changes of a directory by inotify, also when the directory itself goes and comes back. Reads nothing.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tracing::warn;

use super::ManifestError;
use super::folder::format_of;
use super::settle::Change;

/// Watches a directory and its parent, from where it is seen to go and to come back.
pub(super) struct FolderWatch {
    directory: PathBuf,
    watcher: RecommendedWatcher,
    events: mpsc::UnboundedReceiver<notify::Result<Event>>,
    /// Device and inode of the directory that is watched.
    armed: Option<(u64, u64)>,
}

impl FolderWatch {
    /// Watches the directory of this absolute path, which must exist.
    pub(super) fn new(directory: &Path) -> Result<Self, ManifestError> {
        let failed = |source| ManifestError::Watch {
            directory: directory.to_owned(),
            source,
        };
        let (sender, events) = mpsc::unbounded_channel();
        let watcher = notify::recommended_watcher(move |event| {
            // Nobody listens once the watch is dropped, and then nobody cares.
            let _ = sender.send(event);
        })
        .map_err(failed)?;
        let mut watch = Self {
            directory: directory.to_owned(),
            watcher,
            events,
            armed: None,
        };
        watch.arm().map_err(failed)?;
        if let Some(parent) = directory.parent()
            && let Err(error) = watch.watcher.watch(parent, RecursiveMode::NonRecursive)
        {
            warn!(
                directory = %parent.display(), %error,
                "this directory cannot be watched: if the manifests in it are replaced as a whole, it may go unseen"
            );
        }
        Ok(watch)
    }

    /// The next change that is worth a look.
    pub(super) async fn next(&mut self) -> Change {
        loop {
            match self.events.recv().await {
                Some(Ok(event)) => {
                    if let Some(change) = self.change(&event) {
                        return change;
                    }
                }
                Some(Err(error)) => {
                    warn!(directory = %self.directory.display(), %error, "changes may have been missed: reading all manifests again");
                    return Change::Unknown;
                }
                // The watcher holds the sender as long as it lives, and it lives here.
                None => std::future::pending().await,
            }
        }
    }

    /// Watches the directory that now has the path, if it is another one than before.
    pub(super) fn rearm(&mut self) {
        if identity(&self.directory).is_some_and(|identity| Some(identity) == self.armed) {
            return;
        }
        if let Err(error) = self.arm() {
            let gone = matches!(&error.kind, notify::ErrorKind::PathNotFound);
            if !gone {
                warn!(directory = %self.directory.display(), %error, "changes cannot be watched: looking again every second");
            }
        }
    }

    /// Changes of the directory are seen.
    pub(super) fn is_armed(&self) -> bool {
        self.armed.is_some()
    }

    fn arm(&mut self) -> notify::Result<()> {
        self.armed = None;
        // Fails where the kernel has dropped the watch with its directory.
        let _ = self.watcher.unwatch(&self.directory);
        let identity = identity(&self.directory);
        self.watcher
            .watch(&self.directory, RecursiveMode::NonRecursive)?;
        self.armed = identity;
        Ok(())
    }

    fn change(&mut self, event: &Event) -> Option<Change> {
        if event.need_rescan() {
            return Some(Change::Unknown);
        }
        let finished = match event.kind {
            EventKind::Modify(ModifyKind::Data(_)) => false,
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
            EventKind::Access(_) => return None,
            _ => true,
        };
        if event.paths.contains(&self.directory) {
            // The inode number of a directory that went may be that of the one which comes.
            if !matches!(event.kind, EventKind::Modify(ModifyKind::Metadata(_))) {
                self.armed = None;
            }
            return Some(Change::Unknown);
        }
        let name = event
            .paths
            .iter()
            .filter(|path| path.parent() == Some(&self.directory))
            .find_map(|path| path.file_name()?.to_str())?;
        Some(match (format_of(name).is_some(), finished) {
            (true, false) => Change::Writing(name.to_owned()),
            (true, true) if event.paths.len() == 1 => Change::Finished(name.to_owned()),
            _ => Change::Unknown,
        })
    }
}

fn identity(directory: &Path) -> Option<(u64, u64)> {
    let metadata = fs::metadata(directory).ok()?;
    Some((metadata.dev(), metadata.ino()))
}
