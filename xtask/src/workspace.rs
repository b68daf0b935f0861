//! Where things are in the source tree, and the cargo that drives every build.
//! The paths below `target` do not follow CARGO_TARGET_DIR, so that the build script of lb-userspace finds the object.

use std::{env, path::PathBuf, process::Command};

/// The folder of the workspace's Cargo.toml.
pub fn root() -> PathBuf {
    // Asked at run time: a target folder that two checkouts share may hold a program compiled in the other one.
    let mut path: PathBuf = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), Into::into);
    path.pop();
    path
}

/// Where the BPF object ends up, whichever toolchain made it.
pub fn bpf_object() -> PathBuf {
    root().join("target/bpf/lb-ebpf.o")
}

/// Cargo's own folder for the BPF build: apart, since it has other flags and perhaps another compiler.
pub fn bpf_build_dir() -> PathBuf {
    root().join("target/bpf-build")
}

/// The installation root of the cached bpf-linker.
pub fn bpf_linker_root() -> PathBuf {
    root().join("target/bpf-linker")
}

/// The crate of libFuzzer's targets, a workspace of its own.
pub fn fuzz_crate() -> PathBuf {
    root().join("lb-common/fuzz")
}

/// Cargo's own folder for libFuzzer's targets, which are instrumented; their inputs and logs are below it.
pub fn fuzz_dir() -> PathBuf {
    root().join("target/fuzz")
}

/// The cargo that started this program, in the workspace's root.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    // What cargo tells of this package: build scripts that look at such names would run again at each change from
    // `cargo xtask` to plain cargo and back.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}
