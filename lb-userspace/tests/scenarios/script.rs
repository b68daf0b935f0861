//! The files of the scenarios: sections that begin with `== <what>`.
//!
//! * `== limits slots=70 …`: sizes of the maps, where the usual ones do not do; `families=ipv4` where IPv6 is not served.
//! * `== manifests`: all objects that there are from now on, as YAML.
//! * `== files`: the same in several files, each after a line `# file: <name>`.
//! * `== wait 10`: seconds pass.
//! * `== restart`: the agent ends and another one begins on the same maps.
//! * `== maps`: the dump of the maps after what stands above, and before it, if there are any, lines `! <sentence>` of
//!   problems. `== maps unchanged` says that nothing was written since the last dump.
//!
//! What stands before the first section says what the scenario is about.

use std::fs;
use std::path::{Path, PathBuf};

use lb_userspace::maps::Limits;
use lb_userspace::model::{Families, Family};

/// A scenario.
pub struct Script {
    pub path: PathBuf,
    pub limits: Limits,
    pub about: String,
    pub sections: Vec<Section>,
}

/// A section with its title, to be written back as it was, and its text.
pub struct Section {
    pub title: String,
    pub text: String,
}

/// The folder of the scenarios.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios/data")
}

impl Script {
    pub fn read(name: &str) -> Self {
        let path = folder().join(format!("{name}.txt"));
        let text = fs::read_to_string(&path).unwrap();
        let mut about = String::new();
        let mut sections: Vec<Section> = Vec::new();
        for line in text.lines() {
            if let Some(title) = line.strip_prefix("== ") {
                sections.push(Section {
                    title: title.to_owned(),
                    text: String::new(),
                });
                continue;
            }
            let into = sections
                .last_mut()
                .map_or(&mut about, |section| &mut section.text);
            into.push_str(line);
            into.push('\n');
        }
        let limits = sections
            .iter()
            .find_map(|section| section.title.strip_prefix("limits "));
        let limits = limits.map_or_else(Limits::default, parse_limits);
        Self {
            path,
            limits,
            about,
            sections,
        }
    }

    pub fn write(&self) {
        let mut text = self.about.clone();
        for section in &self.sections {
            text.push_str(&format!("== {}\n{}", section.title, section.text));
        }
        fs::write(&self.path, text).unwrap();
    }
}

fn parse_limits(text: &str) -> Limits {
    let mut limits = Limits::default();
    for part in text.split(' ') {
        let (name, number) = part.split_once('=').unwrap();
        let limit = match name {
            "families" => {
                limits.families = match number {
                    "ipv4" => Families::Only(Family::V4),
                    "ipv6" => Families::Only(Family::V6),
                    other => panic!("there is no family {other}"),
                };
                continue;
            }
            "frontends" => &mut limits.frontends,
            "backends" => &mut limits.backends,
            "slots" => &mut limits.slots,
            "services" => &mut limits.services,
            other => panic!("there is no limit {other}"),
        };
        *limit = number.parse().unwrap();
    }
    limits
}
