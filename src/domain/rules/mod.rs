//! Rules over fixes: what a courier's track means, decided without a clock, a database or a log.
//!
//! ```text
//!   fix ──▶ CourierState::see ──▶ told: events with the evidence that made them
//!              │ recent fixes, zones around stops and geofences
//! ```
//!
//! Invariants:
//! - Judgement is by event time, `min(fix_time, received_at)`, and never goes back: a fix older than
//!   the newest one judged changes nothing.
//! - One lying fix makes no event: it takes 2 of the last 3 fixes to enter or leave a zone.
//! - A zone is left only beyond its radius plus a margin, so that jitter along a border makes one
//!   event and not a hundred.
//! - The same fixes in the same order make the same events, with the same dedupe keys.

mod courier_state;
mod evidence;
mod fence;
mod fences;
mod presence;
mod set;
mod sighting;
mod state_bytes;
mod stillness;
mod stops;
mod window;
mod zone;

pub use courier_state::{CourierState, Ground, PlannedStop, Seen};
pub use evidence::{Evidence, FixEvidence, Told};
pub use fence::{CrossingEdges, Fence, FenceError, FenceIndex, Handle, Spot};
pub use set::{RULES_VERSION, RuleSet, RuleSetError};
pub use sighting::{Recent, Sighting};
pub use state_bytes::StateError;
pub use stops::Stop;
pub use zone::{Crossing, Vote, Zone, exit_margin_m, is_vague, vote};

#[cfg(test)]
mod fences_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod timers_tests;
