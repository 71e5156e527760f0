//! Sends one item over the public API, and says what became of it.

use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::courier::{Courier, Order};
use super::outbox::Item;
use crate::cli::UsageError;
use crate::cli::api::{Answer, Api, Call, GaveUp, Upload, Uploaded};
use crate::domain::{CourierId, DeliveryId, DeliveryStatus, UnixMs};

/// What became of an item.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Fixes were taken.
    Uploaded(Uploaded),
    /// A delivery exists, with the link that its customer gets (unless it existed before).
    Created {
        id: DeliveryId,
        tracking_url: Option<String>,
    },
    /// A step was taken; or the server knows better, as after a dispatcher's change.
    Stepped(DeliveryId, DeliveryStatus),
    /// Nothing more to say.
    Done,
    /// The server could not be reached: try again.
    Later,
    /// There is no demo any more.
    Gone,
    /// The server does not know this device, or no longer: a new one is needed.
    UnknownDevice,
    /// The server refused, and would refuse again.
    Refused(String),
}

/// Sorts out what went wrong: only an API key that is not accepted ends the simulation.
///
/// # Errors
/// If the API key is not accepted.
pub(super) fn judge(outcome: anyhow::Result<Outcome>) -> anyhow::Result<Outcome> {
    match outcome {
        Err(error) if error.is::<UsageError>() => Err(error),
        Err(error) if error.is::<GaveUp>() => Ok(Outcome::Later),
        Err(error) => Ok(Outcome::Refused(format!("{error:#}"))),
        Ok(outcome) => Ok(outcome),
    }
}

/// Sends an item.
///
/// # Errors
/// If the server cannot be reached or the API key is not accepted; see [`judge`].
pub(super) async fn send(
    api: &Api,
    api_key: &str,
    token: &str,
    courier: &CourierId,
    item: &Item,
) -> anyhow::Result<Outcome> {
    match item {
        Item::Fixes(fixes) => {
            let call = Call::new(Method::POST, "/v1/positions", token).json(&Upload { fixes })?;
            let answer = api.call(&call).await?;
            match answer.status {
                StatusCode::UNAUTHORIZED => Ok(Outcome::UnknownDevice),
                status if status.is_success() => Ok(Outcome::Uploaded(answer.json()?)),
                _ => Ok(Outcome::Refused(answer.problem())),
            }
        }
        Item::Create { order, assign } => create(api, api_key, courier, order, *assign).await,
        Item::Assign(id) => {
            let path = format!("/v1/deliveries/{id}/assign");
            let body = json!({ "courier_id": courier });
            let answer = api
                .call(&Call::new(Method::POST, &path, api_key).json(&body)?)
                .await?;
            check_key(&answer)?;
            Ok(known(&answer).unwrap_or(Outcome::Done))
        }
        Item::Status(id, status) => {
            let path = format!("/v1/me/deliveries/{id}/status");
            let body = json!({ "status": status });
            let answer = api
                .call(&Call::new(Method::POST, &path, token).json(&body)?)
                .await?;
            if answer.status == StatusCode::UNAUTHORIZED {
                return Ok(Outcome::UnknownDevice);
            }
            Ok(known(&answer).unwrap_or_else(|| Outcome::Stepped(id.clone(), *status)))
        }
    }
}

async fn create(
    api: &Api,
    api_key: &str,
    courier: &CourierId,
    order: &Order,
    assign: bool,
) -> anyhow::Result<Outcome> {
    #[derive(Deserialize)]
    struct Created {
        tracking_url: Option<String>,
    }
    let place = |stop: &crate::roads::Stop| json!({ "lat": stop.position.lat(), "lon": stop.position.lon(), "label": stop.label });
    let mut body = json!({
        "id": order.id,
        "pickup": place(&order.pickup),
        "dropoff": place(&order.dropoff),
        "sequence": order.sequence,
        "tags": ["demo"],
        "window": { "from": UnixMs(order.window_ms.0), "to": UnixMs(order.window_ms.1) },
        "link": true,
    });
    if assign {
        body["courier_id"] = json!(courier);
    }
    // The id is the key: a delivery that is there already answers 409.
    let call = Call::new(Method::POST, "/v1/deliveries", api_key).json(&body)?;
    let answer = api.call(&call).await?;
    check_key(&answer)?;
    let id = order.id.clone();
    match answer.status {
        // It came in before the simulation was restarted.
        StatusCode::CONFLICT => Ok(Outcome::Created {
            id,
            tracking_url: None,
        }),
        status if status.is_success() => {
            let tracking_url = answer.json::<Created>()?.tracking_url;
            Ok(Outcome::Created { id, tracking_url })
        }
        _ => Ok(Outcome::Refused(answer.problem())),
    }
}

/// Makes a link for a delivery that has none that we know of.
///
/// # Errors
/// If the server refuses.
pub(super) async fn link(api: &Api, api_key: &str, id: &DeliveryId) -> anyhow::Result<String> {
    #[derive(Deserialize)]
    struct Link {
        url: String,
    }
    let path = format!("/v1/deliveries/{id}/links");
    let call = Call::new(Method::POST, &path, api_key).json(&json!({}))?;
    Ok(api.call(&call).await?.success::<Link>()?.url)
}

/// Completes a delivery that no courier of this simulation has any more.
///
/// # Errors
/// If the API key is not accepted.
pub(super) async fn close(api: &Api, api_key: &str, id: &DeliveryId) -> anyhow::Result<()> {
    let path = format!("/v1/deliveries/{id}/status");
    // What was never assigned cannot be delivered, but called off.
    for status in [DeliveryStatus::Delivered, DeliveryStatus::Cancelled] {
        let call = Call::new(Method::POST, &path, api_key).json(&json!({ "status": status }))?;
        let answer = api.call(&call).await?;
        check_key(&answer)?;
        if answer.status != StatusCode::CONFLICT {
            break;
        }
    }
    Ok(())
}

/// Makes sure that a courier exists and gives it a new device.
///
/// # Errors
/// If the server refuses.
pub(super) async fn provision(
    api: &Api,
    api_key: &str,
    courier: &Courier,
) -> anyhow::Result<String> {
    let id = &courier.id;
    let body =
        json!({ "id": id, "name": courier.name, "vehicle": courier.vehicle, "tags": ["demo"] });
    api.ensure_courier(api_key, id, &body).await?;
    let key = uuid::Uuid::new_v4().to_string();
    api.create_device(api_key, id, "simulated phone", &key)
        .await
}

/// Tells the server where `/demo` leads; `shown` says whether this was done before.
///
/// # Errors
/// As [`send`].
pub(super) async fn publish(
    api: &Api,
    api_key: &str,
    tracking_url: &str,
    shown: bool,
) -> anyhow::Result<Outcome> {
    if is_removed(api, api_key, shown).await? {
        return Ok(Outcome::Gone);
    }
    let call = Call::new(Method::PUT, "/v1/demo", api_key)
        .json(&json!({ "tracking_url": tracking_url }))?;
    let answer = api.call(&call).await?;
    check_key(&answer)?;
    Ok(known(&answer).unwrap_or(Outcome::Done))
}

/// Whether somebody removed the demo: it is not there, although it was `shown` before.
///
/// # Errors
/// If the server cannot be reached.
pub(super) async fn is_removed(api: &Api, api_key: &str, shown: bool) -> anyhow::Result<bool> {
    if !shown {
        return Ok(false);
    }
    let answer = api
        .call(&Call::new(Method::GET, "/v1/demo", api_key))
        .await?;
    Ok(matches!(
        answer.status,
        StatusCode::NOT_FOUND | StatusCode::GONE
    ))
}

/// `None` if an answer is fine: 2xx, or a conflict with what the server knows better.
fn known(answer: &Answer) -> Option<Outcome> {
    let fine = answer.status.is_success() || answer.status == StatusCode::CONFLICT;
    (!fine).then(|| Outcome::Refused(answer.problem()))
}

fn check_key(answer: &Answer) -> anyhow::Result<()> {
    if matches!(
        answer.status,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
    ) {
        let why = answer.problem();
        let what = "the server does not accept the API key (--api-key or WAYLOG_API_KEY)";
        return Err(UsageError(format!("{what}: {why}")).into());
    }
    Ok(())
}
