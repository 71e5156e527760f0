//! The slow check of sealed segments: damage is found while there is still a backup.

use std::sync::Arc;

use super::frame::FrameFault;
use super::partition::Partition;
use super::read::damage;
use super::scan::Scanner;
use super::segment::{SEGMENT_HEADER_LEN, Segment};
use super::state::State;

/// Where the check stands: after the last partition it begins again.
#[derive(Debug, Default)]
pub(super) struct Scrub {
    partition: usize,
    place: Option<Place>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    segment_base: u64,
    pos: u64,
    next_offset: u64,
    prev_crc: u32,
}

impl Scrub {
    /// Checks about `budget` bytes; answers how many it read.
    pub(super) fn advance(&mut self, state: &State, budget: u64) -> u64 {
        let partitions: Vec<&Arc<Partition>> = state.partitions().collect();
        let mut read = 0;
        for _ in 0..partitions.len() {
            while read < budget {
                let partition = partitions[self.partition % partitions.len()];
                let Some((segment, next)) = self.segment(partition) else {
                    break;
                };
                read += self.check(partition, &segment, &next, budget - read);
            }
            if read >= budget {
                break;
            }
            self.partition = (self.partition + 1) % partitions.len();
            self.place = None;
        }
        read
    }

    /// The sealed segment at the place, or the first after it.
    fn segment(&self, partition: &Partition) -> Option<(Arc<Segment>, Arc<Segment>)> {
        let from = self.place.map_or(0, |place| place.segment_base);
        let segments = partition.segments.read();
        let at = segments.partition_point(|segment| segment.base() < from);
        Some((
            Arc::clone(segments.get(at)?),
            Arc::clone(segments.get(at + 1)?),
        ))
    }

    fn check(
        &mut self,
        partition: &Partition,
        segment: &Segment,
        next: &Segment,
        budget: u64,
    ) -> u64 {
        let place = self
            .place
            .filter(|place| place.segment_base == segment.base());
        let place = place.unwrap_or(Place {
            segment_base: segment.base(),
            pos: SEGMENT_HEADER_LEN,
            next_offset: segment.base(),
            prev_crc: 0,
        });
        let mut scanner = Scanner::new(
            segment,
            place.pos,
            place.next_offset,
            Some(place.prev_crc),
            segment.end(),
        );
        let finished = loop {
            match scanner.next_frame() {
                Ok(Some(_)) if scanner.pos - place.pos < budget => {}
                Ok(Some(_)) => break false,
                Ok(None) => {
                    if scanner.next_offset != next.header.prev_end_offset
                        || scanner.prev_crc != Some(next.header.prev_last_crc)
                    {
                        damage(partition, segment, &scanner, &FrameFault::Chain.into());
                    }
                    break true;
                }
                Err(error) => {
                    damage(partition, segment, &scanner, &error);
                    break true;
                }
            }
        };
        let read = scanner.pos - place.pos;
        self.place = Some(if finished {
            Place {
                segment_base: next.base(),
                pos: SEGMENT_HEADER_LEN,
                next_offset: next.base(),
                prev_crc: 0,
            }
        } else {
            Place {
                pos: scanner.pos,
                next_offset: scanner.next_offset,
                prev_crc: scanner.prev_crc.unwrap_or_default(),
                ..place
            }
        });
        read
    }
}
