//! The conformance suite on the embedded backend, on a real disk.

use crate::clock::SystemClock;
use crate::stream::conformance::{Fixture, conformance_tests};
use crate::stream::embedded::{EmbeddedLog, EmbeddedLogOptions, SegmentSizes, TopicSpec};

async fn embedded() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let mut options = EmbeddedLogOptions::new(dir.path().join("log"), 3);
    options.topics = vec![TopicSpec {
        name: "t".to_owned(),
        partitions: 3,
    }];
    // Small enough that the scenarios roll and read from disk too.
    options.segments = SegmentSizes {
        first: 16 << 10,
        max: 64 << 10,
    };
    options.ring_bytes = 3 * 8192;
    let log = EmbeddedLog::open(options, SystemClock::shared()).unwrap();
    Fixture {
        log,
        topic: "t".to_owned(),
        partitions: 3,
        guard: Box::new(dir),
    }
}

conformance_tests!(embedded);
