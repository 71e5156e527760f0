//! A small world for the pages: a server, and in it one courier with one delivery and its link.

use reqwest::Method;
use serde_json::json;

use super::database::Database;
use super::now_ms;
use super::server::{Server, Setup};

pub const PICKUP: (f64, f64) = (35.9065, 14.5085);
pub const DROPOFF: (f64, f64) = (35.9122, 14.5040);
pub const ADDRESS: &str = "Tower Road 12";

/// The courier's straight way: 0 at the pick-up, 1 at the drop-off.
pub fn on_the_way(share: f64) -> (f64, f64) {
    (
        PICKUP.0 + (DROPOFF.0 - PICKUP.0) * share,
        PICKUP.1 + (DROPOFF.1 - PICKUP.1) * share,
    )
}

/// A running server with courier `c-1` (Maria) and delivery `d-1`.
pub struct Stage {
    pub database: Database,
    pub setup: Setup,
    pub server: Server,
    /// Of the courier's phone.
    pub token: String,
    /// The customer's page.
    pub page: String,
}

impl Stage {
    pub async fn set() -> Self {
        let (database, setup, server) = Self::empty().await;
        let token = server.courier_with_phone("c-1").await;
        let (_, _) = server
            .admin(
                Method::PATCH,
                "/v1/couriers/c-1",
                Some(json!({"name": "Maria"})),
            )
            .await;
        let delivery = json!({
            "id": "d-1", "courier_id": "c-1", "link": true, "reference": "Order 1017",
            "pickup": {"lat": PICKUP.0, "lon": PICKUP.1, "label": "Bakery"},
            "dropoff": {"lat": DROPOFF.0, "lon": DROPOFF.1, "label": ADDRESS},
        });
        let delivery = server.create("/v1/deliveries", delivery).await;
        let page = delivery["tracking_url"]
            .as_str()
            .expect("a link was asked for");
        Self {
            database,
            setup,
            token,
            page: page.to_owned(),
            server,
        }
    }

    /// A server with nothing in it.
    pub async fn empty() -> (Database, Setup, Server) {
        let database = Database::create().await;
        let mut setup = Setup::new(Some(&database.url));
        let server = setup.start().await;
        (database, setup, server)
    }

    /// The courier takes a step, by the phone.
    pub async fn step(&self, status: &str) {
        let path = "/v1/me/deliveries/d-1/status";
        let body = json!({"status": status});
        let (code, answer) = self
            .server
            .request(Method::POST, path, Some(&self.token), Some(body))
            .await;
        assert_eq!(code, 200, "{status}: {answer}");
    }

    /// The phone posts where the courier is.
    pub async fn fix(&self, share: f64) {
        let (lat, lon) = on_the_way(share);
        let fix =
            json!({"fix_time": now_ms(), "lat": lat, "lon": lon, "accuracy_m": 5, "speed_mps": 6});
        let (code, answer) = self.server.post_fixes(&self.token, fix).await;
        assert_eq!((code, &answer["accepted"]), (200, &json!(1)), "{answer}");
    }

    /// The server dies and another takes its place, on the same data and the same port.
    pub async fn bring_back(&mut self) {
        self.server = self.setup.start().await;
    }

    pub async fn clear(self) {
        assert!(self.server.stop().await, "a clean stop exits with 0");
        self.database.drop_database().await;
    }
}
