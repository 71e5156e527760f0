//! What dispatchers' screens hear: packed positions, a frame a tick and cell.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::bail;

use crate::clock;
use crate::latency::Latencies;
use crate::swarm::{Ears, Heard};

/// Header and entry of a frame of positions, bytes.
pub const HEADER_BYTES: usize = 40;
pub const ENTRY_BYTES: usize = 16;
const DELTA: u8 = 2;

/// The header of a frame of positions.
pub struct Head {
    pub is_delta: bool,
    pub topic: u64,
    pub seq: u32,
    pub server_ms: u64,
    pub entries: u64,
}

impl Head {
    pub fn of(frame: &[u8]) -> anyhow::Result<Self> {
        if frame.len() < HEADER_BYTES {
            bail!("a frame without a header");
        }
        Ok(Self {
            is_delta: frame[0] == DELTA,
            topic: u64::from_le_bytes(frame[4..12].try_into()?),
            seq: u32::from_le_bytes(frame[16..20].try_into()?),
            server_ms: u64::from_le_bytes(frame[20..28].try_into()?),
            entries: ((frame.len() - HEADER_BYTES) / ENTRY_BYTES) as u64,
        })
    }

    /// How old it is by the clock of this machine, which is the server's.
    pub fn age(&self) -> Duration {
        Duration::from_millis(clock::now_ms().saturating_sub(self.server_ms))
    }
}

/// What all screens heard.
pub struct Screens {
    /// Of each screen, the cells that it was told of and where it stands in each.
    places: Vec<Vec<Place>>,
    /// The newest tick of each cell that any screen has heard.
    newest: HashMap<u64, u32>,
    counted: Counted,
}

/// Where a screen stands in a cell.
struct Place {
    topic: u64,
    seq: u32,
    /// Where it stood when the counting began.
    from: u32,
    /// Ticks heard since.
    ticks: u64,
}

/// Counted since the beginning.
pub struct Counted {
    pub frames: u64,
    pub updates: u64,
    pub bytes: u64,
    /// Frames of ticks that were for all screens, and those that came.
    pub ticks_due: u64,
    pub ticks: u64,
    pub latencies: Latencies,
}

impl Counted {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            frames: 0,
            updates: 0,
            bytes: 0,
            ticks_due: 0,
            ticks: 0,
            latencies: Latencies::new()?,
        })
    }
}

impl Screens {
    pub fn new(screens: usize) -> anyhow::Result<Self> {
        Ok(Self {
            places: (0..screens).map(|_| Vec::new()).collect(),
            newest: HashMap::new(),
            counted: Counted::new()?,
        })
    }

    /// Screens that know where somebody is.
    pub fn ready(&self) -> usize {
        self.places
            .iter()
            .filter(|places| !places.is_empty())
            .count()
    }

    /// Begins to count anew.
    pub fn begin(&mut self) -> anyhow::Result<()> {
        for place in self.places.iter_mut().flatten() {
            (place.from, place.ticks) = (place.seq, 0);
        }
        self.counted = Counted::new()?;
        Ok(())
    }

    /// What was counted since. A screen lacks what another one of the same cell has heard.
    pub fn counted(&mut self) -> anyhow::Result<Counted> {
        for place in self.places.iter().flatten() {
            let newest = self.newest.get(&place.topic).copied().unwrap_or(place.seq);
            self.counted.ticks_due += u64::from(newest - place.from);
            self.counted.ticks += place.ticks;
        }
        Ok(std::mem::replace(&mut self.counted, Counted::new()?))
    }
}

impl Ears for Screens {
    fn hear(&mut self, socket: usize, heard: Heard<'_>) -> anyhow::Result<()> {
        let Heard::Binary(frame) = heard else {
            return Ok(());
        };
        let head = Head::of(frame)?;
        if head.entries == 0 {
            // The cells beside are told as well, and stay empty.
            return Ok(());
        }
        let newest = self.newest.entry(head.topic).or_insert(head.seq);
        *newest = head.seq.max(*newest);
        let places = &mut self.places[socket];
        match places.iter_mut().find(|place| place.topic == head.topic) {
            Some(place) => {
                place.ticks += u64::from(head.is_delta && place.seq != head.seq);
                place.seq = head.seq;
            }
            None => places.push(Place {
                topic: head.topic,
                seq: head.seq,
                from: head.seq,
                ticks: 0,
            }),
        }
        if head.is_delta {
            self.counted.frames += 1;
            self.counted.updates += head.entries;
            self.counted.bytes += frame.len() as u64;
            self.counted.latencies.add(head.age());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, topic: u64, seq: u32, entries: usize) -> Vec<u8> {
        let mut frame = vec![0; HEADER_BYTES + entries * ENTRY_BYTES];
        frame[0] = kind;
        frame[4..12].copy_from_slice(&topic.to_le_bytes());
        frame[16..20].copy_from_slice(&seq.to_le_bytes());
        frame[20..28].copy_from_slice(&clock::now_ms().to_le_bytes());
        frame
    }

    #[test]
    fn a_screen_that_lacks_a_tick_is_found() {
        let mut screens = Screens::new(2).expect("a histogram");
        let hear = |screens: &mut Screens, socket, frame: Vec<u8>| {
            screens.hear(socket, Heard::Binary(&frame)).expect("heard");
        };
        hear(&mut screens, 0, frame(1, 7, 4, 2));
        hear(&mut screens, 0, frame(1, 8, 0, 0));
        assert_eq!(screens.ready(), 1);
        hear(&mut screens, 1, frame(1, 7, 4, 2));
        screens.begin().expect("a histogram");
        for seq in 5..=7 {
            hear(&mut screens, 0, frame(DELTA, 7, seq, 2));
        }
        // Merged: the second screen is up to date all the same.
        hear(&mut screens, 1, frame(DELTA, 7, 7, 2));
        let counted = screens.counted().expect("a histogram");
        assert_eq!((counted.ticks_due, counted.ticks), (6, 4));
        assert_eq!((counted.frames, counted.updates), (4, 8));
        assert_eq!(counted.bytes, 4 * 72);
    }
}
