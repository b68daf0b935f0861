//! One run of libFuzzer: where its inputs are, and what it says in the end.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::workspace;

/// Octets of an input: several packets.
const MAX_LEN: u32 = 2_048;
/// Lines of a failed run's log that are shown.
const LINES: usize = 40;

/// A target, by the name of its program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// Any octets as a frame.
    Parser,
    /// Any packets one after the other.
    Pipeline,
    /// Any octets as an ICMP error.
    Related,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Parser, Self::Pipeline, Self::Related];

    /// The name of its program, and of the folders of its inputs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Parser => "parser",
            Self::Pipeline => "pipeline",
            Self::Related => "related",
        }
    }

    /// Runs the target, first on what is known and then on what libFuzzer makes of it; says how many inputs there were.
    ///
    /// # Errors
    /// If an input breaks what must hold: the message has the end of the log, the input's file and its octets.
    pub fn run(self, programs: &Path, seconds: u32) -> Result<String> {
        let folder = workspace::fuzz_dir().join("run").join(self.name());
        let found = folder.join("corpus");
        fs::create_dir_all(&found).with_context(|| found.display().to_string())?;
        let broken = folder.join("broken-");
        let log = folder.join("log");
        let output = fs::File::create(&log).with_context(|| log.display().to_string())?;
        let status = Command::new(programs.join(self.name()))
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-max_len={MAX_LEN}"))
            .arg(format!("-artifact_prefix={}", broken.display()))
            // Otherwise a limit that is wrong by one is hardly met.
            .arg("-use_value_profile=1")
            .arg("-print_final_stats=1")
            .arg(&found)
            .arg(workspace::fuzz_crate().join("seeds").join(self.name()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .env("RUST_BACKTRACE", "0")
            .status()
            .with_context(|| format!("the program of {}", self.name()))?;
        let text = fs::read(&log).with_context(|| log.display().to_string())?;
        let text = String::from_utf8_lossy(&text);
        if !status.success() {
            bail!("{status}\n{}", failure(&text));
        }
        match inputs(&text) {
            Some(inputs) if inputs > 0 => Ok(format!("{inputs} inputs in {seconds} s")),
            _ => bail!("no input ran:\n{}", end(&text)),
        }
    }
}

/// What a log ends with, and the octets of the input that broke something.
fn failure(log: &str) -> String {
    let mut text = end(log);
    let file = log
        .lines()
        .find_map(|line| line.split_once("Test unit written to "))
        .map(|(_, file)| file.trim());
    if let Some(file) = file {
        let octets = fs::read(file).unwrap_or_default();
        let hex: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
        text += &format!("\n{file}: {hex}\nput it into lb-common/fuzz/seeds once it is mended");
    }
    text
}

fn end(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

/// How many inputs ran, as a log says.
fn inputs(log: &str) -> Option<u64> {
    let mut lines = log.lines();
    lines.find_map(|line| {
        let number = line.strip_prefix("stat::number_of_executed_units:")?;
        number.trim().parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_inputs_is_read_from_the_log() {
        let log =
            "INFO: Seed: 1\nstat::number_of_executed_units: 5563128\nstat::peak_rss_mb:  27\n";
        assert_eq!(inputs(log), Some(5_563_128));
        assert_eq!(inputs("INFO: Seed: 1\n"), None);
    }

    #[test]
    fn a_failure_shows_the_input() {
        let file = std::env::temp_dir().join(format!("lb-fuzz-input-{}", std::process::id()));
        fs::write(&file, [1, 0xab]).unwrap();
        let text = failure(&format!(
            "panicked\nartifact_prefix='x'; Test unit written to {}\n",
            file.display()
        ));
        fs::remove_file(&file).unwrap();
        assert!(
            text.contains("panicked") && text.contains(": 01ab"),
            "{text}"
        );
    }
}
