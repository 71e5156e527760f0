//! The embedded log: one machine, our own files.
