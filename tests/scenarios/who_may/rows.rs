//! Who may call what, and what an allowed caller is answered.
//!
//! What is asked names ids that nobody has, and brings a body that says nothing: whoever is let in
//! changes nothing, and is answered 404, 422 or, where there is something to be read, 200.

use super::callers::Role;
use super::callers::Role::{Admin, Analyst, Dispatcher};

/// Who may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Anybody,
    /// With this role, or one that may more.
    Staff(Role),
    Phone,
    Link,
}

/// How the caller's token is brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// `Authorization: Bearer`, or the cookie.
    Bearer,
    /// `?id=`.
    Query,
    /// `Authorization: Basic`, as courier `c-1`.
    Basic,
}

/// Which port a route is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    Main,
    Phones,
}

pub struct Row {
    pub method: &'static str,
    pub path: &'static str,
    pub who: Who,
    pub way: Way,
    /// What an allowed caller is answered.
    pub allowed: u16,
    /// What another courier's phone is answered.
    pub others: u16,
    pub body: &'static str,
}

const NO_ID: &str = "00000000-0000-0000-0000-000000000000";

impl Row {
    /// The path with ids in it.
    pub fn target(&self) -> String {
        let own = self.path.starts_with("/v1/me/");
        let id = if own { "d-1" } else { NO_ID };
        let path = self.path.replace("{id}", id).replace("{topic}", "nothing");
        ["{device}", "{link}", "{group}", "{name}"]
            .into_iter()
            .fold(path, |path, name| path.replace(name, NO_ID))
    }
}

const fn row(method: &'static str, path: &'static str, who: Who, allowed: u16) -> Row {
    Row {
        method,
        path,
        who,
        way: Way::Bearer,
        allowed,
        others: allowed,
        body: "[]",
    }
}

const fn analyst(method: &'static str, path: &'static str, allowed: u16) -> Row {
    row(method, path, Who::Staff(Analyst), allowed)
}

const fn dispatcher(method: &'static str, path: &'static str, allowed: u16) -> Row {
    row(method, path, Who::Staff(Dispatcher), allowed)
}

const fn admin(method: &'static str, path: &'static str, allowed: u16) -> Row {
    row(method, path, Who::Staff(Admin), allowed)
}

const fn phone(method: &'static str, path: &'static str, allowed: u16) -> Row {
    row(method, path, Who::Phone, allowed)
}

const fn app(method: &'static str, path: &'static str, way: Way, others: u16) -> Row {
    Row {
        way,
        others,
        ..row(method, path, Who::Phone, 200)
    }
}

/// The documented routes, but for sockets.
pub const API: &[Row] = &[
    // couriers and their phones
    analyst("get", "/v1/couriers", 200),
    dispatcher("post", "/v1/couriers", 422),
    dispatcher("post", "/v1/couriers/import", 415),
    analyst("get", "/v1/couriers/{id}", 404),
    dispatcher("put", "/v1/couriers/{id}", 422),
    dispatcher("patch", "/v1/couriers/{id}", 422),
    dispatcher("delete", "/v1/couriers/{id}", 404),
    admin("get", "/v1/couriers/{id}/data", 404),
    admin("delete", "/v1/couriers/{id}/data", 404),
    dispatcher("put", "/v1/couriers/{id}/run", 422),
    dispatcher("get", "/v1/couriers/{id}/devices", 404),
    dispatcher("post", "/v1/couriers/{id}/devices", 422),
    dispatcher("delete", "/v1/couriers/{id}/devices/{device}", 404),
    dispatcher("post", "/v1/couriers/{id}/join-codes", 404),
    dispatcher("post", "/v1/join-codes", 422),
    // deliveries and their links
    dispatcher("get", "/v1/deliveries", 200),
    dispatcher("post", "/v1/deliveries", 422),
    dispatcher("post", "/v1/deliveries/bulk", 422),
    dispatcher("get", "/v1/deliveries/{id}", 404),
    dispatcher("put", "/v1/deliveries/{id}", 422),
    dispatcher("delete", "/v1/deliveries/{id}", 404),
    dispatcher("post", "/v1/deliveries/{id}/assign", 422),
    dispatcher("get", "/v1/deliveries/{id}/candidates", 404),
    dispatcher("post", "/v1/deliveries/{id}/status", 422),
    admin("delete", "/v1/deliveries/{id}/data", 404),
    dispatcher("get", "/v1/deliveries/{id}/links", 404),
    dispatcher("post", "/v1/deliveries/{id}/links", 422),
    dispatcher("delete", "/v1/deliveries/{id}/links/{link}", 404),
    dispatcher("get", "/v1/deliveries/{id}/links/{link}/accesses", 404),
    // geofences
    analyst("get", "/v1/geofences", 200),
    dispatcher("post", "/v1/geofences", 422),
    analyst("get", "/v1/geofences/{id}", 404),
    dispatcher("put", "/v1/geofences/{id}", 422),
    dispatcher("delete", "/v1/geofences/{id}", 404),
    // the fleet
    dispatcher("get", "/v1/fleet/positions", 200),
    dispatcher("get", "/v1/fleet/couriers", 200),
    dispatcher("get", "/v1/fleet/attention", 200),
    dispatcher("post", "/v1/fleet/ticket", 200),
    dispatcher("get", "/v1/couriers/{id}/position", 404),
    dispatcher("get", "/v1/couriers/{id}/trail", 404),
    // what was stored
    analyst("get", "/v1/couriers/{id}/fixes", 404),
    analyst("get", "/v1/fixes", 422),
    analyst("get", "/v1/trips", 200),
    analyst("get", "/v1/trips/{id}", 404),
    analyst("get", "/v1/trips/{id}/track", 404),
    analyst("get", "/v1/heatmap", 422),
    analyst("get", "/v1/trips/rebuild", 200),
    admin("post", "/v1/trips/rebuild", 422),
    // what happened, and who is told
    dispatcher("get", "/v1/events", 200),
    dispatcher("get", "/v1/events/{id}", 404),
    dispatcher("post", "/v1/backtests", 422),
    dispatcher("get", "/v1/backtests/{id}", 404),
    dispatcher("delete", "/v1/backtests/{id}", 404),
    dispatcher("get", "/v1/webhooks", 200),
    dispatcher("post", "/v1/webhooks", 422),
    dispatcher("get", "/v1/webhooks/{id}", 404),
    dispatcher("patch", "/v1/webhooks/{id}", 422),
    dispatcher("delete", "/v1/webhooks/{id}", 404),
    dispatcher("post", "/v1/webhooks/{id}/rotate", 404),
    dispatcher("post", "/v1/webhooks/{id}/test", 404),
    dispatcher("get", "/v1/webhooks/{id}/attempts", 404),
    dispatcher("post", "/v1/webhooks/{id}/redeliver", 422),
    // who may
    admin("get", "/v1/api-keys", 200),
    admin("post", "/v1/api-keys", 422),
    admin("delete", "/v1/api-keys/{id}", 404),
    admin("get", "/v1/users", 200),
    admin("post", "/v1/users", 422),
    admin("patch", "/v1/users/{id}", 422),
    admin("delete", "/v1/users/{id}", 404),
    admin("get", "/v1/sessions", 200),
    admin("delete", "/v1/sessions/{id}", 404),
    admin("get", "/v1/audit", 200),
    admin("post", "/v1/sign-in-codes", 201),
    admin("get", "/v1/analysts", 200),
    admin("post", "/v1/analysts", 422),
    admin("delete", "/v1/analysts/{name}", 404),
    analyst("get", "/v1/me", 200),
    // the stream
    admin("get", "/v1/stream", 200),
    admin("get", "/v1/stream/{topic}/records", 404),
    admin("post", "/v1/stream/groups/{group}/reset", 422),
    admin("get", "/v1/quarantine", 200),
    // the demo
    row("get", "/demo", Who::Anybody, 404),
    dispatcher("get", "/v1/demo", 404),
    admin("put", "/v1/demo", 422),
    admin("delete", "/v1/demo", 204),
    // phones
    phone("post", "/v1/positions", 200),
    app("get", "/osmand", Way::Query, 200),
    app("post", "/osmand", Way::Query, 200),
    app("post", "/owntracks", Way::Basic, 401),
    app("post", "/pub", Way::Basic, 401),
    phone("get", "/v1/me/deliveries", 200),
    // what it is already: a phone may say it again
    Row {
        body: r#"{"status":"assigned"}"#,
        others: 404,
        ..phone("post", "/v1/me/deliveries/{id}/status", 200)
    },
    phone("post", "/v1/me/duty", 422),
    // customers
    row("get", "/v1/track", Who::Link, 200),
    row("get", "/v1/track/events", Who::Link, 200),
    // these take their credential in the body
    row("post", "/v1/session", Who::Anybody, 422),
    row("post", "/v1/join", Who::Anybody, 422),
    // last, since it signs those out who are allowed to
    analyst("delete", "/v1/session", 204),
];

/// Sockets: who they let in is told after the upgrade.
pub const SOCKETS: &[&str] = &["/ws/track", "/ws/fleet"];

/// Routes that the document does not describe: they are everybody's, and answer everybody alike.
pub const PLAIN: &[(&str, Port, u16)] = &[
    ("/", Port::Main, 200),
    ("/t/{token}", Port::Main, 200),
    ("/sign-in", Port::Main, 200),
    ("/trips", Port::Main, 200),
    ("/stream", Port::Main, 200),
    ("/events", Port::Main, 200),
    ("/join/{code}", Port::Main, 200),
    ("/couriers", Port::Main, 200),
    ("/courier", Port::Main, 200),
    ("/styleguide", Port::Main, 200),
    ("/docs", Port::Main, 200),
    ("/web-config.json", Port::Main, 200),
    ("/assets/{*path}", Port::Main, 404),
    ("/basemap/{file}", Port::Main, 404),
    ("/{file}", Port::Main, 404),
    ("/v1/openapi.json", Port::Main, 200),
    // Where they have no port of their own, they are on this one.
    ("/healthz", Port::Main, 200),
    ("/readyz", Port::Main, 200),
    ("/metrics", Port::Main, 200),
    // Phones bring their token in the query.
    ("/", Port::Phones, 401),
];
