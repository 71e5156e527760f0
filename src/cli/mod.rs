//! What the program can be asked to do: one file a subcommand.
//!
//! The tools in here that move couriers (`replay`, `simulate`) speak the public HTTP API only, as
//! any other program would.

pub mod api;
pub mod replay;
pub mod simulate;

/// Bad usage or configuration: the program ends with exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);
