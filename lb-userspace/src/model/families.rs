//! Which address families are served.

use lb_common::families::{IPV4, IPV6};

use super::Family;

/// One address family, or both.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Families {
    /// This one alone.
    Only(Family),
    /// Both.
    Both,
}

impl Families {
    /// Those that are named, however often; none where none is.
    pub fn of(named: impl IntoIterator<Item = Family>) -> Option<Self> {
        named.into_iter().fold(None, |families, family| {
            Some(match families {
                None => Self::Only(family),
                Some(Self::Only(other)) if other == family => Self::Only(family),
                Some(_) => Self::Both,
            })
        })
    }

    /// Whether a family is one of them.
    pub fn has(self, family: Family) -> bool {
        match self {
            Self::Only(only) => only == family,
            Self::Both => true,
        }
    }

    /// Those of both that are not served: one, or none.
    pub fn missing(self) -> Option<Family> {
        match self {
            Self::Only(Family::V4) => Some(Family::V6),
            Self::Only(Family::V6) => Some(Family::V4),
            Self::Both => None,
        }
    }

    /// What the programs are told: a bit for each ([`lb_common::families`]).
    pub fn bits(self) -> u32 {
        match self {
            Self::Only(Family::V4) => IPV4,
            Self::Only(Family::V6) => IPV6,
            Self::Both => IPV4 | IPV6,
        }
    }

    /// The words for them.
    pub fn name(self) -> &'static str {
        match self {
            Self::Only(Family::V4) => "IPv4",
            Self::Only(Family::V6) => "IPv6",
            Self::Both => "IPv4 and IPv6",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_those_that_are_named() {
        use Family::{V4, V6};
        for (named, families) in [
            (&[][..], None),
            (&[V4], Some(Families::Only(V4))),
            (&[V6, V6], Some(Families::Only(V6))),
            (&[V6, V4], Some(Families::Both)),
            (&[V4, V6, V4], Some(Families::Both)),
        ] {
            assert_eq!(Families::of(named.iter().copied()), families, "{named:?}");
        }
    }

    #[test]
    fn the_programs_have_a_bit_for_each_that_is_served() {
        for families in [
            Families::Only(Family::V4),
            Families::Only(Family::V6),
            Families::Both,
        ] {
            for (family, octets) in [(Family::V4, 4), (Family::V6, 16)] {
                let bit = families.bits() & lb_common::families::bit(octets) != 0;
                assert_eq!(bit, families.has(family), "{families:?} {family:?}");
                assert_eq!(families.missing() == Some(family), !bit, "{families:?}");
            }
        }
    }
}
