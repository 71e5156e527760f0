//! `waylog keys`: API keys of programs and people, through the server's API.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Value, json};

use super::ServerArgs;
use super::api::{Api, Call};

/// How long a server that starts is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(super) struct KeysArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a key; it is shown this once.
    Create {
        /// What it may do.
        #[arg(long, value_enum)]
        role: RoleName,
        /// What people call it.
        #[arg(long)]
        name: Option<String>,
    },
    /// List the keys by their first characters.
    List,
    /// Make a key useless at once.
    Revoke {
        /// The key's id, as listed.
        id: String,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum RoleName {
    Admin,
    Dispatcher,
    Analyst,
}

pub(super) async fn run(args: KeysArgs) -> anyhow::Result<ExitCode> {
    let api = Api::new(&args.server.url, PATIENCE)?;
    let key = args.server.key()?;
    match args.action {
        Action::Create { role, name } => {
            let role = role.to_possible_value().map(|v| v.get_name().to_owned());
            let call = Call::new(Method::POST, "/v1/api-keys", &key)
                .json(&json!({"role": role, "name": name}))?;
            let made: Value = api.call(&call).await?.success().context("make the key")?;
            if args.json {
                println!("{made}");
            } else {
                println!("{}", made["key"].as_str().unwrap_or_default());
                eprintln!("keep it: it cannot be shown again");
            }
        }
        Action::List => {
            let call = Call::new(Method::GET, "/v1/api-keys?limit=500", &key);
            let page: Value = api.call(&call).await?.success().context("list the keys")?;
            if args.json {
                println!("{}", page["items"]);
                return Ok(ExitCode::SUCCESS);
            }
            for item in page["items"].as_array().into_iter().flatten() {
                let text = |field: &str| item[field].as_str().unwrap_or("-").to_owned();
                println!(
                    "{}  {:<10}  {:<10}  {}",
                    text("id"),
                    text("prefix"),
                    text("role"),
                    text("name")
                );
            }
        }
        Action::Revoke { id } => {
            let path = format!("/v1/api-keys/{id}");
            let answer = api.call(&Call::new(Method::DELETE, &path, &key)).await?;
            anyhow::ensure!(
                answer.status.is_success(),
                "revoke the key: {}",
                answer.problem()
            );
            eprintln!("revoked");
        }
    }
    Ok(ExitCode::SUCCESS)
}
