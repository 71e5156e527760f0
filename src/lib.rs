//! Waylog: self-hosted delivery-location tracking around a durable log.

pub mod access;
pub mod analytics;
pub mod clock;
pub mod config;
pub mod directory;
pub mod domain;
pub mod http;
pub mod lifecycle;
pub mod stream;
pub mod telemetry;

#[cfg(test)]
mod test_support;
