//! Waylog: self-hosted delivery-location tracking around a durable log.

pub mod clock;
pub mod domain;
pub mod stream;
