//! One file of the simulated disk: what programs see, and what a power cut leaves of it.

use std::collections::BTreeSet;

use super::SECTOR;
use super::chance::Chance;

#[derive(Debug, Default)]
pub(super) struct Inode {
    pub(super) live: Vec<u8>,
    pub(super) durable: Vec<u8>,
    /// Sectors written since the last sync that the system knows of.
    pub(super) dirty: BTreeSet<usize>,
    /// Sectors that a failed sync called clean although the disk does not have them.
    pub(super) lost: BTreeSet<usize>,
    /// The shortest that the file was since its length was durable.
    pub(super) cut_to: Option<usize>,
}

impl Inode {
    pub(super) fn write(&mut self, bytes: &[u8], pos: usize) {
        let end = pos + bytes.len();
        if self.live.len() < end {
            self.live.resize(end, 0);
        }
        self.live[pos..end].copy_from_slice(bytes);
        if !bytes.is_empty() {
            for sector in pos / SECTOR..=(end - 1) / SECTOR {
                self.dirty.insert(sector);
                self.lost.remove(&sector);
            }
        }
    }

    pub(super) fn set_len(&mut self, len: usize) {
        let old = self.live.len();
        self.live.resize(len, 0);
        if len < old {
            self.cut_to = Some(self.cut_to.map_or(len, |cut| cut.min(len)));
        }
        // The rest of the last sector reads as zeros from now on.
        if len < old && !len.is_multiple_of(SECTOR) {
            self.dirty.insert(len / SECTOR);
        }
        self.dirty.retain(|sector| sector * SECTOR < len);
        self.lost.retain(|sector| sector * SECTOR < len);
    }

    /// Brings one sector of `live` to `durable`, as far as both reach.
    pub(super) fn persist(&mut self, sector: usize) {
        let start = sector * SECTOR;
        let end = (start + SECTOR)
            .min(self.live.len())
            .min(self.durable.len());
        if start < end {
            self.durable[start..end].copy_from_slice(&self.live[start..end]);
        }
    }

    pub(super) fn persist_len(&mut self) {
        // Space that was cut off and allocated again reads as zeros, whatever it held.
        self.durable
            .truncate(self.cut_to.take().unwrap_or(usize::MAX));
        self.durable.resize(self.live.len(), 0);
    }

    pub(super) fn sync(&mut self) {
        self.persist_len();
        for sector in std::mem::take(&mut self.dirty) {
            self.persist(sector);
        }
    }

    /// Some of it arrives, in no order.
    pub(super) fn sync_partly(&mut self, chance: &mut Chance) {
        if chance.hits(1, 2) {
            self.persist_len();
        }
        for sector in self.dirty.clone() {
            if chance.hits(1, 2) {
                self.persist(sector);
            }
        }
    }

    pub(super) fn cut_power(&mut self, chance: &mut Chance, luck: u64) {
        if chance.hits(luck, 4) {
            self.persist_len();
        }
        self.cut_to = None;
        for sector in std::mem::take(&mut self.dirty) {
            if chance.hits(luck, 4) {
                self.persist(sector);
            }
        }
        self.lost.clear();
        self.live = self.durable.clone();
    }

    /// What a failed sync called clean may be read from the disk again.
    pub(super) fn drop_cache(&mut self, chance: &mut Chance) {
        for sector in std::mem::take(&mut self.lost) {
            let start = sector * SECTOR;
            let end = (start + SECTOR).min(self.live.len());
            if start < end && chance.hits(1, 2) {
                for at in start..end {
                    self.live[at] = self.durable.get(at).copied().unwrap_or(0);
                }
            } else {
                self.lost.insert(sector);
            }
        }
    }
}
