//! A topic: its partitions, its groups, and the bell that rings when there is news.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::membership::{Changes, MemberId, Membership};
use super::metrics;
use super::partition::Partition;

/// Shared by the log, its sync threads and its consumers.
pub(super) struct Topic {
    pub(super) name: Arc<str>,
    pub(super) partitions: Vec<Arc<Partition>>,
    /// Rung when records became durable, a group changed, or the log stopped. Whoever waits must
    /// listen before looking.
    pub(super) news: Arc<Notify>,
    groups: Mutex<HashMap<String, Membership>>,
}

impl Topic {
    pub(super) fn new(name: Arc<str>, partitions: Vec<Arc<Partition>>) -> Self {
        Self {
            name,
            partitions,
            news: Arc::default(),
            groups: Mutex::default(),
        }
    }

    pub(super) fn partition(&self, number: u32) -> Option<&Arc<Partition>> {
        self.partitions.get(number as usize)
    }

    pub(super) fn join(&self, group: &str, now_ms: i64) -> MemberId {
        let count = u32::try_from(self.partitions.len()).unwrap_or(u32::MAX);
        self.rebalance(group, |groups| {
            let membership = groups.entry(group.to_owned());
            membership
                .or_insert_with(|| Membership::new(count))
                .join(now_ms)
        })
    }

    pub(super) fn leave(&self, group: &str, member: MemberId, now_ms: i64) {
        self.rebalance(group, |groups| {
            if let Some(membership) = groups.get_mut(group) {
                membership.leave(member, now_ms);
            }
        });
    }

    fn rebalance<T>(
        &self,
        group: &str,
        change: impl FnOnce(&mut HashMap<String, Membership>) -> T,
    ) -> T {
        let (answer, idle) = {
            let mut groups = self.groups.lock();
            let answer = change(&mut groups);
            (
                answer,
                groups.get(group).map_or(0, Membership::idle_members),
            )
        };
        metrics::rebalanced(&self.name, group, idle);
        self.news.notify_waiters();
        answer
    }

    /// What has changed for a member; see [`Membership::changes`].
    pub(super) fn changes(
        &self,
        group: &str,
        member: MemberId,
        held: &[u32],
        now_ms: i64,
    ) -> Changes {
        let changes = match self.groups.lock().get_mut(group) {
            Some(membership) => membership.changes(member, held, now_ms),
            None => Changes::default(),
        };
        if !changes.revoked.is_empty() {
            // Somebody waits for these.
            self.news.notify_waiters();
        }
        changes
    }

    /// Looks at a group's members; `None` if it never had any in this process.
    pub(super) fn group<T>(&self, group: &str, look: impl FnOnce(&Membership) -> T) -> Option<T> {
        self.groups.lock().get(group).map(look)
    }

    /// Groups that have had members in this process.
    pub(super) fn group_names(&self) -> Vec<String> {
        self.groups.lock().keys().cloned().collect()
    }
}
