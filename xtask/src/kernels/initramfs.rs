//! The guest's file system: programs of this machine with the libraries that they need, the kernel's modules for networks,
//! and the script that runs it all. It is packed in memory of the guest, so it is kept small.

use std::{
    collections::BTreeSet,
    env, fs,
    io::BufWriter,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use super::{Release, cpio::Archive, debian::Image, programs, programs::TestPrograms};
use crate::step::{probe, run as execute};

/// What the script, the lab and the tests call.
const TOOLS: [&str; 17] = [
    "sh", "cat", "sleep", "grep", "true", "env", "kill", "mount", "modprobe", "ip", "tc",
    "bpftool", "ping", "getent", "ls", "head", "mkdir",
];
/// Folders of modules that a network and its programs may ask for.
const MODULES: [&str; 7] = [
    "kernel/net",
    "kernel/drivers/net/veth",
    "kernel/drivers/net/dummy",
    "kernel/drivers/net/tun",
    "kernel/lib",
    "kernel/crypto",
    "kernel/arch/x86/crypto",
];
const INIT: &[u8] = include_bytes!("init.sh");
/// Empty folders, to mount at and to write to.
const FOLDERS: [&str; 7] = ["/proc", "/sys", "/dev", "/tmp", "/run", "/root", "/var/tmp"];

/// Packs the file system of a guest into a file below `folder` and returns it.
///
/// # Errors
/// If a program or a library is missing.
pub(super) fn pack(
    release: Release,
    image: &Image,
    programs: &TestPrograms,
    folder: &Path,
) -> Result<PathBuf> {
    let path = folder.join("initramfs");
    let file = fs::File::create(&path).with_context(|| path.display().to_string())?;
    let mut archive = Archive::new(BufWriter::new(file));
    for folder in FOLDERS {
        archive.folder(Path::new(folder))?;
    }
    archive.file(Path::new("/init"), INIT)?;
    archive.file(
        Path::new("/commands"),
        programs::commands(release).as_bytes(),
    )?;
    archive.file(
        Path::new("/etc/passwd"),
        b"root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n",
    )?;
    archive.file(Path::new("/etc/group"), b"root:x:0:\nnogroup:x:65534:\n")?;
    archive.file(
        Path::new("/etc/hosts"),
        b"127.0.0.1 localhost\n::1 localhost\n",
    )?;
    archive.file(Path::new("/etc/nsswitch.conf"), b"hosts: files\n")?;
    archive.link(Path::new("/bin"), "usr/bin")?;
    archive.link(Path::new("/sbin"), "usr/bin")?;

    let mut libraries = BTreeSet::new();
    for tool in TOOLS {
        let program = find(tool)?;
        libraries.extend(libraries_of(&program)?);
        archive.file(&Path::new("/usr/bin").join(tool), &read(&program)?)?;
    }
    let tests = programs
        .tests
        .iter()
        .map(|(name, path)| (Path::new("/tests").join(name), path));
    // The tests know the path of `lb` since they were compiled.
    for (at, program) in tests.chain([(programs.lb.clone(), &programs.lb)]) {
        libraries.extend(libraries_of(program)?);
        archive.file(&at, &stripped(program, folder)?)?;
    }
    for library in libraries {
        archive.file(&library, &read(&library)?)?;
    }
    pack_modules(image, folder, &mut archive)?;
    archive.finish()?;
    Ok(path)
}

/// The modules, with an index of what each needs that is made for those that are packed.
fn pack_modules<W: std::io::Write>(
    image: &Image,
    folder: &Path,
    archive: &mut Archive<W>,
) -> Result<()> {
    let root = folder.join("modules");
    let _ = fs::remove_dir_all(&root);
    let staged = root.join("lib/modules").join(&image.version);
    for part in MODULES {
        let from = image.modules.join(part);
        if from.is_dir() {
            copy_folder(&from, &staged.join(part))?;
            continue;
        }
        for suffix in ["ko", "ko.xz", "ko.zst"] {
            let from = from.with_extension(suffix);
            if from.is_file() {
                let to = staged.join(part).with_extension(suffix);
                fs::create_dir_all(to.parent().context("a module has a folder")?)?;
                fs::copy(&from, &to)?;
            }
        }
    }
    for index in [
        "modules.order",
        "modules.builtin",
        "modules.builtin.modinfo",
    ] {
        fs::copy(image.modules.join(index), staged.join(index))
            .with_context(|| format!("{index} of Linux {}", image.version))?;
    }
    execute(
        Command::new(find("depmod")?)
            .arg("-b")
            .arg(&root)
            .arg(&image.version),
    )?;
    for file in files(&staged)? {
        let at = Path::new("/").join(file.strip_prefix(&root)?);
        archive.file(&at, &read(&file)?)?;
    }
    fs::remove_dir_all(&root)?;
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    for file in files(from)? {
        let to = to.join(file.strip_prefix(from)?);
        fs::create_dir_all(to.parent().context("a module has a folder")?)?;
        fs::copy(&file, &to)?;
    }
    Ok(())
}

/// All files below a folder, in order.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(files(&entry.path())?);
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

fn find(tool: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // Debian leaves the system programs out of a user's PATH.
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let mut programs = folders.map(|folder| folder.join(tool));
    let program = programs.find(|program| program.is_file());
    program.with_context(|| {
        format!("the guests need the program {tool}, which is not on this machine")
    })
}

/// The libraries that a program loads, its loader among them.
fn libraries_of(program: &Path) -> Result<Vec<PathBuf>> {
    // A program without any is no error here: ldd fails on it.
    let Some(text) = probe(Command::new("ldd").arg(program)) else {
        return Ok(Vec::new());
    };
    ensure!(
        !text.contains("not found"),
        "{} lacks libraries: {text}",
        program.display()
    );
    Ok(libraries_in(&text))
}

/// The paths in what `ldd` prints: `NAME => PATH (ADDRESS)` or `PATH (ADDRESS)`.
fn libraries_in(text: &str) -> Vec<PathBuf> {
    let path = |line: &str| {
        let path = line.split_whitespace().find(|word| word.starts_with('/'))?;
        Some(PathBuf::from(path))
    };
    text.lines().filter_map(path).collect()
}

/// A program without what only a debugger wants.
fn stripped(program: &Path, folder: &Path) -> Result<Vec<u8>> {
    let small = folder.join("stripped");
    execute(Command::new("strip").arg("-o").arg(&small).arg(program))?;
    let octets = read(&small)?;
    fs::remove_file(&small)?;
    Ok(octets)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_the_loader_are_found_and_the_kernels_own_is_not() {
        let text = "\tlinux-vdso.so.1 (0x00007ffc)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f)";
        assert_eq!(
            libraries_in(text),
            [
                PathBuf::from("/lib/x86_64-linux-gnu/libc.so.6"),
                PathBuf::from("/lib64/ld-linux-x86-64.so.2")
            ]
        );
    }
}
