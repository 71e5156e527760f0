//! `waylog migrate`: brings the database to this version's schema.

use std::process::ExitCode;

use crate::app;
use crate::config::Config;

pub(super) async fn run(config: Config) -> anyhow::Result<ExitCode> {
    app::migrate_once(&config).await?;
    println!("the database is up to date");
    Ok(ExitCode::SUCCESS)
}
