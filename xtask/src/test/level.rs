//! The levels of tests, from the fastest to the most real, and the cargo commands that each consists of.

use clap::ValueEnum;

/// One level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Level {
    /// Unit and property tests; no root, no kernel
    Host,
    /// Any octets at all through the decisions, looked for by libFuzzer; no root, no kernel
    Fuzz,
    /// Manifests in, map dumps out, on in-memory and on real maps
    Scenarios,
    /// Loading, pinning and attaching; single packets through the loaded programs (BPF_PROG_TEST_RUN)
    Packets,
    /// Real connections in network namespaces
    Traffic,
    /// A part of the two above on other kernels, in virtual machines
    Kernels,
    /// The agent on a real API server
    Cluster,
    /// Kubernetes' own tests of Services; writes docs/conformance.md
    Conformance,
}

/// The levels to run, each once and in order: those asked for, or all.
pub fn selected(asked: &[Level]) -> Vec<Level> {
    let mut levels = if asked.is_empty() {
        Level::value_variants().to_vec()
    } else {
        asked.to_vec()
    };
    levels.sort_unstable();
    levels.dedup();
    levels
}

impl Level {
    /// The word to select it with.
    pub fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Fuzz => "fuzz",
            Self::Scenarios => "scenarios",
            Self::Packets => "packets",
            Self::Traffic => "traffic",
            Self::Kernels => "kernels",
            Self::Cluster => "cluster",
            Self::Conformance => "conformance",
        }
    }

    /// One line on what it proves.
    pub fn about(self) -> &'static str {
        match self {
            Self::Host => "unit and property tests",
            Self::Fuzz => "any octets at all through the decisions",
            Self::Scenarios => "manifests in, map dumps out",
            Self::Packets => "the programs in the kernel, single packets through them",
            Self::Traffic => "real connections in network namespaces",
            Self::Kernels => "programs and traffic on other kernels",
            Self::Cluster => "the agent on a real API server",
            Self::Conformance => "Kubernetes' own tests of Services",
        }
    }

    /// Whether it loads programs or makes namespaces.
    pub fn needs_root(self) -> bool {
        !matches!(self, Self::Host | Self::Fuzz)
    }

    /// Whether it needs the programs of a Kubernetes control plane.
    pub fn needs_control_plane(self) -> bool {
        matches!(self, Self::Cluster | Self::Conformance)
    }

    /// What follows `cargo test`, one entry per command; nothing for a level that is no cargo test.
    pub fn commands(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::Host => &[
                &["--workspace", "--exclude", "lab", "--lib", "--bins"],
                &["--workspace", "--doc"],
            ],
            Self::Fuzz => &[],
            Self::Scenarios => &[&["--workspace", "--test", "scenarios"]],
            Self::Packets => &[
                &["--workspace", "--test", "datapath"],
                &["--workspace", "--test", "packets"],
            ],
            Self::Traffic => &[&["--package", "lab"], &["--workspace", "--test", "traffic"]],
            Self::Kernels => &[],
            Self::Cluster => &[
                &["--package", "cluster"],
                &["--workspace", "--test", "cluster"],
            ],
            Self::Conformance => &[&["--workspace", "--test", "conformance"]],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_run_in_order_and_once_whatever_the_order_asked() {
        assert_eq!(
            selected(&[]),
            [
                Level::Host,
                Level::Fuzz,
                Level::Scenarios,
                Level::Packets,
                Level::Traffic,
                Level::Kernels,
                Level::Cluster,
                Level::Conformance
            ]
        );
        assert_eq!(
            selected(&[Level::Traffic, Level::Host, Level::Traffic]),
            [Level::Host, Level::Traffic]
        );
    }

    #[test]
    fn the_name_of_a_level_is_the_word_that_selects_it() {
        for level in Level::value_variants() {
            assert_eq!(level.to_possible_value().unwrap().get_name(), level.name());
        }
    }
}
