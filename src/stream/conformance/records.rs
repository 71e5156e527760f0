//! Records: written, found again where a reader looks for them, refused, and the end of a log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Fixture, PATIENCE, append, in_time, names, numbered, read, reader, record, values};
use crate::stream::{AppendError, Offset, Partition, PollError, SeekTo, StreamEvent};

pub(crate) async fn offsets_increase_and_records_of_one_append_stay_together(fixture: &Fixture) {
    let first = append(fixture, 0, numbered(0..3)).await;
    let second = append(fixture, 0, numbered(3..5)).await;
    assert!(first.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(first.last() < second.first());
    let read = read(&mut reader(fixture, 0, SeekTo::Earliest).await, 5).await;
    let offsets: Vec<u64> = read.iter().map(|(_, record)| record.offset.0).collect();
    assert_eq!(offsets, [first, second].concat());
    assert_eq!(values(&read), names(0..5));
}

pub(crate) async fn records_are_read_back_as_they_were_written(fixture: &Fixture) {
    let long: Vec<u8> = (0..700_000_u32)
        .flat_map(u32::to_le_bytes)
        .take(700_000)
        .collect();
    let written = vec![
        record("courier/ä:1", "", 1),
        record("c", vec![0_u8; 3000], 1_700_000_000_123),
        record("c", long, 1_600_000_000_000),
        record(&"k".repeat(200), vec![255_u8, 0, 128], 1_800_000_000_000),
    ];
    append(fixture, 1, written.clone()).await;
    let read = read(
        &mut reader(fixture, 1, SeekTo::Earliest).await,
        written.len(),
    )
    .await;
    for (wrote, (partition, read)) in written.iter().zip(&read) {
        assert_eq!(*partition, Partition(1));
        assert_eq!((&read.key, &read.value), (&wrote.key, &wrote.value));
        assert_eq!(read.timestamp_ms, wrote.timestamp_ms);
    }
}

pub(crate) async fn what_cannot_be_stored_is_refused(fixture: &Fixture) {
    let append = |topic: &str, partition, records| {
        let (log, topic) = (Arc::clone(&fixture.log), topic.to_owned());
        async move { log.append(&topic, Partition(partition), records).await }
    };
    let empty_key = append(&fixture.topic, 0, vec![record("", "x", 0)]).await;
    assert!(
        matches!(empty_key, Err(AppendError::Invalid(_))),
        "{empty_key:?}"
    );
    let far = append(&fixture.topic, fixture.partitions, numbered(0..1)).await;
    assert!(
        matches!(far, Err(AppendError::UnknownPartition { .. })),
        "{far:?}"
    );
    let huge = append(
        &fixture.topic,
        0,
        vec![record("c", vec![0_u8; 64 << 20], 0)],
    )
    .await;
    assert!(matches!(huge, Err(AppendError::Invalid(_))), "{huge:?}");
    let refused = fixture
        .log
        .reader(&fixture.topic, &[Partition(9_999)], SeekTo::Earliest)
        .await;
    assert!(refused.is_err());
    assert_eq!(
        fixture.log.partitions(&fixture.topic).expect("known"),
        fixture.partitions
    );
}

pub(crate) async fn readers_start_where_they_are_told(fixture: &Fixture) {
    let offsets = append(fixture, 0, numbered(0..10)).await;
    let mut from = reader(fixture, 0, SeekTo::Offset(Offset(offsets[4]))).await;
    assert_eq!(values(&read(&mut from, 6).await), names(4..10));
    let mut since = reader(fixture, 0, SeekTo::TimestampMs(1_007)).await;
    assert_eq!(values(&read(&mut since, 3).await), names(7..10));
    let mut later = reader(fixture, 0, SeekTo::TimestampMs(9_999)).await;
    let mut latest = reader(fixture, 0, SeekTo::Latest).await;
    append(fixture, 0, numbered(10..11)).await;
    assert_eq!(values(&read(&mut latest, 1).await), names(10..11));
    assert_eq!(values(&read(&mut later, 1).await), names(10..11));
}

pub(crate) async fn a_seek_moves_the_place(fixture: &Fixture) {
    let offsets = append(fixture, 2, numbered(0..6)).await;
    let mut consumer = reader(fixture, 2, SeekTo::Earliest).await;
    assert_eq!(read(&mut consumer, 6).await.len(), 6);
    let place = consumer
        .seek(Partition(2), SeekTo::Offset(Offset(offsets[2])))
        .await;
    assert_eq!(place.expect("moved"), Offset(offsets[2]));
    assert_eq!(values(&read(&mut consumer, 4).await), names(2..6));
    consumer
        .seek(Partition(2), SeekTo::TimestampMs(1_005))
        .await
        .expect("moved");
    assert_eq!(values(&read(&mut consumer, 1).await), names(5..6));
    let end = consumer.end_offsets().await.expect("asked");
    assert_eq!(end, [(Partition(2), Offset(offsets[5] + 1))]);
    assert!(
        consumer.seek(Partition(0), SeekTo::Earliest).await.is_err(),
        "not its partition"
    );
}

pub(crate) async fn a_poll_without_news_is_idle_and_a_dropped_one_loses_nothing(fixture: &Fixture) {
    let mut consumer = reader(fixture, 0, SeekTo::Earliest).await;
    let event = consumer
        .poll(Duration::from_millis(1))
        .await
        .expect("polled");
    assert!(matches!(event, StreamEvent::Idle), "{event:?}");
    let mut got = Vec::new();
    for n in 0..20 {
        append(fixture, 0, numbered(n..n + 1)).await;
        // Polls that are dropped at any moment must not swallow what they had found.
        let poll = consumer.poll(PATIENCE);
        tokio::select! {
            biased;
            () = tokio::task::yield_now() => {}
            event = poll => {
                if let StreamEvent::Records { records, .. } = event.expect("polled") {
                    got.extend(records.into_iter().map(|record| (Partition(0), record)));
                }
            }
        }
    }
    let rest = 20 - got.len();
    got.extend(read(&mut consumer, rest).await);
    assert_eq!(values(&got), names(0..20));
}

pub(crate) async fn many_appenders_lose_and_mix_nothing(fixture: &Fixture) {
    const APPENDERS: i64 = 16;
    const EACH: i64 = 50;
    let mut tasks = tokio::task::JoinSet::new();
    for appender in 0..APPENDERS {
        let (log, topic) = (Arc::clone(&fixture.log), fixture.topic.clone());
        tasks.spawn(async move {
            let key = format!("c-{appender}");
            for n in 0..EACH {
                let pair = vec![
                    record(&key, format!("{n}a"), n),
                    record(&key, format!("{n}b"), n),
                ];
                loop {
                    match log.append(&topic, Partition(0), pair.clone()).await {
                        Ok(_) => break,
                        Err(AppendError::Busy) => tokio::task::yield_now().await,
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        });
    }
    in_time("appending", async {
        while tasks.join_next().await.transpose().unwrap().is_some() {}
    })
    .await;
    let total = usize::try_from(APPENDERS * EACH * 2).unwrap();
    let read = read(&mut reader(fixture, 0, SeekTo::Earliest).await, total).await;
    let offsets: Vec<u64> = read.iter().map(|(_, record)| record.offset.0).collect();
    assert!(
        offsets.windows(2).all(|pair| pair[0] < pair[1]),
        "offsets increase"
    );
    let mut by_key: BTreeMap<Bytes, Vec<String>> = BTreeMap::new();
    for (at, (_, record)) in read.iter().enumerate() {
        let value = String::from_utf8_lossy(&record.value).into_owned();
        if let Some(n) = value.strip_suffix('a') {
            let partner = &read[at + 1].1;
            assert_eq!(
                (&partner.key, &partner.value[..]),
                (&record.key, format!("{n}b").as_bytes())
            );
        }
        by_key.entry(record.key.clone()).or_default().push(value);
    }
    let wanted: Vec<String> = (0..EACH)
        .flat_map(|n| [format!("{n}a"), format!("{n}b")])
        .collect();
    assert_eq!(by_key.len(), usize::try_from(APPENDERS).unwrap());
    assert!(
        by_key.values().all(|values| *values == wanted),
        "each appender's order is kept"
    );
}

pub(crate) async fn a_stream_is_named_for_good(fixture: &Fixture) {
    let name = fixture.log.stream_id(&fixture.topic).expect("named");
    assert!(!name.is_empty());
    append(fixture, 0, numbered(0..1)).await;
    assert_eq!(fixture.log.stream_id(&fixture.topic).expect("named"), name);
}

pub(crate) async fn after_close_nothing_is_taken(fixture: &Fixture) {
    append(fixture, 0, numbered(0..1)).await;
    let mut consumer = reader(fixture, 0, SeekTo::Latest).await;
    in_time("closing", fixture.log.close())
        .await
        .expect("closed");
    let refused = fixture
        .log
        .append(&fixture.topic, Partition(0), numbered(1..2))
        .await;
    assert!(
        matches!(refused, Err(AppendError::Stopped(_))),
        "{refused:?}"
    );
    let stopped = in_time("a poll after close", consumer.poll(PATIENCE)).await;
    assert!(matches!(stopped, Err(PollError::Stopped(_))), "{stopped:?}");
}
