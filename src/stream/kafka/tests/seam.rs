//! The conformance suite on the Kafka backend, on a real broker.

use super::kit::{broker, options};
use crate::clock::SystemClock;
use crate::stream::conformance::{Fixture, conformance_tests};
use crate::stream::kafka::KafkaLog;

async fn kafka() -> Option<Fixture> {
    let options = options(&broker()?);
    let topic = options.topics[0].name.clone();
    let log = KafkaLog::open(options, SystemClock::shared())
        .await
        .unwrap();
    Some(Fixture {
        log,
        topic,
        partitions: 3,
        guard: Box::new(()),
    })
}

conformance_tests!(kafka);
