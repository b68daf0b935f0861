//! Charts of the results, drawn from the JSON files that stand beside them: by the commands that measure, and again by `bench charts`.

mod control_plane;
mod packet;
mod svg;
mod traffic;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde::de::DeserializeOwned;

use crate::machine::Machine;
use svg::Chart;

pub use control_plane::of_control_plane;
pub use packet::of_packet;
pub use traffic::of_traffic;

/// What `bench charts` takes.
#[derive(Args, Debug)]
pub struct Options {
    /// The directory with the results, where the charts go
    #[arg(long, value_name = "DIR")]
    directory: PathBuf,
}

/// Draws the charts of all results that there are.
///
/// # Errors
/// When one is not readable or a chart cannot be written.
pub fn run(options: &Options) -> Result<()> {
    type Draw = fn(&Path) -> Result<()>;
    let all: [(&str, Draw); 3] = [
        ("packet.json", of_packet),
        ("control-plane.json", of_control_plane),
        ("traffic.json", of_traffic),
    ];
    for (name, draw) in all {
        let json = options.directory.join(name);
        if json.exists() {
            draw(&json)?;
            println!("drawn from {}", json.display());
        }
    }
    Ok(())
}

fn read<T: DeserializeOwned>(json: &Path) -> Result<T> {
    let text = fs::read_to_string(json).with_context(|| json.display().to_string())?;
    serde_json::from_str(&text)
        .with_context(|| format!("{} is not of this version: measure again", json.display()))
}

/// Writes `FILE-WHAT.svg` beside `FILE.json`.
fn write(json: &Path, what: &str, chart: &Chart) -> Result<()> {
    let stem = json.file_stem().unwrap_or_default().to_string_lossy();
    let file = json.with_file_name(format!("{stem}-{what}.svg"));
    fs::write(&file, chart.draw()).with_context(|| file.display().to_string())
}

/// What stands below every title.
fn source(command: &str, machine: &Machine) -> String {
    format!(
        "{command} · {} · commit {} · Linux {} · {} × {}",
        machine.date, machine.commit, machine.kernel, machine.cpus, machine.cpu
    )
}
