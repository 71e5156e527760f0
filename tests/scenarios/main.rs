//! Scenarios over the real program: real Postgres, real sockets, a real browser.

mod tidy;
