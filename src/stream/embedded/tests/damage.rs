//! Damage of every kind: found, named and never hidden; and what a repair saves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::kit::{payload, read_all};
use crate::clock::{ManualClock, SharedClock};
use crate::stream::embedded::keeper::Keeper;
use crate::stream::embedded::open::{Opened, open_state};
use crate::stream::embedded::repair::repair_on;
use crate::stream::embedded::storage::sim::{Chance, SimDisk};
use crate::stream::embedded::verify::verify_on;
use crate::stream::embedded::{EmbeddedLogOptions, SegmentSizes, TopicSpec};
use crate::stream::{LogError, Record};

const TOPIC: &str = "t";
const DIR: &str = "/log";
/// Records of one group, and so of one frame.
const PER_FRAME: u64 = 3;
const RECORDS: u64 = 60;

fn clock() -> SharedClock {
    ManualClock::at(1_700_000_000_000)
}

fn open(disk: &SimDisk) -> Result<Opened, LogError> {
    let mut options = EmbeddedLogOptions::new(DIR, 1);
    options.topics = vec![TopicSpec {
        name: TOPIC.to_owned(),
        partitions: 1,
    }];
    options.uuid = Some(uuid::Uuid::from_u128(7));
    options.sync_threads = 1;
    options.buffer_bytes = 4096;
    options.ring_bytes = 0;
    options.segments = SegmentSizes {
        first: 8192,
        max: 8192,
    };
    open_state(Arc::new(disk.clone()), options, clock())
}

fn append(opened: &mut Opened, ids: std::ops::Range<u64>) -> bool {
    let records: Vec<Record> = ids
        .map(|id| Record {
            key: Bytes::from_static(b"c-1"),
            value: payload(id),
            timestamp_ms: 1_700_000_000_000 + id.cast_signed(),
        })
        .collect();
    let partition = &opened.state.topics[TOPIC].partitions[0];
    let Ok(ticket) = partition.enqueue(&records) else {
        return false;
    };
    opened.syncers[0].round(false);
    matches!(ticket.poll_now(), Some(Ok(_)))
}

fn close(mut opened: Opened) {
    for syncer in &mut opened.syncers {
        syncer.finish();
    }
    Keeper::new(Arc::clone(&opened.state)).serve_requests();
}

/// A log of several segments, closed in order, with a committed offset.
fn sound_log() -> SimDisk {
    let disk = SimDisk::new(3);
    let mut opened = open(&disk).expect("a new log");
    for first in (1..=RECORDS).step_by(PER_FRAME as usize) {
        assert!(append(&mut opened, first..first + PER_FRAME));
    }
    opened.state.offsets.note("kept", TOPIC, 0, 20);
    opened.state.offsets.flush("kept").expect("room");
    close(opened);
    disk
}

/// All records that the log gives out, by offset; or what it says is wrong.
fn records(disk: &SimDisk) -> Result<BTreeMap<u64, u64>, String> {
    let opened = open(disk).map_err(|error| error.to_string())?;
    let partition = &opened.state.topics[TOPIC].partitions[0];
    if let Some(why) = partition.quarantined() {
        return Err(why.to_string());
    }
    if let Some(why) = partition.damage.lock().as_ref() {
        return Err(why.to_string());
    }
    read_all(partition, partition.start(), partition.durable())
}

fn segments(disk: &SimDisk) -> Vec<(PathBuf, usize)> {
    let files = disk.files().into_iter();
    let files = files.filter(|(path, _)| path.extension().is_some_and(|e| e == "seg"));
    files.map(|(path, bytes)| (path, bytes.len())).collect()
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|n| n.to_str()).expect("a name")
}

#[test]
fn every_byte_of_a_log_is_flipped_and_nothing_goes_missing_in_silence() {
    let sound = sound_log();
    let all = records(&sound.copy()).expect("a sound log");
    assert_eq!(all.len() as u64, RECORDS);
    assert!(
        verify_on(&sound.copy(), Path::new(DIR))
            .expect("a log")
            .is_sound()
    );
    assert!(segments(&sound).len() > 2, "several segments");
    let (mut noticed, mut harmless) = (0, 0);
    for (path, bytes) in sound.files() {
        for at in 0..bytes.len() {
            let disk = sound.copy();
            disk.tamper(&path, |bytes| bytes[at] ^= 1 << (at % 8));
            let seen = verify_on(&disk, Path::new(DIR)).map(|report| report.is_sound());
            match records(&disk) {
                Ok(found) => {
                    harmless += 1;
                    assert_eq!(found, all, "{} byte {at}: records differ", path.display());
                }
                Err(why) => {
                    noticed += 1;
                    assert!(
                        why.contains(name(&path)),
                        "{} byte {at}: {why}",
                        path.display()
                    );
                    assert!(
                        !seen.unwrap_or(false),
                        "{} byte {at}: verify saw nothing",
                        path.display()
                    );
                }
            }
        }
    }
    println!("{noticed} flips noticed, {harmless} in bytes that hold nothing");
    assert!(noticed > harmless / 4, "too few bytes mattered");
}

#[test]
fn a_repair_keeps_every_frame_that_is_sound() {
    let sound = sound_log();
    let all = records(&sound.copy()).expect("a sound log");
    for seed in 0..400 {
        let mut chance = Chance::new(seed);
        let disk = sound.copy();
        let mut damages = 0;
        for _ in 0..=chance.below(3) {
            let files = segments(&disk);
            let (path, len) = &files[chance.below(files.len() as u64) as usize];
            let at = chance.below(*len as u64) as usize;
            disk.tamper(path, |bytes| bytes[at] ^= 0xff);
            damages += 1;
        }
        let Err(why) = records(&disk.copy()) else {
            continue;
        };
        repair_on(&disk, Path::new(DIR), &clock()).expect("repaired");
        let left = records(&disk).unwrap_or_else(|e| panic!("seed {seed}: {why}, then {e}"));
        assert!(
            left.iter().all(|(offset, id)| all.get(offset) == Some(id)),
            "seed {seed}"
        );
        let lost = (all.len() - left.len()) as u64;
        assert!(
            lost <= damages * PER_FRAME,
            "seed {seed}: {lost} lost by {damages} flips"
        );
        assert!(
            verify_on(&disk, Path::new(DIR)).expect("a log").is_sound(),
            "seed {seed}"
        );
        // It goes on, and no old offset is given again.
        let mut opened = open(&disk).expect("opens");
        assert!(append(&mut opened, 1000..1003), "seed {seed}");
        close(opened);
        let grown = records(&disk).expect("sound");
        assert_eq!(grown.len(), left.len() + 3, "seed {seed}");
        let (first_new, _) = grown.iter().find(|(_, id)| **id == 1000).expect("there");
        assert!(all.keys().all(|old| old < first_new), "seed {seed}");
    }
}

#[test]
fn a_file_that_is_missing_is_named_and_a_repair_goes_on_without_it() {
    let sound = sound_log();
    let all = records(&sound.copy()).expect("a sound log");
    let files = segments(&sound);
    for (at, (path, _)) in files.iter().enumerate() {
        let disk = sound.copy();
        disk.lose(path);
        let why = records(&disk).expect_err("noticed");
        assert!(why.contains("missing") || why.contains(name(path)), "{why}");
        assert!(why.contains("repair --accept-loss"), "{why}");
        let repaired = repair_on(&disk, Path::new(DIR), &clock()).expect("repaired");
        assert!(!repaired[0].lost.is_empty(), "file {at}");
        let left = records(&disk).expect("sound again");
        assert!(!left.is_empty() && left.iter().all(|(o, id)| all.get(o) == Some(id)));
        let mut opened = open(&disk).expect("opens");
        assert!(append(&mut opened, 1000..1003));
        close(opened);
        let grown = records(&disk).expect("sound");
        let (first_new, _) = grown.iter().find(|(_, id)| **id == 1000).expect("there");
        assert!(
            all.keys().all(|old| old < first_new),
            "an offset was given twice"
        );
    }
}

#[test]
fn a_segment_of_another_log_is_named_and_left_alone() {
    let (sound, disk) = (sound_log(), sound_log());
    let (path, _) = segments(&sound).remove(0);
    disk.tamper(&path, |bytes| {
        // Another uuid, with a header that is sound in itself.
        let header = crate::stream::embedded::segment::SegmentHeader::decode(bytes, TOPIC);
        let mut header = header.expect("sound");
        header.log = [9; 16];
        bytes[..4096].copy_from_slice(&header.encode(TOPIC));
    });
    let why = records(&disk).expect_err("noticed");
    assert!(
        why.contains("another log") && why.contains(name(&path)),
        "{why}"
    );
    let refused = repair_on(&disk, Path::new(DIR), &clock()).expect_err("not ours to cut");
    assert!(refused.to_string().contains("move it away"), "{refused}");
}
