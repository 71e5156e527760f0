//! `waylog status` as an operator would use it: on a running server, on one whose Postgres is away,
//! on a dead one, and on one that could not start.

use serde_json::Value;
use waylog::telemetry::metrics;

use crate::support::database::Database;
use crate::support::eventually;
use crate::support::own_postgres::OwnPostgres;
use crate::support::server::Setup;

/// Exit code, and what was found by level and name.
async fn status(setup: &Setup, args: &[&str]) -> (i32, Vec<(String, String)>, String) {
    let args = [&["status", "--json"], args].concat();
    let output = setup.command(&args).output().await.expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let code = output.status.code().expect("an exit code");
    let answer: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {said}"));
    assert_eq!(answer["ok"], code == 0, "{answer}");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let findings = answer["findings"].as_array().expect("findings").iter();
    let found = findings
        .map(|f| {
            assert!(!text(&f["next"]).is_empty(), "no next command: {f}");
            (text(&f["level"]), text(&f["code"]))
        })
        .collect();
    (code, found, answer.to_string())
}

fn has(found: &[(String, String)], level: &str, code: &str) -> bool {
    found.iter().any(|(l, c)| l == level && c == code)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_in_order_is_told_so_also_without_a_key() {
    let database = Database::create().await;
    let mut setup = Setup::new(Some(&database.url)).set("WAYLOG__HTTP__OPERATOR_LISTEN", "");
    let server = setup.start().await;
    let (code, found, answer) = status(&setup, &[]).await;
    assert_eq!(code, 0, "{answer}");
    assert!(has(&found, "warning", "WaylogBackupOld"), "{answer}");
    assert_eq!(found.len(), 1, "{answer}");
    let ready = setup.command(&["status", "--ready"]).status().await;
    assert!(ready.expect("it runs").success());
    // Without a key, from elsewhere.
    let mut plain = Setup::new(None);
    plain.listen = "127.0.0.1:1".to_owned();
    let (code, found, answer) = status(&plain, &["--url", &server.url]).await;
    assert_eq!((code, found), (0, vec![]), "{answer}");
    assert!(server.stop().await);
    database.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_postgres_is_told_while_the_server_runs() {
    let postgres = OwnPostgres::start();
    let mut setup = Setup::new(Some(&postgres.url()));
    let server = setup.start().await;
    postgres.stop_immediately();
    let answer = eventually("the server to notice", || async {
        let (code, found, answer) = status(&setup, &[]).await;
        (code == 1 && has(&found, "error", "WaylogPostgresDown")).then_some(answer)
    })
    .await;
    assert!(answer.contains("docs/runbook.md#waylogpostgresdown"));
    eventually("the metric for the alert", || async {
        let text = server.http.get(format!("{}/metrics", server.url)).send();
        let text = text.await.ok()?.text().await.ok()?;
        let line = format!("{} 0", metrics::DATABASE_UP);
        text.lines().any(|l| l == line).then_some(())
    })
    .await;
    assert!(server.stop().await);
    // Dead, and its Postgres as well: both are told.
    let (code, found, answer) = status(&setup, &[]).await;
    assert_eq!(code, 1);
    assert!(has(&found, "error", "WaylogDown"), "{answer}");
    assert!(has(&found, "error", "WaylogPostgresDown"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_server_is_told_with_what_hinders_its_start() {
    let database = Database::create().await;
    let mut setup = Setup::new(Some(&database.url));
    let server = setup.start().await;
    server.kill().await;
    let (code, found, answer) = status(&setup, &[]).await;
    assert_eq!(code, 1);
    assert!(has(&found, "error", "WaylogDown"), "{answer}");
    assert!(!has(&found, "error", "WaylogCannotStart"), "{answer}");
    let ready = setup.command(&["status", "--ready"]).status().await;
    assert_eq!(ready.expect("it runs").code(), Some(1));

    // Somebody else has the port, and speaks no HTTP; and the partitions do not fit.
    let port = std::net::TcpListener::bind(&setup.listen).expect("the port is free again");
    drop(std::thread::spawn(move || {
        while let Ok((connection, _)) = port.accept() {
            drop(connection);
        }
    }));
    let setup = setup.set("WAYLOG__STREAM__PARTITIONS", "5");
    let (code, found, answer) = status(&setup, &[]).await;
    assert_eq!(code, 1);
    assert!(has(&found, "error", "WaylogCannotStart"), "{answer}");
    assert!(answer.contains("ss -ltnp"), "{answer}");
    assert!(answer.contains("set stream.partitions = 12"), "{answer}");
    database.drop_database().await;
}

#[tokio::test]
async fn a_server_elsewhere_is_not_looked_for_here() {
    let setup = Setup::new(None);
    let (code, found, answer) = status(&setup, &["--url", "http://127.0.0.1:9"]).await;
    assert_eq!(code, 1);
    assert_eq!(found.len(), 1, "{answer}");
    assert!(has(&found, "error", "WaylogDown"), "{answer}");
    let wrong = setup
        .command(&["status", "--url", "ftp://x"])
        .output()
        .await;
    assert_eq!(wrong.expect("it runs").status.code(), Some(2));
}
