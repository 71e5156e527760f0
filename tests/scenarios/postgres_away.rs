//! Postgres goes away and comes back: posts are acknowledged, the live page moves, rows arrive.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use sqlx::Connection;
use tokio_tungstenite::tungstenite::Message;

use crate::support::own_postgres::OwnPostgres;
use crate::support::server::{Server, Setup};
use crate::support::{eventually, now_ms};

async fn post(server: &Server, token: &str, number: i64, start: i64) {
    let fix =
        json!({"fix_time": start + number * 500, "lat": 35.9 + number as f64 * 1e-4, "lon": 14.5});
    let (status, answer) = server.post_fixes(token, fix).await;
    assert_eq!(
        (status, &answer["accepted"]),
        (200, &json!(1)),
        "fix {number}: {answer}"
    );
}

async fn rows(url: &str) -> Option<i64> {
    let mut connection = sqlx::PgConnection::connect(url).await.ok()?;
    sqlx::query_scalar("select count(*) from fix")
        .fetch_one(&mut connection)
        .await
        .ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn ingest_and_live_map_go_on_without_postgres_also_through_a_restart() {
    let postgres = OwnPostgres::start();
    let mut setup = Setup::new(Some(&postgres.url()));
    let mut server = setup.start().await;
    let token = server.courier_with_phone("c-1").await;
    let delivery = server
        .create(
            "/v1/deliveries",
            json!({"id": "d-1", "courier_id": "c-1", "link": true,
                "pickup": {"lat": 35.9, "lon": 14.5}, "dropoff": {"lat": 36.0, "lon": 14.5}}),
        )
        .await;
    server
        .create("/v1/deliveries/d-1/status", json!({"status": "picked_up"}))
        .await;
    let link = delivery["tracking_url"].as_str().expect("a link");
    let link = link.rsplit('/').next().expect("a token").to_owned();

    let start = now_ms();
    post(&server, &token, 0, start).await;
    eventually("the first row", || async {
        (rows(&postgres.url()).await? == 1).then_some(())
    })
    .await;

    let socket = server.url.replace("http://", "ws://") + "/ws/track";
    let (mut socket, _) = tokio_tungstenite::connect_async(socket)
        .await
        .expect("connects");
    let hello = json!({"type": "hello", "token": link}).to_string();
    socket.send(Message::text(hello)).await.expect("sent");

    postgres.stop_immediately();
    for number in 1..=20 {
        post(&server, &token, number, start).await;
    }
    let (status, _) = server
        .post_fixes(
            "wld_00000000000000000000000000000000",
            json!({"fix_time": start, "lat": 1, "lon": 1}),
        )
        .await;
    assert_eq!(
        status, 503,
        "an unknown device cannot be told from a new one now"
    );
    // The newest of them reaches the customer while the database is away.
    let newest = 35.9 + 20.0 * 1e-4;
    let seen = async {
        while let Some(message) = socket.next().await {
            let Ok(text) = message.expect("open").into_text() else {
                continue;
            };
            let value: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
            let fix = if value["type"] == "snapshot" {
                &value["position"]
            } else {
                &value
            };
            if fix["lat"]
                .as_f64()
                .is_some_and(|lat| (lat - newest).abs() < 1e-6)
            {
                return;
            }
        }
        panic!("the socket ended");
    };
    tokio::time::timeout(crate::support::PATIENCE, seen)
        .await
        .expect("the live page moves");

    server.kill().await;
    server = setup.start().await;
    for number in 21..=30 {
        post(&server, &token, number, start).await;
    }
    postgres.start_again();
    eventually("all rows", || async {
        (rows(&postgres.url()).await? == 31).then_some(())
    })
    .await;
    assert!(server.stop().await);
}
