//! What a topic holds, how it differs from a tick ago, and how it is put into messages.

use axum::extract::ws::Message;
use h3o::{CellIndex, LatLng};
use rustc_hash::FxHashMap;
use serde::Serialize;

use super::frame::{self, DELTA, Entry, Head, SNAPSHOT};
use super::view::TopicId;
use crate::directory::Directory;
use crate::domain::{CourierId, Vehicle};
use crate::live_map::state::CourierStatus;

/// Couriers or cells named in one text message: it stays well below what may wait for a slow reader.
const MOST_NAMED: usize = 400;

/// How many couriers of each status.
pub(super) type Counts = [u32; CourierStatus::COUNT];

/// What a topic holds now.
#[derive(Debug)]
pub(super) enum Content {
    /// Couriers by handle.
    Couriers(FxHashMap<u32, (Entry, CourierId)>),
    /// Counts by cell.
    Cells(FxHashMap<CellIndex, Counts>),
}

/// What differs from a tick ago. Keys are handles or cells.
#[derive(Debug, Default)]
pub(super) struct Diff {
    /// New or changed.
    pub(super) touched: Vec<u64>,
    /// New: their names, or their polygons, must be told.
    pub(super) fresh: Vec<u64>,
    /// Gone.
    pub(super) gone: Vec<u64>,
}

impl Diff {
    pub(super) fn is_empty(&self) -> bool {
        self.touched.is_empty() && self.gone.is_empty()
    }

    /// Several diffs in a row as one; what is in it twice is told once.
    pub(super) fn merged<'a>(diffs: impl Iterator<Item = &'a Self>) -> Self {
        let mut all = Self::default();
        for diff in diffs {
            all.touched.extend(&diff.touched);
            all.fresh.extend(&diff.fresh);
            all.gone.extend(&diff.gone);
        }
        for keys in [&mut all.touched, &mut all.fresh, &mut all.gone] {
            keys.sort_unstable();
            keys.dedup();
        }
        all
    }
}

impl Content {
    /// Puts `new` in place of the old content, and tells the difference.
    pub(super) fn replace(&mut self, new: Self) -> Diff {
        let diff = match (&*self, &new) {
            (Self::Couriers(old), Self::Couriers(new)) => diff(
                old,
                new,
                |a, b| a.0.differs(&b.0),
                |handle| u64::from(*handle),
            ),
            (Self::Cells(old), Self::Cells(new)) => {
                diff(old, new, |a, b| a != b, |cell| u64::from(*cell))
            }
            // A topic's level never changes.
            _ => Diff::default(),
        };
        *self = new;
        diff
    }

    /// Everything, as a diff from nothing.
    fn all(&self) -> Diff {
        let mut keys: Vec<u64> = match self {
            Self::Couriers(couriers) => couriers.keys().map(|handle| u64::from(*handle)).collect(),
            Self::Cells(cells) => cells.keys().map(|cell| u64::from(*cell)).collect(),
        };
        keys.sort_unstable();
        Diff {
            touched: keys.clone(),
            fresh: keys,
            gone: Vec::new(),
        }
    }

    /// The messages that tell everything.
    pub(super) fn snapshot(&self, head: Head, directory: &Directory) -> Vec<Message> {
        let all = self.all();
        match self {
            Self::Couriers(couriers) => {
                let mut messages = names(couriers, &all, head, directory, true);
                messages.extend(positions(couriers, &all, head, SNAPSHOT));
                messages
            }
            Self::Cells(cells) => cell_messages(cells, &all, head, true),
        }
    }

    /// The messages that tell a difference, as far as it still holds.
    pub(super) fn delta(&self, diff: &Diff, head: Head, directory: &Directory) -> Vec<Message> {
        match self {
            Self::Couriers(couriers) => {
                let mut messages = names(couriers, diff, head, directory, false);
                messages.extend(positions(couriers, diff, head, DELTA));
                messages.extend(removals(couriers, diff, head));
                messages
            }
            Self::Cells(cells) => cell_messages(cells, diff, head, false),
        }
    }
}

fn diff<K: Eq + std::hash::Hash, V>(
    old: &FxHashMap<K, V>,
    new: &FxHashMap<K, V>,
    differs: impl Fn(&V, &V) -> bool,
    key: impl Fn(&K) -> u64,
) -> Diff {
    let mut diff = Diff::default();
    for (k, value) in new {
        match old.get(k) {
            Some(before) if !differs(before, value) => {}
            Some(_) => diff.touched.push(key(k)),
            None => {
                diff.touched.push(key(k));
                diff.fresh.push(key(k));
            }
        }
    }
    diff.gone = old
        .keys()
        .filter(|k| !new.contains_key(k))
        .map(key)
        .collect();
    diff
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ToFleet<'a> {
    Snapshot {
        topic: TopicId,
        seq: u32,
        couriers: &'a [Named<'a>],
    },
    Names {
        couriers: &'a [Named<'a>],
    },
    Removed {
        topic: TopicId,
        seq: u32,
        handles: &'a [u64],
    },
    Cells {
        topic: TopicId,
        seq: u32,
        snapshot: bool,
        cells: &'a [Counted],
        removed: &'a [String],
    },
}

/// Which courier a handle stands for.
#[derive(Serialize)]
struct Named<'a> {
    handle: u32,
    courier_id: &'a CourierId,
    name: Option<Box<str>>,
    vehicle: Option<Vehicle>,
}

#[derive(Serialize)]
struct Counted {
    cell: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    polygon: Option<Vec<[f64; 2]>>,
    counts: Counts,
}

fn text(message: &ToFleet<'_>) -> Message {
    // Plain data with string keys: it always serialises.
    Message::Text(serde_json::to_string(message).unwrap_or_default().into())
}

type Couriers = FxHashMap<u32, (Entry, CourierId)>;

fn courier_of(couriers: &Couriers, key: u64) -> Option<&(Entry, CourierId)> {
    couriers.get(&u32::try_from(key).ok()?)
}

fn names(
    couriers: &Couriers,
    diff: &Diff,
    head: Head,
    directory: &Directory,
    snapshot: bool,
) -> Vec<Message> {
    let named = diff
        .fresh
        .iter()
        .filter_map(|key| courier_of(couriers, *key))
        .map(|(entry, id)| {
            let courier = directory.courier(id);
            Named {
                handle: entry.handle,
                courier_id: id,
                name: courier.as_ref().and_then(|c| c.name.clone()),
                vehicle: courier.as_ref().and_then(|c| c.vehicle),
            }
        });
    let named: Vec<Named<'_>> = named.collect();
    let (first, rest) = match snapshot {
        true => named.split_at(named.len().min(MOST_NAMED)),
        false => (&[][..], &named[..]),
    };
    let (topic, seq) = (head.topic, head.seq);
    let snapshot = snapshot.then(|| {
        text(&ToFleet::Snapshot {
            topic,
            seq,
            couriers: first,
        })
    });
    let more = rest
        .chunks(MOST_NAMED)
        .map(|couriers| text(&ToFleet::Names { couriers }));
    snapshot.into_iter().chain(more).collect()
}

fn positions(couriers: &Couriers, diff: &Diff, head: Head, kind: u8) -> Vec<Message> {
    let touched = diff
        .touched
        .iter()
        .filter_map(|key| courier_of(couriers, *key));
    let entries: Vec<Entry> = touched.map(|(entry, _)| *entry).collect();
    if entries.is_empty() && kind == DELTA {
        return Vec::new();
    }
    frame::encode(kind, head, &entries)
        .into_iter()
        .map(Message::Binary)
        .collect()
}

fn removals(couriers: &Couriers, diff: &Diff, head: Head) -> Option<Message> {
    let gone = diff.gone.iter().copied();
    let handles: Vec<u64> = gone
        .filter(|key| courier_of(couriers, *key).is_none())
        .collect();
    let (topic, seq) = (head.topic, head.seq);
    (!handles.is_empty()).then(|| {
        text(&ToFleet::Removed {
            topic,
            seq,
            handles: &handles,
        })
    })
}

fn cell_messages(
    cells: &FxHashMap<CellIndex, Counts>,
    diff: &Diff,
    head: Head,
    snapshot: bool,
) -> Vec<Message> {
    let counts = |key: u64| {
        let cell = CellIndex::try_from(key).ok()?;
        Some((cell, *cells.get(&cell)?))
    };
    let fresh: rustc_hash::FxHashSet<u64> = diff.fresh.iter().copied().collect();
    let counted: Vec<Counted> = diff
        .touched
        .iter()
        .filter_map(|key| {
            let (cell, counts) = counts(*key)?;
            Some(Counted {
                cell: hex(*key),
                polygon: fresh.contains(key).then(|| polygon(cell)),
                counts,
            })
        })
        .collect();
    let gone = diff.gone.iter().filter(|key| counts(**key).is_none());
    let removed: Vec<String> = gone.map(|key| hex(*key)).collect();
    let message = |cells: &[Counted], removed: &[String], snapshot| {
        text(&ToFleet::Cells {
            topic: head.topic,
            seq: head.seq,
            snapshot,
            cells,
            removed,
        })
    };
    let (first, rest) = counted.split_at(counted.len().min(MOST_NAMED));
    let mut messages = Vec::new();
    if snapshot || !first.is_empty() || !removed.is_empty() {
        messages.push(message(first, &removed, snapshot));
    }
    messages.extend(
        rest.chunks(MOST_NAMED)
            .map(|cells| message(cells, &[], false)),
    );
    messages
}

fn hex(key: u64) -> String {
    format!("{key:016x}")
}

/// The cell's outline as a closed ring, `[lon, lat]`; across the antimeridian longitudes go on
/// beyond 180.
fn polygon(cell: CellIndex) -> Vec<[f64; 2]> {
    let middle = LatLng::from(cell).lng();
    let round = |degrees: f64| (degrees * 1e5).round() / 1e5;
    let corner = |at: &LatLng| {
        let east = (at.lng() - middle + 540.0).rem_euclid(360.0) - 180.0;
        [round(middle + east), round(at.lat())]
    };
    let boundary = cell.boundary();
    let mut ring: Vec<[f64; 2]> = boundary.iter().map(corner).collect();
    ring.extend(ring.first().copied());
    ring
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::UnixMs;

    fn head(seq: u32) -> Head {
        Head {
            topic: TopicId::WORLD,
            epoch: 1,
            seq,
            now: UnixMs(0),
        }
    }

    fn cells(of: &[(u64, u32)]) -> Content {
        let base = |n: u64| {
            CellIndex::base_cells()
                .nth(n as usize)
                .expect("a base cell")
        };
        Content::Cells(
            of.iter()
                .map(|(n, idle)| (base(*n), [*idle, 0, 0, 0, 0, 0]))
                .collect(),
        )
    }

    fn json(message: &Message) -> serde_json::Value {
        let Message::Text(text) = message else {
            panic!("no text")
        };
        serde_json::from_str(text.as_str()).expect("JSON")
    }

    #[test]
    fn several_ticks_merge_into_what_still_holds() {
        let mut content = cells(&[(0, 1), (1, 1)]);
        let came = content.replace(cells(&[(0, 2), (1, 1), (2, 1)]));
        let left = content.replace(cells(&[(0, 3), (2, 1)]));
        let back = content.replace(cells(&[(0, 3), (1, 5)]));
        let merged = Diff::merged([&came, &left, &back].into_iter());
        let messages = content.delta(&merged, head(3), &Directory::new());
        assert_eq!(messages.len(), 1);
        let told = json(&messages[0]);
        let cells = told["cells"].as_array().expect("cells");
        assert_eq!(cells.len(), 2, "{told}");
        // The cell that came back has its outline again, the one that stayed has not.
        let outlined = cells.iter().filter(|c| c.get("polygon").is_some()).count();
        assert_eq!(outlined, 1, "{told}");
        assert_eq!(told["removed"].as_array().expect("removed").len(), 1);
        assert_eq!(
            (&told["seq"], &told["snapshot"]),
            (&3.into(), &false.into())
        );
    }

    #[test]
    fn nothing_changed_is_nothing_told_and_an_empty_snapshot_is_told() {
        let mut content = cells(&[(0, 1)]);
        assert!(content.replace(cells(&[(0, 1)])).is_empty());
        let empty = Content::Couriers(FxHashMap::default());
        let messages = empty.snapshot(head(0), &Directory::new());
        assert_eq!(json(&messages[0])["couriers"], serde_json::json!([]));
        assert!(matches!(&messages[1], Message::Binary(frame) if frame.len() == 40));
    }
}
