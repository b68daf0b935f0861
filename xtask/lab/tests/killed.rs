//! A process killed with SIGKILL leaves nothing: no name, no mount, no program, not even a daemon's grandchild; and a
//! kept lab stays until it is torn down. Each lab is another process, started from this program, since this one
//! must see the machine as it is.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Cgroup, Cni, Lab, Sandbox, wait_until};

const ROLE: &str = "LAB_TEST_ROLE";
const PREFIX: &str = "lab-selftest-";

fn main() -> Result<()> {
    match std::env::var(ROLE).as_deref() {
        Ok("private") => {
            Sandbox::enter()?;
            let group = Cgroup::create("held")?;
            group.run(hold)
        }
        Ok("kept") => {
            Sandbox::keep(PREFIX)?;
            hold()
        }
        Ok(other) => anyhow::bail!("unknown {ROLE} {other}"),
        // A harness of one's own is asked for its tests, too.
        Err(_) if std::env::args().any(|argument| argument == "--list") => {
            println!(
                "a_killed_lab_leaves_nothing: test\na_kept_lab_stays_until_it_is_torn_down: test"
            );
            Ok(())
        }
        Err(_) => {
            a_killed_lab_leaves_nothing()?;
            println!("test a_killed_lab_leaves_nothing ... ok");
            a_kept_lab_stays_until_it_is_torn_down()?;
            println!("test a_kept_lab_stays_until_it_is_torn_down ... ok");
            Ok(())
        }
    }
}

fn a_killed_lab_leaves_nothing() -> Result<()> {
    let before = machine()?;
    let (mut lab, namespaces) = start("private")?;
    ensure!(
        namespaces.len() >= 6,
        "the lab has namespaces: {namespaces:?}"
    );
    ensure!(
        processes_in(&namespaces).len() >= 4,
        "programs run in it: {:?}",
        processes_in(&namespaces)
    );
    ensure!(
        machine()? == before,
        "a private lab shows nowhere, even while it runs"
    );
    let group = group_of(lab.id())?;
    ensure!(group.join("held").is_dir(), "{} is used", group.display());
    lab.kill()?;
    lab.wait()?;
    wait_until("its control group to go", Duration::from_secs(10), || {
        !group.exists()
    })?;
    let gone = || processes_in(&namespaces).is_empty();
    wait_until(
        "the killed lab's programs to end",
        Duration::from_secs(5),
        gone,
    )?;
    ensure!(machine()? == before, "something remains");
    Ok(())
}

fn a_kept_lab_stays_until_it_is_torn_down() -> Result<()> {
    let before = machine()?;
    let outcome = (|| {
        let (mut lab, namespaces) = start("kept")?;
        lab.kill()?;
        lab.wait()?;
        let names = names()?;
        for part in ["switch", "outside", "node1", "node2", "pod-1", "pod-2"] {
            ensure!(
                names.contains(&format!("{PREFIX}{part}")),
                "{part} is missing in {names:?}"
            );
        }
        let alive = processes_in(&namespaces).len();
        ensure!(alive >= 3, "programs live on, {alive} do");
        let second = Sandbox::keep(PREFIX).map(drop);
        ensure!(
            second.is_err_and(|error| error.to_string().contains("tear it down")),
            "a second one is refused"
        );
        let torn = Sandbox::teardown(PREFIX)?;
        ensure!(
            (torn.namespaces.len(), torn.processes) == (6, alive),
            "{torn:?}"
        );
        ensure!(processes_in(&namespaces).is_empty());
        Ok(())
    })();
    // Whatever went wrong above, this machine is left as it was.
    Sandbox::teardown(PREFIX)?;
    outcome?;
    ensure!(machine()? == before, "something remains");
    Ok(())
}

/// The lab's side: makes a network with daemons in it, prints the inodes of its namespaces, and waits to be killed.
fn hold() -> Result<()> {
    let lab = Lab::builder().nodes(2).node_cni(2, Cni::Bridge).build()?;
    let pods = [lab.node(1).add_pod("pod-1")?, lab.node(2).add_pod("pod-2")?];
    for pod in &pods {
        // A program, a child of it, and a daemon that has left its session and parent.
        let script = "sleep 1000 & (setsid sleep 1000 &) ; echo ready; exec sleep 1000";
        let mut program = pod
            .netns
            .command("sh")
            .args(["-c", script])
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = program.take_stdout().context("stdout")?;
        BufReader::new(stdout).read_line(&mut String::new())?;
        program.detach();
    }
    let mut inodes = vec![lab.switch().inode()?, lab.outside().netns.inode()?];
    for netns in lab
        .nodes()
        .iter()
        .map(|node| &node.netns)
        .chain(pods.iter().map(|pod| &pod.netns))
    {
        inodes.push(netns.inode()?);
    }
    println!(
        "{}",
        inodes
            .iter()
            .map(u64::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    );
    loop {
        std::thread::park();
    }
}

fn start(role: &str) -> Result<(std::process::Child, BTreeSet<u64>)> {
    let mut child = Command::new(std::env::current_exe()?)
        .env(ROLE, role)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("stdout")?).read_line(&mut line)?;
    let inodes: BTreeSet<u64> = line.split_whitespace().flat_map(str::parse).collect();
    if inodes.is_empty() {
        let _ = child.kill();
        child.wait()?;
        anyhow::bail!("the {role} lab did not come up: {line:?}");
    }
    Ok((child, inodes))
}

/// The control group (cgroup v2) of a process.
fn group_of(process: u32) -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mount = mounts
        .lines()
        .find(|line| line.split(' ').nth(2) == Some("cgroup2"))
        .and_then(|line| line.split(' ').nth(1));
    let groups = fs::read_to_string(format!("/proc/{process}/cgroup"))?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    Ok(Path::new(mount.context("no cgroup2")?).join(group.context("no group")?))
}

/// What a lab could leave on the machine: names of namespaces, mounts, devices, directories.
fn machine() -> Result<(BTreeSet<String>, String, BTreeSet<String>, bool)> {
    let devices = fs::read_to_string("/proc/net/dev")?;
    let devices = devices
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name.trim().to_owned());
    let directories =
        fs::metadata("/run/lb-lab").is_ok() || fs::metadata("/run/lb-lab-lab-selftest").is_ok();
    Ok((
        names()?,
        fs::read_to_string("/proc/self/mounts")?,
        devices.collect(),
        directories,
    ))
}

/// As `ip netns list` shows them.
fn names() -> Result<BTreeSet<String>> {
    let output = Command::new("ip")
        .args(["netns", "list"])
        .output()
        .context("ip")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect())
}

fn processes_in(namespaces: &BTreeSet<u64>) -> Vec<String> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let inside = |name: &String| {
        fs::metadata(format!("/proc/{name}/ns/net"))
            .is_ok_and(|meta| namespaces.contains(&meta.ino()))
    };
    let names = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    names
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .filter(inside)
        .collect()
}
