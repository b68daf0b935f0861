//! A range of addresses, as in `10.96.0.0/12`.

use std::fmt;
use std::net::{AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::Family;

/// A range of addresses: a prefix and its length. What is behind the prefix is zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Cidr {
    /// Length of the prefix in bits. The first field, so that large ranges come before small ones.
    length: u8,
    prefix: IpAddr,
}

/// Why a text is no range that Services can have.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CidrError {
    /// There is no slash.
    #[error("{0:?} is no range of addresses: write it as 10.96.0.0/12")]
    NoLength(String),
    /// What is before the slash is no address.
    #[error("{text:?} is no range of addresses: {cause}; write it as 10.96.0.0/12")]
    Address {
        /// The text.
        text: String,
        /// Why not.
        cause: AddrParseError,
    },
    /// What is behind the slash is no length.
    #[error(
        "{text:?} is no range of addresses: the length of its prefix is a number from 0 to {most}"
    )]
    Length {
        /// The text.
        text: String,
        /// The longest prefix of the family.
        most: u8,
    },
    /// All that there is.
    #[error(
        "{0:?} are all addresses of the family, which no cluster's Services have to themselves"
    )]
    Everything(String),
}

impl Cidr {
    /// The range of a prefix of so many bits, whatever is behind it. A length beyond the family's is the family's.
    pub fn new(address: IpAddr, length: u8) -> Self {
        let (bits, most) = bits(&address);
        let length = length.min(most);
        let mask = u128::MAX
            .checked_shl(u32::from(most - length))
            .unwrap_or_default();
        let prefix = match address {
            IpAddr::V4(_) => Ipv4Addr::from_bits((bits & mask) as u32).into(),
            IpAddr::V6(_) => Ipv6Addr::from_bits(bits & mask).into(),
        };
        Self { length, prefix }
    }

    /// The prefix.
    pub fn prefix(&self) -> IpAddr {
        self.prefix
    }

    /// Length of the prefix in bits.
    pub fn length(&self) -> u8 {
        self.length
    }

    /// The family.
    pub fn family(&self) -> Family {
        Family::of(&self.prefix)
    }

    /// Whether an address is in this range.
    pub fn has(&self, address: &IpAddr) -> bool {
        self.contains(&Self::new(*address, u8::MAX))
    }

    /// Whether all addresses of another range are in this one.
    pub fn contains(&self, other: &Self) -> bool {
        self.family() == other.family()
            && self.length <= other.length
            && Self::new(other.prefix, self.length) == *self
    }
}

/// The address as a number, and how many bits it has.
fn bits(address: &IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(address) => (address.to_bits().into(), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let Some((address, length)) = text.trim().split_once('/') else {
            return Err(CidrError::NoLength(text.to_owned()));
        };
        let address: IpAddr = address.parse().map_err(|cause| CidrError::Address {
            text: text.to_owned(),
            cause,
        })?;
        let (_, most) = bits(&address);
        match length.parse() {
            Ok(0) => Err(CidrError::Everything(text.to_owned())),
            Ok(length) if length <= most => Ok(Self::new(address, length)),
            _ => Err(CidrError::Length {
                text: text.to_owned(),
                most,
            }),
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.prefix, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().expect("a range")
    }

    #[test]
    fn a_range_is_written_by_its_prefix() {
        for (text, written) in [
            ("10.96.0.0/12", "10.96.0.0/12"),
            ("10.111.3.4/12", "10.96.0.0/12"),
            (" 10.0.0.1/32", "10.0.0.1/32"),
            ("fd00:10:96::/112", "fd00:10:96::/112"),
            ("fd00:10:96::7:1/108", "fd00:10:96::/108"),
            ("fd00::1/128", "fd00::1/128"),
            ("255.0.0.0/1", "128.0.0.0/1"),
        ] {
            assert_eq!(cidr(text).to_string(), written);
        }
    }

    #[test]
    fn what_is_no_range_is_refused_with_the_reason() {
        for (text, words) in [
            ("10.96.0.0", "write it as"),
            ("", "write it as"),
            ("10.96/12", "invalid IP address"),
            ("10.96.0.0/33", "0 to 32"),
            ("10.96.0.0/-1", "0 to 32"),
            ("10.96.0.0/", "0 to 32"),
            ("fd00::/129", "0 to 128"),
            ("0.0.0.0/0", "all addresses"),
            ("::/0", "all addresses"),
        ] {
            let error = text.parse::<Cidr>().expect_err(text).to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn a_range_contains_itself_and_what_begins_with_its_prefix() {
        for (one, other, contains) in [
            ("10.96.0.0/12", "10.96.0.0/12", true),
            ("10.96.0.0/12", "10.111.0.0/16", true),
            ("10.96.0.0/12", "10.112.0.0/16", false),
            ("10.96.0.0/16", "10.96.0.0/12", false),
            ("fd00::/64", "fd00::1:0/112", true),
            ("10.0.0.0/8", "fd00::/108", false),
        ] {
            assert_eq!(cidr(one).contains(&cidr(other)), contains, "{one}, {other}");
        }
    }
}
