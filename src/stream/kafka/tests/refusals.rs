//! Brokers and topics that cannot keep our promises are refused at the start, with the setting's
//! name.

use std::time::Duration;

use super::kit::{broker, make_topic, open, options, refusal};
use crate::stream::Log;

fn names(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "{word} is missing in: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_number_of_partitions_is_refused() {
    let Some(broker) = broker() else { return };
    let mut options = options(&broker);
    open(&options).await.unwrap().close().await.unwrap();
    options.topics[0].partitions = 4;
    names(
        &refusal(&options).await,
        &[
            "3 partitions",
            "stream.partitions",
            "set stream.partitions to 3",
        ],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_that_do_not_answer_are_named() {
    for brokers in ["127.0.0.1:1", "nowhere.invalid:9092"] {
        let mut options = options(brokers);
        options.open_timeout = Duration::from_secs(1);
        names(&refusal(&options).await, &["stream.kafka.brokers", brokers]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_may_not_be_made_must_be_there() {
    let Some(broker) = broker() else { return };
    let mut options = options(&broker);
    options.create_topics = false;
    names(
        &refusal(&options).await,
        &["no topic", "stream.kafka.create_topics"],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_replicas_than_there_are_brokers_are_refused() {
    let Some(broker) = broker() else { return };
    let mut options = options(&broker);
    options.replication_factor = 3;
    names(
        &refusal(&options).await,
        &["stream.kafka.replication_factor"],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_forgets_or_acknowledges_too_soon_or_takes_too_little_is_refused() {
    let Some(broker) = broker() else { return };
    for (setting, words) in [
        (
            ("cleanup.policy", "compact"),
            &["compacted", "cleanup.policy"][..],
        ),
        (
            ("min.insync.replicas", "1"),
            &[
                "min.insync.replicas = 1",
                "stream.kafka.min_insync_replicas is 2",
            ],
        ),
        (
            ("max.message.bytes", "20000"),
            &["20000 bytes", "max.message.bytes"],
        ),
    ] {
        let mut options = options(&broker);
        options.replication_factor = 2;
        options.min_insync_replicas = if setting.0 == "min.insync.replicas" {
            2
        } else {
            1
        };
        make_topic(&options, 3, setting).await;
        names(&refusal(&options).await, words);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_that_start_at_once_make_one_topic() {
    let Some(broker) = broker() else { return };
    let options = options(&broker);
    let (one, two) = tokio::join!(open(&options), open(&options));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.stream_id("t").unwrap(), two.stream_id("t").unwrap());
    for log in [one, two] {
        log.close().await.unwrap();
    }
}
