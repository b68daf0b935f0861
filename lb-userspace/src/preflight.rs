//! Checks before anything on the machine is touched: what is missing, and what to do about it, all at once.
//!
//! [`gather`] asks the kernel and changes nothing but this process's own limit on locked memory; [`evaluate`] is pure. What
//! only shows when it is done, such as the verifier's opinion of a program, is left to `datapath`.

mod facts;
mod gather;
mod parse;

use std::fmt;

pub use facts::{Bpffs, BpffsState, Capabilities, Facts, Features, Probe};
pub use gather::gather;

use crate::datapath::{Attach, Cgroup, Memlock};

/// How bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// The agent can't work.
    Fatal,
    /// It works, with less.
    Degraded,
}

/// Something that is missing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong and what to do about it, in one sentence.
    pub sentence: String,
}

impl Finding {
    fn fatal(sentence: impl Into<String>) -> Self {
        Self {
            severity: Severity::Fatal,
            sentence: sentence.into(),
        }
    }

    fn degraded(sentence: impl Into<String>) -> Self {
        Self {
            severity: Severity::Degraded,
            sentence: sentence.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Fatal => "fatal",
            Severity::Degraded => "degraded",
        };
        write!(f, "{severity}: {}", self.sentence)
    }
}

/// Everything that is wrong, the fatal first. Nothing, if the agent can start and lacks nothing.
pub fn evaluate(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(object(facts));
    findings.extend(capabilities(facts.capabilities));
    findings.extend(bpffs(&facts.bpffs));
    findings.extend(memlock(facts.memlock));
    findings.extend(features(facts));
    findings.extend(cgroup(&facts.cgroup));
    findings.sort_by_key(|finding| finding.severity);
    findings
}

/// Whether the agent can't start.
pub fn is_fatal(findings: &[Finding]) -> bool {
    findings
        .iter()
        .any(|finding| finding.severity == Severity::Fatal)
}

fn object(facts: &Facts) -> Option<Finding> {
    facts.object_error.as_ref().map(Finding::fatal)
}

fn capabilities(capabilities: Capabilities) -> Option<Finding> {
    let missing = capabilities.missing();
    if missing.is_empty() {
        return None;
    }
    Some(Finding::fatal(format!(
        "the process lacks {}: run it as root, or add them to the container's securityContext.capabilities (before Linux 5.8 \
         CAP_SYS_ADMIN takes the place of CAP_BPF and CAP_PERFMON)",
        missing.join(", ")
    )))
}

fn bpffs(bpffs: &Bpffs) -> Option<Finding> {
    let path = bpffs.path.display();
    let mount = format!("mount it with `mount -t bpf bpf {path}`");
    let sentence = match &bpffs.state {
        BpffsState::Mounted => return None,
        BpffsState::Missing => format!(
            "there is no folder {path} for the BPF file system: make it with `mkdir -p {path}`, then {mount}"
        ),
        BpffsState::OtherFileSystem => format!(
            "no BPF file system is mounted at {path}: {mount}, on the host if this is a container, and pass it in with \
             mountPropagation"
        ),
        BpffsState::ReadOnly => format!(
            "the BPF file system at {path} is mounted read-only: remount it with `mount -o remount,rw {path}`"
        ),
        BpffsState::Unreadable(error) => format!(
            "the BPF file system at {path} can't be read ({error}): let this process read it, or name another one"
        ),
    };
    Some(Finding::fatal(sentence))
}

fn memlock(memlock: Memlock) -> Option<Finding> {
    match memlock {
        Memlock::Unlimited => None,
        Memlock::Limited(bytes) => Some(Finding::fatal(format!(
            "maps may take only {bytes} bytes of locked memory (RLIMIT_MEMLOCK): raise the limit with `ulimit -l unlimited` or \
             add CAP_SYS_RESOURCE"
        ))),
    }
}

fn features(facts: &Facts) -> Vec<Finding> {
    // Without capabilities the kernel answers no question, and that is the finding.
    let Some(features) = &facts.features else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    let missing = features.names(|probe| *probe == Probe::Missing);
    if !missing.is_empty() {
        findings.push(Finding::fatal(format!(
            "the kernel lacks {}: use Linux 5.10 or later, built with CONFIG_BPF_SYSCALL, CONFIG_NET_CLS_BPF and \
             CONFIG_NET_SCH_INGRESS",
            missing.join(", ")
        )));
    }
    let unknown = features.names(|probe| matches!(probe, Probe::Unknown(_)));
    if let Some(error) = features.first_error() {
        findings.push(Finding::fatal(format!(
            "the kernel does not tell whether it has {} ({error}): run in the host's user namespace, and let no seccomp profile \
             or lockdown mode forbid bpf(2)",
            unknown.join(", ")
        )));
    }
    match (facts.attach, features.tcx) {
        (_, true) | (Attach::Clsact, false) => {}
        (Attach::Tcx, false) => findings.push(Finding::fatal(
            "tcx is demanded and the kernel has none: use Linux 6.6 or later, or let programs be attached by clsact",
        )),
        (Attach::Auto, false) => findings.push(Finding::degraded(
            "the kernel has no tcx, so programs are attached as clsact filters, which other software may remove: use Linux 6.6 \
             or later to have links that nobody else can remove",
        )),
    }
    findings
}

fn cgroup(cgroup: &Cgroup) -> Option<Finding> {
    let remedy = "or say --socket-lb=off; pods are served all the same";
    let sentence = match cgroup {
        Cgroup::Unwanted | Cgroup::Found(_) => return None,
        Cgroup::Unmounted => format!(
            "no cgroup v2 hierarchy is mounted, so the node's own processes are not served: mount one with `mount -t cgroup2 \
             cgroup2 /sys/fs/cgroup/unified`, {remedy}"
        ),
        Cgroup::NotTheRoot(path) => format!(
            "the cgroup v2 hierarchy at {} shows this container's own cgroup alone, so the node's own processes are not served: \
             pass the host's hierarchy into the container and name it with --cgroup, {remedy}",
            path.display()
        ),
        Cgroup::Foreign(path) => format!(
            "{} is no cgroup of a cgroup v2 hierarchy, so the node's own processes are not served: correct --cgroup, {remedy}",
            path.display()
        ),
    };
    Some(Finding::degraded(sentence))
}

#[cfg(test)]
mod tests;
