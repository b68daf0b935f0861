//! `kubectl`, as an administrator, inside the control plane's namespace.

use std::io::Write;
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use super::ControlPlane;
use crate::binaries::Program;

impl ControlPlane {
    /// What `kubectl ARGUMENTS` prints.
    ///
    /// # Errors
    /// When it fails, with what it says.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.kubectl_with_input(arguments, "")
    }

    /// What `kubectl ARGUMENTS` prints, given `input` to read.
    ///
    /// # Errors
    /// When it fails, with what it says.
    pub fn kubectl_with_input(&self, arguments: &[&str], input: &str) -> Result<String> {
        let mut command = self
            .netns
            .command(&Program::Kubectl.path()?.display().to_string());
        // A file, and no pipe that both sides may wait for.
        let mut file = tempfile::tempfile().context("cannot make a file for kubectl's input")?;
        file.write_all(input.as_bytes())?;
        std::io::Seek::rewind(&mut file)?;
        let output = command
            .env("KUBECONFIG", self.kubeconfig())
            .env("HOME", self.files.directory())
            .args(arguments)
            .stdin(Stdio::from(file))
            .output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("kubectl {}: {}", arguments.join(" "), said.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Applies manifests to a namespace: `kubectl apply --server-side`.
    ///
    /// # Errors
    /// When kubectl or the API server refuses them.
    pub fn apply(&self, manifests: &str, namespace: &str) -> Result<()> {
        let arguments = [
            "apply",
            "--server-side",
            "--namespace",
            namespace,
            "-f",
            "-",
        ];
        self.kubectl_with_input(&arguments, manifests).map(drop)
    }
}
