//! Name patterns of `--devices`: `*` stands for any characters, `?` for one. Nothing else is special.

use thiserror::Error;

/// Longest name of a device: IFNAMSIZ without the final zero.
const MAX_NAME: usize = 15;

/// A pattern of device names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Glob(String);

/// A pattern that no device name can match.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum GlobError {
    /// Nothing but the empty name would match.
    #[error("the device pattern {0:?} is empty: name a device, or use * and ? for any characters")]
    Empty(String),
    /// The kernel allows no such character in a device's name (`dev_valid_name` in `net/core/dev.c`).
    #[error("the device pattern {pattern:?} contains {character:?}, which no device name does")]
    Character {
        /// The pattern.
        pattern: String,
        /// What it can't contain.
        character: char,
    },
    /// More fixed characters than a name has.
    #[error(
        "the device pattern {0:?} demands more than {MAX_NAME} characters, the most that a device name has"
    )]
    TooLong(String),
}

impl Glob {
    /// Checks a pattern.
    ///
    /// # Errors
    /// If no device name can match it.
    pub fn new(pattern: &str) -> Result<Self, GlobError> {
        if pattern.is_empty() {
            return Err(GlobError::Empty(pattern.into()));
        }
        if let Some(character) = pattern
            .chars()
            .find(|c| *c == '/' || *c == ':' || c.is_whitespace())
        {
            return Err(GlobError::Character {
                pattern: pattern.into(),
                character,
            });
        }
        if pattern.bytes().filter(|b| *b != b'*').count() > MAX_NAME {
            return Err(GlobError::TooLong(pattern.into()));
        }
        Ok(Self(pattern.into()))
    }

    /// Whether a name matches as a whole.
    pub fn matches(&self, name: &str) -> bool {
        matches(self.0.as_bytes(), name.as_bytes())
    }
}

/// Greedy match that goes back only to the last star, so the work is at most the product of both lengths.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                last_star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == b'?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((star, taken)) = last_star else {
                    return false;
                };
                last_star = Some((star, taken + 1));
                p = star + 1;
                n = taken + 1;
            }
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, expected) in [
            ("eth0", "eth0", true),
            ("eth0", "eth01", false),
            ("eth", "eth0", false),
            ("veth*", "veth", true),
            ("veth*", "veth12ab", true),
            ("veth*", "xveth1", false),
            ("*", "anything", true),
            ("e?h*", "eth0", true),
            ("e?h*", "eh0", false),
            ("*ab*ab", "xabxabab", true),
            ("*ab*ab", "xabxaba", false),
            ("a*b*c", "a1b2b3c", true),
        ] {
            let glob = Glob::new(pattern).unwrap();
            assert_eq!(glob.matches(name), expected, "{pattern} and {name}");
        }
    }
}
