//! The source on a real directory: what editors, tools and accidents do to files.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;

use tempfile::TempDir;
use tokio::sync::mpsc::{self, Receiver};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::model::{Index, ObjectName, SourceEvent};

/// Longest wait for what must happen.
const LIMIT: Duration = Duration::from_secs(10);
/// Wait for what must not happen: many times what it takes to notice a change.
const UNDISTURBED: Duration = Duration::from_millis(300);

fn service(host: u8) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: a}}\nspec: {{clusterIP: 10.96.0.{host}, ports: [{{port: 80}}]}}\n"
    )
}

/// A directory that is followed, and what has been told of it.
struct Followed {
    folder: TempDir,
    events: Receiver<Batch>,
    task: JoinHandle<Result<(), ManifestError>>,
    index: Index,
    problems: Vec<String>,
}

impl Followed {
    /// A directory with one manifest `web.yaml`, a Service `a` with the ClusterIP 10.96.0.1.
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("manifests")).expect("a folder");
        fs::write(folder.path().join("manifests/web.yaml"), service(1)).expect("written");
        let (sender, events) = mpsc::channel(16);
        let directory = folder.path().join("manifests");
        let task = tokio::spawn(async move { run(&directory, "one", sender).await });
        let mut followed = Self {
            folder,
            events,
            task,
            index: Index::new("one"),
            problems: Vec::new(),
        };
        followed.until_address(Some("10.96.0.1")).await;
        assert!(followed.index.is_synced());
        followed
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("manifests").join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("written");
    }

    fn address(&self) -> Option<String> {
        let ports = self.index.resolve(&ObjectName::new("default", "a"));
        ports.first().map(|port| port.frontends[0].ip().to_string())
    }

    async fn take(&mut self) {
        let batch = timeout(LIMIT, self.events.recv()).await;
        for event in batch.expect("in time").expect("the source runs") {
            if let SourceEvent::Problems { messages, .. } = &event {
                self.problems.clone_from(messages);
            }
            self.index.apply(event);
        }
    }

    async fn until_address(&mut self, address: Option<&str>) {
        while self.address().as_deref() != address {
            self.take().await;
        }
    }

    async fn until_problem(&mut self, words: &str) {
        while !self.problems.iter().any(|problem| problem.contains(words)) {
            self.take().await;
        }
    }

    async fn undisturbed(&mut self) {
        assert!(
            timeout(UNDISTURBED, self.events.recv()).await.is_err(),
            "something was told"
        );
    }
}

#[tokio::test]
async fn an_edit_in_place_is_seen() {
    let mut followed = Followed::new().await;
    followed.write("web.yaml", &service(2));
    followed.until_address(Some("10.96.0.2")).await;
    fs::remove_file(followed.path("web.yaml")).expect("removed");
    followed.until_address(None).await;
}

#[tokio::test]
async fn an_editor_that_replaces_the_file_removes_nothing() {
    let mut followed = Followed::new().await;
    followed.write(".web.yaml.swp", "junk: [");
    followed.write("web.yaml~", "junk: [");
    followed.undisturbed().await;
    fs::write(followed.path("web.tmp"), service(3)).expect("written");
    fs::rename(followed.path("web.tmp"), followed.path("web.yaml")).expect("renamed");
    followed.take().await;
    assert_eq!(followed.address().as_deref(), Some("10.96.0.3"));
    // Others move the old file away and write a new one.
    fs::rename(followed.path("web.yaml"), followed.path("web.yaml~")).expect("renamed");
    followed.write("web.yaml", &service(4));
    followed.take().await;
    assert_eq!(followed.address().as_deref(), Some("10.96.0.4"));
}

#[tokio::test]
async fn a_slow_writer_removes_nothing_and_holds_nobody_up() {
    let mut followed = Followed::new().await;
    let mut file = fs::File::create(followed.path("web.yaml")).expect("truncated");
    followed.undisturbed().await;
    file.write_all(b"apiVersion: v1\n").expect("written");
    followed.write("other.yaml", &service(9).replace("name: a", "name: b"));
    followed.take().await;
    assert_eq!(followed.index.services().count(), 2);
    assert_eq!(followed.address().as_deref(), Some("10.96.0.1"));
    file.write_all(service(5).split_once('\n').expect("lines").1.as_bytes())
        .expect("written");
    drop(file);
    followed.take().await;
    assert_eq!(followed.address().as_deref(), Some("10.96.0.5"));
}

#[tokio::test]
async fn a_broken_edit_is_told_and_removes_nothing() {
    let mut followed = Followed::new().await;
    followed.write("web.yaml", "kind: Service\nspec: [\n");
    followed
        .until_problem("file web.yaml, document 1: line ")
        .await;
    assert_eq!(followed.address().as_deref(), Some("10.96.0.1"));
    followed.write("web.yaml", &service(6));
    followed.until_address(Some("10.96.0.6")).await;
    assert_eq!(followed.problems, [""; 0]);
    fs::write(followed.path("web.yaml"), [0xff, 0xfe, 0xfd]).expect("written");
    followed.until_problem("file web.yaml cannot be read").await;
    assert_eq!(followed.address().as_deref(), Some("10.96.0.6"));
}

#[tokio::test]
async fn what_is_no_manifest_is_left_alone() {
    let mut followed = Followed::new().await;
    fs::create_dir(followed.path("folder.yaml")).expect("made");
    fs::create_dir(followed.path("nested")).expect("made");
    fs::write(followed.path("nested/b.yaml"), service(7)).expect("written");
    symlink("/nonexistent", followed.path("dangling.yaml")).expect("linked");
    followed.write("notes.txt", "kind: [");
    nix::unistd::mkfifo(&followed.path("pipe.yaml"), nix::sys::stat::Mode::S_IRWXU)
        .expect("a pipe");
    followed.undisturbed().await;
    followed.write("web.yaml", &service(8));
    followed.until_address(Some("10.96.0.8")).await;
}

#[tokio::test]
async fn a_directory_that_vanishes_keeps_everything_until_it_comes_back() {
    let mut followed = Followed::new().await;
    let directory = followed.folder.path().join("manifests");
    fs::rename(&directory, followed.folder.path().join("gone")).expect("renamed");
    followed.until_problem("cannot be read: ").await;
    assert_eq!(followed.address().as_deref(), Some("10.96.0.1"));
    fs::create_dir(&directory).expect("made");
    followed.write("web.yaml", &service(2));
    followed.until_address(Some("10.96.0.2")).await;
    fs::remove_dir_all(&directory).expect("removed");
    followed.until_problem("cannot be read: ").await;
    fs::create_dir(&directory).expect("made");
    followed.write("web.yaml", &service(3));
    followed.until_address(Some("10.96.0.3")).await;
    followed.write("web.yaml", &service(4));
    followed.until_address(Some("10.96.0.4")).await;
}

#[tokio::test]
async fn a_directory_that_is_swapped_as_a_whole_is_read_and_followed() {
    let mut followed = Followed::new().await;
    let (now, old, new) = ["manifests", "old", "new"]
        .map(|name| followed.folder.path().join(name))
        .into();
    fs::create_dir(&new).expect("made");
    fs::write(new.join("web.yaml"), service(4)).expect("written");
    fs::rename(&now, &old).expect("renamed");
    fs::rename(&new, &now).expect("renamed");
    followed.until_address(Some("10.96.0.4")).await;
    followed.write("web.yaml", &service(5));
    followed.until_address(Some("10.96.0.5")).await;
    fs::write(old.join("web.yaml"), service(6)).expect("written");
    followed.undisturbed().await;
}

#[tokio::test]
async fn a_mounted_config_map_is_followed_by_its_link() {
    let mut followed = Followed::new().await;
    for (version, host) in [("..1", 2), ("..2", 3)] {
        fs::create_dir(followed.path(version)).expect("made");
        fs::write(followed.path(version).join("web.yaml"), service(host)).expect("written");
    }
    symlink("..1", followed.path("..data")).expect("linked");
    fs::remove_file(followed.path("web.yaml")).expect("removed");
    symlink("..data/web.yaml", followed.path("web.yaml")).expect("linked");
    followed.until_address(Some("10.96.0.2")).await;
    symlink("..2", followed.path("..data_tmp")).expect("linked");
    fs::rename(followed.path("..data_tmp"), followed.path("..data")).expect("renamed");
    followed.until_address(Some("10.96.0.3")).await;
}

#[tokio::test]
async fn a_directory_that_is_not_there_at_the_start_is_an_error_with_its_remedy() {
    let (sender, _events) = mpsc::channel(1);
    let error = run(Path::new("/nonexistent/manifests"), "one", sender)
        .await
        .expect_err("no directory");
    assert_eq!(
        error.to_string(),
        "manifests in /nonexistent/manifests cannot be read: No such file or directory (os error 2); create the directory \
         or correct --manifests"
    );
}

#[tokio::test]
async fn the_source_ends_when_nobody_listens() {
    let followed = Followed::new().await;
    drop(followed.events);
    timeout(LIMIT, followed.task)
        .await
        .expect("in time")
        .expect("no panic")
        .expect("no error");
}
