//! Finds the BPF object to embed and tells the compiler where it is: `env!("LB_EBPF_OBJECT")` under `cfg(ebpf_object)`.
//! It never builds the object; `cargo xtask build-ebpf` does. Without an object the crate builds all the same.

use std::{env, fs, path::PathBuf};

const OBJECT: &str = "LB_EBPF_OBJECT";

fn main() {
    println!("cargo::rustc-check-cfg=cfg(ebpf_object)");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={OBJECT}");

    let given = env::var_os(OBJECT).map(PathBuf::from);
    let is_given = given.is_some();
    let object = given.unwrap_or_else(default_object);
    // The path ends up in include_bytes!, which would take a relative one from the source file's folder.
    let object = std::path::absolute(&object).unwrap_or(object);

    if object.is_file() {
        println!("cargo::rerun-if-changed={}", object.display());
        println!("cargo::rustc-env={OBJECT}={}", object.display());
        println!("cargo::rustc-cfg=ebpf_object");
        return;
    }
    println!(
        "cargo::warning=no BPF object at {}: `lb` is built without its data plane; run `cargo xtask build-ebpf`",
        object.display()
    );
    // A watched file that does not exist makes cargo rebuild the crate every time; its folder is watched instead.
    if let Some(folder) = object.parent()
        && (is_given || fs::create_dir_all(folder).is_ok())
    {
        println!("cargo::rerun-if-changed={}", folder.display());
    }
}

/// The fixed place that `cargo xtask build-ebpf` writes to, whatever CARGO_TARGET_DIR says.
fn default_object() -> PathBuf {
    let manifest =
        env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR for build scripts");
    let mut path = PathBuf::from(manifest);
    path.pop();
    path.push("target/bpf/lb-ebpf.o");
    path
}
