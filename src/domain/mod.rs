//! The words of delivery tracking, as types: what they are and which values they may have.
//!
//! Pure: no async, no input or output, no clock, no SQL. Everything here is parsed, not validated:
//! a value that exists is a right one.

pub mod courier;
pub mod delivery;
pub mod eta;
pub mod event;
pub mod fix;
pub mod fix_batch;
pub mod geo;
pub mod geofence;
pub mod ids;
pub mod position;
pub mod quarantined;
pub mod rules;
pub mod trip;
pub mod unix_ms;

mod wire;

pub use courier::{Courier, SpeedUnit, Vehicle};
pub use delivery::{Delivery, DeliveryStatus, Place, TimelineEntry, Window};
pub use eta::Eta;
pub use event::{EventPattern, EventType, PatternError};
pub use fix::Fix;
pub use fix_batch::FixBatch;
pub use geofence::{Geofence, GeofenceEvent, Shape, ShapeError};
pub use ids::{CourierId, DeliveryId, GeofenceId, IdError};
pub use position::{Position, PositionError};
pub use quarantined::Quarantined;
pub use trip::{Run, Stop, Tracker, Trip, TripRules};
pub use unix_ms::UnixMs;
