//! Groups: who reads which partition, from where, and what commits mean.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{
    Fixture, append, assigned, close, in_time, names, numbered, read, reader, subscribe, values,
};
use crate::stream::{CommitError, Consumer, Offset, Partition, SeekTo, StartOffsets, StreamEvent};

pub(crate) async fn a_group_goes_on_where_it_has_committed(fixture: &Fixture) {
    let offsets = append(fixture, 0, numbered(0..8)).await;
    let mut first = subscribe(fixture, "g").await;
    assert_eq!(values(&read(&mut first, 8).await), names(0..8));
    first
        .commit(Partition(0), Offset(offsets[5]))
        .await
        .expect("committed");
    close(first).await;
    let mut second = subscribe(fixture, "g").await;
    let starts = assigned(&mut second).await;
    assert_eq!(starts[&Partition(0)], Offset(offsets[5]));
    assert_eq!(values(&read(&mut second, 3).await), names(5..8));
    close(second).await;
}

struct FromDatabase(Offset);

#[async_trait]
impl StartOffsets for FromDatabase {
    async fn start_at(&self, partition: Partition) -> anyhow::Result<Option<SeekTo>> {
        Ok((partition == Partition(1)).then_some(SeekTo::Offset(self.0)))
    }
}

pub(crate) async fn the_start_is_asked_when_a_partition_is_assigned(fixture: &Fixture) {
    append(fixture, 0, numbered(0..2)).await;
    let offsets = append(fixture, 1, numbered(10..14)).await;
    let start = Arc::new(FromDatabase(Offset(offsets[3])));
    let consumer = fixture.log.subscribe(&fixture.topic, "sink", start).await;
    let mut consumer = consumer.expect("subscribed");
    let mut got = values(&read(&mut consumer, 3).await);
    got.sort();
    assert_eq!(
        got,
        ["0", "1", "13"],
        "the database's word for 1, the earliest for 0"
    );
    close(consumer).await;
}

/// Polls every member in turn, keeping account of who owns what, until `done` says so.
async fn rebalance(
    members: &mut [(Box<dyn Consumer>, BTreeSet<Partition>)],
    done: impl Fn(&[BTreeSet<Partition>]) -> bool,
) {
    in_time("a rebalance", async {
        loop {
            for (consumer, owned) in &mut *members {
                match consumer
                    .poll(Duration::from_millis(20))
                    .await
                    .expect("polled")
                {
                    StreamEvent::Assigned { partitions, .. } => {
                        owned.extend(partitions.into_iter().map(|(p, _)| p));
                    }
                    StreamEvent::Revoked { partitions } => {
                        owned.retain(|p| !partitions.contains(p));
                    }
                    _ => {}
                }
            }
            let owned: Vec<_> = members.iter().map(|(_, owned)| owned.clone()).collect();
            let total: usize = owned.iter().map(BTreeSet::len).sum();
            let distinct: BTreeSet<_> = owned.iter().flatten().collect();
            assert_eq!(
                total,
                distinct.len(),
                "a partition has one owner: {owned:?}"
            );
            if done(&owned) {
                return;
            }
        }
    })
    .await;
}

pub(crate) async fn members_share_the_partitions(fixture: &Fixture) {
    let all = fixture.partitions as usize;
    let mut members = vec![(subscribe(fixture, "g").await, BTreeSet::new())];
    rebalance(&mut members, |owned| owned[0].len() == all).await;
    members.push((subscribe(fixture, "g").await, BTreeSet::new()));
    rebalance(&mut members, |owned| {
        owned[0].len() + owned[1].len() == all && owned[0].len().abs_diff(owned[1].len()) <= 1
    })
    .await;
    let (gone, _) = members.remove(0);
    close(gone).await;
    rebalance(&mut members, |owned| owned[0].len() == all).await;
    let groups = fixture.log.groups().await.expect("asked");
    let group = groups
        .iter()
        .find(|group| group.group == "g")
        .expect("listed");
    assert_eq!(group.members, 1);
    for (member, _) in members {
        close(member).await;
    }
}

pub(crate) async fn a_stale_commit_is_refused(fixture: &Fixture) {
    let all = fixture.partitions as usize;
    let mut members = vec![(subscribe(fixture, "g").await, BTreeSet::new())];
    rebalance(&mut members, |owned| owned[0].len() == all).await;
    members.push((subscribe(fixture, "g").await, BTreeSet::new()));
    rebalance(&mut members, |owned| {
        owned[1].len() == all / 2 && owned[0].len() == all - all / 2
    })
    .await;
    let moved = *members[1].1.first().expect("it has one");
    let refused = members[0].0.commit(moved, Offset(0)).await;
    assert!(
        matches!(refused, Err(CommitError::Stale(p)) if p == moved),
        "{refused:?}"
    );
    members[1]
        .0
        .commit(moved, Offset(0))
        .await
        .expect("its owner may");
    for (member, _) in members {
        close(member).await;
    }
}

pub(crate) async fn a_reader_without_a_group_cannot_commit(fixture: &Fixture) {
    let mut consumer = reader(fixture, 0, SeekTo::Earliest).await;
    let refused = consumer.commit(Partition(0), Offset(0)).await;
    assert!(matches!(refused, Err(CommitError::NoGroup)), "{refused:?}");
}

pub(crate) async fn groups_are_strangers(fixture: &Fixture) {
    let mut asleep = subscribe(fixture, "asleep").await;
    let mut awake = subscribe(fixture, "awake").await;
    assigned(&mut asleep).await;
    for n in 0..50 {
        append(fixture, 0, numbered(n * 20..n * 20 + 20)).await;
    }
    assert_eq!(values(&read(&mut awake, 1000).await), names(0..1000));
    assert_eq!(values(&read(&mut asleep, 1000).await), names(0..1000));
    close(asleep).await;
    close(awake).await;
}

pub(crate) async fn a_group_is_reset_only_at_rest(fixture: &Fixture) {
    let offsets = append(fixture, 0, numbered(0..4)).await;
    let mut consumer = subscribe(fixture, "g").await;
    read(&mut consumer, 4).await;
    let end = Offset(offsets[3] + 1);
    consumer.commit(Partition(0), end).await.expect("committed");
    let reset = |to| {
        fixture
            .log
            .reset_group(&fixture.topic, "g", Partition(0), to)
    };
    assert!(reset(SeekTo::Earliest).await.is_err(), "it has a member");
    close(consumer).await;
    let place = reset(SeekTo::Offset(Offset(offsets[1])))
        .await
        .expect("reset");
    assert_eq!(place, Offset(offsets[1]));
    let mut again = subscribe(fixture, "g").await;
    assert_eq!(values(&read(&mut again, 3).await), names(1..4));
    close(again).await;
}

pub(crate) async fn lag_is_what_is_not_committed(fixture: &Fixture) {
    let offsets = append(fixture, 1, numbered(0..9)).await;
    let mut consumer = subscribe(fixture, "g").await;
    read(&mut consumer, 9).await;
    consumer
        .commit(Partition(1), Offset(offsets[7]))
        .await
        .expect("committed");
    let groups = fixture.log.groups().await.expect("asked");
    let group = groups
        .iter()
        .find(|group| group.group == "g")
        .expect("listed");
    assert_eq!(
        (group.topic.as_str(), group.members),
        (fixture.topic.as_str(), 1)
    );
    let place = group
        .partitions
        .iter()
        .find(|p| p.partition == 1)
        .expect("listed");
    assert_eq!(place.committed, Some(offsets[7]));
    assert_eq!(place.lag_records, offsets[8] + 1 - offsets[7]);
    let topics = fixture.log.topics().await.expect("asked");
    let topic = topics
        .iter()
        .find(|topic| topic.topic == fixture.topic)
        .expect("listed");
    assert_eq!(topic.partitions.len(), fixture.partitions as usize);
    assert_eq!(topic.partitions[1].durable_offset, offsets[8] + 1);
    close(consumer).await;
}
