//! The control plane as a whole: starting, stopping and restarting its programs, in the order that they need. What is
//! asked of the API server afterwards is `api`'s and `kubectl`'s business.

mod api;
mod arguments;
mod audit;
mod daemon;
mod etcd;
mod files;
mod kubectl;

use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use lab::{Netns, Sandbox};
use serde_json::Value;

use crate::binaries::{self, Program};
use crate::certificates::Authority;
use crate::kubeconfig::{self, Identity};
use crate::progress::say;
use crate::relay::Relay;
pub use audit::Asked;
use daemon::Daemon;
use files::Files;

/// How long a program may take to be of use. Starting takes seconds; a busy machine may take its time.
const PATIENCE: Duration = Duration::from_secs(120);

/// What can be different about a control plane.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where etcd keeps its data. A directory with data of an earlier control plane brings its objects back. Without
    /// one, the data goes with the sandbox.
    pub etcd_directory: Option<PathBuf>,
    /// Where the Service `kubernetes` leads. Nobody listens there but a [`Relay`] that a test starts.
    pub advertise_address: IpAddr,
    /// More addresses for the API server's certificate: those of relays, for clients that are given no kubeconfig.
    /// 127.0.0.1, ::1 and the advertised address are always in it.
    pub certificate_addresses: Vec<IpAddr>,
    /// Whose requests are noted, for [`ControlPlane::requests_of`]: users as Kubernetes calls them, as in
    /// `system:serviceaccount:NAMESPACE:NAME`.
    pub audited: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            etcd_directory: None,
            // In the lab's network of machines, and no machine's.
            advertise_address: Ipv4Addr::new(192, 168, 50, 250).into(),
            certificate_addresses: Vec::new(),
            audited: Vec::new(),
        }
    }
}

/// A running control plane. Dropping it stops it, except in a kept sandbox, where it stays up.
pub struct ControlPlane {
    // Dropped in this order: an API server without its etcd does not end.
    relay: Relay,
    scheduler: Mutex<Option<Daemon>>,
    controller_manager: Mutex<Option<Daemon>>,
    api_server: Mutex<Option<Daemon>>,
    etcd: Mutex<Option<Daemon>>,
    netns: Netns,
    files: Files,
    authority: Authority,
    options: Options,
}

impl ControlPlane {
    /// The one control plane of this process, started by whoever asks first. Tests that share it stay apart by
    /// Kubernetes namespace: [`ControlPlane::create_namespace`]. None of them may restart or stop a part of it.
    ///
    /// # Errors
    /// Those of [`ControlPlane::start`], again for each that asks.
    pub fn shared() -> Result<&'static ControlPlane> {
        static SHARED: OnceLock<Result<ControlPlane, String>> = OnceLock::new();
        let started = SHARED
            .get_or_init(|| Self::start(Options::default()).map_err(|error| format!("{error:#}")));
        started.as_ref().map_err(|error| anyhow!("{error}"))
    }

    /// Starts etcd, the API server, the controller manager and the scheduler in a new namespace, on its loopback
    /// device alone, and waits until pods and Services can be made. Builds the programs if need be.
    ///
    /// # Errors
    /// Without a sandbox, without the programs (see [`Program::path`]), or when one of them ends or does not get
    /// ready; then with the end of its log.
    pub fn start(options: Options) -> Result<ControlPlane> {
        let sandbox = Sandbox::current()?;
        // Before anything is made: this may take minutes.
        binaries::prepare()?;
        let started = Instant::now();
        let name = unused_name();
        let authority = Authority::new()?;
        let files = Files::create(&sandbox.directory().join(&name), &authority, &options)?;
        let prefix = sandbox.kept_prefix().unwrap_or_default();
        let netns = Netns::create(&format!("{prefix}{name}"))?;
        let relay = Relay::start_here(
            (Ipv4Addr::LOCALHOST, 0).into(),
            &netns,
            arguments::API_SERVER,
        )?;
        let control_plane = ControlPlane {
            relay,
            scheduler: Mutex::default(),
            controller_manager: Mutex::default(),
            api_server: Mutex::default(),
            etcd: Mutex::default(),
            netns,
            files,
            authority,
            options,
        };
        control_plane.start_etcd()?;
        control_plane.start_api_server()?;
        control_plane.start_controllers()?;
        say(&format!(
            "control plane up in {:.1} s, logs in {}",
            started.elapsed().as_secs_f64(),
            control_plane.files.logs().display()
        ));
        Ok(control_plane)
    }

    /// The namespace that all of its programs are in.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Where the API server listens inside [`ControlPlane::netns`]: the target for a [`Relay`].
    pub fn api_server_address(&self) -> SocketAddr {
        arguments::API_SERVER
    }

    /// The cluster's certificate authority as PEM, as in the ConfigMap `kube-root-ca.crt`.
    pub fn certificate_authority(&self) -> String {
        self.authority.pem()
    }

    /// The logs of all programs, a file each.
    pub fn logs(&self) -> &Path {
        self.files.logs()
    }

    /// The kubeconfig file of an administrator inside [`ControlPlane::netns`].
    pub fn kubeconfig(&self) -> &Path {
        self.files.admin()
    }

    /// A kubeconfig, as text, for somebody who reaches the API server at `server`, mostly a [`Relay::address`].
    ///
    /// # Errors
    /// When no certificate can be made, as for a name that none can hold.
    pub fn kubeconfig_for(&self, identity: &Identity, server: SocketAddr) -> Result<String> {
        Ok(self.kubeconfig_value(identity, server)?.to_string())
    }

    /// A relay that listens at `listen` inside a node's namespace and leads to the API server.
    ///
    /// # Errors
    /// Those of [`Relay::start`].
    pub fn relay(&self, from: &Netns, listen: SocketAddr) -> Result<Relay> {
        Relay::start(from, listen, &self.netns, arguments::API_SERVER)
    }

    /// Starts the API server if it is stopped, and waits until it is ready.
    ///
    /// # Errors
    /// When it ends or does not get ready, with the end of its log.
    pub fn start_api_server(&self) -> Result<()> {
        let mut slot = lock(&self.api_server);
        if slot.is_none() {
            let arguments = arguments::api_server(&self.files, &self.options);
            let daemon = slot.insert(self.spawn(Program::ApiServer, &arguments)?);
            self.wait_until_ready(daemon)?;
        }
        Ok(())
    }

    /// Asks the API server to end, as for an upgrade, and waits until it has.
    ///
    /// # Errors
    /// When the kernel refuses the signal.
    pub fn stop_api_server(&self) -> Result<()> {
        stop(&self.api_server)
    }

    /// Kills the API server, as a crash does.
    ///
    /// # Errors
    /// When the kernel refuses the signal.
    pub fn kill_api_server(&self) -> Result<()> {
        lock(&self.api_server).take().map_or(Ok(()), Daemon::kill)
    }

    /// [`ControlPlane::stop_api_server`], then [`ControlPlane::start_api_server`].
    ///
    /// # Errors
    /// Theirs.
    pub fn restart_api_server(&self) -> Result<()> {
        self.stop_api_server()?;
        self.start_api_server()
    }

    /// Ends all programs, the API server before etcd, so that an etcd directory that is kept is complete.
    ///
    /// # Errors
    /// When the kernel refuses a signal.
    pub fn stop(&self) -> Result<()> {
        for daemon in [
            &self.scheduler,
            &self.controller_manager,
            &self.api_server,
            &self.etcd,
        ] {
            stop(daemon)?;
        }
        Ok(())
    }

    /// Forgets all of etcd's history: a watch that asks the API server for something older gets 410 Gone, unless the
    /// API server still remembers it. To make it forget too, restart it.
    ///
    /// # Errors
    /// When etcd does not answer or refuses.
    pub fn compact_etcd(&self) -> Result<()> {
        etcd::compact(&self.netns)
    }

    fn start_etcd(&self) -> Result<()> {
        let mut slot = lock(&self.etcd);
        let directory = self.files.etcd(&self.options);
        fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
        let daemon = slot.insert(self.spawn(Program::Etcd, &arguments::etcd(&directory))?);
        daemon.wait_until("answer", PATIENCE, || etcd::answers(&self.netns))
    }

    fn start_controllers(&self) -> Result<()> {
        let arguments = arguments::controller_manager(&self.files);
        *lock(&self.scheduler) =
            Some(self.spawn(Program::Scheduler, &arguments::scheduler(&self.files))?);
        let mut slot = lock(&self.controller_manager);
        let daemon = slot.insert(self.spawn(Program::ControllerManager, &arguments)?);
        self.wait_until_pods_are_allowed(daemon)
    }

    fn spawn(&self, program: Program, arguments: &[String]) -> Result<Daemon> {
        Daemon::spawn(&self.netns, program, arguments, self.files.logs())
    }

    fn kubeconfig_value(&self, identity: &Identity, server: SocketAddr) -> Result<Value> {
        kubeconfig::write(&self.authority, identity, server)
    }
}

impl fmt::Debug for ControlPlane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ControlPlane({})", self.netns.name())
    }
}

fn stop(daemon: &Mutex<Option<Daemon>>) -> Result<()> {
    lock(daemon).take().map_or(Ok(()), Daemon::stop)
}

/// A process may have several.
fn unused_name() -> String {
    static STARTED: AtomicU32 = AtomicU32::new(0);
    match STARTED.fetch_add(1, Ordering::Relaxed) {
        0 => "control-plane".to_owned(),
        earlier => format!("control-plane-{}", earlier + 1),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
