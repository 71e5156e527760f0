//! `waylog check-config`: whether the settings can be used.

use std::process::ExitCode;

use crate::config::Config;

pub(super) fn run(config: &Config) -> anyhow::Result<ExitCode> {
    println!(
        "the configuration is good; data_dir is {}",
        config.data_dir.display()
    );
    Ok(ExitCode::SUCCESS)
}
