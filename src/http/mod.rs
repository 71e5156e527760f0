//! The router kit: how errors become answers, who may call what, how bodies are read, and how a
//!
//! Invariant: this is the only place where status codes are chosen for errors.

mod callers;
mod json;
mod problem;

pub use callers::{AsAdmin, AsAnalyst, AsDevice, AsDispatcher, AsLink, bearer};
pub use json::ApiJson;
pub use problem::Problem;
