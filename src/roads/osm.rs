//! Reads an OpenStreetMap extract: the ways that couriers use, where their nodes are, and the stops
//! for simulated deliveries. Nothing of it stays in memory but what is asked for.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::PathBuf;

use anyhow::{Context, bail};
use osmpbf::{Element, ElementReader, TagIter};
use rustc_hash::{FxHashMap, FxHashSet};
use sha2::{Digest, Sha256};

use super::profile::{self, Use};
use super::stops::Stops;
use crate::config::RoadsConfig;
use crate::domain::Position;

/// The Maltese roads that are part of the program; `basemap/README.md` says where they come from.
static BUNDLED: &[u8] = include_bytes!("../../basemap/malta-roads.osm.pbf");

/// Where the extract is.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// In the program.
    Bundled,
    /// In a file.
    File(PathBuf),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bundled => f.write_str("the bundled Maltese roads"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Source {
    /// The file of the configuration, else the bundled roads.
    pub(super) fn of(config: &RoadsConfig) -> Self {
        match &config.file {
            Some(file) => Self::File(file.clone()),
            None => Self::Bundled,
        }
    }

    fn reader(&self) -> anyhow::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::Bundled => Box::new(BUNDLED),
            Self::File(path) => {
                let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
                Box::new(BufReader::with_capacity(1 << 20, file))
            }
        })
    }

    /// SHA-256 of the extract.
    pub(super) fn hash(&self) -> anyhow::Result<[u8; 32]> {
        let mut reader = self.reader()?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            let read = reader
                .read(&mut buffer)
                .with_context(|| format!("read {self}"))?;
            if read == 0 {
                return Ok(hash.finalize().into());
            }
            hash.update(&buffer[..read]);
        }
    }
}

/// A way that couriers use.
#[derive(Debug)]
pub(super) struct Way {
    /// Its nodes, in the order in which it is drawn.
    pub(super) nodes: Vec<i64>,
    /// How it may be used.
    pub(super) usage: Use,
}

/// What an extract holds for us.
#[derive(Debug, Default)]
pub(super) struct Extract {
    /// The ways.
    pub(super) ways: Vec<Way>,
    /// Where their nodes are; a node may be missing at the border of the extract.
    pub(super) nodes: FxHashMap<i64, Position>,
    /// Stops for simulated deliveries.
    pub(super) stops: Stops,
}

/// Reads the extract in two passes, ways first, so that only their nodes are kept.
pub(super) fn read(source: &Source) -> anyhow::Result<Extract> {
    let mut extract = Extract::default();
    let mut wanted = FxHashSet::default();
    each_element(source, |element| {
        if let Element::Way(way) = element
            && let Some(usage) = profile::read(way.tags())
        {
            let nodes: Vec<i64> = way.refs().collect();
            wanted.extend(nodes.iter().copied());
            extract.ways.push(Way { nodes, usage });
        }
    })?;
    if extract.ways.is_empty() {
        bail!("{source} holds no roads: an extract with ways tagged highway=* is needed");
    }
    let mut take = |id: i64, lat: i32, lon: i32| {
        let position = Position::from_e7(lat.into(), lon.into()).ok()?;
        if wanted.contains(&id) {
            extract.nodes.insert(id, position);
        }
        Some(position)
    };
    each_element(source, |element| match element {
        Element::DenseNode(node) => {
            if let Some(at) = take(node.id(), node.decimicro_lat(), node.decimicro_lon()) {
                extract.stops.take(at, node.tags());
            }
        }
        Element::Node(node) => {
            if let Some(at) = take(node.id(), node.decimicro_lat(), node.decimicro_lon()) {
                let tags: TagIter<'_> = node.tags();
                extract.stops.take(at, tags);
            }
        }
        Element::Way(_) | Element::Relation(_) => {}
    })?;
    Ok(extract)
}

fn each_element(source: &Source, f: impl for<'a> FnMut(Element<'a>)) -> anyhow::Result<()> {
    ElementReader::new(source.reader()?)
        .for_each(f)
        .with_context(|| format!("{source} is not a readable .osm.pbf file"))
}
