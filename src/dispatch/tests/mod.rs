//! The slice over a real database and a real socket.

mod access;
mod bounds;
mod concurrency;
mod couriers;
mod deliveries;
mod edge;
mod geocoder;
mod geofences;
mod import;
mod limits;
mod onboarding;
mod pages;
mod personal_data;
mod server;
