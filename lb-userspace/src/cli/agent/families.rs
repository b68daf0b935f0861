//! The option that names the address families.

use clap::ValueEnum;

use crate::model::{Families, Family};

/// Which families are served.
#[derive(clap::Args, Debug)]
pub(super) struct FamilyArgs {
    /// Which address families are served, as a list with commas. The maps of another one take no memory, and its packets and
    /// sockets pass as they would without the agent.
    #[arg(
        long,
        value_name = "FAMILY",
        value_enum,
        env = "LB_IP_FAMILIES",
        value_delimiter = ',',
        default_values_t = [FamilyArg::Ipv4, FamilyArg::Ipv6]
    )]
    ip_families: Vec<FamilyArg>,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum FamilyArg {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl From<FamilyArgs> for Families {
    fn from(args: FamilyArgs) -> Self {
        let named = args.ip_families.into_iter().map(|family| match family {
            FamilyArg::Ipv4 => Family::V4,
            FamilyArg::Ipv6 => Family::V6,
        });
        // An empty list is refused where the line is parsed.
        Self::of(named).unwrap_or(Self::Both)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: FamilyArgs,
    }

    fn parse(words: &[&str]) -> Result<Families, clap::Error> {
        let line = ["lb"].iter().chain(words);
        Line::try_parse_from(line).map(|line| line.args.into())
    }

    #[test]
    fn both_families_are_served_or_those_that_are_named() {
        for (words, families) in [
            (&[][..], Families::Both),
            (&["--ip-families", "ipv4"], Families::Only(Family::V4)),
            (&["--ip-families=ipv6"], Families::Only(Family::V6)),
            (&["--ip-families=ipv6,ipv4"], Families::Both),
            (
                &["--ip-families=ipv4", "--ip-families=ipv6"],
                Families::Both,
            ),
        ] {
            assert_eq!(parse(words).expect("a list"), families, "{words:?}");
        }
    }

    #[test]
    fn an_unknown_family_and_an_empty_list_are_refused_with_those_that_there_are() {
        for value in ["ipv5", "", ",", "ipv4,", "IPv4 IPv6"] {
            let line = format!("--ip-families={value}");
            let error = parse(&[&line]).expect_err(value).to_string();
            for word in ["--ip-families", "ipv4", "ipv6"] {
                assert!(error.contains(word), "{value:?}: {error}");
            }
        }
    }
}
