//! Exports: read by programs that are not ours, and broken off by clients that go away.

use std::path::Path;

use reqwest::Method;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_TYPE};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::support::database::Database;
use crate::support::server::{ADMIN_KEY, Server, Setup};
use crate::support::{eventually, now_ms};

const DAY_MS: i64 = 86_400_000;
const FORMATS: [(&str, &str); 5] = [
    ("csv", "text/csv"),
    ("json", "application/json"),
    ("geojson", "application/geo+json"),
    ("gpx", "application/gpx+xml"),
    ("parquet", "application/vnd.apache.parquet"),
];

/// Fixes of a day with everything in them that a format might mind: no measurements at all, below the
/// sea, the ends of the earth, a silence of hours.
fn fixes(midnight: i64, of_courier: i64) -> Vec<Value> {
    let mut fixes = Vec::new();
    for n in 0..1_500_i64 {
        let at = midnight + 1_000 + n * 7_001 + if n > 700 { 3 * 3_600_000 } else { 0 };
        let (lat, lon) = match n {
            10 => (90.0, 180.0),
            11 => (-90.0, -180.0),
            12 => (0.0, -0.000_000_1),
            _ => (35.9 + n as f64 / 1e5, 14.5 - (n * of_courier) as f64 / 1e5),
        };
        let mut fix = json!({"fix_time": at, "lat": lat, "lon": lon});
        if n % 5 != 0 {
            fix["accuracy_m"] = json!((n % 400) as f64 / 10.0);
            fix["speed_mps"] = json!((n % 2_000) as f64 / 100.0);
        }
        if n % 3 != 0 {
            fix["heading_deg"] = json!((n * 7 % 3_600) as f64 / 10.0);
            fix["altitude_m"] = json!((n % 900) as f64 / 10.0 - 20.0);
            fix["battery_pct"] = json!(n % 101);
        }
        fixes.push(fix);
    }
    fixes
}

/// As `tests/exports/check.py` wants them.
fn expected(courier: &str, fixes: &[Value]) -> Vec<Value> {
    let columns = [
        "accuracy_m",
        "speed_mps",
        "heading_deg",
        "altitude_m",
        "battery_pct",
    ];
    let with_nulls = |fix: &Value| {
        let mut fix = fix.clone();
        fix["courier_id"] = json!(courier);
        for column in columns {
            fix[column] = fix[column].take();
        }
        fix
    };
    fixes.iter().map(with_nulls).collect()
}

async fn download(server: &Server, path: &str) -> reqwest::Response {
    let request = server
        .http
        .get(format!("{}{path}", server.url))
        .bearer_auth(ADMIN_KEY);
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status(), 200, "{path}");
    answer
}

fn header(answer: &reqwest::Response, name: reqwest::header::HeaderName) -> &str {
    answer
        .headers()
        .get(name)
        .map_or("", |value| value.to_str().expect("text"))
}

/// Python with what `scripts/setup.sh test` has installed.
fn python() -> std::path::PathBuf {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
    assert!(
        python.exists(),
        "{} is missing: run scripts/setup.sh test",
        python.display()
    );
    python
}

#[tokio::test(flavor = "multi_thread")]
async fn every_format_opens_in_programs_that_are_not_ours() {
    let database = Database::create().await;
    let mut setup = Setup::new(Some(&database.url)).set("WAYLOG__ANALYTICS__FLUSH_AFTER_MS", "50");
    let server = setup.start().await;
    let midnight = now_ms() / DAY_MS * DAY_MS - DAY_MS;
    let mut all = Vec::new();
    for (n, courier) in ["A-1.x_y", "b:2"].into_iter().enumerate() {
        let token = server.courier_with_phone(courier).await;
        let fixes = fixes(midnight, n as i64 + 1);
        for upload in fixes.chunks(500).rev() {
            let (status, answer) = server.post_fixes(&token, json!(upload)).await;
            assert_eq!(
                (status, &answer["accepted"]),
                (200, &json!(upload.len())),
                "{answer}"
            );
        }
        all.extend(expected(courier, &fixes));
    }
    eventually("all fixes to be stored", || async {
        let stored = database.number("select count(*) from fix").await?;
        (stored == all.len() as i64).then_some(())
    })
    .await;

    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(folder.path().join(name), bytes).expect("written");
    };
    write("expected.json", json!(all).to_string().as_bytes());
    let day = waylog::domain::UnixMs(midnight).to_rfc3339();
    let day = &day[..10];
    for (format, kind) in FORMATS {
        let path = format!("/v1/fixes?day={day}&format={format}");
        let answer = download(&server, &path).await;
        assert!(header(&answer, CONTENT_TYPE).starts_with(kind), "{format}");
        let file = header(&answer, CONTENT_DISPOSITION);
        let how = if format == "json" {
            "inline"
        } else {
            "attachment"
        };
        assert_eq!(file, format!("{how}; filename=\"fixes-{day}.{format}\""));
        write(
            &format!("export.{format}"),
            &answer.bytes().await.expect("a file"),
        );

        // On the wire text is compressed, and what is compressed already is not.
        let as_sent = reqwest::Client::builder().no_gzip().build();
        let request = as_sent
            .expect("a client")
            .get(format!("{}{path}", server.url))
            .bearer_auth(ADMIN_KEY);
        let answer = request
            .header(ACCEPT_ENCODING, "gzip")
            .send()
            .await
            .expect("an answer");
        let encoding = if format == "parquet" { "" } else { "gzip" };
        assert_eq!(header(&answer, CONTENT_ENCODING), encoding, "{format}");
    }
    let check = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/exports/check.py");
    let checked = Command::new(python())
        .arg(check)
        .arg(folder.path())
        .output()
        .await;
    let checked = checked.expect("python runs");
    println!("{}", String::from_utf8_lossy(&checked.stdout));
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{said}");
    assert!(server.stop().await);
    database.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_go_away_in_mid_export_leave_nothing_behind() {
    let database = Database::create().await;
    let mut setup = Setup::new(Some(&database.url));
    let server = setup.start().await;
    // A day of one courier, ten times a second: 70 MB as CSV, more than sockets hold.
    sqlx::raw_sql(
        "select analytics.ensure_day('2026-06-01'); \
         insert into track_segment (courier_id, day, segment_from, segment_to, fixes, lat_min, lat_max, \
                lon_min, lon_max, received_from, received_to, fix_time_ms, lat_e7, lon_e7) \
         select 'c-1', '2026-06-01', min(at), max(at), count(*), 35.9, 35.9, 14.5, 14.5, max(at), max(at), \
                array_agg(ms order by ms), array_agg(359000000 + ms / 100), array_agg(145000000) \
           from (select ms, '2026-06-01 00:00Z'::timestamptz + interval '1 ms' * ms as at \
                   from generate_series(0, 86399999, 100) ms) f \
          group by ms / 49000",
    )
    .execute(&database.pool)
    .await
    .expect("filled");
    let path = "/v1/couriers/c-1/fixes?format=csv";
    let address = server.url.trim_start_matches("http://");
    // More than may run at once, one after the other and together.
    for _ in 0..5 {
        let mut sockets = Vec::new();
        for _ in 0..4 {
            let mut socket = tokio::net::TcpStream::connect(address)
                .await
                .expect("connects");
            let request = format!(
                "GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {ADMIN_KEY}\r\n\r\n"
            );
            socket.write_all(request.as_bytes()).await.expect("sent");
            let mut start = vec![0; 100_000];
            socket.read_exact(&mut start).await.expect("it begins");
            assert!(
                start.starts_with(b"HTTP/1.1 200"),
                "{}",
                String::from_utf8_lossy(&start[..200])
            );
            sockets.push(socket);
        }
        let (status, problem) = server.admin(Method::GET, path, None).await;
        assert_eq!(status, 429, "all places are taken: {problem}");
        drop(sockets);
        eventually("the places to be free again", || async {
            let probe = "/v1/couriers/c-1/fixes?from=2026-06-01&to=2026-06-01T00:00:01Z";
            let (status, found) = server.admin(Method::GET, probe, None).await;
            (status == 200).then(|| assert_eq!(found["items"].as_array().map(Vec::len), Some(10)))
        })
        .await;
    }
    let whole = download(&server, path).await.text().await.expect("a file");
    assert_eq!(whole.lines().count(), 864_001);
    eventually("Postgres to be left in peace", || async {
        let active = "select count(*) from pg_stat_activity where datname = current_database() \
                      and query like '%track_segment_20260601%' and state <> 'idle' \
                      and pid <> pg_backend_pid()";
        (database.number(active).await? == 0).then_some(())
    })
    .await;
    assert!(server.stop().await);
    database.drop_database().await;
}
