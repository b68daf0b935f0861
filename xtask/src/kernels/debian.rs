//! Debian's kernel packages, unpacked and never installed. apt fetches them with lists of its own, so the machine's are left
//! alone; it checks each against the signed index of its suite.
//!
//! They are kept in the user's cache folder, for all clones. After a week the mirror is asked for a newer one.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, anyhow, ensure};

use super::Release;
use crate::step::{probe, run as execute, step};

const MIRROR: &str = "http://deb.debian.org";
/// Brought by the package debian-archive-keyring.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Depends on the newest kernel of its suite. The cloud kernels have what a guest needs, at a third of the size.
const NEWEST: &str = "linux-image-cloud-amd64";
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);

/// An unpacked kernel.
#[derive(Debug)]
pub(super) struct Image {
    /// As `uname -r` says it.
    pub version: String,
    /// The bootable file.
    pub vmlinuz: PathBuf,
    /// `modules/VERSION`.
    pub modules: PathBuf,
}

/// Where kernels are kept: `lb-kernels` in the user's cache folder.
///
/// # Errors
/// Where the user has no home.
pub(super) fn cache() -> Result<PathBuf> {
    let base = match env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty()) {
        Some(base) => PathBuf::from(base),
        None => env::home_dir()
            .context("there is no home folder to keep kernels in: set XDG_CACHE_HOME")?
            .join(".cache"),
    };
    Ok(base.join("lb-kernels"))
}

/// The newest kernel of a release, downloaded if it is not there yet. Of several processes that ask for it, one downloads.
///
/// # Errors
/// If there is none here and none can be had.
pub(super) fn image(release: Release, cache: &Path) -> Result<Image> {
    let folder = cache.join(release.name());
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let lock = fs::File::create(folder.join("lock"))?;
    lock.lock().with_context(|| folder.display().to_string())?;
    let image = folder.join("image");
    if is_recent(&folder.join("asked")) && image.is_dir() {
        return read(&image);
    }
    match refresh(release, &folder, &image) {
        Ok(()) => read(&image),
        Err(error) if image.is_dir() => {
            println!("    not asked for a newer Linux {}: {error:#}", release.name());
            read(&image)
        }
        Err(error) => Err(error.context(format!(
            "there is no Linux {} in {} and none can be had from {MIRROR}: give this machine network, or name the other levels",
            release.name(),
            cache.display()
        ))),
    }
}

fn is_recent(asked: &Path) -> bool {
    fs::metadata(asked)
        .and_then(|data| data.modified())
        .is_ok_and(|at| {
            SystemTime::now()
                .duration_since(at)
                .is_ok_and(|age| age < ASK_AGAIN_AFTER)
        })
}

fn refresh(release: Release, folder: &Path, image: &Path) -> Result<()> {
    step(
        &format!(
            "look for the newest Linux {} of Debian, and fetch it (up to 40 MB)",
            release.name()
        ),
        || {
            let apt = Apt::new(release, folder)?;
            apt.update()?;
            let version = apt.newest()?;
            if !image.join(&version).is_dir() {
                let unfinished = folder.join("unfinished");
                let _ = fs::remove_dir_all(&unfinished);
                fs::create_dir_all(unfinished.join(&version))?;
                apt.unpack(&version, &unfinished.join(&version))?;
                let _ = fs::remove_dir_all(image);
                fs::rename(&unfinished, image).with_context(|| image.display().to_string())?;
            }
            fs::write(folder.join("asked"), &version)?;
            Ok(())
        },
    )
}

/// The one version in an image's folder.
fn read(image: &Path) -> Result<Image> {
    let entry = fs::read_dir(image)?
        .next()
        .with_context(|| format!("{} is empty: remove it", image.display()))??;
    let version = entry.file_name().to_string_lossy().into_owned();
    let root = entry.path();
    let first = |paths: [String; 2]| {
        let mut paths = paths.iter().map(|path| root.join(path));
        paths
            .find(|path| path.exists())
            .with_context(|| format!("{} holds no whole kernel: remove it", image.display()))
    };
    // Debian 13 has everything below /usr, and its later kernels the bootable file beside the modules.
    let modules = first([
        format!("usr/lib/modules/{version}"),
        format!("lib/modules/{version}"),
    ])?;
    let vmlinuz = first([
        format!("boot/vmlinuz-{version}"),
        format!("usr/lib/modules/{version}/vmlinuz"),
    ])?;
    Ok(Image {
        version,
        vmlinuz,
        modules,
    })
}

/// apt with lists of its own.
struct Apt {
    options: Vec<String>,
    folder: PathBuf,
}

impl Apt {
    fn new(release: Release, folder: &Path) -> Result<Self> {
        let (archive, suite) = release.suite();
        let apt = folder.join("apt");
        for made in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(apt.join(made))?;
        }
        let sources = apt.join("sources.list");
        fs::write(
            &sources,
            format!("deb [arch=amd64 signed-by={KEYS}] {MIRROR}/{archive} {suite} main\n"),
        )?;
        let option = |name: &str, value: &Path| format!("-o{name}={}", value.display());
        Ok(Self {
            options: vec![
                option("Dir::Etc::SourceList", &sources),
                option("Dir::Etc::SourceParts", Path::new("/dev/null")),
                option("Dir::State::Lists", &apt.join("lists")),
                option("Dir::State::Status", Path::new("/dev/null")),
                option("Dir::Cache", &apt.join("cache")),
                "-oAPT::Architecture=amd64".into(),
                "-oAcquire::Languages=none".into(),
                "-oAcquire::Retries=3".into(),
                // The folder may be one that apt's own user can't enter.
                "-oAPT::Sandbox::User=root".into(),
                // An index that can't be had is an error and no warning.
                "-oAPT::Update::Error-Mode=any".into(),
                "-q".into(),
            ],
            folder: apt,
        })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .args(&self.options)
            .env("LC_ALL", "C.UTF-8")
            .current_dir(&self.folder);
        command
    }

    fn update(&self) -> Result<()> {
        execute(self.command("apt-get").arg("update"))
    }

    /// The version of the newest kernel.
    fn newest(&self) -> Result<String> {
        let mut cache = self.command("apt-cache");
        let depends = probe(cache.args(["depends", "--important", NEWEST]))
            .with_context(|| format!("the suite has no {NEWEST}"))?;
        newest_of(&depends).ok_or_else(|| anyhow!("{NEWEST} depends on no kernel: {depends}"))
    }

    /// Downloads the packages that hold a kernel and unpacks them.
    fn unpack(&self, version: &str, into: &Path) -> Result<()> {
        // From 7.0 on a kernel is split.
        let split: Vec<String> = ["binary", "modules", "base"]
            .iter()
            .map(|part| format!("linux-{part}-{version}"))
            .collect();
        let offered = probe(
            self.command("apt-cache")
                .args(["pkgnames", "linux-binary-"]),
        );
        let is_split = offered.is_some_and(|names| names.lines().any(|name| name == split[0]));
        let packages = if is_split {
            split
        } else {
            vec![format!("linux-image-{version}")]
        };
        execute(self.command("apt-get").arg("download").args(&packages))?;
        let mut unpacked = 0;
        for entry in fs::read_dir(&self.folder)? {
            let file = entry?.path();
            if file.extension().is_some_and(|extension| extension == "deb") {
                execute(Command::new("dpkg-deb").arg("-x").arg(&file).arg(into))?;
                fs::remove_file(&file)?;
                unpacked += 1;
            }
        }
        ensure!(
            unpacked == packages.len(),
            "{unpacked} packages came of {}",
            packages.join(" ")
        );
        Ok(())
    }
}

/// The version in the line `Depends: linux-image-VERSION` of what `apt-cache depends` prints.
fn newest_of(depends: &str) -> Option<String> {
    depends.lines().find_map(|line| {
        let version = line.trim().strip_prefix("Depends: linux-image-")?;
        version
            .starts_with(|c: char| c.is_ascii_digit())
            .then(|| version.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kernel_is_what_the_package_depends_on() {
        let depends = "linux-image-cloud-amd64\n  Depends: linux-base-cloud-amd64\n  Depends: linux-image-7.3.4+deb13-cloud-amd64\n";
        assert_eq!(
            newest_of(depends).as_deref(),
            Some("7.3.4+deb13-cloud-amd64")
        );
        assert_eq!(
            newest_of("linux-image-cloud-amd64\n  Depends: <linux-image>\n"),
            None
        );
    }
}
