//! What a run has found, as `docs/conformance.md`. The text depends on nothing but results, so that a run that finds
//! nothing new leaves the file as it is.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::{fs, io};

use anyhow::{Context, Result, bail};

use crate::suite::{Port, Test};
use crate::suites;

const INTRODUCTION: &str = "\
# Kubernetes' own tests of Services

Written by `cargo xtask test conformance`; not to be edited. It runs the tests that Kubernetes v1.36 has below
`test/e2e/network`, rewritten by what they assert, on a real control plane with six nodes in three zones, where `lb agent`
runs on every node and kube-proxy on none. Services are dual-stack unless the test wants another, and both addresses
are tried.

| result | means |
|---|---|
| pass | all that the test asserts holds |
| pass, ClusterIP only | what it asserts of ClusterIPs holds; its other half, mostly node ports, is not served |
| outside | it is about something that is not served, or not the Service proxy's |
";

/// The tests that have passed so far. Clones share them.
#[derive(Clone)]
pub struct Report(Arc<Mutex<BTreeSet<String>>>);

/// What is said of one test.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Pass,
    ClusterIpPass,
    Outside,
    NotRun,
}

impl Report {
    /// Nothing has passed.
    pub fn new() -> Report {
        Report(Arc::default())
    }

    /// Notes a test by its full name.
    pub fn passed(&self, name: &str) {
        self.lock().insert(name.to_owned());
    }

    /// The summary, and after a complete run without failures the file.
    ///
    /// # Errors
    /// When the file was another one, or cannot be written.
    pub fn conclude(&self, failed: bool) -> Result<String> {
        let (text, totals) = self.render();
        let complete = totals.of(Outcome::NotRun) == 0;
        if failed || !complete {
            return Ok(format!("{totals}; docs/conformance.md is left as it is"));
        }
        let path = file();
        let before = match fs::read_to_string(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| path.display().to_string());
            }
            before => before.unwrap_or_default(),
        };
        if before != text {
            fs::write(&path, text).with_context(|| path.display().to_string())?;
            bail!(
                "{totals}; docs/conformance.md said something else and is rewritten: read what has changed and commit it"
            );
        }
        Ok(format!("{totals}, as docs/conformance.md says"))
    }

    fn render(&self) -> (String, Totals) {
        let passed = self.lock();
        let mut tables = String::new();
        let mut totals = Totals::default();
        for suite in suites::all() {
            let (title, file) = (suite.title, suite.file);
            // Writing to a string does not fail.
            let _ = write!(
                tables,
                "\n## {title}\n\n`{file}`\n\n| test | result | remark |\n|---|---|---|\n"
            );
            for test in &suite.tests {
                let outcome = outcome(test, passed.contains(&test.full_name(&suite)));
                totals.0.push(outcome);
                let mark = if test.conformance {
                    " **[Conformance]**"
                } else {
                    ""
                };
                let (name, word, remark) = (test.name, outcome.word(), remark(test));
                let _ = writeln!(tables, "| {name}{mark} | {word} | {remark} |");
            }
        }
        (format!("{INTRODUCTION}\n{totals}.\n{tables}"), totals)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct Totals(Vec<Outcome>);

impl Totals {
    fn of(&self, outcome: Outcome) -> usize {
        self.0.iter().filter(|each| **each == outcome).count()
    }
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} pass, {} pass for ClusterIP only, {} outside",
            self.of(Outcome::Pass),
            self.of(Outcome::ClusterIpPass),
            self.of(Outcome::Outside)
        )?;
        match self.of(Outcome::NotRun) {
            0 => Ok(()),
            rest => write!(f, ", {rest} not run or failed"),
        }
    }
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Outcome::Pass => "pass",
            Outcome::ClusterIpPass => "pass, ClusterIP only",
            Outcome::Outside => "outside",
            Outcome::NotRun => "not run",
        }
    }
}

fn outcome(test: &Test, passed: bool) -> Outcome {
    match test.port {
        Port::Whole(_) if passed => Outcome::Pass,
        Port::ClusterIp(_) if passed => Outcome::ClusterIpPass,
        Port::Whole(_) | Port::ClusterIp(_) => Outcome::NotRun,
        Port::Outside(_) => Outcome::Outside,
    }
}

fn remark(test: &Test) -> &'static str {
    match test.port {
        Port::Outside(why) => why,
        Port::Whole(_) | Port::ClusterIp(_) => test.remark,
    }
}

fn file() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "docs", "conformance.md"]
        .iter()
        .collect()
}
