//! `cargo xtask ci`: formatting, lints, every level of tests; it stops at the first of the three that fails.

use anyhow::Result;

use crate::{
    step::{run as execute, step},
    test, workspace,
};

/// Runs the three checks.
///
/// # Errors
/// Those of the first check that fails.
pub fn run() -> Result<()> {
    step("check formatting", || {
        execute(workspace::cargo().args(["fmt", "--all", "--check"]))?;
        let fuzz = workspace::fuzz_crate().join("Cargo.toml");
        let mut cargo = workspace::cargo();
        cargo.args(["fmt", "--check", "--manifest-path"]).arg(fuzz);
        execute(&mut cargo)
    })?;
    step("check lints (a minute or two the first time)", || {
        execute(workspace::cargo().args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]))
    })?;
    test::run(&test::Options::default())
}
