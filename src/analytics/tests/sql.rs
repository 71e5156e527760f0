//! What analysts find in Postgres: the documented queries, comments, rights and limits.

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Executor, Row};

use super::*;

/// The queries of docs/analytics.md.
fn documented() -> Vec<&'static str> {
    let page = include_str!("../../../docs/analytics.md");
    let blocks = page.split("```sql\n").skip(1);
    blocks
        .filter_map(|block| block.split("```").next())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_queries_run_as_an_analyst() {
    let mut rng = seeded();
    let mut house = House::build().await;
    for (courier, fixes) in traffic(&mut rng, 2, 180) {
        house.append(&courier, &fixes).await;
    }
    house.drain(1).await;
    house.derive_all().await;
    let queries = documented();
    assert_eq!(queries.len(), 10);
    let mut analyst = house.pool().begin().await.expect("a transaction");
    analyst
        .execute("set local role waylog_analyst")
        .await
        .expect("the role");
    for query in queries {
        // What the page asks of its own courier and day, of ours.
        let query = query.replace("c-17", "c-0");
        let rows = analyst.fetch_all(sqlx::AssertSqlSafe(query.clone())).await;
        rows.unwrap_or_else(|error| panic!("{error}\n{query}"));
    }
    analyst.rollback().await.expect("rolled back");
    house.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fixes_gives_what_the_view_gives_and_reads_only_what_it_must() {
    let mut rng = seeded();
    let mut house = House::build().await;
    for (courier, fixes) in traffic(&mut rng, 3, 300) {
        house.append(&courier, &fixes).await;
    }
    house.drain(1).await;
    let (from, to) = (NOW.plus_ms(3_600_000), NOW.plus_ms(9_000_000));
    for who in [Some("c-1"), None] {
        let mut counts = Vec::new();
        for source in ["fixes($1, $2, $3)", "fix"] {
            let sql = format!(
                "select count(*) from {source} where ($1 is null or courier_id = $1) \
                 and fix_time >= $2 and fix_time < $3"
            );
            let count: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
                .bind(who)
                .bind(from.to_datetime())
                .bind(to.to_datetime())
                .fetch_one(&house.pool())
                .await
                .expect("a count");
            counts.push(count);
        }
        let inside = house.expected.keys().filter(|key| {
            who.is_none_or(|who| key.0.as_str() == who) && from <= key.1 && key.1 < to
        });
        assert_eq!(counts, [inside.count() as i64; 2]);
    }
    let plan: Vec<String> = sqlx::query_scalar(
        "explain select * from fixes('c-1', '2026-11-22 23:00Z', '2026-11-22 23:05Z')",
    )
    .fetch_all(&house.pool())
    .await
    .expect("a plan");
    let plan = plan.join("\n");
    assert!(
        plan.contains("Index Cond") && !plan.contains("20261123"),
        "{plan}"
    );
    house.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_with_geometries_appear_where_postgis_comes() {
    let mut rng = seeded();
    let mut house = House::build().await;
    for (courier, fixes) in traffic(&mut rng, 2, 600) {
        house.append(&courier, &fixes).await;
    }
    house.drain(1).await;
    house.derive_all().await;
    let exists = "select count(*) from pg_views where viewname in \
                  ('fix_geometry', 'stop_geometry', 'trip_path')";
    house.upkeep().round().await.expect("a round");
    assert_eq!(house.count(exists).await, 0);
    house
        .pool()
        .execute("create extension postgis")
        .await
        .expect("PostGIS is installed: scripts/setup.sh test does it");
    house.upkeep().round().await.expect("a round");
    assert_eq!(house.count(exists).await, 3);

    let mut analyst = house.pool().begin().await.expect("a transaction");
    analyst
        .execute("set local role waylog_analyst")
        .await
        .expect("the role");
    for (what, wrong) in [
        (
            "a fix lies elsewhere than its point",
            "select count(*) from fix_geometry where st_x(geom) <> lon or st_y(geom) <> lat \
                or st_srid(geom) <> 4326",
        ),
        (
            "a stop lies elsewhere than its point",
            "select count(*) from stop_geometry where st_x(geom) <> lon or st_y(geom) <> lat",
        ),
        (
            "a path has other points than its trip has fixes",
            "select count(*) from trip_path t where st_npoints(geom) <> (select count(*) from fix f \
              where f.courier_id = t.courier_id and f.fix_time between t.start_time and t.last_time)",
        ),
    ] {
        let wrong: i64 = sqlx::query_scalar(wrong)
            .fetch_one(&mut *analyst)
            .await
            .expect(what);
        assert_eq!(wrong, 0, "{what}");
    }
    let paths: i64 = sqlx::query_scalar("select count(*) from trip_path where geom is not null")
        .fetch_one(&mut *analyst)
        .await
        .expect("paths");
    assert!(paths > 0);
    analyst.rollback().await.expect("rolled back");
    house.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_column_that_analysts_see_tells_its_unit() {
    let house = House::build().await;
    let bare: Vec<String> = sqlx::query_scalar(
        "select c.relname || '.' || a.attname from pg_class c \
           join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped \
          where c.relnamespace = 'public'::regnamespace \
            and c.relname in ('courier', 'delivery', 'event', 'track_segment', 'fix', 'trip', 'stop', \
                'heat_hour', 'stream_offset') \
            and col_description(c.oid, a.attnum) is null \
         union all \
         select c.relname from pg_class c where c.relnamespace = 'public'::regnamespace \
            and has_table_privilege('waylog_analyst', c.oid, 'select') \
            and obj_description(c.oid, 'pg_class') is null",
    )
    .fetch_all(&house.pool())
    .await
    .expect("columns");
    assert_eq!(bare, Vec::<String>::new());
    house.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_analyst_reads_and_nothing_else() {
    let house = House::build().await;
    let caller = super::routes::Caller::of(&house, crate::directory::Role::Admin);
    // Roles belong to the whole server, where other tests run too.
    let name = format!("t{}", &uuid::Uuid::new_v4().simple().to_string()[..20]);
    let new = serde_json::json!({"name": name});
    let (status, made) = caller.post("/v1/analysts", &new).await;
    assert_eq!(status, 201, "{made}");
    assert_eq!(caller.post("/v1/analysts", &new).await.0, 409);
    assert_eq!(
        caller
            .post("/v1/analysts", &serde_json::json!({"name": "A;"}))
            .await
            .0,
        422
    );
    let listed = caller.json("/v1/analysts").await;
    let listed = listed["items"].as_array().expect("items").clone();
    assert!(
        listed
            .iter()
            .any(|a| a["name"] == name.as_str() && a.get("url").is_none())
    );

    let url = made["url"].as_str().expect("a URL");
    let options: PgConnectOptions = url.parse().expect("a Postgres URL");
    let mut analyst = options.connect().await.expect("the login works");
    for readable in [
        "fix",
        "trip",
        "stop",
        "heat_hour",
        "courier",
        "delivery",
        "event",
    ] {
        let sql = format!("select count(*) from {readable}");
        analyst
            .execute(sqlx::AssertSqlSafe(sql))
            .await
            .expect(readable);
    }
    let limits = analyst
        .fetch_one(
            "select current_setting('statement_timeout'), \
             current_setting('idle_in_transaction_session_timeout')",
        )
        .await
        .expect("settings");
    assert_eq!(
        (limits.get::<&str, _>(0), limits.get::<&str, _>(1)),
        ("5min", "1min")
    );
    analyst
        .execute("set default_transaction_read_only = off")
        .await
        .expect("set");
    for forbidden in [
        "select * from dispatch.courier",
        "select * from analytics.mark",
        "delete from track_segment",
        "create table mine (a int)",
    ] {
        let refused = analyst.execute(forbidden).await.expect_err(forbidden);
        let code = refused
            .as_database_error()
            .and_then(|e| e.code().map(|c| c.into_owned()));
        assert_eq!(code.as_deref(), Some("42501"), "{forbidden}");
    }
    assert_eq!(caller.delete(&format!("/v1/analysts/{name}")).await, 204);
    analyst
        .execute("select 1")
        .await
        .expect_err("the connection was ended");
    options.connect().await.expect_err("the login is gone");
    assert_eq!(caller.delete(&format!("/v1/analysts/{name}")).await, 404);
    house.tear_down().await;
}
