//! Scenarios over the real program: real Postgres, real sockets, a real browser.

mod backup;
mod bad_input;
mod bad_starts;
mod courier_offline;
mod crash_replay;
mod exports;
mod https;
mod kafka;
mod kill_loop;
mod operations;
mod pages;
mod phone_to_browser;
mod postgres_away;
mod postgres_unwell;
mod recorded_tracks;
mod status;
mod support;
mod tidy;
mod trips_page;
mod upgrade;
mod webhooks;
mod who_may;
