//! The tools that kube-proxy calls, each in a directory of its own below target: nothing of the system is replaced.
//!
//! kube-proxy's nftables mode is only fair with a current nft: 1.0.6, which is Debian 12's, takes many times as long. Where the
//! system's is older, Debian 13's is unpacked, with the libraries that it needs.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::step::{probe, run as execute, step};

/// The first release of the series that reads large sets quickly.
const RECENT: [u32; 2] = [1, 1];
const SUITE: &str = "trixie";
const MIRROR: &str = "http://deb.debian.org/debian";
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const PACKAGES: [&str; 11] = [
    "nftables",
    "libnftables1",
    "libnftnl11",
    "libmnl0",
    "libxtables12",
    "libjansson4",
    "libgmp10",
    "libedit2",
    "libbsd0",
    "libmd0",
    "libtinfo6",
];
const LIBC: &str = "libc6";
const PROGRAMS: [&str; 6] = [
    "iptables",
    "iptables-save",
    "iptables-restore",
    "ip6tables",
    "ip6tables-save",
    "ip6tables-restore",
];

/// Directories with programs.
pub struct Tools {
    /// `nft`.
    pub nft: PathBuf,
    /// `iptables` and its like, for the kernel's old tables.
    pub iptables: PathBuf,
    /// The same, with nftables beneath.
    pub iptables_nft: PathBuf,
}

/// Makes what is missing.
///
/// # Errors
/// When a package can't be fetched.
pub fn prepare(keep: &Path) -> Result<Tools> {
    fs::create_dir_all(keep).with_context(|| keep.display().to_string())?;
    Ok(Tools {
        nft: nft(keep)?,
        iptables: multi(&keep.join("iptables-legacy"), "xtables-legacy-multi")?,
        iptables_nft: multi(&keep.join("iptables-nft"), "xtables-nft-multi")?,
    })
}

fn nft(keep: &Path) -> Result<PathBuf> {
    let version = probe(Command::new("/usr/sbin/nft").arg("--version"));
    if version.is_some_and(|text| is_recent(&text)) {
        return Ok("/usr/sbin".into());
    }
    let done = keep.join("nft");
    if done.join("nft").exists() {
        return Ok(done);
    }
    step(
        &format!("unpack nft of Debian {SUITE}, since the system's is older"),
        || {
            let unfinished = keep.join("nft-unfinished");
            if unfinished.exists() {
                fs::remove_dir_all(&unfinished)?;
            }
            fs::create_dir_all(&unfinished)?;
            unpack(&unfinished)?;
            wrap(&unfinished, &done)?;
            fs::rename(&unfinished, &done)?;
            Ok(done)
        },
    )
}

/// Fetches the packages by apt, with lists of its own, and unpacks them into `folder/root`.
fn unpack(folder: &Path) -> Result<()> {
    let apt = folder.join("apt");
    for name in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(apt.join(name))?;
    }
    fs::write(
        apt.join("sources.list"),
        format!("deb [signed-by={KEYS}] {MIRROR} {SUITE} main\n"),
    )?;
    fs::write(apt.join("status"), "")?;
    let apt_get = || {
        let mut command = Command::new("/usr/bin/apt-get");
        command.arg("-q").current_dir(&apt);
        for (option, value) in [
            ("Dir::Etc::sourcelist", "sources.list"),
            ("Dir::Etc::sourceparts", "none"),
            ("Dir::State::lists", "lists"),
            ("Dir::State::status", "status"),
            ("Dir::Cache", "cache"),
        ] {
            let path = apt.join(value);
            command.args(["-o", &format!("{option}={}", path.display())]);
        }
        // The sandbox's user of apt cannot write below target.
        command.args(["-o", "APT::Sandbox::User=root"]);
        command
    };
    execute(apt_get().arg("update"))?;
    execute(apt_get().arg("download").args(PACKAGES).arg(LIBC))?;
    let root = folder.join("root");
    for file in fs::read_dir(&apt)? {
        let file = file?.path();
        if file.extension().is_some_and(|ending| ending == "deb") {
            execute(Command::new("dpkg-deb").arg("-x").arg(&file).arg(&root))?;
        }
    }
    fs::remove_dir_all(&apt)?;
    Ok(())
}

/// Puts a script beside the root that runs the program with its own C library.
fn wrap(folder: &Path, finally: &Path) -> Result<()> {
    let root = folder.join("root");
    let loader = find(&root, |name| {
        name.starts_with("ld-linux") && name.contains(".so")
    });
    let (Some(loader), Some(libc)) = (loader, find(&root, |name| name == "libc.so.6")) else {
        bail!("the packages of {SUITE} hold no C library");
    };
    let program = find(&root, |name| name == "nft").context("the packages hold no nft")?;
    let at = |path: &Path| -> Result<String> {
        let below = path.strip_prefix(folder)?;
        Ok(finally.join(below).display().to_string())
    };
    let libraries = libc.parent().context("a file has a folder")?;
    let script = format!(
        "#!/bin/sh\nexec {} --library-path {} {} \"$@\"\n",
        at(&loader)?,
        at(libraries)?,
        at(&program)?
    );
    let file = folder.join("nft");
    fs::write(&file, script)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// A file below a folder by its name, symbolic links not followed.
fn find(folder: &Path, is_it: impl Fn(&str) -> bool + Copy) -> Option<PathBuf> {
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).ok()?.flatten() {
            let kind = entry.file_type().ok()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() && is_it(&entry.file_name().to_string_lossy()) {
                return Some(entry.path());
            }
        }
    }
    None
}

/// A directory in which one program goes by all names of iptables.
fn multi(folder: &Path, program: &str) -> Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    for name in PROGRAMS {
        let link = folder.join(name);
        if !link.is_symlink() {
            symlink(Path::new("/usr/sbin").join(program), &link)?;
        }
    }
    Ok(folder.to_path_buf())
}

/// Of what `nft --version` prints: `nftables v1.0.6 (Lester Gooch #5)`.
fn is_recent(text: &str) -> bool {
    let version = text.split_whitespace().nth(1).unwrap_or_default();
    let mut parts = version
        .trim_start_matches('v')
        .split('.')
        .map(|part| part.parse().unwrap_or(0));
    [parts.next().unwrap_or(0), parts.next().unwrap_or(0)] >= RECENT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_12_has_an_old_nft_and_debian_13_a_recent_one() {
        for (text, recent) in [
            ("nftables v1.0.6 (Lester Gooch #5)", false),
            ("nftables v1.1.3 (Commodore Bullmoose #4)", true),
            ("nftables v2.0 (x)", true),
            ("", false),
        ] {
            assert_eq!(is_recent(text), recent, "{text}");
        }
    }
}
