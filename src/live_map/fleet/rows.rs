//! What a topic holds, a row a courier or a cell, each with the ticks in which it came and last
//! changed: enough to tell anybody what they lack, however far behind they are.

/// A courier or a cell.
#[derive(Debug)]
pub(super) struct Row<V> {
    pub(super) key: u64,
    pub(super) value: V,
    /// The tick in which it came.
    pub(super) came: u32,
    /// The tick in which it was last different.
    pub(super) changed: u32,
}

/// All rows of a topic, in order of their keys.
#[derive(Debug)]
pub(super) struct Rows<V>(Vec<Row<V>>);

/// What a tick made of the rows.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Replaced {
    /// Rows that came or changed.
    pub(super) touched: usize,
    /// Keys of those that are gone.
    pub(super) gone: Vec<u64>,
}

impl<V> Rows<V> {
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    /// Puts `new`, in order of keys, in place of the rows: the tick `seq` found them so.
    pub(super) fn replace(
        &mut self,
        new: Vec<(u64, V)>,
        seq: u32,
        differs: impl Fn(&V, &V) -> bool,
    ) -> Replaced {
        let mut replaced = Replaced::default();
        let mut old = std::mem::take(&mut self.0).into_iter().peekable();
        self.0.reserve_exact(new.len());
        for (key, value) in new {
            while let Some(gone) = old.next_if(|row| row.key < key) {
                replaced.gone.push(gone.key);
            }
            let before = old.next_if(|row| row.key == key);
            let (came, changed) = match before {
                Some(row) if !differs(&row.value, &value) => (row.came, row.changed),
                Some(row) => (row.came, seq),
                None => (seq, seq),
            };
            replaced.touched += usize::from(changed == seq);
            self.0.push(Row {
                key,
                value,
                came,
                changed,
            });
        }
        replaced.gone.extend(old.map(|row| row.key));
        replaced
    }

    /// Rows that are different since the tick `since` (all of them without), from the key `next` on.
    pub(super) fn lacking(&self, since: Option<u32>, next: u64) -> impl Iterator<Item = &Row<V>> {
        let from = self.0.partition_point(|row| row.key < next);
        let differs = move |row: &&Row<V>| since.is_none_or(|since| row.changed > since);
        self.0[from..].iter().filter(differs)
    }

    /// Whether there is such a row.
    pub(super) fn holds(&self, key: u64) -> bool {
        self.0.binary_search_by_key(&key, |row| row.key).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_row_knows_when_it_came_and_when_it_changed() {
        let mut rows = Rows::new();
        let differs = |a: &u8, b: &u8| a != b;
        let first = rows.replace(vec![(1, 7), (3, 7)], 1, differs);
        assert_eq!((first.touched, first.gone), (2, vec![]));
        let second = rows.replace(vec![(1, 7), (2, 5), (4, 1)], 2, differs);
        assert_eq!((second.touched, second.gone), (2, vec![3]));
        let third = rows.replace(vec![(1, 8), (2, 5)], 3, differs);
        assert_eq!((third.touched, third.gone), (1, vec![4]));
        let marks: Vec<_> = rows.0.iter().map(|r| (r.key, r.came, r.changed)).collect();
        assert_eq!(marks, [(1, 1, 3), (2, 2, 2)]);
        assert!(rows.holds(2) && !rows.holds(3));
    }

    proptest! {
        /// Whoever knew the rows of any earlier tick knows those of now after what was lacking and
        /// what is gone, also when told in pieces.
        #[test]
        fn what_is_lacking_and_gone_brings_anybody_up_to_date(
            ticks in prop::collection::vec(prop::collection::btree_map(0..12_u64, 0..3_u8, 0..12), 2..9),
            since in 0..8_usize,
            piece in 1..4_usize,
        ) {
            let mut rows = Rows::new();
            let mut gone = Vec::new();
            for (seq, tick) in ticks.iter().enumerate() {
                let new = tick.iter().map(|(k, v)| (*k, *v)).collect();
                let replaced = rows.replace(new, seq as u32, |a, b| a != b);
                gone.extend(replaced.gone.into_iter().map(|key| (seq, key)));
            }
            let since = since.min(ticks.len() - 1);
            let mut screen = ticks[since].clone();
            let mut next = 0;
            loop {
                let told: Vec<_> = rows.lacking(Some(since as u32), next).take(piece).collect();
                let Some(last) = told.last() else { break };
                next = last.key + 1;
                screen.extend(told.iter().map(|row| (row.key, row.value)));
            }
            for (_, key) in gone.iter().filter(|(seq, key)| *seq > since && !rows.holds(*key)) {
                screen.remove(key);
            }
            prop_assert_eq!(&screen, ticks.last().expect("a tick"));
        }
    }
}
