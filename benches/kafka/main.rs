//! What the log on Apache Kafka does, beside Kafka's own producer and beside the embedded log:
//! `cargo bench --bench kafka [section…]`.
//!
//! Sections: `producer`, `synced`, `start`. Wants a broker (`scripts/kafka.sh start`) in
//! `WAYLOG_BENCH_KAFKA`, whose jars lie in `var/kafka-jars`; `start` wants
//! `WAYLOG_TEST_DATABASE_URL` and `target/release/waylog` too. Everything runs on the same cores:
//! broker, producer and appenders. Every figure is the median of several runs and stands beside what
//! it is compared with, measured in turn.

mod load;
mod start;
#[path = "../log/tracks.rs"]
#[expect(
    dead_code,
    reason = "tracks as recorded are for the sizes that the log measures"
)]
mod tracks;
mod write;

use tracks::Tracks;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PARTITIONS: u32 = 12;

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let on = |section: &str| wanted.is_empty() || wanted.iter().any(|w| w == section);
    let Ok(broker) = std::env::var("WAYLOG_BENCH_KAFKA") else {
        println!("SKIPPED: WAYLOG_BENCH_KAFKA names no broker");
        return;
    };
    let tracks = Tracks::as_phones_send();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    if on("producer") {
        runtime.block_on(write::producer(&broker, &tracks));
    }
    if on("synced") {
        runtime.block_on(write::synced(&broker, &tracks));
    }
    if on("start") {
        runtime.block_on(start::start(&broker));
    }
}
