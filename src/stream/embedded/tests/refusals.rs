//! Folders that cannot be a log, or not this one: refused with the file and the next step.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::clock::SystemClock;
use crate::stream::embedded::snapshot::SnapshotKind;
use crate::stream::embedded::{EmbeddedLog, EmbeddedLogOptions, TopicSpec, repair, verify};
use crate::stream::{Log, Offset, Partition, Record, SeekTo};

const TOPIC: &str = "t";

fn options(dir: &Path, partitions: u32) -> EmbeddedLogOptions {
    let mut options = EmbeddedLogOptions::new(dir, partitions);
    options.topics = vec![TopicSpec {
        name: TOPIC.to_owned(),
        partitions,
    }];
    options
}

fn open(dir: &Path) -> Result<Arc<EmbeddedLog>, String> {
    EmbeddedLog::open(options(dir, 2), SystemClock::shared()).map_err(|error| error.to_string())
}

fn refusal(dir: &Path) -> String {
    match open(dir) {
        Ok(_) => panic!("it opened"),
        Err(why) => why,
    }
}

fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
}

/// A log with one record in partition 1.
async fn log_with_a_record(dir: &Path) {
    let log = open(dir).expect("a new log");
    let record = Record {
        key: "c-1".into(),
        value: "v".into(),
        timestamp_ms: 5,
    };
    log.append(TOPIC, Partition(1), vec![record])
        .await
        .expect("appended");
    log.close().await.expect("closed");
}

#[tokio::test]
async fn a_folder_that_is_no_log_or_not_this_one_is_refused() {
    let home = tempfile::tempdir().expect("a folder");
    let dir = home.path().join("log");
    log_with_a_record(&dir).await;

    let held = open(&dir).expect("opens");
    assert_says(&refusal(&dir), &["in use by process", "data_dir"]);
    assert_says(
        &verify(&dir).expect_err("held").to_string(),
        &["in use by process"],
    );
    held.close().await.expect("closed");
    drop(held);

    let other_count = EmbeddedLog::open(options(&dir, 3), SystemClock::shared());
    let why = other_count.err().expect("pinned").to_string();
    assert_says(
        &why,
        &["has 2 partitions", "says 3", "stream.partitions = 2"],
    );

    let meta = fs::read(dir.join("META")).expect("META");
    fs::write(dir.join("META"), &meta[..meta.len() / 2]).expect("cut");
    assert_says(
        &refusal(&dir),
        &["META", "damaged", "restore this file from a backup"],
    );
    fs::remove_file(dir.join("META")).expect("removed");
    assert_says(
        &refusal(&dir),
        &["holds no META", "restore META from a backup"],
    );
    assert_says(
        &verify(&dir).expect_err("none").to_string(),
        &["there is no log in"],
    );

    let newer = SnapshotKind {
        name: "waylog-meta",
        version: 2,
    };
    let disk = crate::stream::embedded::storage::Disk;
    newer
        .write(&disk, &dir.join("META"), &serde_json::json!({}))
        .expect("written");
    assert_says(
        &refusal(&dir),
        &["META", "newer Waylog", "format 2", "upgrade Waylog"],
    );

    fs::write(dir.join("META"), &meta).expect("restored");
    let log = open(&dir).expect("as before");
    assert!(log.alarms().is_empty());
    log.close().await.expect("closed");
}

#[tokio::test]
async fn strangers_in_the_folder_harm_nothing_and_are_named() {
    let home = tempfile::tempdir().expect("a folder");
    let dir = home.path().join("log");
    log_with_a_record(&dir).await;
    fs::write(dir.join("t/p001/notes.txt"), "mine").expect("written");
    fs::write(dir.join("t/p001/00000000000000000009.seg.tmp"), "half").expect("written");
    let report = verify(&dir).expect("a log");
    assert!(report.is_sound());
    assert_says(
        &report.partitions[1].notes[0],
        &["notes.txt", "move it away"],
    );
    let log = open(&dir).expect("opens");
    assert_eq!(
        log.topics().await.expect("topics")[0].partitions[1].durable_offset,
        1
    );
    log.close().await.expect("closed");
    assert!(dir.join("t/p001/notes.txt").exists(), "not ours to remove");
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("created");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("copied");
        }
    }
}

#[tokio::test]
async fn an_offset_beyond_the_end_is_set_back_before_anything_is_appended() {
    let home = tempfile::tempdir().expect("a folder");
    let (dir, backup) = (home.path().join("log"), home.path().join("backup"));
    log_with_a_record(&dir).await;
    copy_folder(&dir.join("t/p001"), &backup);
    log_with_a_record(&dir).await;
    let log = open(&dir).expect("opens");
    let to = SeekTo::Offset(Offset(2));
    log.reset_group(TOPIC, "g", Partition(1), to)
        .await
        .expect("reset");
    log.close().await.expect("closed");
    drop(log);
    // The partition alone comes back from an older backup.
    fs::remove_dir_all(dir.join("t/p001")).expect("removed");
    copy_folder(&backup, &dir.join("t/p001"));
    let notes = verify(&dir).expect("a log").partitions[1].notes.join("\n");
    assert_says(&notes, &["group g", "offset 2", "the end at 1"]);
    let log = open(&dir).expect("opens");
    let groups = log.groups().await.expect("groups");
    assert_eq!(groups[0].partitions[1].committed, Some(1));
    log.close().await.expect("closed");
}

#[tokio::test]
async fn a_partition_that_is_missing_is_named_and_a_repair_goes_on_behind_it() {
    let home = tempfile::tempdir().expect("a folder");
    let dir = home.path().join("log");
    log_with_a_record(&dir).await;
    fs::remove_dir_all(dir.join("t/p001")).expect("removed");
    let log = open(&dir).expect("opens");
    let alarms = log.alarms().join("\n");
    assert_says(
        &alarms,
        &["p001", "the folder is missing", "repair --accept-loss"],
    );
    log.close().await.expect("closed");
    drop(log);
    let repaired = repair(&dir, &SystemClock::shared()).expect("repaired");
    assert_eq!((repaired.len(), repaired[0].partition), (1, 1));
    let log = open(&dir).expect("opens");
    assert!(log.alarms().is_empty());
    let next = log.topics().await.expect("topics")[0].partitions[1].durable_offset;
    assert!(next > 1, "offset 0 is not given again");
    log.close().await.expect("closed");
}
