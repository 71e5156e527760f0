//! Deliveries: how they are made and found, their steps, their order, their links.

mod find;
mod links;
mod plans;
mod run;
mod steps;

use serde_json::json;

use super::server::{Answer, TestServer};

async fn step(server: &TestServer, id: &str, status: &str) -> Answer {
    server
        .post(
            &format!("/v1/deliveries/{id}/status"),
            json!({"status": status}),
        )
        .await
}

async fn events(server: &TestServer, id: &str) -> Vec<String> {
    sqlx::query_scalar("select type from event where delivery_id = $1 order by id")
        .bind(id)
        .fetch_all(&server.database.pool)
        .await
        .expect("read")
}
