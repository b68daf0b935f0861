//! Steps that take long: announced by one line, run with their own output visible, closed with the time they took.

use std::{path::Path, process::Command, time::Instant};

use anyhow::{Context, Result, bail};

/// Announces `what`, does it, and says how long it took.
///
/// # Errors
/// Those of `work`.
pub fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    println!("==> {what}");
    let start = Instant::now();
    let result = work();
    let verdict = if result.is_ok() { "done" } else { "failed" };
    println!("    {verdict} in {:.1} s", start.elapsed().as_secs_f64());
    result
}

/// Runs a command whose output goes straight to the terminal.
///
/// # Errors
/// If it can't be started, or ends with anything but success; the message holds the command line.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start `{}`", line(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", line(command));
    }
    Ok(())
}

/// The standard output of a command, trimmed; `None` if it can't be started or fails. Meant for probing.
pub fn probe(command: &mut Command) -> Option<String> {
    let output = command
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The command as one would type it: the program by name, without its folder and environment.
pub fn line(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut words = vec![
        program
            .file_name()
            .unwrap_or(program.as_os_str())
            .to_string_lossy(),
    ];
    words.extend(command.get_args().map(|arg| arg.to_string_lossy()));
    words.join(" ")
}
