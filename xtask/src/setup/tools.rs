//! The host tools that verbs need, as data: how to see that one is there, and the Debian package that brings it.

use std::{env, path::Path};

/// A tool that must be on the host.
#[derive(Debug)]
pub struct Tool {
    probe: Probe,
    /// The Debian package that brings it.
    pub package: &'static str,
    /// The service that the package would start and enable.
    pub service: Option<&'static str>,
}

#[derive(Debug)]
enum Probe {
    Program(&'static str),
    File(&'static str),
}

/// A compiler with a ready-made `core` for BPF.
pub const BPF_COMPILER: &[Tool] = &[
    Tool::file("/usr/bin/rustc", "rustc-web"),
    Tool::file(
        "/usr/lib/rustlib/bpfel-unknown-none/lib",
        "libstd-rust-web-dev-bpf",
    ),
];

/// What bpf-linker is built against.
pub const LLVM: &[Tool] = &[
    Tool::file("/usr/lib/llvm-22/bin/llvm-config", "llvm-22-dev"),
    Tool::file("/usr/lib/llvm-22/lib/libPolly.a", "libpolly-22-dev"),
    Tool::file("/usr/include/zstd.h", "libzstd-dev"),
];

/// To make namespaces, look into the kernel and send traffic.
pub const LAB: &[Tool] = &[
    Tool::program("ip", "iproute2"),
    Tool::program("tc", "iproute2"),
    Tool::program("ethtool", "ethtool"),
    Tool::program("bpftool", "bpftool"),
    Tool::program("ping", "iputils-ping"),
    Tool::program("curl", "curl"),
];

/// The servers of the demonstration, which run in its namespaces only.
pub const SERVERS: &[Tool] = &[
    Tool::daemon("nginx", "nginx", "nginx"),
    Tool::daemon("redis-server", "redis-server", "redis-server"),
    Tool::daemon("mariadbd", "mariadb-server", "mariadb"),
    Tool::program("dnsmasq", "dnsmasq-base"),
];

/// To build libFuzzer, which is C++.
pub const FUZZ: &[Tool] = &[Tool::program("c++", "g++")];

/// What kube-proxy calls, and what measures.
pub const BENCH: &[Tool] = &[
    Tool::program("nft", "nftables"),
    Tool::program("xtables-legacy-multi", "iptables"),
];

/// What tells where the time goes.
pub const PROFILE: &[Tool] = &[Tool::program("perf", "linux-perf")];

/// What boots other kernels than the machine's own.
pub const KERNELS: &[Tool] = &[
    Tool::program("qemu-system-x86_64", "qemu-system-x86"),
    Tool::program("depmod", "kmod"),
    Tool::program("strip", "binutils"),
    Tool::file(
        "/usr/share/keyrings/debian-archive-keyring.gpg",
        "debian-archive-keyring",
    ),
];

/// The packages of a list, each once, in its order.
pub fn packages<'a>(tools: impl IntoIterator<Item = &'a Tool>) -> Vec<&'static str> {
    let mut packages = Vec::new();
    for tool in tools {
        if !packages.contains(&tool.package) {
            packages.push(tool.package);
        }
    }
    packages
}

impl Tool {
    /// Whether the tool is on the host.
    pub fn is_present(&self) -> bool {
        match self.probe {
            Probe::File(path) => Path::new(path).exists(),
            Probe::Program(name) => {
                let path = env::var_os("PATH").unwrap_or_default();
                // Debian leaves the system programs out of a user's PATH.
                let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
                folders
                    .map(|folder| folder.join(name))
                    .any(|program| program.is_file())
            }
        }
    }

    const fn file(path: &'static str, package: &'static str) -> Self {
        Self {
            probe: Probe::File(path),
            package,
            service: None,
        }
    }

    const fn program(name: &'static str, package: &'static str) -> Self {
        Self {
            probe: Probe::Program(name),
            package,
            service: None,
        }
    }

    const fn daemon(name: &'static str, package: &'static str, service: &'static str) -> Self {
        Self {
            probe: Probe::Program(name),
            package,
            service: Some(service),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_that_brings_two_tools_is_named_once() {
        assert_eq!(
            packages(LAB),
            ["iproute2", "ethtool", "bpftool", "iputils-ping", "curl"]
        );
    }

    #[test]
    fn a_tool_is_present_when_its_program_or_file_is() {
        assert!(Tool::program("sh", "dash").is_present());
        assert!(Tool::file("/proc/self/exe", "none").is_present());
        assert!(!Tool::program("no-such-program-here", "none").is_present());
        assert!(!Tool::file("/proc/self/no-such-file", "none").is_present());
    }
}
