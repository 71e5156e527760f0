//! Over real clusters. These need the Postgres programs, as the whole project does.

use std::os::unix::fs::PermissionsExt;

use sqlx::{Connection, PgConnection};

use super::*;

/// A folder that other users may enter.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(dir.path(), open).expect("open it");
    dir
}

fn postmaster(dir: &Path) -> Option<i32> {
    let text = std::fs::read_to_string(dir.join("postgres/data/postmaster.pid")).ok()?;
    text.lines().next()?.parse().ok()
}

async fn ask(url: &str, sql: &'static str) -> Result<i64, sqlx::Error> {
    let mut connection = PgConnection::connect(url).await?;
    let answer = sqlx::query_scalar(sql).fetch_one(&mut connection).await;
    connection.close().await?;
    answer
}

#[tokio::test]
async fn a_cluster_lives_through_kills_of_us_and_of_itself() {
    let dir = folder();
    assert_eq!(
        LocalPostgres::running_url(dir.path()).expect("none yet"),
        None
    );
    let first = LocalPostgres::start(dir.path()).await.expect("a cluster");
    let url = first.url().to_owned();
    assert_eq!(
        LocalPostgres::running_url(dir.path()).expect("it runs"),
        Some(url.clone())
    );
    let made = "WITH made AS (SELECT 41 + 1 AS n) SELECT n::bigint FROM made";
    assert_eq!(ask(&url, made).await.expect("an answer"), 42);
    let password = std::fs::metadata(dir.path().join("postgres/password")).expect("a password");
    assert_eq!(password.permissions().mode() & 0o777, 0o600);
    let wrong = url.replacen("waylog:", "waylog:x", 1);
    assert!(
        ask(&wrong, made).await.is_err(),
        "the password is asked for"
    );
    let second = LocalPostgres::start(dir.path())
        .await
        .expect_err("already looked after");
    assert!(second.to_string().contains("another process"), "{second}");

    // We are gone without a word; the next start finds the same server.
    let pid = postmaster(dir.path()).expect("a server");
    drop(first);
    let adopted = loop {
        // The lock goes with the task that held it.
        match LocalPostgres::start(dir.path()).await {
            Ok(adopted) => break adopted,
            Err(error) => assert!(error.to_string().contains("another process"), "{error:#}"),
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(postmaster(dir.path()), Some(pid));
    assert_eq!(adopted.url(), url);

    // The server is killed: it comes back by itself, on the same URL.
    let process = rustix::process::Pid::from_raw(pid).expect("a pid");
    rustix::process::kill_process(process, rustix::process::Signal::KILL).expect("killed");
    while postmaster(dir.path()) == Some(pid) || ask(&url, made).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    adopted.stop().await.expect("stopped");
    assert_eq!(postmaster(dir.path()), None);
    assert_eq!(
        LocalPostgres::running_url(dir.path()).expect("stopped"),
        None
    );

    // The number in a pid file that was left behind is somebody else's by now: ours.
    let stale = dir.path().join("postgres/data/postmaster.pid");
    std::fs::write(
        &stale,
        format!("{}\n/elsewhere\n1\n5432\n", std::process::id()),
    )
    .expect("stale");
    let third = LocalPostgres::start(dir.path())
        .await
        .expect("started in spite of it");
    assert_eq!(ask(third.url(), made).await.expect("an answer"), 42);
    third.stop().await.expect("stopped");
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_becomes_a_loopback_port() {
    let dir = folder();
    let deep = dir.path().join("d".repeat(60)).join("e e'%".repeat(12));
    let cluster = LocalPostgres::start(&deep).await.expect("a cluster");
    assert!(cluster.url().contains("@127.0.0.1:"), "over TCP");
    assert_eq!(
        ask(cluster.url(), "SELECT 7::bigint")
            .await
            .expect("an answer"),
        7
    );
    cluster.stop().await.expect("stopped");
}

#[test]
fn says_which_package_is_missing() {
    let error = Programs::find(&[PathBuf::from("/nowhere")], None).expect_err("none");
    assert!(
        error.to_string().contains("apt-get install postgresql"),
        "{error}"
    );
    let found = Programs::search_path();
    let newest = Programs::find(&found, None).expect("the programs that the tests need");
    assert!(newest.major >= 12);
    assert_eq!(
        Programs::find(&found, Some(newest.major)).expect("the same"),
        newest
    );
    let error = Programs::find(&found, Some(9)).expect_err("long gone");
    assert!(error.to_string().contains("`postgresql-9`"), "{error}");
}

#[test]
fn root_leaves_the_cluster_to_an_ordinary_user() {
    let users = "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n\
                 postgres:x:101:104::/:/bin/sh\nada:x:1000:1000::/:/bin/sh\nbroken\n";
    let name = |users: &str, owner: u32| match Account::choose(users, owner) {
        Some(Account::Other { name, .. }) => Some(name),
        _ => None,
    };
    assert_eq!(name(users, 0).as_deref(), Some("postgres"));
    assert_eq!(
        name(users, 1000).as_deref(),
        Some("ada"),
        "who owns it already"
    );
    assert_eq!(
        name(&users.replace("postgres", "other"), 0).as_deref(),
        Some("nobody")
    );
    assert_eq!(name("root:x:0:0::/root:/bin/sh\n", 0), None);
}

#[test]
fn names_the_folder_that_the_user_may_not_enter() {
    let dir = folder();
    let closed = dir.path().join("closed");
    let inside = closed.join("data/postgres");
    std::fs::create_dir_all(&inside).expect("folders");
    let stranger = 4_000_000;
    assert_eq!(account::closed_parent(&inside, stranger, stranger), None);
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).expect("close it");
    assert_eq!(
        account::closed_parent(&inside, stranger, stranger),
        Some(closed)
    );
}
