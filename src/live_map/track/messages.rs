//! What the customer channel says, in JSON.

use serde::{Deserialize, Serialize};

use crate::config::WebConfig;
use crate::domain::{DeliveryStatus, Position, TimelineEntry, UnixMs, Vehicle, Window};
use crate::live_map::eta::EtaRange;
use crate::live_map::state::Live;
use crate::live_map::visibility::WhyHidden;

/// The only message that a customer sends.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum FromCustomer {
    /// Who asks, and what was seen last.
    Hello {
        token: String,
        epoch: Option<u32>,
        seq: Option<u32>,
    },
}

/// What is pushed to a customer.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ToCustomer<'a> {
    Snapshot(Box<TrackSnapshot<'a>>),
    Fix {
        seq: u32,
        #[serde(flatten)]
        fix: ShownFix,
    },
    Hidden {
        seq: u32,
        why: WhyHidden,
    },
    Status {
        seq: u32,
        status: DeliveryStatus,
        at: UnixMs,
    },
    /// Both null: nothing can be said any more.
    Eta {
        seq: u32,
        from: Option<UnixMs>,
        to: Option<UnixMs>,
    },
}

impl ToCustomer<'_> {
    /// The message as text.
    pub(super) fn text(&self) -> String {
        // Plain data with string keys: it always serialises.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Everything that a customer may see now.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct TrackSnapshot<'a> {
    /// Names this telling of the delivery; a sequence number counts within it.
    pub(super) epoch: u32,
    /// Number of the last event that is contained.
    pub(super) seq: u32,
    pub(super) delivery: ShownDelivery<'a>,
    pub(super) courier: Option<ShownCourier>,
    pub(super) brand: &'a Brand,
    /// The courier's newest fix, if it may be seen.
    pub(super) position: Option<ShownFix>,
    /// Why there is no position.
    pub(super) why_hidden: Option<WhyHidden>,
    pub(super) eta: Option<EtaRange>,
    /// Open stops before this one.
    pub(super) stops_before: u32,
    /// The way behind, `[lon, lat]`, at most 256 corners.
    pub(super) path: Option<Vec<[f64; 2]>>,
    /// The way ahead, `[lon, lat]`, at most 256 corners.
    pub(super) route: Option<Vec<[f64; 2]>>,
    /// How many look at this delivery now.
    pub(super) viewers: u32,
}

/// The delivery as its customer sees it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct ShownDelivery<'a> {
    pub(super) status: DeliveryStatus,
    #[schema(value_type = Vec<ShownStep>)]
    pub(super) timeline: &'a [TimelineEntry],
    pub(super) dropoff: ShownPlace<'a>,
    #[schema(value_type = Option<ShownWindow>)]
    pub(super) window: Option<Window>,
    pub(super) reference: Option<&'a str>,
}

/// One step of the timeline.
#[derive(utoipa::ToSchema)]
#[expect(
    dead_code,
    reason = "describes the domain's timeline entry in the API's documentation"
)]
pub(crate) struct ShownStep {
    status: DeliveryStatus,
    #[schema(format = DateTime)]
    at: String,
}

/// When the delivery was promised.
#[derive(utoipa::ToSchema)]
#[expect(
    dead_code,
    reason = "describes the domain's window in the API's documentation"
)]
pub(crate) struct ShownWindow {
    #[schema(format = DateTime)]
    from: String,
    #[schema(format = DateTime)]
    to: String,
}

/// Where the delivery goes.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct ShownPlace<'a> {
    pub(super) lat: f64,
    pub(super) lon: f64,
    pub(super) label: Option<&'a str>,
}

/// The courier as customers see one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub(crate) struct ShownCourier {
    pub(super) name: Option<Box<str>>,
    pub(super) vehicle: Option<Vehicle>,
}

/// A fix as it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, utoipa::ToSchema)]
pub(crate) struct ShownFix {
    pub(super) lat: f64,
    pub(super) lon: f64,
    pub(super) heading_deg: Option<f32>,
    pub(super) speed_mps: Option<f32>,
    pub(super) accuracy_m: Option<f32>,
    #[schema(value_type = String, format = DateTime)]
    pub(super) fix_time: UnixMs,
}

impl ShownFix {
    pub(super) fn of(live: &Live) -> Self {
        Self {
            lat: live.fix.position.lat(),
            lon: live.fix.position.lon(),
            heading_deg: live.fix.heading_deg,
            speed_mps: live.fix.speed_mps,
            accuracy_m: live.fix.accuracy_m,
            fix_time: live.fix.fix_time,
        }
    }
}

/// A line as `[lon, lat]` pairs.
pub(super) fn lon_lat(line: &[Position]) -> Vec<[f64; 2]> {
    line.iter().map(|p| [p.lon(), p.lat()]).collect()
}

/// Whose page it is.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub(crate) struct Brand {
    pub(super) name: String,
    pub(super) logo_url: Option<String>,
    pub(super) accent: Option<String>,
    pub(super) phone: Option<String>,
}

impl Brand {
    pub(crate) fn new(web: &WebConfig) -> Self {
        Self {
            name: web.brand_name.clone(),
            logo_url: web.brand_logo_url.clone(),
            accent: web.brand_accent.clone(),
            phone: web.brand_phone.clone(),
        }
    }
}
