//! What was provisioned, kept in a file for the next time: making many takes long.

use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The first `n` of what `file` holds, or what `make` makes, which is then kept there.
pub async fn kept<T: Serialize + DeserializeOwned>(
    file: Option<&Path>,
    n: usize,
    make: impl Future<Output = anyhow::Result<Vec<T>>>,
) -> anyhow::Result<Vec<T>> {
    if let Some(path) = file.filter(|path| path.exists()) {
        let bytes = std::fs::read(path)?;
        let mut held: Vec<T> = serde_json::from_slice(&bytes)
            .with_context(|| format!("{} does not hold what is wanted", path.display()))?;
        if held.len() >= n {
            held.truncate(n);
            return Ok(held);
        }
    }
    let made = make.await?;
    if let Some(path) = file {
        std::fs::write(path, serde_json::to_vec(&made)?)?;
    }
    Ok(made)
}
