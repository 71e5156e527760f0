//! The slice over real Postgres, the real log and a real HTTP receiver.

mod backtest;
mod fixture;
mod group;
mod outbox;
mod receiver;
mod routes;
mod store;
mod world;
