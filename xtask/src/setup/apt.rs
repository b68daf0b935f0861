//! Installing Debian packages without questions, without recommendations, without removals and without starting daemons.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, SystemTime},
};

use anyhow::{Result, bail};

use super::policy::NoServiceStarts;
use crate::step::{probe, run};

const LISTS: &str = "/var/lib/apt/lists";
/// Older lists name files that the mirrors no longer have.
const LISTS_STALE_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);
const SYSTEMCTL: &str = "/usr/bin/systemctl";
const UPDATE_RC: &str = "/usr/sbin/update-rc.d";

/// Whether this is a system of the Debian family.
pub fn available() -> bool {
    Path::new("/usr/bin/apt-get").exists() && Path::new("/usr/bin/dpkg").exists()
}

/// What to type, as root, to get the packages.
pub fn command_line(packages: &[&str]) -> String {
    format!(
        "apt-get update && apt-get install -y --no-install-recommends {}",
        packages.join(" ")
    )
}

/// Installs packages; the lists are fetched first if they are missing or old, or again if the install fails.
///
/// # Errors
/// If apt does not offer a package, or fails.
pub fn install(packages: &[&str]) -> Result<()> {
    let guard = NoServiceStarts::new()?;
    let fetched = lists_are_stale(SystemTime::now());
    if fetched {
        update()?;
    }
    let mut outcome = try_install(packages);
    if outcome.is_err() && !fetched && !guard.interrupted() {
        println!("    once more with fresh package lists");
        update()?;
        outcome = try_install(packages);
    }
    if guard.interrupted() {
        bail!("interrupted");
    }
    if outcome.is_err() {
        let missing = not_offered(packages);
        if !missing.is_empty() {
            bail!(
                "the package sources of this system do not offer {}",
                missing.join(" ")
            );
        }
    }
    outcome
}

/// Keeps a service that was just installed from coming up at the next boot.
///
/// # Errors
/// If the system's own tools for it fail.
pub fn disable_service(service: &str) -> Result<()> {
    if Path::new(SYSTEMCTL).exists() {
        run(Command::new(SYSTEMCTL).args(["--quiet", "disable", &format!("{service}.service")]))?;
    }
    if Path::new(UPDATE_RC).exists() && Path::new("/etc/init.d").join(service).exists() {
        run(Command::new(UPDATE_RC).args([service, "disable"]))?;
    }
    Ok(())
}

fn update() -> Result<()> {
    run(apt_get().arg("update"))
}

fn try_install(packages: &[&str]) -> Result<()> {
    run(apt_get()
        // A package that conflicts with one of the user's must not push it out.
        .args([
            "install",
            "-y",
            "--no-install-recommends",
            "--no-remove",
            "-o",
            "Dpkg::Options::=--force-confold",
        ])
        .args(packages))
}

fn apt_get() -> Command {
    let mut command = Command::new("/usr/bin/apt-get");
    command.args([
        "-q",
        "-o",
        "DPkg::Lock::Timeout=300",
        "-o",
        "Dpkg::Use-Pty=0",
    ]);
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C.UTF-8");
    // A user's PATH may lack the system folders that dpkg insists on.
    command.env(
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    );
    command
}

/// The packages that no source of this system has.
fn not_offered<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    let offered = |package: &str| {
        probe(
            Command::new("/usr/bin/apt-cache")
                .args(["policy", package])
                .env("LC_ALL", "C.UTF-8"),
        )
        .is_some_and(|text| text.contains("Candidate:") && !text.contains("Candidate: (none)"))
    };
    packages
        .iter()
        .copied()
        .filter(|package| !offered(package))
        .collect()
}

fn lists_are_stale(now: SystemTime) -> bool {
    let Ok(entries) = fs::read_dir(LISTS) else {
        return true;
    };
    if !entries
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
    {
        return true;
    }
    // The files carry the mirror's times; the folders tell when they were fetched.
    let newest = [LISTS, "/var/lib/apt/lists/partial"]
        .iter()
        .filter_map(|folder| fs::metadata(folder).and_then(|data| data.modified()).ok())
        .max();
    newest.is_none_or(|fetched| {
        now.duration_since(fetched)
            .is_ok_and(|age| age > LISTS_STALE_AFTER)
    })
}
