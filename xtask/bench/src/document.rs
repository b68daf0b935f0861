//! What all documents of results have in common: their files, and what a figure meets.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

/// Writes `FILE.json`, the results, and `FILE.md`, the page that shows them; tells where the first one is.
///
/// # Errors
/// When they cannot be written.
pub fn write(file: &Path, results: &impl Serialize, page: &str) -> Result<PathBuf> {
    let json = file.with_extension("json");
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    let text = serde_json::to_string(results)? + "\n";
    fs::write(&json, text).with_context(|| json.display().to_string())?;
    let document = file.with_extension("md");
    fs::write(&document, page).with_context(|| document.display().to_string())?;
    Ok(json)
}

/// The cells of a gate and a goal, which a figure must not exceed; empty where there are none.
pub fn limits(limits: Option<[f64; 2]>) -> [String; 2] {
    limits
        .map(|limits| limits.map(|limit| format!("≤ {limit}")))
        .unwrap_or_default()
}

/// The cell that says which of its gate and its goal a figure meets.
pub fn meets(limits: Option<[f64; 2]>, value: f64) -> &'static str {
    match limits {
        Some([_, goal]) if value <= goal => "goal",
        Some([gate, _]) if value <= gate => "gate",
        Some(_) => "**no**",
        None => "",
    }
}
