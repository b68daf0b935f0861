//! Where the control plane's programs are: those of `KUBEBUILDER_ASSETS`, else those built here once. How they are built
//! is `build`'s business, how they are started `control_plane`'s.

mod build;
mod go_module;

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

pub use build::build;

/// The directory with ready-made programs, as kubebuilder's `setup-envtest use -p path` prints it: of Kubernetes 1.34 or
/// later, as earlier ones do not read the configuration that is written here.
pub const ASSETS_VARIABLE: &str = "KUBEBUILDER_ASSETS";

/// One program of the Go module `xtask/control-plane`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// `etcd`
    Etcd,
    /// `kube-apiserver`
    ApiServer,
    /// `kube-controller-manager`
    ControllerManager,
    /// `kube-scheduler`
    Scheduler,
    /// `kube-proxy`: no part of the cluster, but what the data plane is measured against
    Proxy,
    /// `kubectl`
    Kubectl,
}

/// Makes sure that a control plane can be started and used, building what is missing.
///
/// # Errors
/// Those of [`Program::path`].
pub fn prepare() -> Result<()> {
    let mut needed = Program::ALL
        .into_iter()
        .filter(|&program| program != Program::Proxy);
    needed.try_for_each(|program| program.path().map(drop))
}

impl Program {
    /// All of them.
    pub const ALL: [Program; 6] = [
        Program::Etcd,
        Program::ApiServer,
        Program::ControllerManager,
        Program::Scheduler,
        Program::Proxy,
        Program::Kubectl,
    ];

    /// The name of its file.
    pub fn name(self) -> &'static str {
        match self {
            Program::Etcd => "etcd",
            Program::ApiServer => "kube-apiserver",
            Program::ControllerManager => "kube-controller-manager",
            Program::Scheduler => "kube-scheduler",
            Program::Proxy => "kube-proxy",
            Program::Kubectl => "kubectl",
        }
    }

    /// Its file: in the directory that `KUBEBUILDER_ASSETS` names if it is there, else the one built here, which is
    /// built now if need be (minutes, once).
    ///
    /// # Errors
    /// When `KUBEBUILDER_ASSETS` names no directory, and those of [`build`].
    pub fn path(self) -> Result<PathBuf> {
        if let Some(assets) = env::var_os(ASSETS_VARIABLE).filter(|value| !value.is_empty()) {
            let assets = PathBuf::from(assets);
            ensure!(
                assets.is_dir(),
                "{ASSETS_VARIABLE}={} is no directory: unset it, and the programs are built here",
                assets.display()
            );
            let file = assets.join(self.name());
            if file.is_file() {
                return Ok(file);
            }
        }
        let file = build()?.join(self.name());
        ensure!(
            file.is_file(),
            "{} is missing: remove its directory, and it is built again",
            file.display()
        );
        file.canonicalize()
            .with_context(|| file.display().to_string())
    }
}
