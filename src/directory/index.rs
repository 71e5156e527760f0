//! Shared entries found by one of their own fields, in shards.
//!
//! An entry is held once and found by a key inside it, so that an index costs nine bytes a slot and
//! no copy of the key. Shards keep locks short: a reader waits at most for one insertion, a growing
//! table stalls one shard, and a walk over everything blocks no writer for long.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{BuildHasher, Hash, Hasher};
use std::marker::PhantomData;
use std::sync::Arc;

use parking_lot::RwLock;
use rustc_hash::FxBuildHasher;

/// A power of two.
const SHARDS: usize = 64;
/// Hash tables use a hash's lowest and highest bits; shards are chosen by some between.
const SHARD_SHIFT: u32 = 40;

/// An entry that is found by a `K` of its own.
pub(super) trait Keyed<K> {
    fn key(&self) -> &K;
}

/// An entry that hashes and compares as its key.
struct By<K, T>(Arc<T>, PhantomData<fn() -> K>);

impl<K, T: Keyed<K>> Borrow<K> for By<K, T> {
    fn borrow(&self) -> &K {
        self.0.key()
    }
}

impl<K: Hash, T: Keyed<K>> Hash for By<K, T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.key().hash(state);
    }
}

impl<K: PartialEq, T: Keyed<K>> PartialEq for By<K, T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.key() == other.0.key()
    }
}

impl<K: Eq, T: Keyed<K>> Eq for By<K, T> {}

type Shard<K, T> = RwLock<HashSet<By<K, T>, FxBuildHasher>>;

/// All entries of a kind, by one key.
pub(super) struct Index<K, T> {
    shards: Box<[Shard<K, T>]>,
}

impl<K: Eq + Hash, T: Keyed<K>> Default for Index<K, T> {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
        }
    }
}

impl<K: Eq + Hash, T: Keyed<K>> Index<K, T> {
    fn shard(&self, key: &K) -> &Shard<K, T> {
        let hash = FxBuildHasher.hash_one(key) >> SHARD_SHIFT;
        &self.shards[hash as usize & (SHARDS - 1)]
    }

    pub(super) fn get(&self, key: &K) -> Option<Arc<T>> {
        self.shard(key).read().get(key).map(|entry| entry.0.clone())
    }

    /// Adds or replaces; answers what was there.
    pub(super) fn put(&self, entry: Arc<T>) -> Option<Arc<T>> {
        let mut shard = self.shard(entry.key()).write();
        shard
            .replace(By(entry, PhantomData))
            .map(|replaced| replaced.0)
    }

    pub(super) fn remove(&self, key: &K) -> Option<Arc<T>> {
        self.shard(key).write().take(key).map(|entry| entry.0)
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }

    /// Everything, in no order; shard by shard, so that what changes meanwhile may be missed.
    pub(super) fn all(&self) -> Vec<Arc<T>> {
        let mut all = Vec::with_capacity(self.len());
        for shard in &self.shards {
            all.extend(shard.read().iter().map(|entry| entry.0.clone()));
        }
        all
    }

    /// The keys of which `keep` says no.
    pub(super) fn keys_unless(&self, keep: impl Fn(&T) -> bool) -> Vec<K>
    where
        K: Clone,
    {
        let mut out = Vec::new();
        for shard in &self.shards {
            let shard = shard.read();
            let unwanted = shard.iter().filter(|entry| !keep(&entry.0));
            out.extend(unwanted.map(|entry| entry.0.key().clone()));
        }
        out
    }
}

impl<K: Eq + Hash, T: Keyed<K>> std::fmt::Debug for Index<K, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Index({} entries)", self.len())
    }
}
