//! The prepared graph on disk, so that only the first start builds it.
//!
//! ```text
//! offset size
//!      0    8  magic "WLROADS\n"
//!      8    4  format version, little-endian
//!     12   32  SHA-256 of the extract
//!     44    4  crc32c of the body
//!     48    …  body: postcard of `Prepared`
//! ```
//!
//! The file's name bears the first 8 bytes of the hash and the version. It is written aside and
//! renamed; one that is damaged, or of another extract or version, is built anew, never trusted.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use fast_paths::FastGraph;
use serde::{Deserialize, Serialize};

use super::graph::Graph;
use super::stops::Stops;

const MAGIC: &[u8; 8] = b"WLROADS\n";
/// Raised when the format, the profile or the way in which the graph is built changes.
const VERSION: u32 = 1;
const HEADER: usize = 48;
/// Bytes that are read at once for the checksum.
const PIECE: usize = 64 << 10;

/// What is kept.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Prepared {
    pub(super) graph: Graph,
    #[serde(
        serialize_with = "fast_paths::serialize_32",
        deserialize_with = "fast_paths::deserialize_32"
    )]
    pub(super) hierarchy: FastGraph,
    pub(super) stops: Stops,
}

/// Where the graph of an extract is kept.
pub(super) fn path(dir: &Path, hash: &[u8; 32]) -> PathBuf {
    let name: String = hash
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    dir.join(format!("{name}-v{VERSION}.graph"))
}

/// Writes the graph of the extract with `hash`.
pub(super) fn write(path: &Path, hash: &[u8; 32], prepared: &Prepared) -> anyhow::Result<()> {
    let body = postcard::to_stdvec(prepared).context("encode the road graph")?;
    let mut file = Vec::with_capacity(HEADER + body.len());
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&VERSION.to_le_bytes());
    file.extend_from_slice(hash);
    file.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
    file.extend_from_slice(&body);
    // Its own name for each process: two may build the same graph at once.
    let aside = path.with_extension(format!("{}.tmp", std::process::id()));
    fs::write(&aside, &file).with_context(|| format!("write {}", aside.display()))?;
    fs::rename(&aside, path).with_context(|| format!("rename to {}", path.display()))
}

/// Reads the graph of the extract with `hash`.
///
/// # Errors
/// If there is none, or it is of no use.
pub(super) fn read(path: &Path, hash: &[u8; 32]) -> anyhow::Result<Prepared> {
    let mut file = checked(path, hash)?;
    file.seek(SeekFrom::Start(HEADER as u64))?;
    let mut body = Vec::new();
    file.read_to_end(&mut body)?;
    postcard::from_bytes(&body).context("decode it")
}

/// Whether [`read`] would find it whole, without the memory that it takes.
///
/// # Errors
/// As [`read`].
pub(super) fn check(path: &Path, hash: &[u8; 32]) -> anyhow::Result<()> {
    checked(path, hash).map(drop)
}

/// The open file, whose header and checksum are right.
fn checked(path: &Path, hash: &[u8; 32]) -> anyhow::Result<File> {
    let mut file = File::open(path)?;
    let mut header = [0; HEADER];
    file.read_exact(&mut header).context("it is cut off")?;
    if !header.starts_with(MAGIC) || header[8..12] != VERSION.to_le_bytes() {
        bail!("it has another format");
    }
    if &header[12..44] != hash {
        bail!("it is of another extract");
    }
    let (mut crc, mut piece) = (0, vec![0; PIECE]);
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            break;
        }
        crc = crc32c::crc32c_append(crc, &piece[..read]);
    }
    if header[44..] != crc.to_le_bytes() {
        bail!("its checksum is wrong");
    }
    Ok(file)
}
