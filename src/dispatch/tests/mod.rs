//! The slice over a real database and a real socket.

mod access;
mod concurrency;
mod couriers;
mod deliveries;
mod onboarding;
mod pages;
mod server;
