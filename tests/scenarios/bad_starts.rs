//! A start that cannot succeed ends at once, with exit code 1 and what to do.

use std::path::Path;

use tokio::process::Command;

use crate::support::database::Database;
use crate::support::server::Setup;

async fn said(mut command: Command) -> String {
    let output = command.output().await.expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

async fn fails(setup: &Setup) -> String {
    said(setup.command(&["serve"])).await
}

fn assert_says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_with_its_setting() {
    let database = Database::create().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let mut setup = Setup::new(Some(&database.url));
    setup.listen.clone_from(&address);
    assert_says(&fails(&setup).await, &[&address, "http.listen"]);
    let setup = Setup::new(Some(&database.url)).set("WAYLOG__HTTP__OPERATOR_LISTEN", &address);
    assert_says(&fails(&setup).await, &[&address, "http.operator_listen"]);
    database.drop_database().await;
}

#[tokio::test]
async fn a_data_dir_that_cannot_be_one_is_named() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let mut setup = Setup::new(None);
    setup.data = file.path().join("below");
    assert_says(&fails(&setup).await, &["set data_dir", "below"]);
}

#[tokio::test]
async fn a_data_dir_without_rights_is_named_with_its_cure() {
    let setup = Setup::new(None);
    std::fs::create_dir(&setup.data).expect("made");
    let serve = setup.command(&["serve"]);
    let command = if rustix::process::getuid().is_root() {
        // Root may write everywhere: somebody else tries.
        let binary = Path::new(serve.as_std().get_program()).to_owned();
        let copied = setup.data.parent().expect("a folder").join("waylog");
        std::fs::copy(binary, &copied).expect("copied to where others may run it");
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(copied)
            .arg("serve")
            .envs(serve.as_std().get_envs().filter_map(|(k, v)| Some((k, v?))))
            .current_dir("/");
        command
    } else {
        use std::os::unix::fs::PermissionsExt;
        let closed = std::fs::Permissions::from_mode(0o500);
        std::fs::set_permissions(&setup.data, closed).expect("own folder");
        serve
    };
    assert_says(&said(command).await, &["log", "owner"]);
}

#[tokio::test]
async fn a_disk_without_room_is_named_with_the_file() {
    let setup = Setup::new(None);
    let serve = setup.command(&["serve"]);
    let mut command = Command::new("sh");
    // A file may not grow beyond 64 KiB: what a full disk says, without filling one.
    command
        .args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$0\" serve"])
        .arg(serve.as_std().get_program())
        .envs(serve.as_std().get_envs().filter_map(|(k, v)| Some((k, v?))));
    assert_says(
        &said(command).await,
        &["cannot create the log in", "ulimit"],
    );
}

#[tokio::test]
async fn a_log_of_a_newer_program_is_refused() {
    let setup = Setup::new(None);
    let log = setup.data.join("log");
    std::fs::create_dir_all(&log).expect("made");
    let document = "{}";
    let crc = crc32c::crc32c(b"waylog-meta");
    let crc = crc32c::crc32c_append(crc, &9_u32.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, document.as_bytes());
    let meta = format!("waylog-meta 9 {crc:08x}\n{document}\n");
    std::fs::write(log.join("META"), meta).expect("written");
    assert_says(&fails(&setup).await, &["META", "newer Waylog", "upgrade"]);
}

#[tokio::test]
async fn a_database_of_a_newer_program_is_refused() {
    let database = Database::create().await;
    let setup = Setup::new(Some(&database.url));
    let migrated = setup.command(&["migrate"]).status().await;
    assert!(migrated.expect("it runs").success());
    sqlx::query(
        "insert into _sqlx_migrations (version, description, success, checksum, execution_time) \
         values (9999, 'from the future', true, '', 0)",
    )
    .execute(&database.pool)
    .await
    .expect("written");
    assert_says(&fails(&setup).await, &["newer Waylog", "9999"]);
    let checked = setup.command(&["status", "--json"]).output().await;
    let checked = String::from_utf8(checked.expect("it runs").stdout).expect("text");
    assert_says(&checked, &["WaylogPostgresDown", "9999"]);
    database.drop_database().await;
}

#[tokio::test]
async fn a_database_that_refuses_us_is_told_by_its_setting() {
    let database = Database::create().await;
    let (server, _) = database.url.rsplit_once('/').expect("a path");
    let missing = Setup::new(Some(&format!("{server}/no_such_database")));
    assert_says(&fails(&missing).await, &["database.url", "createdb"]);
    let stranger = server.replace("waylog@", "nobody_known@");
    let stranger = Setup::new(Some(&format!("{stranger}/postgres")));
    assert_says(
        &fails(&stranger).await,
        &["user and password in database.url"],
    );
    let nonsense = Setup::new(Some("mysql://db/waylog"));
    assert_says(&fails(&nonsense).await, &["database.url", "postgres://"]);
    database.drop_database().await;
}

#[tokio::test]
async fn a_user_who_may_not_make_tables_is_told_so() {
    let database = Database::create().await;
    let name = format!("guest_{}", uuid::Uuid::new_v4().simple());
    for statement in [
        format!("create role {name} login"),
        "revoke create on schema public from public".to_owned(),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(statement))
            .execute(&database.pool)
            .await
            .expect("done");
    }
    let url = database.url.replace("waylog@", &format!("{name}@"));
    let setup = Setup::new(Some(&url));
    assert_says(&fails(&setup).await, &["owner of the database"]);
    let dropped = format!("drop role {name}");
    sqlx::query(sqlx::AssertSqlSafe(dropped))
        .execute(&database.pool)
        .await
        .expect("dropped");
    database.drop_database().await;
}
