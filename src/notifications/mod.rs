//! Notifications: what a track means, told to other systems.
//!
//! ```text
//!   topic delivery-location ── group notifications ──▶ rules ──▶ events ┐  one transaction with the
//!                                                                       │  group's offset
//!   dispatch: a step of a delivery ────────────────────────▶ events ────┤
//!                                                                       ▼ trigger
//!                                       webhooks ◀── signed ── workers ◀── outbox
//! ```
//!
//! Invariants:
//! - An event, what the rules know, and the group's offset are written in one transaction: nothing
//!   is told twice or not at all because of a crash.
//! - An event reaches the outbox of every webhook that wants it in the transaction that made it,
//!   whoever made it.
//! - A webhook is called at least once an event, always with the same `webhook-id`; events of one
//!   courier are sent to it in order.
//! - Nothing here slows ingest or another group: it reads the log at its own pace and waits for
//!   Postgres by itself.

mod backtest;
mod estimates;
mod event_json;
mod group;
mod judge;
mod outbox;
mod routes;
mod service;
mod store;

pub use service::Notifications;
pub use store::GROUP;

#[cfg(test)]
mod tests;
