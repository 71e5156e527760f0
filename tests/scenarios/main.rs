//! Scenarios over the real program: real Postgres, real sockets, a real browser.

mod bad_input;
mod kill_loop;
mod pages;
mod phone_to_browser;
mod postgres_away;
mod recorded_tracks;
mod support;
mod tidy;
