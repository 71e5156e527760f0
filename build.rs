//! Compiles the record schemas and makes sure that the folder of the built web pages exists.

use std::io::Error;

fn main() -> Result<(), Error> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=migrations");
    let descriptors = protox::compile(
        ["proto/fix_batch.proto", "proto/quarantined.proto"],
        ["proto"],
    )
    .map_err(Error::other)?;
    prost_build::Config::new().compile_fds(descriptors)?;
    // The pages are embedded; a build of the library alone works without them.
    std::fs::create_dir_all("web/dist")
}
