//! A road graph that is on disk until somebody asks for a way.
//!
//! Invariant: what [`OnDemand::prepare`] has taken can be loaded: a graph that could not be kept stays
//! in memory, and one that is gone from its folder later is built anew.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::osm::Source;
use super::router::Router;
use super::{cache, open};

/// Where the graph is, and it, once it is loaded.
#[derive(Debug)]
pub(super) struct OnDemand {
    router: OnceLock<Option<Router>>,
    kept: Option<(Source, PathBuf)>,
}

impl OnDemand {
    /// One that is in memory already.
    pub(super) fn loaded(router: Router) -> Self {
        Self {
            router: OnceLock::from(Some(router)),
            kept: None,
        }
    }

    /// Makes sure that the graph of `source` is in `cache_dir`, whole.
    ///
    /// # Errors
    /// If the source cannot be read or holds no roads.
    pub(super) fn prepare(source: Source, cache_dir: &Path) -> anyhow::Result<Self> {
        let hash = source.hash()?;
        let path = cache::path(cache_dir, &hash);
        if cache::check(&path, &hash).is_err() {
            let built = open(&source, cache_dir)?;
            if cache::check(&path, &hash).is_err() {
                return Ok(Self::loaded(Router::new(built.graph, built.hierarchy)));
            }
        }
        Ok(Self {
            router: OnceLock::new(),
            kept: Some((source, cache_dir.to_owned())),
        })
    }

    /// The graph, loaded now if it was not.
    pub(super) fn router(&self) -> Option<&Router> {
        let load = || {
            let (source, cache_dir) = self.kept.as_ref()?;
            match open(source, cache_dir) {
                Ok(prepared) => Some(Router::new(prepared.graph, prepared.hierarchy)),
                Err(error) => {
                    tracing::error!(
                        "ways are straight lines until the next start: cannot load the road graph \
                         of {source}: {error:#}"
                    );
                    None
                }
            }
        };
        self.router.get_or_init(load).as_ref()
    }

    #[cfg(test)]
    pub(super) fn is_loaded(&self) -> bool {
        self.router.get().is_some()
    }
}
