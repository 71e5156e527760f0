//! Who reads which partition: the members of a group, in this process.
//!
//! Invariants:
//! - A partition has at most one owner. It gets a new one only after the old one has been told
//!   (its poll answered "revoked"), has left, or has not polled for [`HANDOVER_MS`].
//! - Only the owner may commit.
//! - Assignment is balanced (members differ by at most one partition) and sticky (as few
//!   partitions as possible move).

use std::collections::BTreeMap;

/// How long a partition waits for its old owner before it is given away without it.
pub(super) const HANDOVER_MS: i64 = 30_000;

/// A member of a group, unique within this process and group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct MemberId(pub(super) u64);

impl std::fmt::Display for MemberId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "member-{}", self.0)
    }
}

/// What has changed for a member since it asked last.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) generation: u64,
    pub(super) revoked: Vec<u32>,
    pub(super) assigned: Vec<u32>,
}

/// One group's members and what they own.
#[derive(Debug)]
pub(super) struct Membership {
    generation: u64,
    next_member: u64,
    /// Members with the number of partitions meant for them.
    members: BTreeMap<MemberId, usize>,
    slots: Vec<Slot>,
}

/// A partition: who owns it, who shall, and since when they differ.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    owner: Option<MemberId>,
    target: Option<MemberId>,
    handover_since_ms: i64,
}

impl Membership {
    pub(super) fn new(partitions: u32) -> Self {
        Self {
            generation: 0,
            next_member: 0,
            members: BTreeMap::new(),
            slots: vec![Slot::default(); partitions as usize],
        }
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn member_count(&self) -> usize {
        self.members.len()
    }

    /// Members that no partition is meant for.
    pub(super) fn idle_members(&self) -> usize {
        self.members.values().filter(|quota| **quota == 0).count()
    }

    pub(super) fn owner(&self, partition: u32) -> Option<MemberId> {
        self.slots.get(partition as usize)?.owner
    }

    pub(super) fn join(&mut self, now_ms: i64) -> MemberId {
        let id = MemberId(self.next_member);
        self.next_member += 1;
        self.members.insert(id, 0);
        self.rebalance(now_ms);
        id
    }

    pub(super) fn leave(&mut self, id: MemberId, now_ms: i64) {
        if self.members.remove(&id).is_none() {
            return;
        }
        for slot in &mut self.slots {
            slot.owner = slot.owner.filter(|owner| *owner != id);
        }
        self.rebalance(now_ms);
    }

    /// Tells `id` what it has to give up and what it gets; `held` is what it believes to own.
    /// With this, what is revoked is free for its next owner.
    pub(super) fn changes(&mut self, id: MemberId, held: &[u32], now_ms: i64) -> Changes {
        let mut changes = Changes {
            generation: self.generation,
            ..Changes::default()
        };
        for (number, slot) in (0_u32..).zip(&mut self.slots) {
            let mine = slot.owner == Some(id);
            if mine && slot.target != Some(id) {
                slot.owner = None;
                changes.revoked.push(number);
            } else if !mine && held.contains(&number) {
                changes.revoked.push(number);
            }
        }
        if !changes.revoked.is_empty() {
            return changes;
        }
        for (number, slot) in (0_u32..).zip(&mut self.slots) {
            let overdue = now_ms.saturating_sub(slot.handover_since_ms) >= HANDOVER_MS;
            if slot.target == Some(id)
                && slot.owner != Some(id)
                && (slot.owner.is_none() || overdue)
            {
                slot.owner = Some(id);
                changes.assigned.push(number);
            }
        }
        changes
    }

    /// Gives every partition a target: members keep what they have up to their share.
    fn rebalance(&mut self, now_ms: i64) {
        self.generation += 1;
        let count = self.members.len();
        if count == 0 {
            for slot in &mut self.slots {
                slot.target = None;
            }
            return;
        }
        let (share, mut extra) = (self.slots.len() / count, self.slots.len() % count);
        // Those who own most keep the extra ones, so that the fewest partitions move.
        let mut order: Vec<(usize, MemberId)> = self
            .members
            .keys()
            .map(|id| (self.targeted(*id), *id))
            .collect();
        order.sort_by_key(|(owned, id)| (std::cmp::Reverse(*owned), *id));
        for (_, id) in order {
            let quota = share + usize::from(extra > 0);
            extra = extra.saturating_sub(1);
            self.members.insert(id, quota);
        }
        let mut room = self.members.clone();
        for slot in &mut self.slots {
            slot.target = slot.target.filter(|id| match room.get_mut(id) {
                Some(left) if *left > 0 => {
                    *left -= 1;
                    true
                }
                _ => false,
            });
        }
        let mut takers = room
            .into_iter()
            .flat_map(|(id, left)| std::iter::repeat_n(id, left));
        for slot in self.slots.iter_mut().filter(|slot| slot.target.is_none()) {
            slot.target = takers.next();
            slot.handover_since_ms = now_ms;
        }
    }

    fn targeted(&self, id: MemberId) -> usize {
        self.slots
            .iter()
            .filter(|slot| slot.target == Some(id))
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets every member poll until nothing changes, as consumers do.
    fn settle(group: &mut Membership, held: &mut BTreeMap<MemberId, Vec<u32>>, now_ms: i64) {
        loop {
            let mut quiet = true;
            for (id, held) in &mut *held {
                let changes = group.changes(*id, held, now_ms);
                quiet &= changes.revoked.is_empty() && changes.assigned.is_empty();
                held.retain(|p| !changes.revoked.contains(p));
                held.extend(&changes.assigned);
            }
            if quiet {
                return;
            }
        }
    }

    #[test]
    fn partitions_are_shared_evenly_and_few_move() {
        let mut group = Membership::new(12);
        let mut held = BTreeMap::new();
        let first = group.join(0);
        held.insert(first, vec![]);
        settle(&mut group, &mut held, 0);
        assert_eq!(held[&first].len(), 12);
        let second = group.join(0);
        held.insert(second, vec![]);
        settle(&mut group, &mut held, 0);
        let third = group.join(0);
        let before = held.clone();
        held.insert(third, vec![]);
        settle(&mut group, &mut held, 0);
        for id in [first, second] {
            assert_eq!(held[&id].len(), 4);
            assert!(
                held[&id].iter().all(|p| before[&id].contains(p)),
                "only two moved"
            );
        }
        group.leave(first, 0);
        held.remove(&first);
        settle(&mut group, &mut held, 0);
        let mut all: Vec<u32> = held.values().flatten().copied().collect();
        all.sort_unstable();
        assert_eq!(all, (0..12).collect::<Vec<_>>());
        assert_eq!(group.idle_members(), 0);
    }

    #[test]
    fn a_partition_waits_for_its_old_owner_but_not_for_ever() {
        let mut group = Membership::new(1);
        let first = group.join(0);
        assert_eq!(group.changes(first, &[], 0).assigned, [0]);
        let second = group.join(0);
        assert_eq!(group.idle_members(), 1);
        group.leave(first, 0);
        assert_eq!(group.changes(second, &[], 0).assigned, [0]);

        let mut group = Membership::new(2);
        let slow = group.join(0);
        assert_eq!(group.changes(slow, &[], 0).assigned, [0, 1]);
        let quick = group.join(1000);
        assert_eq!(group.changes(quick, &[], 1000).assigned, [0_u32; 0]);
        let overdue = 1000 + HANDOVER_MS;
        let taken = group.changes(quick, &[], overdue).assigned;
        assert_eq!(taken.len(), 1);
        assert_eq!(group.owner(taken[0]), Some(quick));
        assert_eq!(group.changes(slow, &[0, 1], overdue).revoked, taken);
    }

    #[test]
    fn more_members_than_partitions_leave_some_idle() {
        let mut group = Membership::new(2);
        for _ in 0..5 {
            group.join(0);
        }
        assert_eq!(group.idle_members(), 3);
        assert_eq!(group.generation(), 5);
    }
}
