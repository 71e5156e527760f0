//! Couriers, devices, deliveries and links for a run, made over the API.

use anyhow::Context;
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::api::{Api, ApiConnection};
use crate::clock;

/// Connections that provision at once.
const CONNECTIONS: usize = 32;

/// A courier with a phone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Phone {
    /// Courier id.
    pub courier: String,
    /// Device token.
    pub token: String,
}

/// A courier with a phone and a delivery under way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Watched {
    /// The phone.
    pub phone: Phone,
    /// Token of the tracking link.
    pub link: String,
}

/// Makes `n` couriers, each with a phone. Ids are new in every run.
pub async fn phones(api: &Api, n: usize) -> anyhow::Result<Vec<Phone>> {
    let run = clock::now_ms();
    spread(api, n, async |connection, i| {
        phone(connection, &format!("load-{run}-{i}")).await
    })
    .await
}

/// Makes `n` couriers, each with a phone and a delivery that was picked up.
pub async fn watched(api: &Api, n: usize) -> anyhow::Result<Vec<Watched>> {
    let run = clock::now_ms();
    spread(api, n, async |connection, i| {
        let phone = phone(connection, &format!("load-{run}-{i}")).await?;
        let link = delivery_under_way(connection, &phone.courier).await?;
        Ok(Watched { phone, link })
    })
    .await
}

async fn spread<T>(
    api: &Api,
    n: usize,
    make: impl AsyncFn(&mut ApiConnection, usize) -> anyhow::Result<T>,
) -> anyhow::Result<Vec<T>> {
    let make = &make;
    let workers = (0..CONNECTIONS.min(n)).map(|first| async move {
        let mut connection = api.connect().await?;
        let mut made = Vec::new();
        for i in (first..n).step_by(CONNECTIONS) {
            made.push(make(&mut connection, i).await?);
        }
        anyhow::Ok(made)
    });
    Ok(try_join_all(workers).await?.into_iter().flatten().collect())
}

async fn phone(connection: &mut ApiConnection, courier: &str) -> anyhow::Result<Phone> {
    connection
        .call("POST", "/v1/couriers", &json!({ "id": courier }))
        .await?;
    let path = format!("/v1/couriers/{courier}/devices");
    let device = connection.call("POST", &path, &json!({})).await?;
    Ok(Phone {
        courier: courier.to_owned(),
        token: text(&device, "token")?,
    })
}

/// Answers the token of its link.
async fn delivery_under_way(
    connection: &mut ApiConnection,
    courier: &str,
) -> anyhow::Result<String> {
    let body = json!({
        "id": courier,
        "courier_id": courier,
        "pickup": { "lat": 35.80, "lon": 14.40, "label": "Depot" },
        "dropoff": { "lat": 36.00, "lon": 14.60, "label": "Customer" },
        "link": true,
    });
    let delivery = connection.call("POST", "/v1/deliveries", &body).await?;
    let path = format!("/v1/deliveries/{courier}/status");
    connection
        .call("POST", &path, &json!({ "status": "picked_up" }))
        .await?;
    let url = text(&delivery, "tracking_url")?;
    let (_, token) = url
        .rsplit_once('/')
        .context("a tracking_url without a token")?;
    Ok(token.to_owned())
}

fn text(value: &Value, field: &str) -> anyhow::Result<String> {
    let found = value[field].as_str();
    Ok(found
        .with_context(|| format!("the answer has no {field}"))?
        .to_owned())
}
