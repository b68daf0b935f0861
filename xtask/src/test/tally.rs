//! Counting tests: runs `cargo test`, passes its output through line by line and adds up the result lines in it.

use std::{
    fmt,
    io::{BufRead as _, BufReader, Write},
    ops::AddAssign,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::step;

/// How much of what a failed test said is repeated at the end: the reason, not a whole log.
const LINES_OF_A_FAILURE: usize = 30;

/// How many tests ended which way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Ran and held.
    pub passed: u32,
    /// Ran and did not hold.
    pub failed: u32,
    /// Did not run.
    pub ignored: u32,
    /// What each failed test said, below its name. Who looks at the end of a long log finds it there.
    pub failures: Vec<String>,
    /// How many lines of the last failure are still to come, while its part of the output is passed through.
    room: usize,
}

impl Tally {
    /// Runs a test command, passes what it prints on to `terminal`, and adds its results.
    ///
    /// # Errors
    /// If it can't be started or does not succeed; what it reported until then is counted.
    pub fn run(&mut self, command: &mut Command, terminal: &mut impl Write) -> Result<()> {
        let line = step::line(command);
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{line}`"))?;
        let output = child
            .stdout
            .take()
            .context("the child has no output pipe")?;
        for text in BufReader::new(output).split(b'\n') {
            let text = text.with_context(|| format!("cannot read what `{line}` says"))?;
            terminal
                .write_all(&text)
                .and_then(|()| terminal.write_all(b"\n"))
                .context("cannot write to the terminal")?;
            self.count(&String::from_utf8_lossy(&text));
        }
        let status = child.wait().with_context(|| format!("`{line}` got lost"))?;
        if !status.success() {
            bail!("`{line}` failed: {status}");
        }
        Ok(())
    }

    /// Adds the results that a line tells, if it tells any.
    pub fn count(&mut self, line: &str) {
        let is_heading = line.starts_with("---- ") && line.ends_with(" ----");
        if is_heading {
            self.failures.push(String::new());
            self.room = LINES_OF_A_FAILURE;
        } else if line == "failures:" {
            self.room = 0;
        }
        if let (Some(failure), 1..) = (self.failures.last_mut(), self.room) {
            failure.push_str(line);
            failure.push('\n');
            self.room -= 1;
        }
        if let Some(results) = results(line) {
            *self += results;
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
        self.failures.extend(other.failures);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>4} passed, {:>3} failed, {:>3} ignored",
            self.passed, self.failed, self.ignored
        )
    }
}

/// What a line says if it is one of `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
fn results(line: &str) -> Option<Tally> {
    // The harness may leave its last test's line open when a test prints by itself.
    let (_, verdict) = line.split_once("test result: ")?;
    let (_, counts) = verdict.split_once(". ")?;
    let count = |what: &str| {
        counts
            .split("; ")
            .find_map(|part| part.trim().strip_suffix(what))
            .and_then(|number| number.trim().parse().ok())
    };
    Some(Tally {
        passed: count("passed")?,
        failed: count("failed")?,
        ignored: count("ignored")?,
        ..Tally::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_counted_and_others_are_not() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.02s";
        assert_eq!(
            results(line),
            Some(Tally {
                passed: 12,
                failed: 3,
                ignored: 1,
                ..Tally::default()
            })
        );
        assert_eq!(results("test parses_a_result ... ok"), None);
        assert_eq!(results("test result: ok"), None);
    }

    #[test]
    fn a_failing_command_is_an_error_and_its_results_count() {
        let mut tally = Tally::default();
        let script = "echo 'test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured'; exit 3";
        let mut terminal = Vec::new();
        let error = tally
            .run(Command::new("sh").args(["-c", script]), &mut terminal)
            .unwrap_err();
        assert_eq!(
            terminal,
            b"test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured\n"
        );
        assert!(error.to_string().contains("exit status: 3"), "{error}");
        assert_eq!(
            tally,
            Tally {
                passed: 2,
                failed: 0,
                ignored: 0,
                ..Tally::default()
            }
        );
    }

    #[test]
    fn what_failed_tests_said_is_kept_up_to_a_number_of_lines() {
        let mut tally = Tally::default();
        let mut output = vec![
            "test a ... ok",
            "failures:",
            "",
            "---- b stdout ----",
            "left 1",
        ];
        output.extend(["right 2", ""]);
        output.extend(["---- c stdout ----"].into_iter().chain(["more"; 99]));
        output.extend(["", "failures:", "    b", "    c", "test result: FAILED"]);
        output.into_iter().for_each(|line| tally.count(line));
        let [b, c] = &tally.failures[..] else {
            panic!("{:?}", tally.failures);
        };
        assert_eq!(b, "---- b stdout ----\nleft 1\nright 2\n\n");
        assert_eq!(c.lines().count(), LINES_OF_A_FAILURE);
    }
}
