//! The log of a folder that no server holds.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;

use crate::cli::table;
use crate::clock::SystemClock;
use crate::stream::embedded::{LogReport, repair as repair_log, verify as verify_log};

/// `waylog stream verify`: reads every byte and changes nothing.
pub(super) fn verify(dir: &Path, as_json: bool) -> anyhow::Result<ExitCode> {
    let report = verify_log(dir)?;
    if as_json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print_report(&report);
    }
    Ok(if report.is_sound() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// `waylog stream repair`: without `accept_loss` only says what it would do.
pub(super) fn repair(dir: &Path, accept_loss: bool, as_json: bool) -> anyhow::Result<ExitCode> {
    if !accept_loss {
        let report = verify_log(dir)?;
        if as_json {
            println!("{}", serde_json::to_string(&report)?);
        } else {
            print_report(&report);
        }
        if report.is_sound() {
            return Ok(ExitCode::SUCCESS);
        }
        eprintln!(
            "\nRestore the damaged files from a backup; or, to go on without what is lost, copy \
             {} elsewhere and say --accept-loss: sound records are kept, what is cut off goes to \
             torn/.",
            dir.display()
        );
        return Ok(ExitCode::FAILURE);
    }
    let repaired = repair_log(dir, &SystemClock::shared()).context("repair the log")?;
    if as_json {
        println!("{}", serde_json::to_string(&repaired)?);
        return Ok(ExitCode::SUCCESS);
    }
    if repaired.is_empty() {
        println!("nothing is damaged; nothing was changed");
    }
    for partition in &repaired {
        let lost = partition.lost.iter();
        let lost: Vec<String> = lost
            .map(|range| format!("{} to {}", range.start, range.end.saturating_sub(1)))
            .collect();
        println!(
            "{} partition {}: repaired; offsets without a record: {}",
            partition.topic,
            partition.partition,
            if lost.is_empty() {
                "none".to_owned()
            } else {
                lost.join(", ")
            }
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn print_report(report: &LogReport) {
    let rows: Vec<Vec<String>> = report
        .partitions
        .iter()
        .map(|p| {
            vec![
                p.topic.clone(),
                p.partition.to_string(),
                p.segments.to_string(),
                p.start_offset.to_string(),
                p.end_offset.to_string(),
                p.records.to_string(),
                p.bytes.to_string(),
                if p.findings.is_empty() {
                    "sound"
                } else {
                    "DAMAGED"
                }
                .to_owned(),
            ]
        })
        .collect();
    let headings = [
        "TOPIC",
        "PARTITION",
        "SEGMENTS",
        "START",
        "END",
        "RECORDS",
        "BYTES",
        "STATE",
    ];
    table::print(&headings, &rows);
    let partitions = report.partitions.iter();
    for finding in partitions
        .clone()
        .flat_map(|p| &p.findings)
        .chain(&report.findings)
    {
        println!("! {finding}");
    }
    for note in partitions.flat_map(|p| &p.notes) {
        println!("  {note}");
    }
}
