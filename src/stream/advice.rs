//! The two classic mistakes with partitions, and what else an operator should know: each with its
//! cause and its cure. Pure; the same for both backends.
//!
//! Uneven partitions: the busiest has more than [`SKEW`] times the mean; one key has more than a
//! partition's fair share; or too few keys are active for chance to even them out. Idle members:
//! more than there are partitions, or a number that divides them badly.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{GroupStatus, PartitionLoad, TopicStatus};

/// Busiest partition over the mean, above which a topic is uneven.
const SKEW: f64 = 1.5;
/// Fewer active keys a partition than this are uneven by chance.
const FEW_KEYS: f64 = 40.0;
/// Busiest member's partitions over the mean, above which members are badly used.
const UNEVEN_MEMBERS: f64 = 1.25;
/// Below this load nothing is uneven that matters, bytes a second over the topic.
const QUIET: f64 = 10_000.0;
/// A group this far behind is told of, seconds.
const LONG_BEHIND_S: f64 = 60.0;

/// Something to do about partitions or groups.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Advice {
    /// What is wrong, with numbers.
    pub cause: String,
    /// What to do.
    pub cure: String,
}

/// How uneven a topic's load is.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Balance {
    /// Load of the busiest partition over the mean; 0 without load.
    pub skew: f64,
    /// The busiest key's share of the topic's load.
    pub hot_key_share: f64,
}

/// Measures how evenly a topic's partitions are loaded.
#[must_use]
pub fn balance(loads: &[PartitionLoad]) -> Balance {
    let total: f64 = loads.iter().map(|load| load.bytes_per_s).sum();
    if total <= 0.0 {
        return Balance::default();
    }
    let most = loads
        .iter()
        .map(|load| load.bytes_per_s)
        .fold(0.0, f64::max);
    let shares = loads
        .iter()
        .map(|load| load.busiest_share * load.bytes_per_s / total);
    Balance {
        skew: most * loads.len() as f64 / total,
        hot_key_share: shares.fold(0.0, f64::max),
    }
}

/// What to do about the stream as it stands; empty if all is well.
#[must_use]
pub fn advise(topics: &[TopicStatus], groups: &[GroupStatus]) -> Vec<Advice> {
    let mut advice = Vec::new();
    let mut partitions = BTreeMap::new();
    for topic in topics {
        partitions.insert(topic.topic.as_str(), topic.partitions.len());
        damage(topic, &mut advice);
        uneven(topic, &mut advice);
    }
    for group in groups {
        if let Some(count) = partitions.get(group.topic.as_str()) {
            members(group, *count, &mut advice);
        }
        behind(group, &mut advice);
    }
    advice
}

fn damage(topic: &TopicStatus, advice: &mut Vec<Advice>) {
    for partition in &topic.partitions {
        if let Some(what) = &partition.unavailable {
            advice.push(Advice {
                cause: format!("{} partition {}: {what}", topic.topic, partition.partition),
                cure: "look whether all brokers run, and at their logs; what is stored is safe, \
                       phones keep what is refused meanwhile"
                    .to_owned(),
            });
        }
        let Some(what) = partition
            .quarantined
            .as_ref()
            .or(partition.damaged.as_ref())
        else {
            continue;
        };
        advice.push(Advice {
            cause: format!("{} partition {}: {what}", topic.topic, partition.partition),
            cure: "stop the server, look with `waylog stream verify`, restore the file from a \
                   backup or go on without it by `waylog stream repair --accept-loss`"
                .to_owned(),
        });
    }
}

fn uneven(topic: &TopicStatus, advice: &mut Vec<Advice>) {
    let loads: Vec<PartitionLoad> = topic.partitions.iter().map(|p| p.load.clone()).collect();
    let count = loads.len() as f64;
    let total: f64 = loads.iter().map(|load| load.bytes_per_s).sum();
    if loads.len() < 2 || total < QUIET {
        return;
    }
    let found = balance(&loads);
    let name = &topic.topic;
    if found.hot_key_share > 1.0 / count {
        let busiest = loads.iter().max_by(|a, b| {
            (a.busiest_share * a.bytes_per_s).total_cmp(&(b.busiest_share * b.bytes_per_s))
        });
        let key = busiest
            .and_then(|load| load.busiest_key.as_deref())
            .unwrap_or("?");
        advice.push(Advice {
            cause: format!(
                "{name}: courier {key} alone sends {:.0} % of everything, more than a partition's \
                 fair share of {:.0} %",
                found.hot_key_share * 100.0,
                100.0 / count
            ),
            cure: format!(
                "look at that phone (waylog stream tail): a courier sends a fix every few seconds; \
                 revoke the device if it does not stop. More partitions do not help one key of {name}"
            ),
        });
        return;
    }
    let keys: f64 = loads.iter().map(|load| f64::from(load.active_keys)).sum();
    if found.skew > SKEW && keys / count < FEW_KEYS {
        advice.push(Advice {
            cause: format!(
                "{name}: the busiest partition has {:.1} times the mean, with {:.0} active couriers \
                 a partition",
                found.skew,
                keys / count
            ),
            cure: "nothing is wrong: so few couriers are uneven by chance; fewer partitions would \
                   even them out, but the count is pinned for a log's life"
                .to_owned(),
        });
    } else if found.skew > SKEW {
        advice.push(Advice {
            cause: format!(
                "{name}: the busiest partition has {:.1} times the mean",
                found.skew
            ),
            cure: "a few couriers send much more than others: see who by waylog stream tail \
                   --partition, and lengthen their interval"
                .to_owned(),
        });
    }
}

fn members(group: &GroupStatus, partitions: usize, advice: &mut Vec<Advice>) {
    let members = group.members as usize;
    if members > partitions {
        advice.push(Advice {
            cause: format!(
                "group {}: {} of {members} members have nothing to do, as {} has {partitions} \
                 partitions",
                group.group,
                members - partitions,
                group.topic
            ),
            cure: format!("run at most {partitions} members"),
        });
        return;
    }
    if members < 2 {
        return;
    }
    let most = partitions.div_ceil(members) as f64;
    let ratio = most * members as f64 / partitions as f64;
    if ratio > UNEVEN_MEMBERS {
        let better = (1..=partitions).filter(|n| partitions.is_multiple_of(*n));
        let better: Vec<String> = better.map(|n| n.to_string()).collect();
        advice.push(Advice {
            cause: format!(
                "group {}: {members} members share {partitions} partitions unevenly, the busiest \
                 has {ratio:.2} times the mean",
                group.group
            ),
            cure: format!(
                "run a number of members that divides the partitions: {}",
                better.join(", ")
            ),
        });
    }
}

fn behind(group: &GroupStatus, advice: &mut Vec<Advice>) {
    let seconds = group
        .partitions
        .iter()
        .map(|p| p.lag_seconds)
        .fold(0.0, f64::max);
    let records: u64 = group.partitions.iter().map(|p| p.lag_records).sum();
    if seconds < LONG_BEHIND_S {
        return;
    }
    let (cause, cure) = if group.members == 0 {
        (
            format!("group {}: nobody reads it, and {records} records wait", group.group),
            "start its role (waylog serve --roles), or forget the group by waylog stream reset --to \
             latest"
                .to_owned(),
        )
    } else {
        (
            format!(
                "group {}: {records} records and {seconds:.0} s behind",
                group.group
            ),
            "look at what it writes to (waylog status: is Postgres up?); it catches up by itself \
             once that works"
                .to_owned(),
        )
    };
    advice.push(Advice { cause, cure });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{GroupState, PartitionStatus};

    fn topic(loads: &[(f64, u32, f64)]) -> TopicStatus {
        let partitions =
            loads
                .iter()
                .enumerate()
                .map(|(n, (bytes, keys, share))| PartitionStatus {
                    partition: u32::try_from(n).unwrap(),
                    log_start_offset: 0,
                    durable_offset: 10,
                    log_end_offset: 10,
                    disk_bytes: 1,
                    quarantined: None,
                    damaged: None,
                    unavailable: None,
                    load: PartitionLoad {
                        bytes_per_s: *bytes,
                        record_bytes: 100.0,
                        active_keys: *keys,
                        busiest_key: Some("c-9".to_owned()),
                        busiest_share: *share,
                    },
                });
        TopicStatus {
            topic: "t".to_owned(),
            partitions: partitions.collect(),
        }
    }

    fn group(members: u32, lag_seconds: f64) -> GroupStatus {
        GroupStatus {
            group: "g".to_owned(),
            topic: "t".to_owned(),
            members,
            generation: Some(1),
            partitions: vec![GroupState {
                partition: 0,
                member: None,
                committed: Some(1),
                lag_records: 9,
                lag_seconds,
            }],
        }
    }

    const EVEN: [(f64, u32, f64); 4] = [(1e5, 500, 0.01); 4];

    #[test]
    fn an_even_topic_with_fitting_members_needs_no_advice() {
        for members in [0, 1, 2, 4] {
            assert_eq!(
                advise(&[topic(&EVEN)], &[group(members, 1.0)]),
                [],
                "{members}"
            );
        }
        let idle = topic(&[(9e3, 1, 1.0), (0.0, 0, 0.0)]);
        assert_eq!(advise(&[idle], &[]), [], "too little to say anything");
    }

    #[test]
    fn uneven_partitions_are_told_apart_by_their_cause() {
        let said = |topic| advise(&[topic], &[]).remove(0).cause;
        let hot = said(topic(&[
            (9e5, 300, 0.9),
            (1e5, 300, 0.01),
            (1e5, 300, 0.01),
            (1e5, 300, 0.01),
        ]));
        assert!(hot.contains("c-9 alone") && hot.contains("68 %"), "{hot}");
        let few = said(topic(&[
            (4e5, 9, 0.2),
            (1e5, 4, 0.3),
            (1e5, 3, 0.3),
            (1e5, 5, 0.3),
        ]));
        assert!(few.contains("5 active couriers"), "{few}");
        let many = said(topic(&[
            (4e5, 500, 0.01),
            (1e5, 500, 0.01),
            (1e5, 500, 0.01),
            (1e5, 500, 0.01),
        ]));
        assert!(many.contains("2.3 times the mean"), "{many}");
    }

    #[test]
    fn idle_and_uneven_members_and_groups_that_nobody_reads_are_told() {
        let said = |members, lag| advise(&[topic(&EVEN)], &[group(members, lag)]).remove(0);
        assert!(said(6, 0.0).cause.contains("2 of 6 members"));
        assert!(said(3, 0.0).cure.contains("1, 2, 4"));
        assert!(said(0, 100.0).cause.contains("nobody reads it"));
        assert!(said(1, 100.0).cause.contains("100 s behind"));
    }

    #[test]
    fn damage_is_told_with_the_next_step() {
        let mut damaged = topic(&EVEN);
        damaged.partitions[2].damaged = Some("file x: at byte 7".to_owned());
        let advice = advise(&[damaged], &[]);
        assert!(advice[0].cause.contains("partition 2: file x: at byte 7"));
        assert!(advice[0].cure.contains("repair --accept-loss"));
    }
}
