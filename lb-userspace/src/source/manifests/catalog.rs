//! What the manifests say all together, and the changes of it. Pure: it is given the files' text.

use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::io;
use std::path::{Path, PathBuf};

use super::folder::{Files, Text, format_of};
use super::parse::{Definition, Object, parse_file};
use crate::model::{EndpointSlice, Node, ObjectName, Service, ServiceCidr, Unread};
use crate::source::convert::Converted;
use crate::source::known::{Kind, Known, Told};
use crate::source::synced::Synced;
use crate::source::{Batch, SourceEvent};

/// The manifests of a directory as they were read last.
#[derive(Debug)]
pub(super) struct Catalog {
    directory: PathBuf,
    node_name: String,
    files: BTreeMap<String, File>,
    services: Known<Service>,
    slices: Known<EndpointSlice>,
    nodes: Known<Node>,
    service_cidrs: Known<ServiceCidr>,
    /// Problems with files and the directory, as they were told.
    problems: BTreeMap<String, Vec<String>>,
    missing: bool,
    /// Whether everything was told, and what of it can't be read.
    synced: Synced,
}

/// A file as it was read last.
#[derive(Default, Debug)]
struct File {
    text: Option<String>,
    /// What its text defines.
    definitions: Vec<Definition>,
    /// What it defined before it broke, so long as it is broken: no accident with a file deletes an object.
    kept: Vec<Definition>,
    problems: Vec<String>,
    /// What the definitions are about that do not parse.
    unread: Unread,
}

impl Catalog {
    /// An empty catalog of this directory, for the node of this name.
    pub(super) fn new(directory: &Path, node_name: &str) -> Self {
        Self {
            directory: directory.to_owned(),
            node_name: node_name.to_owned(),
            files: BTreeMap::new(),
            services: Known::default(),
            slices: Known::default(),
            nodes: Known::default(),
            service_cidrs: Known::default(),
            problems: BTreeMap::new(),
            missing: false,
            synced: Synced::default(),
        }
    }

    /// Takes in what was read of the directory and returns what changed by it; the first time, everything and `Synced`.
    pub(super) fn update(&mut self, read: io::Result<Files>) -> Batch {
        let mut problems = BTreeMap::new();
        self.missing = read.is_err();
        match read {
            Ok(files) => self.take(files),
            Err(error) => {
                let directory = format!("directory {}", self.directory.display());
                let message = format!(
                    "{directory} cannot be read: {error}; what it said before stays in force until it can be read again"
                );
                problems.insert(directory, vec![message]);
            }
        }
        for (name, file) in self
            .files
            .iter()
            .filter(|(_, file)| !file.problems.is_empty())
        {
            problems.insert(format!("file {name}"), file.problems.clone());
        }

        let mut batch = self.tell_problems(problems);
        let winners = self.winners();
        batch.extend(self.nodes.replace(winners.nodes));
        batch.extend(self.service_cidrs.replace(winners.service_cidrs));
        batch.extend(self.slices.replace(winners.slices));
        batch.extend(self.services.replace(winners.services));
        if !self.missing {
            let mut unread = Unread::default();
            for file in self.files.values() {
                unread.extend(file.unread.clone());
            }
            let synced = self.synced.tell(unread);
            if synced.is_some() {
                batch.push(SourceEvent::ServiceCidrsKnown);
            }
            batch.extend(synced);
        }
        batch
    }

    /// The directory could not be read the last time.
    pub(super) fn is_missing(&self) -> bool {
        self.missing
    }

    fn take(&mut self, files: Files) {
        self.files.retain(|name, _| files.contains_key(name));
        for (name, text) in files {
            match text {
                Text::Unfinished => {}
                Text::Unreadable(reason) => {
                    let file = self.files.entry(name.clone()).or_default();
                    file.text = None;
                    file.kept.append(&mut file.definitions);
                    file.unread = Unread::anything();
                    file.problems = vec![format!(
                        "file {name} cannot be read: {reason}; correct it, until then what it said before stays in force"
                    )];
                }
                Text::Read(text) => {
                    let file = self.files.entry(name.clone()).or_default();
                    if file.text.as_ref() != Some(&text) {
                        file.take(&name, text);
                    }
                }
            }
        }
    }

    fn tell_problems(&mut self, now: BTreeMap<String, Vec<String>>) -> Batch {
        let before = std::mem::replace(&mut self.problems, now);
        let objects: BTreeSet<_> = before.keys().chain(self.problems.keys()).collect();
        objects
            .into_iter()
            .filter(|object| before.get(*object) != self.problems.get(*object))
            .map(|object| SourceEvent::Problems {
                object: object.clone(),
                messages: self.problems.get(object).cloned().unwrap_or_default(),
            })
            .collect()
    }

    /// Of the definitions of one object the first counts; what only a broken file said counts after all others.
    fn winners(&self) -> Winners {
        let mut winners = Winners::default();
        for (name, file) in &self.files {
            for definition in &file.definitions {
                winners.add(&self.node_name, name, definition, true);
            }
        }
        for (name, file) in &self.files {
            for definition in &file.kept {
                winners.add(&self.node_name, name, definition, false);
            }
        }
        winners
    }
}

impl File {
    fn take(&mut self, name: &str, text: String) {
        // A file with a name of no format is not read in the first place.
        let Some(format) = format_of(name) else {
            return;
        };
        let parsed = parse_file(format, &text);
        self.kept.append(&mut self.definitions);
        if parsed.broken.is_empty() {
            self.kept.clear();
        } else {
            let defined: BTreeSet<_> = parsed.definitions.iter().map(Definition::key).collect();
            self.kept
                .retain(|definition| !defined.contains(&definition.key()));
        }
        self.problems = parsed
            .broken
            .iter()
            .map(|words| {
                format!("file {name}, {words}; correct it, until then nothing that the file defined before is removed")
            })
            .collect();
        self.unread = parsed.unread;
        self.definitions = parsed.definitions;
        self.text = Some(text);
    }
}

/// The objects that count, by kind.
#[derive(Default)]
struct Winners {
    services: BTreeMap<ObjectName, Told<Service>>,
    slices: BTreeMap<ObjectName, Told<EndpointSlice>>,
    nodes: BTreeMap<ObjectName, Told<Node>>,
    service_cidrs: BTreeMap<ObjectName, Told<ServiceCidr>>,
}

impl Winners {
    fn add(&mut self, node_name: &str, file: &str, definition: &Definition, complain: bool) {
        let place = format!("{file}, document {}", definition.document);
        let name = &definition.name;
        match &definition.object {
            Object::Service(object) => add(&mut self.services, name, &place, object, complain),
            Object::EndpointSlice(object) => add(&mut self.slices, name, &place, object, complain),
            Object::Node(object) if *name.name == *node_name => {
                add(&mut self.nodes, name, &place, object, complain)
            }
            Object::Node(_) => {}
            Object::ServiceCidr(object) => {
                add(&mut self.service_cidrs, name, &place, object, complain)
            }
        }
    }
}

fn add<T: Kind>(
    winners: &mut BTreeMap<ObjectName, Told<T>>,
    name: &ObjectName,
    place: &str,
    object: &Converted<T>,
    complain: bool,
) {
    match winners.entry(name.clone()) {
        btree_map::Entry::Vacant(entry) => {
            entry.insert(Told::new(name, Some(place), object));
        }
        btree_map::Entry::Occupied(mut entry) if complain => entry.get_mut().complain(format!(
            "{} {name} is defined a second time in {place}, which is ignored; remove one of the two definitions",
            T::NAME
        )),
        btree_map::Entry::Occupied(_) => {}
    }
}

#[cfg(test)]
mod tests;
