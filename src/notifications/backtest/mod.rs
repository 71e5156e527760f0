//! Backtests: rules over yesterday, and what they would have told beside what was told.
//!
//! ```text
//!   log or stored tracks ─sources─▶ uploads ─rerun─▶ told ┐
//!   steps and duty then ──past──────────────┘             ├─difference─▶ report
//!   events recorded then ──was────────────────────────────┘
//! ```
//!
//! Invariants: nothing is recorded, sent, or moved; the same rules that judge what comes in judge
//! the past, an hour before the time that is tried included, so that they know where everybody was.

mod difference;
mod job;
mod past;
mod plan;
mod report;
mod rerun;
mod sources;
mod was;

pub(super) use job::{Archive, Backtests, Job, State};
pub(super) use plan::{BacktestRequest, Plan};
pub(super) use report::Report;
