//! A cluster that stays up after the command that started it, and the process that stays with it and holds what are
//! threads and not programs. Its names are in the machine's own `/run`, its traffic is in namespaces alone. What takes it
//! down, this process included, is [`Sandbox::teardown`].

use std::convert::Infallible;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use lab::{Lab, Netns, Sandbox};

use crate::binaries::{self, Program};
use crate::control_plane::{ControlPlane, Options};
use crate::kubelet::Kubelet;
use crate::progress::say;

/// A node in each.
const ZONES: [&str; 2] = ["a", "b"];
/// The keeper's last line to whoever started it.
const UP: &str = "up";

/// Starts a cluster that stays up, and says how to use it. The names of its namespaces begin with `prefix`.
///
/// # Errors
/// Without root, without the programs, when one is up already, or when it does not come up; then nothing of it stays.
pub fn up(prefix: &str) -> Result<()> {
    binaries::prepare()?;
    let own = std::env::current_exe().context("cannot find this program")?;
    let mut keeper = Command::new(own)
        .args(["keep", prefix])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let progress = keeper.stderr.take().context("stderr of the keeper")?;
    for line in BufReader::new(progress).lines() {
        match line?.as_str() {
            UP => return Ok(()),
            line => println!("{line}"),
        }
    }
    let status = keeper.wait()?;
    bail!("the cluster did not come up ({status})");
}

/// The process that stays: starts everything, closes stderr, and stays until [`Sandbox::teardown`] kills it. To be called on the first
/// thread, before there is another.
///
/// # Errors
/// When something does not come up, after removing the rest.
pub fn keep(prefix: &str) -> Result<Infallible> {
    nix::unistd::setsid().context("cannot leave the terminal")?;
    let sandbox = Sandbox::keep(prefix)?;
    match start(sandbox, prefix) {
        Ok(_cluster) => loop {
            std::thread::park();
        },
        Err(error) => {
            // It ends all processes inside but the one that asks.
            Sandbox::teardown(prefix)?;
            Err(error)
        }
    }
}

/// What lives as long as the keeper.
struct Cluster {
    _kubelets: Vec<Kubelet>,
    _lab: Arc<Lab>,
    _control_plane: ControlPlane,
}

fn start(sandbox: &Sandbox, prefix: &str) -> Result<Cluster> {
    // Inside a namespace, nothing listens on the machine's own addresses, and `Sandbox::teardown` finds this process by it.
    Netns::create(&format!("{prefix}keeper"))?.enter()?;
    let control_plane = ControlPlane::start(Options::default())?;
    let lab = Arc::new(Lab::builder().nodes(ZONES.len()).build()?);
    let kubelets = (1..).zip(ZONES).map(|(number, zone)| {
        Kubelet::builder(&control_plane, &lab, number)
            .label("topology.kubernetes.io/zone", zone)
            .start()
    });
    let kubelets: Vec<Kubelet> = kubelets.collect::<Result<_>>()?;
    say(&how_to_use(&control_plane)?);
    say(UP);
    let log = File::create(sandbox.directory().join("keeper.log"))?;
    nix::unistd::dup2_stderr(&log).context("cannot close stderr")?;
    Ok(Cluster {
        _kubelets: kubelets,
        _lab: lab,
        _control_plane: control_plane,
    })
}

fn how_to_use(control_plane: &ControlPlane) -> Result<String> {
    let kubectl = Program::Kubectl.path()?;
    Ok(format!(
        "
The cluster stays up. To use it, from any shell, as root:

  export KUBECONFIG={}
  alias kubectl='ip netns exec {} {}'
  kubectl get nodes,services

  tail -f {}/*.log

To take it down: cargo xtask cluster down",
        control_plane.kubeconfig().display(),
        control_plane.netns().name(),
        kubectl.display(),
        control_plane.logs().display(),
    ))
}
