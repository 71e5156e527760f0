//! Waylog: self-hosted delivery-location tracking around a durable log.

pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod lifecycle;
pub mod roads;
pub mod stream;
pub mod telemetry;
