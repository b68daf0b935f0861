//! Building the control plane's programs with Go, once for each state of the Go module, into `target/control-plane`.
//!
//! Separate programs and no single one that is all of them: packages are compiled once in either case, only the linking
//! differs, and flags, metrics and feature gates that Kubernetes registers globally stay apart as in a real cluster.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use super::go_module::GoModule;
use crate::progress::say;

/// Everything on go's command line that changes the programs; for the module's hash.
const FLAGS: [&str; 4] = ["build", "-mod=readonly", "-buildvcs=false", "-trimpath"];
/// Where Kubernetes keeps the version that its programs report.
const VERSION_PACKAGES: [&str; 2] = [
    "k8s.io/component-base/version",
    "k8s.io/client-go/pkg/version",
];
const REMEDY: &str = "install Go 1.26 or later from https://go.dev/dl (a distribution's package is mostly too old), \
                      or name a directory with etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubectl \
                      and kube-proxy in KUBEBUILDER_ASSETS";
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// Builds the programs unless they are built, and returns the directory that holds them. Progress goes to stderr, past
/// the test harness. Of several processes that call this at once, one builds and the others wait.
///
/// # Errors
/// When Go is missing or too old, with the remedy, or when the build fails, with the end of what Go says.
pub fn build() -> Result<PathBuf> {
    let module = GoModule::read(&FLAGS.join(" "))?;
    let home = module.target.join(&module.hash);
    let done = home.join("bin");
    if done.is_dir() {
        return Ok(done);
    }
    fs::create_dir_all(&module.target).with_context(|| module.target.display().to_string())?;
    let lock = File::create(module.target.join("lock"))?;
    lock.lock().context("cannot lock target/control-plane")?;
    if done.is_dir() {
        return Ok(done);
    }
    let unfinished = home.join("unfinished");
    fs::create_dir_all(&unfinished).with_context(|| unfinished.display().to_string())?;
    check_go(&module)?;
    say(&format!(
        "==> build etcd and Kubernetes {} into target/control-plane, once (about seven minutes on two cores)",
        module.kubernetes
    ));
    let start = Instant::now();
    compile(&module, &unfinished)?;
    // The one program that Go names after its package's directory.
    fs::rename(unfinished.join("server"), unfinished.join("etcd")).context("go built no etcd")?;
    fs::rename(&unfinished, &done)?;
    remove_others(&module)?;
    say(&format!(
        "    done in {:.0} s",
        start.elapsed().as_secs_f64()
    ));
    Ok(done)
}

fn check_go(module: &GoModule) -> Result<()> {
    let output = go(module)?
        .arg("version")
        .output()
        .map_err(|error| anyhow!("cannot run go to build the control plane ({error}): {REMEDY}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "go cannot build the control plane ({}): {REMEDY}",
            said.trim()
        );
    }
    Ok(())
}

fn compile(module: &GoModule, into: &Path) -> Result<()> {
    let total = count_packages(module)?;
    let mut child = go(module)?
        .args(FLAGS)
        .args(["-v", "-ldflags", &linker_flags(&module.kubernetes), "-o"])
        .arg(into)
        .args(&module.packages)
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start go build")?;
    let output = child.stderr.take().context("stderr of go build")?;
    let mut tail = VecDeque::new();
    let mut compiled = 0;
    let mut told = Instant::now();
    for line in BufReader::new(output).lines() {
        let line = line?;
        if line.contains(char::is_whitespace) {
            if tail.len() == 20 {
                tail.pop_front();
            }
            tail.push_back(line);
        } else {
            compiled += 1;
        }
        if told.elapsed() >= PROGRESS_EVERY {
            told = Instant::now();
            say(&format!("    {compiled} of {total} packages"));
        }
    }
    let status = child.wait()?;
    if !status.success() {
        let tail = Vec::from(tail).join("\n");
        bail!("building the control plane failed ({status}):\n{tail}");
    }
    Ok(())
}

/// What `go build` will compile at most; it also fetches the modules.
fn count_packages(module: &GoModule) -> Result<usize> {
    let output = go(module)?
        .args(["list", "-mod=readonly", "-deps"])
        .args(&module.packages)
        .output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "go cannot get the modules of xtask/control-plane: {}",
            said.trim()
        );
    }
    Ok(output
        .stdout
        .iter()
        .filter(|&&octet| octet == b'\n')
        .count())
}

fn linker_flags(version: &str) -> String {
    let mut parts = version.trim_start_matches('v').split('.');
    let (major, minor) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    let mut flags = "-s -w".to_owned();
    for package in VERSION_PACKAGES {
        for (name, value) in [
            ("gitVersion", version),
            ("gitMajor", major),
            ("gitMinor", minor),
            ("gitTreeState", "clean"),
        ] {
            flags += &format!(" -X {package}.{name}={value}");
        }
    }
    flags
}

/// `go` in the module, with the network of whoever started this process: a test has left the machine's for an empty one,
/// and the modules come from the machine's.
fn go(module: &GoModule) -> Result<Command> {
    let mut command = Command::new("go");
    command
        .current_dir(&module.directory)
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off")
        .env("GOFLAGS", "")
        .stdin(Stdio::null());
    let parent = nix::unistd::getppid();
    let namespaces = ["net", "mnt"].map(|kind| File::open(format!("/proc/{parent}/ns/{kind}")));
    let own = ["net", "mnt"].map(|kind| fs::read_link(format!("/proc/self/ns/{kind}")));
    let theirs = ["net", "mnt"].map(|kind| fs::read_link(format!("/proc/{parent}/ns/{kind}")));
    let differ = own
        .into_iter()
        .zip(theirs)
        .any(|pair| matches!(pair, (Ok(own), Ok(theirs)) if own != theirs));
    if differ && let [Ok(net), Ok(mounts)] = namespaces {
        let directory = std::ffi::CString::new(module.directory.as_os_str().as_encoded_bytes())?;
        // SAFETY: between fork and exec the closure makes system calls only, on descriptors and a string made before.
        unsafe {
            command.pre_exec(move || {
                for descriptor in [&net, &mounts] {
                    check(nix::libc::setns(descriptor.as_raw_fd(), 0))?;
                }
                // Entering a mount namespace leaves the process in its root.
                check(nix::libc::chdir(directory.as_ptr()))
            });
        }
    }
    Ok(command)
}

fn check(result: nix::libc::c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Programs of earlier states of the module: some hundred megabytes each.
fn remove_others(module: &GoModule) -> Result<()> {
    for entry in fs::read_dir(&module.target)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() && entry.file_name().to_str() != Some(&module.hash) {
            fs::remove_dir_all(entry.path()).with_context(|| entry.path().display().to_string())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_are_told_their_version() {
        let flags = linker_flags("v1.36.3");
        for wanted in [
            "-X k8s.io/component-base/version.gitVersion=v1.36.3",
            "-X k8s.io/component-base/version.gitMajor=1",
            "-X k8s.io/client-go/pkg/version.gitMinor=36",
        ] {
            assert!(flags.contains(wanted), "{wanted} in {flags}");
        }
    }
}
