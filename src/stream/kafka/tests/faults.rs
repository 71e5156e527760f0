//! What happens to a log that is open: topics that vanish, records that are deleted or are not ours,
//! readers that are slow, a producer that fails for good.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::admin::AdminOptions;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::{Offset as RawOffset, TopicPartitionList};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::kit::{PATIENCE, admin, broker, event, open, options, read, record};
use crate::stream::kafka::producer::Producer;
use crate::stream::{
    AppendError, FromCommitted, Log, Offset, Partition, PollError, SeekTo, StreamEvent,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_retention_took_is_told_and_reading_goes_on_behind_it() {
    let Some(broker) = broker() else { return };
    let options = options(&broker);
    let log = open(&options).await.unwrap();
    for n in 0..10 {
        let record = record("c", n.to_string(), 1_000 + n);
        log.append("t", Partition(0), vec![record]).await.unwrap();
    }
    let mut before = TopicPartitionList::new();
    before
        .add_partition_offset(&options.remote("t"), 0, RawOffset::Offset(7))
        .unwrap();
    admin(&options)
        .delete_records(&before, &AdminOptions::new())
        .await
        .unwrap();
    let start = SeekTo::Offset(Offset(3));
    let mut reader = log.reader("t", &[Partition(0)], start).await.unwrap();
    let lost = event(&mut reader).await.unwrap();
    assert!(
        matches!(
            lost,
            StreamEvent::OffsetLost {
                from: Offset(3),
                to: Offset(7),
                ..
            }
        ),
        "{lost:?}"
    );
    assert_eq!(&read(&mut reader, 3).await[0].value[..], b"7");
    let topics = log.topics().await.unwrap();
    assert_eq!(topics[0].partitions[0].log_start_offset, 7);
    log.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_are_not_ours_are_read_as_they_are() {
    let Some(broker) = broker() else { return };
    let options = options(&broker);
    let log = open(&options).await.unwrap();
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &broker)
        .set("compression.type", "zstd");
    let foreign: BaseProducer = config.create().unwrap();
    let topic = options.remote("t");
    let bare = BaseRecord::<(), [u8]>::to(&topic)
        .partition(1)
        .payload(&b"no key"[..]);
    foreign.send(bare).map_err(|(error, _)| error).unwrap();
    let tombstone = BaseRecord::<str, ()>::to(&topic).partition(1).key("c");
    foreign.send(tombstone).map_err(|(error, _)| error).unwrap();
    foreign.flush(PATIENCE).unwrap();
    let mut reader = log
        .reader("t", &[Partition(1)], SeekTo::Earliest)
        .await
        .unwrap();
    let read = read(&mut reader, 2).await;
    assert_eq!(
        (&read[0].key[..], &read[0].value[..]),
        (&b""[..], &b"no key"[..])
    );
    assert_eq!(
        (&read[1].key[..], &read[1].value[..]),
        (&b"c"[..], &b""[..])
    );
    log.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_is_slow_for_long_misses_and_doubles_nothing() {
    let Some(broker) = broker() else { return };
    let log = open(&options(&broker)).await.unwrap();
    const RECORDS: u64 = 600;
    for n in 0..RECORDS {
        // Much more than a reader's mail holds.
        let value = Bytes::from(vec![n as u8; 40_000]);
        log.append("t", Partition(n as u32 % 3), vec![record("c", value, 1)])
            .await
            .unwrap();
    }
    let start = Arc::new(FromCommitted);
    let mut slow = log.subscribe("t", "g", start).await.unwrap();
    let mut offsets = [const { Vec::new() }; 3];
    let mut count = 0;
    let mut naps = 0;
    while count < RECORDS {
        if let StreamEvent::Records {
            partition, records, ..
        } = event(&mut slow).await.unwrap()
        {
            count += records.len() as u64;
            offsets[partition.0 as usize].extend(records.into_iter().map(|r| r.offset.0));
            if naps < 3 {
                // Longer than the mail may be full before its partitions are paused.
                tokio::time::sleep(Duration::from_millis(900)).await;
                naps += 1;
            }
        }
    }
    for of_partition in offsets {
        assert_eq!(of_partition, (0..RECORDS / 3).collect::<Vec<_>>());
    }
    log.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_deleted_under_us_is_told_by_name() {
    let Some(broker) = broker() else { return };
    let mut options = options(&broker);
    options.delivery_timeout = Duration::from_secs(3);
    let log = open(&options).await.unwrap();
    let append = || log.append("t", Partition(0), vec![record("c", "v", 1)]);
    append().await.unwrap();
    let mut reader = log
        .reader("t", &[Partition(0)], SeekTo::Earliest)
        .await
        .unwrap();
    read(&mut reader, 1).await;
    let name = options.remote("t");
    let deleted = admin(&options)
        .delete_topics(&[&name], &AdminOptions::new())
        .await;
    deleted.unwrap().remove(0).unwrap();
    let refused = append().await;
    assert!(
        matches!(refused, Err(AppendError::Stopped(_))),
        "{refused:?}"
    );
    let stopped = loop {
        match event(&mut reader).await {
            Err(PollError::Stopped(why)) => break why,
            other => drop(other.expect("nothing but its end")),
        }
    };
    assert!(
        stopped.contains(&name) && stopped.contains("not there any more"),
        "{stopped}"
    );
    let looked = log.topics().await.expect_err("it is gone").to_string();
    assert!(looked.contains("not there any more"), "{looked}");
    log.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_beyond_the_room_are_refused_and_the_room_is_given_back() {
    let Some(broker) = broker() else { return };
    let mut options = options(&broker);
    options.buffer_bytes = 200_000;
    let log = open(&options).await.unwrap();
    let mut appending = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let log = Arc::clone(&log);
        appending.spawn(async move {
            let value = Bytes::from(vec![7; 20_000]);
            log.append("t", Partition(2), vec![record("c", value, 1)])
                .await
        });
    }
    let (mut stored, mut busy) = (0, 0);
    while let Some(done) = appending.join_next().await {
        match done.unwrap() {
            Ok(_) => stored += 1,
            Err(AppendError::Busy) => busy += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(stored > 0 && busy > 0, "{stored} stored, {busy} refused");
    assert_eq!(log.producer().waiting_bytes(), 0);
    let mut reader = log
        .reader("t", &[Partition(2)], SeekTo::Earliest)
        .await
        .unwrap();
    let topics = log.topics().await.unwrap();
    assert_eq!(
        topics[0].partitions[2].durable_offset, stored,
        "what was refused is not there"
    );
    assert_eq!(
        read(&mut reader, stored as usize).await.len() as u64,
        stored
    );
    log.close().await.unwrap();
}

/// The brokers of librdkafka's own tests: they answer with an error that real ones give only when
/// they have lost their state.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_that_failed_for_good_is_made_anew() {
    let brokers = MockCluster::new(1).unwrap();
    brokers.create_topic("t", 1, 1).unwrap();
    let options = options(&brokers.bootstrap_servers());
    let producer = Arc::new(Producer::new(&options).unwrap());
    let turn = Mutex::new(());
    let records = [record("c", "v", 1)];
    let append = || producer.append("t", Partition(0), &turn, &records);
    append().await.unwrap();
    let lost = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    brokers.request_errors(RDKafkaApiKey::Produce, &[lost]);
    let failed = append().await;
    assert!(matches!(failed, Err(AppendError::Stopped(_))), "{failed:?}");
    let healed = async {
        while append().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, healed)
        .await
        .expect("a new producer");
    assert_eq!(producer.waiting_bytes(), 0);
}
