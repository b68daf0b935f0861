//! What is not known of the objects that exist, because some of them can't be read.

use std::collections::BTreeSet;

use super::ObjectName;

/// What an object that can't be read is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Concern {
    /// Nothing that is served.
    Nothing,
    /// This Service itself.
    Service(ObjectName),
    /// Endpoints of this Service.
    Slice(ObjectName),
    /// Not even that can be read.
    Unknown,
}

/// What is not known. The default is nothing: everything was read.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Unread {
    /// Services that may exist.
    pub services: BTreeSet<ObjectName>,
    /// Services that have slices which are not known.
    pub owners: BTreeSet<ObjectName>,
    /// Beyond these any other Service may be concerned.
    pub anything: bool,
}

impl Unread {
    /// Any Service may be concerned.
    pub fn anything() -> Self {
        Self {
            anything: true,
            ..Self::default()
        }
    }

    /// Everything was read.
    pub fn is_nothing(&self) -> bool {
        self.services.is_empty() && self.owners.is_empty() && !self.anything
    }

    /// Adds an object that can't be read.
    pub fn add(&mut self, concern: Concern) {
        match concern {
            Concern::Nothing => {}
            Concern::Service(name) => {
                self.services.insert(name);
            }
            Concern::Slice(owner) => {
                self.owners.insert(owner);
            }
            Concern::Unknown => self.anything = true,
        }
    }

    /// Adds others.
    pub fn extend(&mut self, other: Self) {
        self.services.extend(other.services);
        self.owners.extend(other.owners);
        self.anything |= other.anything;
    }

    /// What is left of this when `now` can't be read. It never grows: an object that could be read once is known.
    pub fn left(self, now: Self) -> Self {
        match (self.anything, now.anything) {
            // Whatever is named now may have been among what was not.
            (true, _) => now,
            // What is named here may be what can't even be named now.
            (false, true) => self,
            (false, false) => Self {
                services: &self.services & &now.services,
                owners: &self.owners & &now.owners,
                anything: false,
            },
        }
    }
}

impl FromIterator<Concern> for Unread {
    fn from_iter<I: IntoIterator<Item = Concern>>(concerns: I) -> Self {
        let mut unread = Self::default();
        concerns.into_iter().for_each(|concern| unread.add(concern));
        unread
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str) -> Concern {
        Concern::Service(ObjectName::new("shop", name))
    }

    fn slice(owner: &str) -> Concern {
        Concern::Slice(ObjectName::new("shop", owner))
    }

    #[track_caller]
    fn check<const B: usize, const N: usize, const L: usize>(
        before: [Concern; B],
        now: [Concern; N],
        left: [Concern; L],
    ) {
        let [before, now, left] = [
            Unread::from_iter(before),
            now.into_iter().collect(),
            left.into_iter().collect(),
        ];
        assert_eq!(before.left(now), left);
    }

    #[test]
    fn s_8_what_is_not_known_never_grows_and_is_never_lost_behind_what_has_no_name() {
        use Concern::{Nothing, Unknown};
        check([], [service("a"), slice("a"), Unknown], []);
        check([service("a")], [Nothing], []);
        check(
            [service("a"), service("b")],
            [service("b"), slice("a")],
            [service("b")],
        );
        check(
            [slice("a"), slice("b")],
            [slice("a"), service("b")],
            [slice("a")],
        );
        check(
            [Unknown],
            [service("a"), slice("b")],
            [service("a"), slice("b")],
        );
        check([Unknown, service("a")], [Unknown], [Unknown]);
        check([service("a")], [Unknown], [service("a")]);
    }
}
