//! The Kafka backend: the log as topics of Apache Kafka, shared by any number of processes.
//!
//! ```text
//!   append ──▶ producer (idempotent, acks=all) ──▶ brokers ──▶ reader (a thread a consumer) ──Mail──▶ poll
//!                                                   ▲  ▲
//!                        scout (offsets, samples) ──┘  └── desk (a group's committed offsets)
//! ```
//!
//! Owns the clients of librdkafka and everything that is particular to Kafka. Which records are
//! where, who is in a group and what it has committed, the brokers own.
//!
//! # Invariants
//! - An acknowledged record is at all replicas in sync, of which there are `min.insync.replicas` at
//!   least (`producer`, `open`). Kafka acknowledges before the disk has it: what outlives a loss of
//!   power on all of these machines at once is up to them.
//! - No library decides where reading starts or what is committed: a start is told when a partition
//!   is assigned, and an offset that does not exist is an event, never a silent jump (`reader`).
//! - A commit is refused by the brokers when the generation is not the group's (`consumer`).
//! - What cannot keep these promises is refused at the start (`open`): another number of partitions,
//!   compaction, fewer replicas than were asked for.
//! - Memory is bounded: records that wait for their acknowledgement, records that were fetched, and
//!   letters that wait to be polled (`options`, `producer`, `mail`).

mod assignment;
mod cluster;
mod consumer;
mod context;
mod explain;
mod keeper;
mod log;
mod mail;
mod open;
mod options;
mod producer;
mod reader;
mod scout;
mod status;
#[cfg(test)]
mod tests;

pub use log::KafkaLog;
pub use options::KafkaOptions;
