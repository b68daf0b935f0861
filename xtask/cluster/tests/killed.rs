//! A control plane dies with its process, even with SIGKILL, and a kept one stays until it is taken down. Each is another
//! process, since this one must see the machine as it is.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cluster::{ControlPlane, Options};
use lab::{Sandbox, wait_until};

const ROLE: &str = "CLUSTER_TEST_ROLE";
const PREFIX: &str = "cluster-selftest-";
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> Result<()> {
    if std::env::var_os(ROLE).is_some() {
        return hold();
    }
    let tests = [
        (
            "a_killed_test_leaves_nothing_of_its_control_plane",
            killed as fn() -> Result<()>,
        ),
        ("a_kept_cluster_stays_until_it_is_taken_down", kept),
    ];
    // A harness of one's own is asked for its tests, too.
    let list = std::env::args().any(|argument| argument == "--list");
    for (name, test) in tests {
        if list {
            println!("{name}: test");
        } else {
            test().with_context(|| format!("{name} FAILED"))?;
            println!("test {name} ... ok");
        }
    }
    Ok(())
}

fn killed() -> Result<()> {
    let mut child = Command::new(std::env::current_exe()?)
        .env(ROLE, "hold")
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("stdout")?).read_line(&mut line)?;
    let namespace = line
        .trim()
        .parse()
        .context("the control plane did not come up");
    let programs = namespace.as_ref().map_or(0, |&inode| inside(inode).len());
    // Before anything can fail: this is what the test is about.
    child.kill()?;
    child.wait()?;
    let namespace = namespace?;
    ensure!(programs == 4, "etcd and three more ran, not {programs}");
    wait_until("its programs to end", PATIENCE, || {
        inside(namespace).is_empty()
    })
}

fn kept() -> Result<()> {
    let outcome = (|| {
        let up = || {
            Command::new(env!("CARGO_BIN_EXE_cluster"))
                .args(["up", PREFIX])
                .output()
        };
        let said = up()?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        ensure!(said.contains("export KUBECONFIG="), "{said}");
        let namespace = fs::metadata(format!("/run/netns/{PREFIX}control-plane"))?.ino();
        ensure!(inside(namespace).len() == 4, "{:?}", inside(namespace));
        ensure!(!up()?.status.success(), "a second one is refused");
        ensure!(
            inside(namespace).len() == 4,
            "and does no harm to the first"
        );
        let torn = Sandbox::teardown(PREFIX)?;
        // The keeper is the fifth. It has a namespace, as have two nodes, their switch and the host outside.
        ensure!(
            (torn.namespaces.len(), torn.processes) == (6, 5),
            "{torn:?}"
        );
        ensure!(inside(namespace).is_empty());
        Ok(())
    })();
    // Whatever went wrong above, this machine is left as it was.
    Sandbox::teardown(PREFIX)?;
    outcome
}

/// The killed one's side: prints the inode of the control plane's namespace, and waits.
fn hold() -> Result<()> {
    Sandbox::enter()?;
    let control_plane = ControlPlane::start(Options::default())?;
    println!("{}", control_plane.netns().inode()?);
    loop {
        std::thread::park();
    }
}

/// The processes in a namespace, by their ids.
fn inside(namespace: u64) -> BTreeSet<String> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names
        .filter(|name| {
            fs::metadata(format!("/proc/{name}/ns/net")).is_ok_and(|meta| meta.ino() == namespace)
        })
        .collect()
}
