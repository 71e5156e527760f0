//! What the embedded log does on this disk: `cargo bench --bench log [section…]`.
//!
//! Sections: `throughput`, `single`, `paced`, `readers`, `size`, `idle`, `open`. Every figure is the
//! median of several runs and stands beside what it is compared with, measured in the same run. The
//! files lie under `WAYLOG_BENCH_DIR`, or the system's folder for temporary files.

mod disk;
mod kit;
mod read;
mod tracks;
mod write;

use std::path::Path;

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
    if let Some(dir) = std::env::var_os("WAYLOG_BENCH_FILL") {
        disk::fill_and_die(Path::new(&dir));
    }
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("cores {cores}, {PARTITIONS} partitions, fdatasync before every acknowledgement");
    let tracks = Tracks::as_phones_send();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    if on("throughput") {
        runtime.block_on(write::throughput(&tracks));
    }
    if on("single") {
        runtime.block_on(write::single(&tracks));
    }
    if on("paced") {
        runtime.block_on(write::paced(&tracks));
    }
    if on("readers") {
        runtime.block_on(read::readers(&tracks));
    }
    if on("size") {
        runtime.block_on(disk::size(&tracks));
    }
    if on("idle") {
        runtime.block_on(read::idle());
    }
    if on("open") {
        runtime.block_on(disk::open());
    }
}
