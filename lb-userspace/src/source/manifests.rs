//! Services, EndpointSlices and the own Node from a directory of manifests, followed while it runs: `*.yaml`, `*.yml` and
//! `*.json`, several documents a file. Other kinds of objects, hidden files and subdirectories are left alone.
//!
//! The directory says what there is, but an accident in it deletes nothing: a file that does not parse or cannot be read
//! keeps what it said before, a file that is being written is read when it is finished, and a directory that vanishes keeps
//! everything. Of a file that is broken from the start nobody knows what it defines: the list is complete when it is mended
//! or removed.

mod catalog;
mod document;
mod folder;
mod parse;
mod settle;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep_until};

use super::Batch;
use catalog::Catalog;
use settle::Settling;
use watch::FolderWatch;

/// How often a directory that is gone is looked for.
const RETRY: Duration = Duration::from_secs(1);

/// Why a directory of manifests cannot be followed.
#[derive(Debug, Error)]
pub enum ManifestError {
    /// The directory cannot be read.
    #[error(
        "manifests in {directory} cannot be read: {source}; create the directory or correct --manifests"
    )]
    Read {
        /// The directory.
        directory: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Changes of the directory cannot be seen.
    #[error(
        "changes of {directory} cannot be watched: {source}; raise fs.inotify.max_user_instances and \
         fs.inotify.max_user_watches"
    )]
    Watch {
        /// The directory.
        directory: PathBuf,
        /// Why not.
        source: notify::Error,
    },
}

/// Tells `events` of what the manifests in `directory` say, first as a whole and then every change, until nobody listens any
/// more. Of the Nodes only that named `node_name` counts.
///
/// # Errors
///
/// When the directory cannot be read or watched at the start; later both are told as problems and tried again.
pub async fn run(
    directory: &Path,
    node_name: &str,
    events: Sender<Batch>,
) -> Result<(), ManifestError> {
    // As the events of the watch name it, whatever becomes of the working directory.
    let directory = std::path::absolute(directory).map_err(|source| ManifestError::Read {
        directory: directory.to_owned(),
        source,
    })?;
    if let Err(source) = std::fs::read_dir(&directory) {
        return Err(ManifestError::Read { directory, source });
    }
    // Watched before it is read, or a change in between would be lost.
    let mut watch = FolderWatch::new(&directory)?;
    let first =
        folder::read(&directory, &BTreeSet::new()).map_err(|source| ManifestError::Read {
            directory: directory.clone(),
            source,
        })?;
    let mut catalog = Catalog::new(&directory, node_name);
    let mut batch = catalog.update(Ok(first));
    let mut settling = Settling::default();
    loop {
        if !batch.is_empty() && events.send(batch).await.is_err() {
            return Ok(());
        }
        if !wait(&mut watch, &mut settling, &events).await {
            return Ok(());
        }
        let unfinished = settling.take(Instant::now());
        watch.rearm();
        (catalog, batch) = read_again(catalog, directory.clone(), unfinished).await;
        if catalog.is_missing() || !watch.is_armed() {
            settling.look_again(Instant::now() + RETRY);
        }
    }
}

/// Waits until there is something to read; false when nobody listens any more.
async fn wait(watch: &mut FolderWatch, settling: &mut Settling, events: &Sender<Batch>) -> bool {
    loop {
        let due = settling.due();
        tokio::select! {
            change = watch.next() => settling.observe(change, Instant::now()),
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => return true,
            () = events.closed() => return false,
        }
    }
}

/// Reads the directory apart from the tasks of the runtime, for it may be slow.
async fn read_again(
    mut catalog: Catalog,
    directory: PathBuf,
    unfinished: BTreeSet<String>,
) -> (Catalog, Batch) {
    let read = move || {
        let batch = catalog.update(folder::read(&directory, &unfinished));
        (catalog, batch)
    };
    match tokio::task::spawn_blocking(read).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Blocking tasks are cancelled only when the runtime ends, and this task with them.
            Err(_) => std::future::pending().await,
        },
    }
}
