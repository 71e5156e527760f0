//! `waylog analyst`: read-only logins to Postgres for people with SQL, through the server's API.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::ServerArgs;
use super::api::{Api, Call};

/// How long a server that starts is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(super) struct AnalystArgs {
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
    /// Make a login and print its connection URL; it is shown this once.
    Create {
        /// 1 to 32 of a–z, 0–9 and _, beginning with a letter.
        name: String,
    },
    /// List the logins.
    List,
    /// Take a login away.
    Remove {
        /// As it was made.
        name: String,
    },
}

pub(super) async fn run(args: AnalystArgs) -> anyhow::Result<ExitCode> {
    let api = Api::new(&args.server.url, PATIENCE)?;
    let key = args.server.key()?;
    match args.action {
        Action::Create { name } => {
            let call =
                Call::new(Method::POST, "/v1/analysts", &key).json(&json!({"name": name}))?;
            let made: Value = api.call(&call).await?.success().context("make the login")?;
            if args.json {
                println!("{made}");
            } else {
                println!("{}", made["url"].as_str().unwrap_or_default());
                eprintln!("keep it: it cannot be shown again");
            }
        }
        Action::List => {
            let call = Call::new(Method::GET, "/v1/analysts", &key);
            let page: Value = api
                .call(&call)
                .await?
                .success()
                .context("list the logins")?;
            if args.json {
                println!("{}", page["items"]);
                return Ok(ExitCode::SUCCESS);
            }
            for item in page["items"].as_array().into_iter().flatten() {
                println!("{}", item["name"].as_str().unwrap_or("-"));
            }
        }
        Action::Remove { name } => {
            let path = format!("/v1/analysts/{name}");
            let answer = api.call(&Call::new(Method::DELETE, &path, &key)).await?;
            anyhow::ensure!(
                answer.status.is_success(),
                "remove the login: {}",
                answer.problem()
            );
            eprintln!("removed");
        }
    }
    Ok(ExitCode::SUCCESS)
}
