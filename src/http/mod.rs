//! The router kit: how errors become answers, who may call what, how bodies, lists and versions are
//! read, what surrounds every handler, the pages, and the listener.
//!
//! Invariant: this is the only place where status codes are chosen for errors.

mod answer;
mod callers;
mod client_addr;
mod etag;
mod forwarded;
mod guard;
mod idempotency;
mod json;
mod page;
mod problem;
mod query;
mod range;
mod router;
mod serve;
mod static_web;
mod text;
mod tls;

pub use answer::Answer;
pub use callers::{
    AsAdmin, AsAnalyst, AsDevice, AsDispatcher, AsLink, CSRF_HEADER, SESSION_COOKIE, bearer,
    credential, session_cookie,
};
pub use client_addr::ClientAddr;
pub use etag::{IfMatch, etag};
pub use idempotency::{Begun, Creating, Idempotent};
pub use json::{ApiBytes, ApiJson};
pub use page::{MAX_LIMIT, Page, PageQuery};
pub use problem::Problem;
pub use query::{ApiPath, ApiQuery};
pub use router::{Site, assemble, compression, document, phones_port};
pub use serve::Listen;
pub use static_web::{DemoFlag, page_routes};
pub use text::Text;
pub use tls::Tls;
