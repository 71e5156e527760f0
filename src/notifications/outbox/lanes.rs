//! Which row of an endpoint may be sent now.
//!
//! Rows of one lane (a courier) go in order of their event's number, one at a time; lanes do not
//! wait for each other. A lane whose first row waits for its next try keeps only that row in
//! memory; the rest is loaded again when it is through.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::domain::UnixMs;

/// Names a lane.
pub(super) type LaneName = Arc<str>;

/// What has a place in a lane.
pub(super) trait Queued {
    /// Number of its event: its place.
    fn event_id(&self) -> i64;
    /// The lane.
    fn lane(&self) -> &LaneName;
    /// Not to be sent before.
    fn due_at(&self) -> UnixMs;
}

/// The rows of one endpoint that are in memory.
///
/// Invariants: the first row of each lane that is not under way stands in `due` under its time;
/// of a lane in `cut` there are more rows in the store than here.
#[derive(Debug)]
pub(super) struct Lanes<R> {
    lanes: FxHashMap<LaneName, Lane<R>>,
    due: BTreeSet<(UnixMs, i64, LaneName)>,
    cut: BTreeSet<LaneName>,
    held: usize,
}

#[derive(Debug)]
struct Lane<R> {
    rows: BTreeMap<i64, R>,
    under_way: Option<i64>,
}

impl<R: Queued> Lanes<R> {
    pub(super) fn new() -> Self {
        Self {
            lanes: FxHashMap::default(),
            due: BTreeSet::new(),
            cut: BTreeSet::new(),
            held: 0,
        }
    }

    /// Rows in memory, those under way included.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Numbers of all rows in memory, and the lanes of which no more are wanted now.
    pub(super) fn held_and_cut(&self) -> (Vec<i64>, Vec<String>) {
        let held = self
            .lanes
            .values()
            .flat_map(|lane| lane.rows.keys().copied())
            .collect();
        (
            held,
            self.cut
                .iter()
                .map(|lane| lane.as_ref().to_owned())
                .collect(),
        )
    }

    /// Adds rows as they were loaded.
    pub(super) fn add(&mut self, rows: Vec<R>, now: UnixMs) {
        for row in rows {
            let name = row.lane().clone();
            let lane = self.lanes.entry(name.clone()).or_insert_with(|| Lane {
                rows: BTreeMap::new(),
                under_way: None,
            });
            if let Some((&first, row)) = lane.rows.first_key_value() {
                self.due.remove(&(row.due_at(), first, name.clone()));
            }
            self.held += usize::from(lane.rows.insert(row.event_id(), row).is_none());
            self.settle_lane(&name, now);
        }
    }

    /// The row that is due first, if one is due; it is under way from here on.
    pub(super) fn take_due(&mut self, now: UnixMs) -> Option<&R> {
        let (due_at, event_id, name) = self.due.first()?.clone();
        if due_at > now {
            return None;
        }
        self.due.pop_first();
        let lane = self.lanes.get_mut(&name)?;
        lane.under_way = Some(event_id);
        lane.rows.get(&event_id)
    }

    /// When the next row is due.
    pub(super) fn next_due(&self) -> Option<UnixMs> {
        self.due.first().map(|(at, ..)| *at)
    }

    /// A row is through, delivered or given up. Answers whether its lane has more in the store.
    pub(super) fn finished(&mut self, name: &LaneName, event_id: i64, now: UnixMs) -> bool {
        let Some(lane) = self.lanes.get_mut(name) else {
            return false;
        };
        lane.under_way = None;
        self.held -= usize::from(lane.rows.remove(&event_id).is_some());
        let more = self.cut.remove(name);
        self.settle_lane(name, now);
        more
    }

    /// A row has to be tried again: `row` is its new state.
    pub(super) fn put_back(&mut self, row: R, now: UnixMs) {
        let name = row.lane().clone();
        let Some(lane) = self.lanes.get_mut(&name) else {
            return;
        };
        lane.under_way = None;
        lane.rows.insert(row.event_id(), row);
        self.settle_lane(&name, now);
    }

    /// Restores the invariants for one lane after its rows have changed.
    fn settle_lane(&mut self, name: &LaneName, now: UnixMs) {
        let Some(lane) = self.lanes.get_mut(name) else {
            return;
        };
        let Some((&first, row)) = lane.rows.first_key_value() else {
            self.lanes.remove(name);
            return;
        };
        let due_at = row.due_at();
        if lane.under_way.is_some() {
            return;
        }
        if due_at > now && lane.rows.len() > 1 {
            let rest = lane.rows.split_off(&(first + 1));
            self.held -= rest.len();
            self.cut.insert(name.clone());
        }
        self.due.insert((due_at, first, name.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, PartialEq)]
    struct Row(i64, LaneName, UnixMs);

    impl Queued for Row {
        fn event_id(&self) -> i64 {
            self.0
        }
        fn lane(&self) -> &LaneName {
            &self.1
        }
        fn due_at(&self) -> UnixMs {
            self.2
        }
    }

    fn row(id: i64, lane: &str, due: i64) -> Row {
        Row(id, lane.into(), UnixMs(due))
    }

    fn take_all(lanes: &mut Lanes<Row>, now: i64) -> Vec<i64> {
        std::iter::from_fn(|| lanes.take_due(UnixMs(now)).map(|r| r.0)).collect()
    }

    #[test]
    fn a_lane_goes_in_order_one_at_a_time_and_lanes_do_not_wait_for_each_other() {
        let mut lanes = Lanes::new();
        let now = UnixMs(10);
        lanes.add(vec![row(3, "a", 0), row(1, "a", 0), row(2, "b", 0)], now);
        assert_eq!(take_all(&mut lanes, 10), [1, 2]);
        assert!(!lanes.finished(&"a".into(), 1, now));
        assert_eq!(take_all(&mut lanes, 10), [3]);
        assert!(!lanes.finished(&"a".into(), 3, now));
        assert_eq!(lanes.held(), 1);
    }

    #[test]
    fn a_lane_that_waits_keeps_one_row_and_asks_for_the_rest_later() {
        let mut lanes = Lanes::new();
        let now = UnixMs(10);
        lanes.add(vec![row(1, "a", 0), row(2, "a", 0), row(3, "a", 0)], now);
        assert_eq!(take_all(&mut lanes, 10), [1]);
        lanes.put_back(row(1, "a", 50), now);
        assert_eq!(lanes.held(), 1);
        assert_eq!(lanes.held_and_cut(), (vec![1], vec!["a".to_owned()]));
        assert_eq!(
            (take_all(&mut lanes, 10), lanes.next_due()),
            (vec![], Some(UnixMs(50)))
        );
        assert_eq!(take_all(&mut lanes, 50), [1]);
        assert!(
            lanes.finished(&"a".into(), 1, UnixMs(50)),
            "there is more in the store"
        );
        assert_eq!(lanes.held_and_cut(), (vec![], vec![]));
    }

    #[test]
    fn an_older_row_that_comes_later_goes_first_unless_one_is_under_way() {
        let mut lanes = Lanes::new();
        let now = UnixMs(10);
        lanes.add(vec![row(5, "a", 0)], now);
        lanes.add(vec![row(4, "a", 0)], now);
        assert_eq!(take_all(&mut lanes, 10), [4]);
        lanes.add(vec![row(3, "a", 0)], now);
        assert_eq!(take_all(&mut lanes, 10), Vec::<i64>::new());
        lanes.finished(&"a".into(), 4, now);
        assert_eq!(take_all(&mut lanes, 10), [3]);
    }
}
