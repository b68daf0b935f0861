//! Running `ip` in the calling thread's network namespace, many lines at a time. Programs of the lab's pods are not
//! run here (see `process`): these are short-lived tools that the lab itself waits for.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// Feeds `lines` (each what would follow the word `ip`) to one `ip -batch`. Stops at the first line that fails.
pub(crate) fn ip_batch(lines: &[String]) -> Result<()> {
    let mut ip = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("the ip program cannot be run: install the package iproute2")?;
    let mut stdin = ip.stdin.take().context("ip has no stdin")?;
    // `ip` stops reading at a line that fails; what it says about it matters more than the broken pipe.
    let _ = stdin.write_all((lines.join("\n") + "\n").as_bytes());
    drop(stdin);
    let output = ip.wait_with_output()?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!(
            "ip {:?} failed: {}",
            failed_line(&complaint, lines),
            complaint.trim()
        );
    }
    Ok(())
}

/// Runs `ip ARGUMENTS` and returns what it prints.
pub(crate) fn ip_output(arguments: &[&str]) -> Result<String> {
    let output = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .context("the ip program cannot be run: install the package iproute2")?;
    ensure!(
        output.status.success(),
        "ip {} failed: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `ip` ends its complaint with `Command failed -:LINE`.
fn failed_line<'a>(complaint: &str, lines: &'a [String]) -> &'a str {
    let number = complaint
        .rsplit(':')
        .next()
        .and_then(|text| text.trim().parse::<usize>().ok());
    number
        .and_then(|number| lines.get(number.wrapping_sub(1)))
        .map_or("-batch", String::as_str)
}
