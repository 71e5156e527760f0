//! Copies of a log: made while it is written, opened as a log, and refused where it is damaged.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::SystemClock;
use crate::stream::embedded::{
    EmbeddedLog, EmbeddedLogOptions, SegmentSizes, TopicSpec, copy, extent, holder, identity,
    pinned_partitions, verify, verify_copy,
};
use crate::stream::{Log, Offset, Partition, Record, SeekTo};

const TOPIC: &str = "t";

fn options(dir: &Path) -> EmbeddedLogOptions {
    let mut options = EmbeddedLogOptions::new(dir, 2);
    options.topics = vec![TopicSpec {
        name: TOPIC.to_owned(),
        partitions: 2,
    }];
    options.segments = SegmentSizes {
        first: 64 << 10,
        max: 64 << 10,
    };
    options
}

fn open(dir: &Path) -> Arc<EmbeddedLog> {
    EmbeddedLog::open(options(dir), SystemClock::shared()).expect("opens")
}

fn record(n: u64) -> Record {
    Record {
        key: "c-1".into(),
        value: vec![u8::try_from(n % 251).expect("small"); 200].into(),
        timestamp_ms: n.cast_signed(),
    }
}

async fn append(log: &EmbeddedLog, partition: u32, from: u64, count: u64) {
    for n in from..from + count {
        log.append(TOPIC, Partition(partition), vec![record(n)])
            .await
            .expect("appended");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_log_that_is_being_written_is_a_log_of_some_moment() {
    let home = tempfile::tempdir().expect("a folder");
    let log = open(&home.path().join("log"));
    let acknowledged = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let writing = {
        let (log, acknowledged, stop) = (log.clone(), acknowledged.clone(), stop.clone());
        tokio::spawn(async move {
            let mut n = 0;
            while !stop.load(Ordering::Relaxed) {
                append(&log, 0, n, 1).await;
                n += 1;
                acknowledged.store(n, Ordering::Release);
            }
            n
        })
    };
    for round in 0..10_u64 {
        // Each copy is of a log that has grown; over the rounds it rolls many times.
        while acknowledged.load(Ordering::Acquire) < round * 300 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let before = acknowledged.load(Ordering::Acquire);
        let log_dir = home.path().join("log");
        let to = home.path().join(format!("copy-{round}"));
        let target = to.clone();
        let copied = tokio::task::spawn_blocking(move || copy(&log_dir, &target));
        let copied = copied.await.expect("no panic").expect("copied");
        assert_eq!(copied.uuid, log.uuid());
        let end = copied.partitions[0].end_offset;
        assert!(end >= before, "{end}: {before} were acknowledged before");
        let report = verify_copy(&to).expect("a log");
        assert!(report.is_sound(), "{report:?}");
        assert_eq!(report.partitions[0].records, end);
        assert!(!to.join("LOCK").exists(), "looking leaves nothing behind");
    }
    stop.store(true, Ordering::Relaxed);
    let written = writing.await.expect("no panic");
    log.close().await.expect("closed");

    // The newest copy goes on as a log of its own.
    let dir = home.path().join("copy-9");
    let end = extent(&dir).expect("a log").partitions[0].end_offset;
    assert!(end <= written);
    let copied = open(&dir);
    let range = copied
        .append(TOPIC, Partition(0), vec![record(0)])
        .await
        .expect("appended");
    assert_eq!(range, Offset(end)..Offset(end + 1));
    copied.close().await.expect("closed");
    drop(copied);
    assert!(verify(&dir).expect("a log").is_sound());
}

#[tokio::test]
async fn committed_offsets_come_along_and_none_lies_beyond_the_end() {
    let home = tempfile::tempdir().expect("a folder");
    let (from, to) = (home.path().join("log"), home.path().join("copy"));
    let log = open(&from);
    append(&log, 1, 0, 7).await;
    let place = SeekTo::Offset(Offset(5));
    log.reset_group(TOPIC, "g", Partition(1), place)
        .await
        .expect("set");
    copy(&from, &to).expect("copied");
    log.close().await.expect("closed");
    let copied = open(&to);
    let groups = copied.groups().await.expect("groups");
    assert_eq!(groups[0].partitions[1].committed, Some(5));
    copied.close().await.expect("closed");
}

#[tokio::test]
async fn a_copy_that_was_cut_afterwards_is_not_taken_for_a_shorter_one() {
    let home = tempfile::tempdir().expect("a folder");
    let (from, to) = (home.path().join("log"), home.path().join("copy"));
    let log = open(&from);
    append(&log, 0, 0, 20).await;
    log.close().await.expect("closed");
    copy(&from, &to).expect("copied");
    let segment = to.join("t/p000/00000000000000000000.seg");
    let length = fs::metadata(&segment).expect("there").len();
    let file = fs::OpenOptions::new().write(true).open(&segment);
    file.expect("opens").set_len(length - 300).expect("cut");
    let report = verify_copy(&to).expect("a log");
    assert!(
        report.partitions[0].findings[0].contains("checkpoint"),
        "{report:?}"
    );
}

#[tokio::test]
async fn a_damaged_log_is_not_copied_as_if_it_were_whole() {
    let home = tempfile::tempdir().expect("a folder");
    let (from, to) = (home.path().join("log"), home.path().join("copy"));
    let log = open(&from);
    append(&log, 0, 0, 20).await;
    log.close().await.expect("closed");
    let segment = from.join("t/p000/00000000000000000000.seg");
    let mut bytes = fs::read(&segment).expect("read");
    bytes[4096 + 100] ^= 1;
    fs::write(&segment, bytes).expect("written");
    let error = copy(&from, &to).expect_err("damaged").to_string();
    assert!(error.contains("waylog stream verify"), "{error}");
    assert!(identity(&to).expect("readable").is_none(), "it is no log");
}

#[tokio::test]
async fn a_folder_tells_whose_it_is_without_being_opened() {
    let home = tempfile::tempdir().expect("a folder");
    let dir = home.path().join("log");
    assert_eq!(identity(&dir).expect("nothing"), None);
    assert_eq!(holder(&dir).expect("nobody"), None);
    let log = open(&dir);
    assert_eq!(identity(&dir).expect("a log"), Some(log.uuid()));
    assert_eq!(pinned_partitions(&dir, TOPIC).expect("a log"), Some(2));
    assert_eq!(pinned_partitions(&dir, "other").expect("a log"), None);
    let who = holder(&dir).expect("asked").expect("held");
    assert_eq!(who, format!("process {}", std::process::id()));
    log.close().await.expect("closed");
    drop(log);
    assert_eq!(holder(&dir).expect("asked"), None);
}
