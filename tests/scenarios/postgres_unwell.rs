//! A Postgres that answers and cannot store: its disk is full, its table was altered by hand. The sink
//! waits and says so, phones are acknowledged all the while, and nothing is skipped.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::own_postgres::OwnPostgres;
use crate::support::server::{Server, Setup};
use crate::support::{eventually, now_ms};

/// Fixes in an upload.
const UPLOAD: i64 = 500;

/// The value of a metric without labels.
async fn metric(server: &Server, name: &str) -> Option<f64> {
    let answer = server
        .http
        .get(format!("{}/metrics", server.url))
        .send()
        .await
        .ok()?;
    let text = answer.text().await.ok()?;
    let line = text
        .lines()
        .find(|line| line.split(' ').next() == Some(name))?;
    line.rsplit(' ').next()?.parse().ok()
}

async fn sink_is(server: &Server, up: f64) {
    eventually("the sink to say how Postgres is", || async {
        (metric(server, "waylog_analytics_database_up").await? == up).then_some(())
    })
    .await;
}

/// Posts fixes `from` to `from + UPLOAD`, which must be acknowledged.
async fn post(server: &Server, token: &str, start: i64, from: i64) {
    let fix =
        |n: i64| json!({"fix_time": start + n, "lat": 35.9, "lon": 14.5, "speed_mps": n % 20});
    let fixes: Vec<Value> = (from..from + UPLOAD).map(fix).collect();
    let (status, answer) = server.post_fixes(token, json!(fixes)).await;
    assert_eq!(
        (status, &answer["accepted"]),
        (200, &json!(UPLOAD)),
        "{answer}"
    );
}

async fn stored(postgres: &OwnPostgres, count: i64) {
    eventually("all fixes to be stored, once", || async {
        let sql = "select count(*) from fix where courier_id = 'c-1'";
        let mut connection = postgres.connect().await?;
        let stored: i64 = sqlx::query_scalar(sql)
            .fetch_one(&mut connection)
            .await
            .ok()?;
        assert!(stored <= count, "{stored} rows of {count} fixes");
        (stored == count).then_some(())
    })
    .await;
}

async fn execute(postgres: &OwnPostgres, sql: &'static str) {
    let mut connection = postgres.connect().await.expect("Postgres answers");
    sqlx::raw_sql(sql)
        .execute(&mut connection)
        .await
        .expect("it works");
}

async fn lag(server: &Server) -> i64 {
    let (_, stream) = server.admin(Method::GET, "/v1/stream", None).await;
    let groups = stream["groups"].as_array().expect("groups");
    let group = groups
        .iter()
        .find(|g| g["group"] == "analytics")
        .expect("the group");
    let partitions = group["partitions"].as_array().expect("partitions");
    partitions
        .iter()
        .filter_map(|p| p["lag_records"].as_i64())
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_and_an_altered_table_hold_the_sink_up_and_nothing_is_skipped() {
    let postgres = OwnPostgres::start();
    let mut setup =
        Setup::new(Some(&postgres.url())).set("WAYLOG__ANALYTICS__FLUSH_AFTER_MS", "50");
    let server = setup.start().await;
    let token = server.courier_with_phone("c-1").await;
    let start = now_ms() - 3_600_000;
    post(&server, &token, start, 0).await;
    stored(&postgres, UPLOAD).await;
    sink_is(&server, 1.0).await;

    // The day's partition has grown to where the disk ends: one more page is half a page too much.
    execute(
        &postgres,
        "insert into track_segment (courier_id, day, segment_from, segment_to, fixes, lat_min, lat_max, \
                lon_min, lon_max, received_from, received_to, fix_time_ms, lat_e7, lon_e7) \
         select 'filler', day, segment_from, segment_to + interval '1 ms' * n, fixes, lat_min, lat_max, \
                lon_min, lon_max, received_from, received_to, fix_time_ms, lat_e7, lon_e7 \
           from (select * from track_segment limit 1) s, generate_series(1, 20000) n",
    )
    .await;
    let mut connection = postgres.connect().await.expect("Postgres answers");
    let size: i64 = sqlx::query_scalar(
        "select max(pg_relation_size(inhrelid)) from pg_inherits \
          where inhparent = 'track_segment'::regclass",
    )
    .fetch_one(&mut connection)
    .await
    .expect("a size");
    assert!(
        size > 16 << 20,
        "the journal's files, 16 MiB each, stay within the limit: {size}"
    );
    postgres.limit_files(Some(size.cast_unsigned() + 4096));
    execute(
        &postgres,
        "select pg_terminate_backend(pid) from pg_stat_activity \
          where backend_type = 'client backend' and pid <> pg_backend_pid()",
    )
    .await;
    let mut sent = UPLOAD;
    while metric(&server, "waylog_analytics_database_up").await != Some(0.0) {
        post(&server, &token, start, sent).await;
        sent += UPLOAD;
    }
    post(&server, &token, start, sent).await;
    sent += UPLOAD;
    assert!(lag(&server).await > 0);
    postgres.limit_files(None);
    stored(&postgres, sent).await;
    sink_is(&server, 1.0).await;

    execute(
        &postgres,
        "alter table track_segment rename column lat_e7 to latitude",
    )
    .await;
    post(&server, &token, start, sent).await;
    sent += UPLOAD;
    sink_is(&server, 0.0).await;
    assert!(lag(&server).await > 0);
    execute(
        &postgres,
        "alter table track_segment rename column latitude to lat_e7",
    )
    .await;
    stored(&postgres, sent).await;
    sink_is(&server, 1.0).await;

    let quarantined = r#"waylog_analytics_fixes_total{outcome="quarantined"}"#;
    assert_eq!(metric(&server, quarantined).await, Some(0.0));
    assert!(server.stop().await);
}
