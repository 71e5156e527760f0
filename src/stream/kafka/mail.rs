//! What a reader's thread has for whoever polls: a queue that is bounded by bytes.
//!
//! Only records count; a letter about partitions always finds room, so that a rebalance never waits
//! for a slow reader's memory.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use crate::stream::StoredRecord;

/// Bytes of records that wait to be polled, about.
const MOST_BYTES: usize = 4 << 20;

/// Something to tell.
#[derive(Debug)]
pub(super) enum Letter {
    /// These are ours as soon as somebody says where they start. With the order's number.
    Assign(u64, Vec<u32>),
    /// These are ours no more; the thread waits to hear that it was understood. With the order's
    /// number.
    Revoke(u64, Vec<u32>),
    /// Records of one partition.
    Records {
        partition: u32,
        records: Vec<StoredRecord>,
        /// The partition's end, as far as it is known.
        end: u64,
        bytes: usize,
    },
    /// Records that are gone.
    Lost { partition: u32, from: u64, to: u64 },
    /// Nothing can be read now, and why.
    Failed(String),
}

#[derive(Default)]
struct Waiting {
    letters: VecDeque<Letter>,
    bytes: usize,
}

/// The queue. One thread puts in, one task takes out.
#[derive(Default)]
pub(super) struct Mail {
    inner: Mutex<Waiting>,
    /// Something was put in.
    pub(super) rung: Notify,
    taken: Condvar,
}

impl Mail {
    pub(super) fn put(&self, letter: Letter) {
        let mut inner = self.inner.lock();
        if let Letter::Records { bytes, .. } = &letter {
            inner.bytes += bytes;
        }
        // Of failures only the newest is of interest, or they would pile up.
        if let (Letter::Failed(_), Some(Letter::Failed(_))) = (&letter, inner.letters.back()) {
            inner.letters.pop_back();
        }
        inner.letters.push_back(letter);
        drop(inner);
        self.rung.notify_one();
    }

    pub(super) fn take(&self) -> Option<Letter> {
        let mut inner = self.inner.lock();
        let letter = inner.letters.pop_front()?;
        if let Letter::Records { bytes, .. } = &letter {
            inner.bytes -= bytes;
            self.taken.notify_one();
        }
        Some(letter)
    }

    /// Whether there is room for records, waiting for it up to `wait`.
    pub(super) fn has_room(&self, wait: Duration) -> bool {
        let mut inner = self.inner.lock();
        if inner.bytes >= MOST_BYTES {
            self.taken.wait_for(&mut inner, wait);
        }
        inner.bytes < MOST_BYTES
    }

    /// The offset of the first record of `partition` that waits.
    pub(super) fn first_waiting(&self, partition: u32) -> Option<u64> {
        let inner = self.inner.lock();
        inner.letters.iter().find_map(|letter| match letter {
            Letter::Records {
                partition: of,
                records,
                ..
            } if *of == partition => records.first().map(|record| record.offset.0),
            _ => None,
        })
    }

    /// Throws away everything about these partitions that was not taken.
    pub(super) fn forget(&self, partitions: &[u32]) {
        let mut inner = self.inner.lock();
        let mut freed = 0;
        inner.letters.retain(|letter| match letter {
            Letter::Records {
                partition, bytes, ..
            } if partitions.contains(partition) => {
                freed += bytes;
                false
            }
            Letter::Lost { partition, .. } => !partitions.contains(partition),
            _ => true,
        });
        inner.bytes -= freed;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::stream::Offset;

    fn records(partition: u32, offset: u64, bytes: usize) -> Letter {
        let record = StoredRecord {
            offset: Offset(offset),
            key: Bytes::from_static(b"c"),
            value: Bytes::new(),
            timestamp_ms: 1,
        };
        Letter::Records {
            partition,
            records: vec![record],
            end: offset + 1,
            bytes,
        }
    }

    #[test]
    fn only_records_take_room_and_what_is_taken_or_forgotten_gives_it_back() {
        let mail = Mail::default();
        let room = || mail.has_room(Duration::ZERO);
        mail.put(records(0, 5, MOST_BYTES - 1));
        assert!(room());
        mail.put(records(1, 7, 1));
        assert!(!room());
        mail.put(Letter::Assign(1, vec![3]));
        assert_eq!(mail.first_waiting(1), Some(7));
        mail.forget(&[1]);
        assert_eq!(mail.first_waiting(1), None);
        assert!(room());
        assert!(matches!(
            mail.take(),
            Some(Letter::Records { partition: 0, .. })
        ));
        assert!(matches!(mail.take(), Some(Letter::Assign(..))));
        assert!(mail.take().is_none());
        mail.put(records(0, 6, MOST_BYTES));
        assert!(!room());
    }
}
