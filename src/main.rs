//! The `waylog` program.
fn main() {}
