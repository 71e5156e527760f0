//! What the Directory holds beside the domain's own couriers, deliveries and geofences.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::index::Keyed;
use crate::domain::{
    Courier, CourierId, Delivery, DeliveryId, Geofence, GeofenceId, Position, SpeedUnit, UnixMs,
};

/// SHA-256 of a secret. The secret has at least 128 random bits, so that a plain hash is enough.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct TokenHash(pub [u8; 32]);

impl PartialEq for TokenHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for TokenHash {}

impl std::hash::Hash for TokenHash {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        // Evenly spread already: a part of it is as good as all of it.
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    }
}

impl std::fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

/// A phone that may post for one courier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its number.
    pub id: Uuid,
    /// Whom it posts for.
    pub courier_id: CourierId,
    /// Unit of `speed` in its OsmAnd-protocol uploads.
    pub speed_unit: SpeedUnit,
    /// Its token.
    pub token_hash: TokenHash,
}

/// A tracking link: shows one delivery to whoever holds its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub id: Uuid,
    /// What it shows.
    pub delivery_id: DeliveryId,
    /// Until when.
    pub expires_at: UnixMs,
    /// Its token.
    pub token_hash: TokenHash,
}

/// What a key or a user may do. Admin may do everything, a dispatcher whatever an analyst reads.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads stored trips and fixes.
    Analyst,
    /// … and works with couriers and deliveries.
    Dispatcher,
    /// … and with keys, users, the stream and erasure.
    Admin,
}

impl Role {
    /// The word in the API and in SQL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Analyst => "analyst",
            Self::Dispatcher => "dispatcher",
            Self::Admin => "admin",
        }
    }

    /// From the word in the API and in SQL.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Analyst, Self::Dispatcher, Self::Admin]
            .into_iter()
            .find(|r| r.as_str() == word)
    }
}

/// A key of a program or a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its number.
    pub id: Uuid,
    /// What people call it.
    pub name: Option<Box<str>>,
    /// What it may do.
    pub role: Role,
    /// Its secret.
    pub key_hash: TokenHash,
}

/// Where a courier completed a delivery (delivered or failed).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PreviousStop {
    /// The drop-off.
    pub position: Position,
    /// When.
    pub completed_at: UnixMs,
}

/// A courier's run: the stops to come, and the one before them.
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// Open deliveries in the order of the run.
    pub open: Vec<Arc<Delivery>>,
    /// The last stop that was completed.
    pub previous: Option<PreviousStop>,
}

/// A signed-in browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its number.
    pub id: Uuid,
    /// What it may do.
    pub role: Role,
    /// Who signed in, for the audit log and for the page's corner.
    pub name: Box<str>,
    /// Until when.
    pub expires_at: UnixMs,
    /// Its cookie.
    pub token_hash: TokenHash,
    /// Signed in with the bootstrap key: a mark of that key.
    pub admin_mark: Option<TokenHash>,
}

/// Entries found by a secret's hash and by number.
macro_rules! secret_entry {
    ($entry:ident, $hash:ident) => {
        impl Keyed<TokenHash> for $entry {
            fn key(&self) -> &TokenHash {
                &self.$hash
            }
        }
        impl Keyed<Uuid> for $entry {
            fn key(&self) -> &Uuid {
                &self.id
            }
        }
    };
}

secret_entry!(Device, token_hash);
secret_entry!(Link, token_hash);
secret_entry!(ApiKey, key_hash);
secret_entry!(Session, token_hash);

impl Keyed<CourierId> for Courier {
    fn key(&self) -> &CourierId {
        &self.id
    }
}

impl Keyed<DeliveryId> for Delivery {
    fn key(&self) -> &DeliveryId {
        &self.id
    }
}

impl Keyed<GeofenceId> for Geofence {
    fn key(&self) -> &GeofenceId {
        &self.id
    }
}
