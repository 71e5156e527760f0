//! The router kit: how errors become answers, who may call what, how bodies are read, and how a
//! connection is served.
//!
//! Invariant: this is the only place where status codes are chosen for errors.

mod basemap;
mod callers;
mod json;
mod problem;
mod router;
mod serve;
mod static_web;

pub use basemap::routes as basemap_routes;
pub use callers::{AsAdmin, AsAnalyst, AsDevice, AsDispatcher, AsLink, bearer};
pub use json::ApiJson;
pub use problem::Problem;
pub use router::{Parts, assemble, describe};
pub use serve::{bind, serve};
pub use static_web::routes as page_routes;
