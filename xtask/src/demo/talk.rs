//! What the demonstration prints: chapters, commands with their output, claims with their outcome, the verdict.

use std::fmt::Display;

use anyhow::{Result, bail};

use super::shell::Ran;

/// Prints as it goes and remembers what did not hold.
#[derive(Debug, Default)]
pub struct Talk {
    chapters: usize,
    held: usize,
    failed: Vec<String>,
}

impl Talk {
    /// Opens a chapter.
    pub fn chapter(&mut self, title: &str) {
        self.chapters += 1;
        println!("\n== {}. {title}", self.chapters);
    }

    /// A sentence between the commands.
    pub fn say(&self, text: impl Display) {
        println!("   {text}");
    }

    /// A text of several lines, such as a table or a file.
    pub fn quote(&self, text: &str) {
        for line in text.lines() {
            println!("     {line}");
        }
    }

    /// A command and what it printed.
    pub fn command(&self, ran: &Ran) {
        self.command_head(ran, usize::MAX);
    }

    /// A command and the first `most` lines of what it printed.
    pub fn command_head(&self, ran: &Ran, most: usize) {
        println!("   {}# {}", ran.place, ran.line);
        let lines: Vec<&str> = ran.output.trim_end().lines().collect();
        for line in lines.iter().take(most) {
            println!("     {line}");
        }
        if lines.len() > most {
            println!("     ({} more lines)", lines.len() - most);
        }
    }

    /// A claim that has just been measured.
    pub fn claim(&mut self, claim: impl Display, holds: bool) {
        if holds {
            self.held += 1;
            println!("   [ok] {claim}");
        } else {
            println!("   [FAILED] {claim}");
            self.failed.push(claim.to_string());
        }
    }

    /// Whether a claim did not hold so far.
    pub fn has_failed(&self) -> bool {
        !self.failed.is_empty()
    }

    /// Whether every claim held, as the last line of all.
    ///
    /// # Errors
    /// With the claims that did not.
    pub fn verdict(self) -> Result<String> {
        if self.failed.is_empty() {
            Ok(format!(
                "demo: everything shown held ({} claims)",
                self.held
            ))
        } else {
            bail!(
                "demo: {} of {} claims did not hold:\n  {}",
                self.failed.len(),
                self.failed.len() + self.held,
                self.failed.join("\n  ")
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_names_what_did_not_hold() {
        let mut talk = Talk::default();
        talk.claim("water is wet", true);
        assert_eq!(
            talk.verdict().unwrap(),
            "demo: everything shown held (1 claims)"
        );
        let mut talk = Talk::default();
        talk.claim("water is wet", true);
        talk.claim("fire is cold", false);
        assert!(talk.has_failed());
        assert_eq!(
            talk.verdict().unwrap_err().to_string(),
            "demo: 1 of 2 claims did not hold:\n  fire is cold"
        );
    }
}
