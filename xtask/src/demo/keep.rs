//! `--keep` and `--down`: the demonstration left up for looking around, and its removal. What is kept is in the machine's
//! own `/run` and `/etc/netns`, under names that begin with the demonstration's prefix.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lab::{Sandbox, wait_for};
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use super::cluster::{Cluster, PREFIX};
use super::shell::Dns;
use super::story;

/// Where `ip netns exec NAME` looks for files to show instead of those in /etc.
const NETNS_FILES: &str = "/etc/netns";
const SIGNALS: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Fails while a kept demonstration is up: better now than after the build.
///
/// # Errors
/// When one is up.
pub fn refuse_second() -> Result<()> {
    let up = fs::read_dir("/run/netns")
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX));
    ensure!(
        !up,
        "a kept demonstration is up already: take it down with `cargo xtask demo --down`"
    );
    Ok(())
}

/// Runs the demonstration in a child that stays in the machine's own namespaces, and removes what it has made if it is
/// interrupted.
///
/// # Errors
/// When the child fails or is interrupted.
pub fn supervise() -> Result<()> {
    for signal in SIGNALS {
        note(signal)?;
    }
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut child = Command::new(program)
        .args(["demo", "--kept-by-parent"])
        .spawn()?;
    let status = wait(&mut child)?;
    match status.code() {
        Some(0) => Ok(()),
        // It has said why, and cleared away or not as it saw fit.
        Some(1) => bail!("the demonstration failed, see above"),
        _ => {
            take_down()?;
            bail!("interrupted ({status})")
        }
    }
}

/// The child's part: tells the story, says how to look around, and leaves everything up.
///
/// # Errors
/// When the story could not be told, then after removing everything; or when a claim did not hold.
pub fn tell_and_stay(lb: &Path) -> Result<()> {
    Sandbox::keep(PREFIX)?;
    let told = story::tell(lb).and_then(|(cluster, verdict)| {
        write_netns_files(&cluster)?;
        Ok((cluster, verdict))
    });
    match told {
        Ok((cluster, verdict)) => {
            println!("\n{}", look_around(&cluster, lb)?);
            verdict.map(|verdict| println!("\n{verdict}"))
        }
        Err(error) => {
            take_down()?;
            Err(error)
        }
    }
}

/// Removes a kept demonstration, of this process or of an earlier one.
///
/// # Errors
/// When something does not go away.
pub fn take_down() -> Result<()> {
    for folder in netns_files()? {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    // Only an empty one goes.
    let _ = fs::remove_dir(NETNS_FILES);
    let torn = Sandbox::teardown(PREFIX)?;
    if torn.namespaces.is_empty() {
        println!("no kept demonstration is up");
    } else {
        println!(
            "took down {} namespaces and {} processes",
            torn.namespaces.len(),
            torn.processes
        );
    }
    Ok(())
}

fn look_around(cluster: &Cluster, lb: &Path) -> Result<String> {
    let agent = &cluster.agents[0];
    let front_end = cluster.front_end.netns.name();
    let backend = cluster.pod("backend-1")?.netns.name();
    let bpffs = agent.bpffs().display();
    let lb = lb.display();
    let pins = agent.pins()?;
    let pins = pins.display();
    let manifests = cluster.manifests.directory().display();
    let logs: Vec<String> = cluster
        .agents
        .iter()
        .map(|agent| agent.log().display().to_string())
        .collect();
    let logs = logs.join(" ");
    Ok(format!(
        "The demonstration stays up. To look around, from any shell, as root:

  ip netns exec {front_end} curl http://backend:80
  ip netns exec {front_end} getent ahosts backend
  ip netns exec {backend} redis-cli -h redis PING
  ip netns exec {backend} mariadb -h mysql -uapp -psecret -e 'SELECT * FROM shop.orders'

  {lb} --bpffs {bpffs} service list
  {lb} --bpffs {bpffs} backend list
  {lb} --bpffs {bpffs} conntrack list -o json
  bpftool map dump pinned {pins}/frontends_v4
  {lb} --bpffs {bpffs} status

  tail -f {logs}
  ls {manifests}      (the agents follow every change here)

To take it down: cargo xtask demo --down"
    ))
}

/// So that `ip netns exec` shows each pod the cluster DNS.
fn write_netns_files(cluster: &Cluster) -> Result<()> {
    let behind = cluster.workloads.iter().map(|workload| &workload.pod);
    for pod in behind.chain([&cluster.front_end]) {
        let folder = Path::new(NETNS_FILES).join(pod.netns.name());
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        for (name, text) in Dns::cluster().files() {
            let path = folder.join(name);
            fs::write(&path, text).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

fn netns_files() -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(NETNS_FILES) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).context(NETNS_FILES),
    };
    let mut folders = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            folders.push(entry.path());
        }
    }
    Ok(folders)
}

/// A signal to this process alone ends the child as well; one to the whole group has reached it already.
fn wait(child: &mut Child) -> Result<ExitStatus> {
    const LONG: Duration = Duration::from_secs(3600);
    wait_for("the demonstration to end", LONG, || {
        if INTERRUPTED.load(Ordering::Relaxed) {
            // Fails only when it has ended by itself.
            let _ = child.kill();
        }
        child.try_wait().transpose()
    })?
    .context("cannot wait for the demonstration")
}

/// Lets this process live through a signal. A handler and not "ignore", since the child would inherit the latter.
fn note(signal: Signal) -> Result<()> {
    extern "C" fn note(_: libc::c_int) {
        INTERRUPTED.store(true, Ordering::Relaxed);
    }
    let handler = SigHandler::Handler(note);
    let action = SigAction::new(handler, SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler stores to a lock-free atomic and nothing else, which is safe at any point of the program.
    unsafe { sigaction(signal, &action) }
        .map(drop)
        .with_context(|| format!("cannot handle {signal}"))
}
