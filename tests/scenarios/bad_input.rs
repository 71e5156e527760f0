//! What a wrong setting, a wrong directory or a wrong caller is told.

use crate::support::database::Database;
use crate::support::server::Setup;

async fn fails(setup: &Setup, args: &[&str], code: i32) -> String {
    let output = setup.command(args).output().await.expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

#[tokio::test]
async fn an_unknown_setting_is_named_with_the_nearest_one() {
    let setup = Setup::new(None).set("WAYLOG__HTTP__LISTN", "127.0.0.1:0");
    assert!(
        fails(&setup, &["check-config"], 2)
            .await
            .contains("WAYLOG__HTTP__LISTEN")
    );
}

#[tokio::test]
async fn a_missing_configuration_file_is_named() {
    let said = fails(
        &Setup::new(None),
        &["serve", "--config", "/nowhere/w.toml"],
        2,
    )
    .await;
    assert!(said.contains("/nowhere/w.toml"), "{said}");
}

#[tokio::test]
async fn an_unknown_role_and_an_unknown_command_are_usage_errors() {
    fails(
        &Setup::new(None),
        &["serve", "--roles", "ingest,cooking"],
        2,
    )
    .await;
    fails(&Setup::new(None), &["dance"], 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_directory_in_use_is_refused() {
    let database = Database::create().await;
    let mut setup = Setup::new(Some(&database.url));
    let server = setup.start().await;
    setup.listen = "127.0.0.1:0".to_owned();
    let said = fails(&setup, &["serve"], 1).await;
    assert!(said.contains("in use"), "{said}");
    assert!(server.stop().await);
    database.drop_database().await;
}
