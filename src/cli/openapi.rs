//! `waylog openapi`: the HTTP API as an OpenAPI 3.1 document.

use std::process::ExitCode;

use crate::app;

pub(super) async fn run() -> anyhow::Result<ExitCode> {
    println!("{}", app::openapi().await?.to_pretty_json()?);
    Ok(ExitCode::SUCCESS)
}
