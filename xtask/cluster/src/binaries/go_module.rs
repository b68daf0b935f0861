//! The Go module that pins the control plane's programs: where it is, what it names, and a hash that changes when any of
//! that does. It runs nothing.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// `xtask/control-plane`, as it is now.
pub(super) struct GoModule {
    /// Where go.mod is.
    pub(super) directory: PathBuf,
    /// What goes below `target`.
    pub(super) target: PathBuf,
    /// The packages of its programs, as `go build` takes them.
    pub(super) packages: Vec<String>,
    /// The version of Kubernetes, such as `v1.36.3`.
    pub(super) kubernetes: String,
    /// Of go.mod, go.sum and what is passed on top: FNV-1a, in hexadecimal digits.
    pub(super) hash: String,
}

impl GoModule {
    /// Reads the module. `salt` is what else decides about the programs.
    pub(super) fn read(salt: &str) -> Result<GoModule> {
        let root = workspace_root()?;
        let directory = root.join("xtask/control-plane");
        let read = |name: &str| {
            let path = directory.join(name);
            fs::read_to_string(&path).with_context(|| path.display().to_string())
        };
        let (module, sums) = (read("go.mod")?, read("go.sum")?);
        Ok(GoModule {
            packages: tools(&module),
            kubernetes: version_of("k8s.io/kubernetes", &module)
                .context("xtask/control-plane/go.mod requires no k8s.io/kubernetes")?,
            hash: fnv1a(&[&module, &sums, salt]),
            target: root.join("target/control-plane"),
            directory,
        })
    }
}

/// Of the checkout that is being built or tested, whichever crate asks.
fn workspace_root() -> Result<PathBuf> {
    // Asked at run time first: a target folder that two checkouts share may hold a program compiled in the other one.
    let asked = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let compiled = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let has_module = |folder: &&Path| folder.join("xtask/control-plane/go.mod").is_file();
    asked
        .iter()
        .chain([&compiled])
        .find_map(|start| start.ancestors().find(has_module).map(Path::to_path_buf))
        .with_context(|| {
            format!(
                "no xtask/control-plane above {}: run this in a checkout",
                compiled.display()
            )
        })
}

/// The packages of the `tool ( … )` block.
fn tools(module: &str) -> Vec<String> {
    let block = module
        .lines()
        .skip_while(|line| line.trim() != "tool (")
        .skip(1);
    block
        .take_while(|line| line.trim() != ")")
        .map(|line| line.trim().to_owned())
        .collect()
}

fn version_of(path: &str, module: &str) -> Option<String> {
    let words = module
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    words
        .filter(|words| words.first() == Some(&path))
        .find_map(|words| words.get(1).map(|version| (*version).to_owned()))
}

fn fnv1a(parts: &[&str]) -> String {
    let octets = parts.iter().flat_map(|part| part.bytes().chain([0]));
    let hash = octets.fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
        (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binaries::Program;

    #[test]
    fn the_module_names_a_package_for_each_program() {
        let module = GoModule::read("").unwrap();
        assert_eq!(
            module.packages.len(),
            Program::ALL.len(),
            "{:?}",
            module.packages
        );
        assert!(
            module.kubernetes.starts_with("v1."),
            "{}",
            module.kubernetes
        );
    }

    #[test]
    fn the_hash_tells_where_one_part_ends() {
        assert_ne!(fnv1a(&["ab", "c"]), fnv1a(&["a", "bc"]));
    }
}
