//! Tests of the Kafka backend, on a real broker.

mod faults;
mod kit;
mod old_broker;
mod refusals;
mod seam;
mod secured;
