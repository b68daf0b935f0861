//! Runs a scenario: manifests go through the source, the index and the reconciler, as they do in the agent.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use lb_userspace::maps::Maps;
use lb_userspace::model::ObjectName;
use lb_userspace::model::index::Index;
use lb_userspace::reconciler::{Outcome, Reconciler};
use lb_userspace::source::{SourceEvent, manifests};
use lb_userspace::view;

use crate::script::Script;

const NODE: &str = "node-a";

/// Runs every section. `open` opens the maps, or takes those of the agent before.
pub fn run<M: Maps>(mut script: Script, open: &dyn Fn(Option<M>) -> M) {
    let mut world = World::new(open(None));
    let mut wrong = Vec::new();
    for section in &mut script.sections {
        let (verb, argument) = section
            .title
            .split_once(' ')
            .unwrap_or((&section.title, ""));
        match verb {
            "limits" => {}
            "manifests" => world.tell(&[("all.yaml", &section.text)]),
            "files" => world.tell(&files(&section.text)),
            "wait" => world.now += Duration::from_secs(argument.parse().unwrap()),
            "restart" => world = world.restart(open),
            "maps" => {
                let found = world.maps(argument == "unchanged");
                if found.trim_end() != section.text.trim_end() {
                    wrong.push(format!("expected:\n{}\nfound:\n{found}", section.text));
                }
                section.text = format!("{}\n", found.trim_end());
            }
            other => panic!("there is no section {other:?}"),
        }
        if verb != "maps" && !section.text.ends_with('\n') {
            section.text.push('\n');
        }
    }
    if std::env::var_os("UPDATE_SCENARIOS").is_some() {
        script.write();
    } else {
        assert!(
            wrong.is_empty(),
            "{}\n{}",
            script.path.display(),
            wrong.join("\n")
        );
    }
}

struct World<M> {
    reconciler: Reconciler<M>,
    now: Instant,
    index: Index,
    /// Every Service that the agent was ever told of.
    known: BTreeSet<ObjectName>,
    source_problems: Vec<String>,
}

impl<M: Maps> World<M> {
    fn new(maps: M) -> Self {
        let families = maps.limits().families;
        Self {
            reconciler: Reconciler::start(maps).unwrap(),
            now: Instant::now(),
            index: Index::new(NODE).with_families(families),
            known: BTreeSet::new(),
            source_problems: Vec::new(),
        }
    }

    fn restart(self, open: &dyn Fn(Option<M>) -> M) -> Self {
        let mut new = Self {
            now: self.now,
            index: self.index,
            source_problems: self.source_problems,
            ..Self::new(open(Some(self.reconciler.into_maps())))
        };
        new.apply();
        new
    }

    /// Everything that exists from now on.
    fn tell(&mut self, files: &[(&str, &str)]) {
        let families = self.reconciler.maps().limits().families;
        self.index = Index::new(NODE).with_families(families);
        self.source_problems.clear();
        for event in read(files) {
            if let SourceEvent::Problems { messages, .. } = &event {
                self.source_problems.extend(messages.iter().cloned());
            }
            self.index.apply(event);
        }
        assert!(self.index.is_synced());
        self.apply();
    }

    fn apply(&mut self) {
        self.known.extend(self.index.services().cloned());
        for service in &self.known {
            let unserved = self.index.unserved(service);
            self.reconciler.set_unserved(service, unserved);
            self.reconciler.apply(service, self.index.resolve(service));
        }
        let ranges = self.index.service_cidrs();
        self.reconciler.set_service_cidrs(ranges);
    }

    /// Reconciles and dumps the maps, the problems first.
    fn maps(&mut self, unchanged: bool) -> String {
        let Outcome {
            changed,
            problems,
            cidr_problems,
            ..
        } = self.reconciler.reconcile(self.now);
        assert!(
            !unchanged || changed == 0,
            "{changed} writes, and there should be none"
        );
        let dump = view::dump(self.reconciler.maps()).unwrap();
        let problems = problems.iter().map(ToString::to_string);
        let problems = problems.chain(cidr_problems.iter().map(ToString::to_string));
        let sentences: String = self
            .source_problems
            .iter()
            .cloned()
            .chain(problems)
            .map(|text| format!("! {text}\n"))
            .collect();
        sentences + &dump
    }
}

/// The files of a section: each begins with a line that names it.
fn files(text: &str) -> Vec<(&str, &str)> {
    let parts = text.split("# file: ").skip(1);
    parts.map(|part| part.split_once('\n').unwrap()).collect()
}

/// What a source says of a directory with these files.
fn read(files: &[(&str, &str)]) -> Vec<SourceEvent> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(first_list(folder.path()))
}

async fn first_list(folder: &Path) -> Vec<SourceEvent> {
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    tokio::select! {
        end = manifests::run(folder, NODE, sender) => panic!("the source ended: {end:?}"),
        first = receiver.recv() => first.unwrap(),
    }
}
