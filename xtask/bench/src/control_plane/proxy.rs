//! The data planes that are compared, as programs: where they are, how each is started on a node, and how much it has
//! programmed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command as Program;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use lab::{Netns, Process, Sandbox};
use serde::{Deserialize, Serialize};

use super::results::Version;

/// How long a program may take to end.
const GRACE: Duration = Duration::from_secs(30);
/// Names the file by which iptables keeps others from the kernel's tables. Namespaces share the usual one, in /run, as nodes never do: a
/// kube-proxy that has waited for another node's for five seconds gives up, and leaves its rules unwritten.
const LOCK_FILE: &str = "XTABLES_LOCKFILE";

/// A data plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// This project's agent
    Lb,
    /// kube-proxy in nftables mode
    Nftables,
    /// kube-proxy in iptables mode, with the kernel's old tables
    Iptables,
    /// kube-proxy in iptables mode, with nftables beneath
    IptablesNft,
}

/// Where the programs are.
#[derive(Args, Debug)]
pub struct Programs {
    /// The agent's program, a release build
    #[arg(long, value_name = "FILE")]
    lb: PathBuf,
    /// A directory with an `nft` that kube-proxy is to use
    #[arg(long, value_name = "DIR")]
    nft: PathBuf,
    /// A directory with `iptables`, `iptables-save`, `iptables-restore` and those for IPv6, for the kernel's old tables
    #[arg(long, value_name = "DIR")]
    iptables: PathBuf,
    /// The same, with nftables beneath
    #[arg(long, value_name = "DIR")]
    iptables_nft: PathBuf,
}

/// Where a program is started, and with what.
pub struct Place<'a> {
    pub netns: &'a Netns,
    pub node: &'a str,
    pub kubeconfig: &'a Path,
    /// A directory of its own, for pins and the log.
    pub directory: &'a Path,
    pub bpffs: &'a Path,
}

/// A program that runs.
pub struct Proxy {
    kind: Kind,
    process: Process,
    netns: Netns,
    bpffs: PathBuf,
    log: PathBuf,
    lock_file: PathBuf,
    tools: Option<PathBuf>,
    lb: PathBuf,
}

impl Kind {
    /// What is measured if nothing is said.
    pub const DEFAULT: [Kind; 3] = [Kind::Lb, Kind::Nftables, Kind::Iptables];

    /// As it stands above a column.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Lb => "lb",
            Kind::Nftables => "kube-proxy nftables",
            Kind::Iptables => "kube-proxy iptables-legacy",
            Kind::IptablesNft => "kube-proxy iptables-nft",
        }
    }

    /// How long after a change the next one is an isolated one: kube-proxy collects changes for a second after each sync.
    pub fn rest(self) -> Duration {
        match self {
            Kind::Lb => Duration::from_millis(100),
            Kind::Nftables | Kind::Iptables | Kind::IptablesNft => Duration::from_millis(1100),
        }
    }

    /// How many changes alone a round has, where kube-proxy has `count`: its take seconds each.
    pub fn changes(self, count: u32) -> u32 {
        match self {
            Kind::Lb => count * 5,
            Kind::Nftables | Kind::Iptables | Kind::IptablesNft => count,
        }
    }

    fn mode(self) -> Option<&'static str> {
        match self {
            Kind::Lb => None,
            Kind::Nftables => Some("nftables"),
            Kind::Iptables | Kind::IptablesNft => Some("iptables"),
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}

impl Programs {
    /// Starts a data plane.
    ///
    /// # Errors
    /// When its program is missing.
    pub fn start(&self, kind: Kind, place: &Place<'_>) -> Result<Proxy> {
        let log = place.directory.join("log");
        let output = File::create(&log).with_context(|| log.display().to_string())?;
        let tools = self.tools(kind).map(Path::to_path_buf);
        let mut command = match kind.mode() {
            None => {
                let mut command = place.netns.command(&self.lb.to_string_lossy());
                command
                    .arg("--bpffs")
                    .arg(place.bpffs)
                    .args(["agent", "--node-name", place.node])
                    // The root cgroup is the machine's.
                    .args(["--socket-lb", "off", "--kubeconfig"])
                    .arg(place.kubeconfig);
                command
            }
            Some(mode) => {
                let program = cluster::binaries::Program::Proxy.path()?;
                let mut command = place.netns.command(&program.to_string_lossy());
                command
                    .args([
                        format!("--proxy-mode={mode}"),
                        format!("--hostname-override={}", place.node),
                        format!("--kubeconfig={}", place.kubeconfig.display()),
                    ])
                    .arg("--cluster-cidr=10.244.0.0/16,fd00:10:244::/48")
                    // These are the machine's, and cannot be set from within a namespace.
                    .args([
                        "--conntrack-max-per-core=0",
                        "--conntrack-tcp-timeout-established=0s",
                        "--conntrack-tcp-timeout-close-wait=0s",
                    ]);
                command
            }
        };
        if let Some(tools) = &tools {
            command.env("PATH", search_path(tools));
        }
        let lock_file = place.directory.join("xtables.lock");
        command
            .env(LOCK_FILE, &lock_file)
            .stdout(output.try_clone()?)
            .stderr(output);
        Ok(Proxy {
            kind,
            process: command.spawn()?,
            netns: place.netns.clone(),
            bpffs: place.bpffs.to_path_buf(),
            log,
            lock_file,
            tools,
            lb: self.lb.clone(),
        })
    }

    /// What is measured, and with which tools.
    ///
    /// # Errors
    /// When a program is missing or tells no version.
    pub fn versions(&self, kinds: &[Kind]) -> Result<Vec<Version>> {
        let mut versions = Vec::new();
        let mut add = |program: &str, command: &mut Program| -> Result<()> {
            let output = command
                .output()
                .with_context(|| format!("cannot run {program}: {command:?}"))?;
            ensure!(output.status.success(), "{command:?}: {}", output.status);
            versions.push(Version {
                program: program.to_owned(),
                version: String::from_utf8_lossy(&output.stdout).trim().to_owned(),
            });
            Ok(())
        };
        for &kind in kinds {
            match kind {
                Kind::Lb => add("lb", Program::new(&self.lb).arg("--version"))?,
                Kind::Nftables => add("nft", Program::new(self.nft.join("nft")).arg("--version"))?,
                Kind::Iptables | Kind::IptablesNft => {
                    let tools = self.tools(kind).unwrap_or(&self.iptables);
                    add(
                        kind.name(),
                        Program::new(tools.join("iptables")).arg("--version"),
                    )?;
                }
            }
        }
        if kinds.iter().any(|kind| kind.mode().is_some()) {
            let program = cluster::binaries::Program::Proxy.path()?;
            add("kube-proxy", Program::new(program).arg("--version"))?;
        }
        Ok(versions)
    }

    /// The agent's program.
    pub fn lb(&self) -> &Path {
        &self.lb
    }

    fn tools(&self, kind: Kind) -> Option<&Path> {
        match kind {
            Kind::Lb => None,
            Kind::Nftables => Some(&self.nft),
            Kind::Iptables => Some(&self.iptables),
            Kind::IptablesNft => Some(&self.iptables_nft),
        }
    }
}

impl Proxy {
    /// Its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// How many Services lead somewhere, counted in the kernel.
    ///
    /// # Errors
    /// When the tool that lists them fails.
    pub fn programmed(&self) -> Result<usize> {
        let (tool, arguments, mark): (_, &[&str], _) = match self.kind {
            Kind::Lb => {
                let bpffs = self.bpffs.to_string_lossy().into_owned();
                let listed = self.list(
                    &self.lb.to_string_lossy(),
                    &["--bpffs", &bpffs, "service", "list", "-o", "json"],
                )?;
                return Ok(listed.matches("\"frontend\"").count());
            }
            Kind::Nftables => (
                "nft",
                &["list", "map", "ip", "kube-proxy", "service-ips"],
                "goto service-",
            ),
            Kind::Iptables | Kind::IptablesNft => {
                ("iptables-save", &["-t", "nat"], "-A KUBE-SERVICES")
            }
        };
        Ok(self.list(tool, arguments)?.matches(mark).count())
    }

    /// Ends it, and takes away what it has programmed: the kernel would do that later, at the next one's cost.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(mut self) -> Result<()> {
        self.end()?;
        match self.kind {
            Kind::Lb => {
                let pins = self.bpffs.join("lb");
                fs::remove_dir_all(&pins).with_context(|| pins.display().to_string())
            }
            Kind::Nftables => self.list("nft", &["flush", "ruleset"]).map(drop),
            Kind::Iptables | Kind::IptablesNft => {
                for family in ["iptables", "ip6tables"] {
                    for table in ["nat", "filter", "mangle"] {
                        self.list(family, &["-t", table, "-F"])?;
                        self.list(family, &["-t", table, "-X"])?;
                    }
                }
                Ok(())
            }
        }
    }

    /// Ends it, and leaves what it has programmed, which goes on without it.
    ///
    /// # Errors
    /// When it does not end.
    pub fn leave_rules(mut self) -> Result<()> {
        self.end()
    }

    /// The error with the end of the log, and word of it if the program has ended.
    pub fn explain(&mut self, error: anyhow::Error) -> anyhow::Error {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(15)..].join("\n");
        let state = match self.process.try_wait() {
            Ok(None) => "runs".to_owned(),
            ended => format!("has ended ({ended:?})"),
        };
        error.context(format!(
            "{} {state}; its log ends with\n{tail}",
            self.kind.name()
        ))
    }

    fn end(&mut self) -> Result<()> {
        self.process.signal(libc::SIGTERM)?;
        let asked = Instant::now();
        while self.process.try_wait()?.is_none() {
            ensure!(asked.elapsed() < GRACE, "{} does not end", self.kind.name());
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn list(&self, tool: &str, arguments: &[&str]) -> Result<String> {
        let mut command = self.netns.command(tool);
        command.args(arguments);
        if let Some(tools) = &self.tools {
            command = self.netns.command(&tools.join(tool).to_string_lossy());
            command.args(arguments).env("PATH", search_path(tools));
        }
        let output = command.env(LOCK_FILE, &self.lock_file).output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{tool} {}: {}", arguments.join(" "), said.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// A directory for what one start leaves behind.
///
/// # Errors
/// When it cannot be made.
pub fn directory(name: &str) -> Result<[PathBuf; 2]> {
    let sandbox = Sandbox::current()?;
    let both = [sandbox.directory().join(name), sandbox.bpffs().join(name)];
    for path in &both {
        fs::create_dir_all(path).with_context(|| path.display().to_string())?;
    }
    Ok(both)
}

fn search_path(tools: &Path) -> String {
    format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", tools.display())
}
