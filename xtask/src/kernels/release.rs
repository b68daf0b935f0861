//! The kernels that are tested, and where Debian has them.

use clap::ValueEnum;

/// One series of kernels. The newest of its updates is what is booted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Release {
    /// Debian 11's, the oldest that is supported: clsact, the oldest verifier
    #[value(name = "5.10")]
    V5_10,
    /// Debian 12's: clsact
    #[value(name = "6.1")]
    V6_1,
    /// Debian 13's: tcx
    #[value(name = "6.12")]
    V6_12,
    /// The newest that Debian offers for its stable release
    #[value(name = "newest")]
    Newest,
}

impl Release {
    /// Those of a run that names none: the oldest, which has least, and the newest, whose verifier nobody has seen yet. What is
    /// between them is mostly the machine's own, which the other levels run on.
    pub const USUAL: [Self; 2] = [Self::V5_10, Self::Newest];

    /// The word to select it with.
    pub fn name(self) -> &'static str {
        match self {
            Self::V5_10 => "5.10",
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
            Self::Newest => "newest",
        }
    }

    /// Where its package is: the archive below Debian's mirror, and the suite.
    pub(super) fn suite(self) -> (&'static str, &'static str) {
        match self {
            Self::V5_10 => ("debian-security", "bullseye-security"),
            Self::V6_1 => ("debian-security", "bookworm-security"),
            Self::V6_12 => ("debian-security", "trixie-security"),
            Self::Newest => ("debian", "trixie-backports"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_release_is_the_word_that_selects_it() {
        for release in Release::value_variants() {
            assert_eq!(
                release.to_possible_value().unwrap().get_name(),
                release.name()
            );
        }
    }
}
