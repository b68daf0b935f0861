//! Waiting for what a controller does.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const PATIENCE: Duration = Duration::from_secs(30);

/// Asks until there is an answer.
pub(crate) async fn wait_for<T>(
    what: &str,
    mut ask: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await? {
            return Ok(answer);
        }
        if Instant::now() > end {
            bail!("waited {PATIENCE:?} for {what}, in vain");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
