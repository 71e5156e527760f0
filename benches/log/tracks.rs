//! Records of the recorded tracks beside the project, or of made-up ones where they are missing.

use std::path::Path;

use bytes::Bytes;
use waylog::domain::{Fix, FixBatch, Position, UnixMs};
use waylog::stream::{Partition, Record, partition_for_key};

use crate::PARTITIONS;

/// Records of tracks: uploads of 100 fixes, and of one.
pub struct Tracks {
    pub hundreds: Vec<(Partition, Record)>,
    pub singles: Vec<(Partition, Record)>,
}

type Track = (String, Vec<Fix>);

impl Tracks {
    /// Delivery agents' positions and times, with the other columns filled as phones fill them:
    /// what the source has not got is made up, with noise, so that nothing is flattered.
    pub fn as_phones_send() -> Self {
        let mut couriers =
            read("delivery-agents.csv").unwrap_or_else(|| (0..150).map(made_up).collect());
        for (_, fixes) in &mut couriers {
            let mut noise = 1_u32;
            for fix in fixes {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let part = |shift: u32, most: u32| ((noise >> shift) % most) as f32;
                fix.speed_mps = Some(part(8, 1_500) / 100.0);
                fix.heading_deg = Some(part(4, 3_600) / 10.0);
                fix.accuracy_m = Some(3.0 + part(12, 300) / 10.0);
                fix.altitude_m = Some(50.0 + part(16, 100) / 10.0);
                fix.battery_pct = Some(80);
            }
        }
        Self::of(&couriers)
    }

    /// A recorded file as it is; None where it is missing.
    pub fn recorded(file: &str) -> Option<Self> {
        read(file).map(|couriers| Self::of(&couriers))
    }

    fn of(couriers: &[Track]) -> Self {
        let batch = |id: &str, fixes: &[Fix]| {
            let received_at = fixes[fixes.len() - 1].fix_time;
            let value = FixBatch {
                received_at,
                fixes: fixes.to_vec(),
                sos: false,
            }
            .encode();
            let key = Bytes::copy_from_slice(id.as_bytes());
            let partition = partition_for_key(&key, PARTITIONS);
            (
                partition,
                Record {
                    key,
                    value,
                    timestamp_ms: received_at.0,
                },
            )
        };
        let mut tracks = Self {
            hundreds: Vec::new(),
            singles: Vec::new(),
        };
        for (id, fixes) in couriers {
            // Tracks shorter than an upload are repeated an hour later until they fill it.
            let mut long = fixes.clone();
            for round in 1.. {
                if long.len() >= 100 {
                    break;
                }
                long.extend(fixes.iter().map(|fix| Fix {
                    fix_time: UnixMs(fix.fix_time.0 + round * 3_600_000),
                    ..*fix
                }));
            }
            tracks
                .hundreds
                .extend(long.chunks_exact(100).map(|chunk| batch(id, chunk)));
            tracks
                .singles
                .extend(fixes.iter().map(|fix| batch(id, std::slice::from_ref(fix))));
        }
        tracks
    }
}

fn read(file: &str) -> Option<Vec<Track>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared/traces")
        .join(file);
    let text = std::fs::read_to_string(&path)
        .inspect_err(|error| println!("no recorded tracks: {}: {error}", path.display()))
        .ok()?;
    let mut couriers: Vec<Track> = Vec::new();
    for line in text.lines().skip(1) {
        let columns: Vec<&str> = line.split(',').collect();
        let (id, fix) = (columns[0], parse(&columns));
        match couriers.iter_mut().find(|(known, _)| known == id) {
            Some((_, fixes)) => fixes.push(fix),
            None => couriers.push((id.to_owned(), vec![fix])),
        }
    }
    Some(couriers)
}

fn parse(columns: &[&str]) -> Fix {
    let number = |at: usize| {
        columns
            .get(at)
            .and_then(|text| text.trim().parse::<f64>().ok())
    };
    let narrow = |at: usize| number(at).map(|value| value as f32);
    Fix {
        fix_time: UnixMs(columns[1].parse().expect("a time")),
        position: Position::from_degrees(number(2).expect("lat"), number(3).expect("lon"))
            .expect("a position"),
        speed_mps: narrow(4),
        heading_deg: narrow(5),
        accuracy_m: narrow(6),
        altitude_m: None,
        battery_pct: None,
    }
}

fn made_up(n: u32) -> (String, Vec<Fix>) {
    let fixes = (0..100_u32).map(|i| {
        let wobble = f64::from((i * 7919 + n * 104_729) % 1000) * 1e-6;
        Fix {
            fix_time: UnixMs(1_700_000_000_000 + i64::from(i) * 5_000),
            position: Position::from_degrees(35.9 + wobble, 14.5 + f64::from(i) * 1e-4)
                .expect("a position"),
            speed_mps: Some(5.0 + (i % 10) as f32 * 0.3),
            heading_deg: Some((i * 13 % 360) as f32),
            accuracy_m: Some(5.0),
            altitude_m: None,
            battery_pct: None,
        }
    });
    (format!("courier-{n}"), fixes.collect())
}
