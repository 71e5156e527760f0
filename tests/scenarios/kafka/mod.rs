//! Waylog on a real Apache Kafka, a role a process.

mod bad_input;
mod brokers;
mod kit;
mod members;
mod nodes;
mod phones;
mod switch;
mod watchers;
