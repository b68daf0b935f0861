//! Flags as Go programs take them: `--name=value`, `--name value`, `--switch`.

use std::collections::BTreeMap;

/// Names, without dashes, and their values; empty for a switch.
pub(super) struct Flags(BTreeMap<String, String>);

/// A port flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Port {
    Absent,
    /// A negative number.
    Off,
    Given(u16),
}

impl Flags {
    pub fn parse(words: &[String]) -> Flags {
        let mut flags = BTreeMap::new();
        let mut words = words.iter().peekable();
        while let Some(word) = words.next() {
            let name = word.trim_start_matches('-');
            let (name, value) = match name.split_once('=') {
                Some((name, value)) => (name, value.to_owned()),
                None => {
                    let value = words.next_if(|next| !next.starts_with("--"));
                    (name, value.cloned().unwrap_or_default())
                }
            };
            flags.insert(name.to_owned(), value);
        }
        Flags(flags)
    }

    pub fn number(&self, name: &str) -> Result<Option<u64>, String> {
        let parse = |value: &String| {
            value
                .parse()
                .map_err(|_| format!("--{name} wants a number, not {value:?}"))
        };
        self.0.get(name).map(parse).transpose()
    }

    pub fn port(&self, name: &str) -> Result<Port, String> {
        let Some(value) = self.0.get(name) else {
            return Ok(Port::Absent);
        };
        if value.starts_with('-') {
            return Ok(Port::Off);
        }
        let port = value.parse();
        port.map(Port::Given)
            .map_err(|_| format!("--{name} wants a port, not {value:?}"))
    }

    pub fn is_on(&self, name: &str, default: bool) -> bool {
        self.0.get(name).map_or(default, |value| value != "false")
    }
}

impl Port {
    pub fn or_default(self, default: u16) -> Option<u16> {
        match self {
            Port::Absent => Some(default),
            Port::Off => None,
            Port::Given(port) => Some(port),
        }
    }

    pub fn given(self) -> Option<u16> {
        match self {
            Port::Absent | Port::Off => None,
            Port::Given(port) => Some(port),
        }
    }
}
