//! What a topic holds, and how it is put into messages.
//!
//! Whatever is told is told in pieces of some four kilobytes, made when they are sent: on a line
//! that takes a second for each, a screen still shows what was true a moment ago.

use axum::extract::ws::Message;
use h3o::{CellIndex, LatLng};
use serde::Serialize;

use super::frame::{self, DELTA, Entry, Head, MOST_ENTRIES, SNAPSHOT};
use super::rows::{Replaced, Row, Rows};
use super::view::{Level, TopicId};
use crate::directory::Directory;
use crate::domain::{CourierId, Vehicle};
use crate::live_map::state::CourierStatus;

/// Couriers, or outlines of cells, named in one piece.
const MOST_NAMED: usize = 40;
/// Cells without an outline, or keys that are gone, in one message.
const MOST_KEYS: usize = 100;

/// How many couriers of each status.
pub(super) type Counts = [u32; CourierStatus::COUNT];

type Named = (Entry, CourierId);

/// What a topic holds now.
#[derive(Debug)]
pub(super) enum Content {
    /// Couriers by handle.
    Couriers(Rows<Named>),
    /// Counts by cell.
    Cells(Rows<Counts>),
}

/// What a scan of live state found for a topic.
#[derive(Debug)]
pub(super) enum Seen {
    Couriers(Vec<(u64, Named)>),
    /// In order of cells.
    Cells(Vec<(u64, Counts)>),
}

impl Seen {
    pub(super) fn nothing(level: Level) -> Self {
        match level {
            Level::Couriers => Self::Couriers(Vec::new()),
            Level::Cells(_) | Level::World => Self::Cells(Vec::new()),
        }
    }
}

/// What is to be told: rows that are different since a tick, from a key on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lack {
    /// All rows without.
    pub(super) since: Option<u32>,
    pub(super) next: u64,
}

impl Content {
    pub(super) fn new(level: Level) -> Self {
        match level {
            Level::Couriers => Self::Couriers(Rows::new()),
            Level::Cells(_) | Level::World => Self::Cells(Rows::new()),
        }
    }

    /// Takes what the tick `seq` found.
    pub(super) fn replace(&mut self, seen: Seen, seq: u32) -> Replaced {
        match (self, seen) {
            (Self::Couriers(rows), Seen::Couriers(mut new)) => {
                new.sort_unstable_by_key(|(handle, _)| *handle);
                // Whoever moved while the scan let writers in may have been seen twice.
                new.dedup_by_key(|(handle, _)| *handle);
                rows.replace(new, seq, |a, b| a.0.differs(&b.0))
            }
            (Self::Cells(rows), Seen::Cells(new)) => rows.replace(new, seq, |a, b| a != b),
            // A topic's level never changes.
            _ => Replaced::default(),
        }
    }

    fn holds(&self, key: u64) -> bool {
        match self {
            Self::Couriers(rows) => rows.holds(key),
            Self::Cells(rows) => rows.holds(key),
        }
    }

    /// The next piece of what is lacking. Answers the key to go on with; none when that was all.
    pub(super) fn piece(
        &self,
        lack: Lack,
        head: Head,
        directory: &Directory,
        out: &mut Vec<Message>,
    ) -> Option<u64> {
        match self {
            Self::Couriers(rows) => courier_piece(rows, lack, head, directory, out),
            Self::Cells(rows) => cell_piece(rows, lack, head, out),
        }
    }

    /// Tells that `gone` are gone, unless they are back.
    pub(super) fn removals(
        &self,
        gone: impl Iterator<Item = u64>,
        head: Head,
        out: &mut Vec<Message>,
    ) {
        let mut gone: Vec<u64> = gone.filter(|key| !self.holds(*key)).collect();
        gone.sort_unstable();
        gone.dedup();
        let (topic, seq) = (head.topic, head.seq);
        for keys in gone.chunks(MOST_KEYS) {
            out.push(match self {
                Self::Couriers(_) => text(&ToFleet::Removed {
                    topic,
                    seq,
                    handles: keys,
                }),
                Self::Cells(_) => text(&ToFleet::Cells {
                    topic,
                    seq,
                    snapshot: false,
                    cells: &[],
                    removed: &keys.iter().map(|key| hex(*key)).collect::<Vec<_>>(),
                }),
            });
        }
    }
}

/// The first rows that are lacking: at most `most`, and at most [`MOST_NAMED`] that the client has
/// never heard of. With the key to go on with.
fn first_of<V>(rows: &Rows<V>, lack: Lack, most: usize) -> (Vec<&Row<V>>, Option<u64>) {
    let mut piece = Vec::new();
    let mut fresh = 0;
    for row in rows.lacking(lack.since, lack.next) {
        if piece.len() >= most || fresh >= MOST_NAMED {
            return (piece, Some(row.key));
        }
        fresh += usize::from(is_fresh(row, lack));
        piece.push(row);
    }
    (piece, None)
}

fn is_fresh<V>(row: &Row<V>, lack: Lack) -> bool {
    lack.since.is_none_or(|since| row.came > since)
}

/// Whether this piece is the one that replaces what the client has of the topic.
fn begins_anew(lack: Lack) -> bool {
    lack.since.is_none() && lack.next == 0
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ToFleet<'a> {
    Snapshot {
        topic: TopicId,
        seq: u32,
        couriers: &'a [Name<'a>],
    },
    Names {
        couriers: &'a [Name<'a>],
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
struct Name<'a> {
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

fn courier_piece(
    rows: &Rows<Named>,
    lack: Lack,
    head: Head,
    directory: &Directory,
    out: &mut Vec<Message>,
) -> Option<u64> {
    let (piece, next) = first_of(rows, lack, MOST_ENTRIES);
    let fresh = piece.iter().filter(|row| is_fresh(row, lack));
    let names: Vec<Name<'_>> = fresh
        .map(|row| {
            let (entry, id) = &row.value;
            let courier = directory.courier(id);
            Name {
                handle: entry.handle,
                courier_id: id,
                name: courier.as_ref().and_then(|c| c.name.clone()),
                vehicle: courier.as_ref().and_then(|c| c.vehicle),
            }
        })
        .collect();
    let couriers = &names[..];
    let anew = begins_anew(lack);
    if anew {
        let (topic, seq) = (head.topic, head.seq);
        out.push(text(&ToFleet::Snapshot {
            topic,
            seq,
            couriers,
        }));
    } else if !couriers.is_empty() {
        out.push(text(&ToFleet::Names { couriers }));
    }
    if anew || !piece.is_empty() {
        let kind = if anew { SNAPSHOT } else { DELTA };
        let entries = piece.iter().map(|row| &row.value.0);
        out.push(Message::Binary(frame::encode(kind, head, entries)));
    }
    next
}

fn cell_piece(rows: &Rows<Counts>, lack: Lack, head: Head, out: &mut Vec<Message>) -> Option<u64> {
    let (piece, next) = first_of(rows, lack, MOST_KEYS);
    let cells: Vec<Counted> = piece
        .iter()
        .map(|row| Counted {
            cell: hex(row.key),
            polygon: is_fresh(row, lack).then(|| polygon(row.key)),
            counts: row.value,
        })
        .collect();
    let anew = begins_anew(lack);
    if anew || !cells.is_empty() {
        out.push(text(&ToFleet::Cells {
            topic: head.topic,
            seq: head.seq,
            snapshot: anew,
            cells: &cells,
            removed: &[],
        }));
    }
    next
}

fn hex(key: u64) -> String {
    format!("{key:016x}")
}

/// The cell's outline as a closed ring, `[lon, lat]`; across the antimeridian longitudes go on
/// beyond 180.
fn polygon(key: u64) -> Vec<[f64; 2]> {
    let Ok(cell) = CellIndex::try_from(key) else {
        return Vec::new();
    };
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
    use crate::live_map::fleet::frame::HEADER_BYTES;

    fn head(seq: u32) -> Head {
        Head {
            topic: TopicId::WORLD,
            epoch: 1,
            seq,
            now: UnixMs(0),
        }
    }

    fn cells(of: &[(usize, u32)]) -> Seen {
        let base = |n: usize| CellIndex::base_cells().nth(n).expect("a base cell");
        let counted = |(n, idle): &(usize, u32)| (u64::from(base(*n)), [*idle, 0, 0, 0, 0, 0]);
        Seen::Cells(of.iter().map(counted).collect())
    }

    fn json(message: &Message) -> serde_json::Value {
        let Message::Text(text) = message else {
            panic!("no text")
        };
        serde_json::from_str(text.as_str()).expect("JSON")
    }

    fn told(content: &Content, since: Option<u32>, seq: u32) -> Vec<Message> {
        let mut out = Vec::new();
        let mut next = Some(0);
        while let Some(key) = next {
            let lack = Lack { since, next: key };
            next = content.piece(lack, head(seq), &Directory::new(), &mut out);
        }
        out
    }

    #[test]
    fn several_ticks_are_told_as_what_still_holds() {
        let mut content = Content::new(Level::World);
        content.replace(cells(&[(0, 1), (1, 1)]), 0);
        content.replace(cells(&[(0, 2), (1, 1), (2, 1)]), 1);
        let left = content.replace(cells(&[(0, 3), (2, 1)]), 2);
        content.replace(cells(&[(0, 3), (1, 5)]), 3);
        let messages = told(&content, Some(0), 3);
        assert_eq!(messages.len(), 1);
        let told = json(&messages[0]);
        let cells = told["cells"].as_array().expect("cells");
        assert_eq!(cells.len(), 2, "{told}");
        // The cell that came back has its outline again, the one that stayed has not.
        let outlined = cells.iter().filter(|c| c.get("polygon").is_some()).count();
        assert_eq!(outlined, 1, "{told}");
        assert_eq!(
            (&told["seq"], &told["snapshot"]),
            (&3.into(), &false.into())
        );
        let mut out = Vec::new();
        content.removals(left.gone.into_iter(), head(3), &mut out);
        assert!(out.is_empty(), "it is back");
        let gone = u64::from(CellIndex::base_cells().nth(2).expect("a base cell"));
        content.removals([gone, gone].into_iter(), head(3), &mut out);
        assert_eq!(json(&out[0])["removed"], serde_json::json!([hex(gone)]));
    }

    #[test]
    fn nothing_changed_is_nothing_told_and_an_empty_snapshot_is_told() {
        let mut content = Content::new(Level::World);
        content.replace(cells(&[(0, 1)]), 0);
        let same = content.replace(cells(&[(0, 1)]), 1);
        assert_eq!(same, Replaced::default());
        assert!(told(&content, Some(0), 1).is_empty());
        let messages = told(&Content::new(Level::Couriers), None, 0);
        assert_eq!(json(&messages[0])["couriers"], serde_json::json!([]));
        assert!(matches!(&messages[1], Message::Binary(frame) if frame.len() == HEADER_BYTES));
    }

    #[test]
    fn a_full_cell_is_told_in_small_pieces() {
        let mut content = Content::new(Level::Couriers);
        let courier = |handle: u32| {
            let entry = Entry {
                handle,
                lat_e7: 0,
                lon_e7: 0,
                heading: 0,
                speed: 0,
                placed_at: UnixMs(0),
                status: CourierStatus::Idle,
            };
            let id = CourierId::try_from(format!("courier-{handle:050}")).expect("an id");
            (u64::from(handle), (entry, id))
        };
        // In no order, as a scan finds them.
        let seen = (0..1_000).rev().map(courier).collect();
        content.replace(Seen::Couriers(seen), 0);
        let messages = told(&content, None, 0);
        let (mut named, mut placed) = (0, 0);
        for (n, message) in messages.iter().enumerate() {
            match message {
                Message::Text(text) => {
                    let told = json(message);
                    assert_eq!(told["type"] == "snapshot", n == 0);
                    named += told["couriers"].as_array().expect("couriers").len();
                    assert!(text.as_str().len() < 8 * 1024);
                }
                Message::Binary(frame) => {
                    assert_eq!(frame[0] == SNAPSHOT, n == 1);
                    placed += (frame.len() - HEADER_BYTES) / frame::ENTRY_BYTES;
                    assert!(frame.len() <= 4096);
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((named, placed), (1_000, 1_000));
    }
}
