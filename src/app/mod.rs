//! All wiring: which role is made of what, and in which order things start and stop. The only place
//! that names a concrete backend.
//!
//! Start: Postgres → migrations → Directory → log (recover) → consumers → router → bind → ready.
//! Stop: unready → stop accepting → drain → consumers commit → sync the log → Postgres.
//!
//! Where Postgres is away at the start, the Directory comes from its snapshot, ingest and live map
//! get ready, and migrations and the rest follow when it is back.

mod database;
mod operator;
mod roles;
mod stream_routes;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;

pub use roles::{Role, Roles};

use crate::clock::{SharedClock, SystemClock};
use crate::config::{Backend, Config};
use crate::lifecycle::Lifecycle;
