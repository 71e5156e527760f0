//! From an address to a place, by a Nominatim-compatible service; only where one is configured.
//!
//! Asked before a change begins, so that a slow service holds no transaction. Bounds: time, bytes of
//! an answer, questions at once, addresses of one request.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::Semaphore;

use super::deliveries::body::{DeliveryBody, PlaceBody};
use crate::config::GeocoderConfig;
use crate::http::Problem;

/// Questions at once over all requests.
const AT_ONCE: usize = 4;
/// Addresses that one request may bring.
const MOST_ADDRESSES: usize = 50;
/// Largest answer, bytes.
const MOST_ANSWER: usize = 256 * 1024;

/// The configured service. Cheap to clone.
#[derive(Clone)]
pub(super) struct Geocoder {
    service: Option<Arc<Service>>,
}

struct Service {
    search: String,
    client: reqwest::Client,
    asking: Semaphore,
}

#[derive(Deserialize)]
struct Found {
    lat: String,
    lon: String,
}

impl Geocoder {
    pub(super) fn new(config: &GeocoderConfig) -> anyhow::Result<Self> {
        let Some(url) = &config.url else {
            return Ok(Self { service: None });
        };
        // An error says only that there is a provider already.
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = reqwest::Client::builder()
            .timeout(Duration::from_millis(config.timeout_ms))
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("Waylog/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self {
            service: Some(Arc::new(Service {
                search: format!("{}/search", url.trim_end_matches('/')),
                client,
                asking: Semaphore::new(AT_ONCE),
            })),
        })
    }

    /// Gives every stop that has a label and no coordinates the place of its label.
    pub(super) async fn locate(&self, deliveries: &mut [DeliveryBody]) -> Result<(), Problem> {
        let mut places: Vec<(String, &mut PlaceBody)> = Vec::new();
        let several = deliveries.len() > 1;
        for (index, delivery) in deliveries.iter_mut().enumerate() {
            for (what, place) in [
                ("pickup", &mut delivery.pickup),
                ("dropoff", &mut delivery.dropoff),
            ] {
                if place.lat.is_none() && place.lon.is_none() {
                    let named = match several {
                        true => format!("deliveries[{index}].{what}"),
                        false => what.to_owned(),
                    };
                    places.push((named, place));
                }
            }
        }
        let Some(service) = self.service.as_ref().filter(|_| !places.is_empty()) else {
            return Ok(());
        };
        if places.len() > MOST_ADDRESSES {
            let detail = format!(
                "at most {MOST_ADDRESSES} addresses are looked up in one request: give lat and lon, \
                 or send several requests"
            );
            return Err(Problem::invalid(detail));
        }
        let asked = places.into_iter().map(async |(what, place)| {
            let Some(label) = &place.label else {
                let detail = format!("{what}: give lat and lon, or a label with the address");
                return Err(Problem::invalid(detail));
            };
            let (lat, lon) = service.find(label.as_str(), &what).await?;
            (place.lat, place.lon) = (Some(lat), Some(lon));
            Ok(())
        });
        futures_util::future::try_join_all(asked).await.map(|_| ())
    }
}

impl Service {
    async fn find(&self, address: &str, what: &str) -> Result<(f64, f64), Problem> {
        let away = |why: String| {
            // Never the address: it is somebody's.
            tracing::warn!(why, "the geocoder did not help");
            let detail =
                format!("{what}: the geocoder did not answer; try again, or give lat and lon");
            Problem::unavailable(detail, 5)
        };
        let Ok(_asking) = self.asking.acquire().await else {
            return Err(away("closed".to_owned()));
        };
        let query = [("q", address), ("format", "jsonv2"), ("limit", "1")];
        let request = self.client.get(&self.search).query(&query);
        let mut answer = request
            .send()
            .await
            .and_then(reqwest::Response::error_for_status)
            .map_err(|error| away(error.without_url().to_string()))?;
        let mut body = Vec::new();
        while let Some(chunk) = answer
            .chunk()
            .await
            .map_err(|error| away(error.without_url().to_string()))?
        {
            body.extend_from_slice(&chunk);
            if body.len() > MOST_ANSWER {
                return Err(away("its answer is too long".to_owned()));
            }
        }
        let found: Vec<Found> = serde_json::from_slice(&body)
            .map_err(|_| away("its answer is not a list of places".to_owned()))?;
        let Some(first) = found.first() else {
            let detail =
                format!("{what}: there is no such address; correct it, or give lat and lon");
            return Err(Problem::invalid(detail));
        };
        match (first.lat.parse(), first.lon.parse()) {
            (Ok(lat), Ok(lon)) => Ok((lat, lon)),
            _ => Err(away("its answer has no lat and lon".to_owned())),
        }
    }
}
