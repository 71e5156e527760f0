//! A courier, as far as other people's screens need to know.

use serde::{Deserialize, Serialize};

use super::CourierId;

/// What a courier goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Vehicle {
    /// Bicycle.
    Bike,
    /// Car.
    Car,
    /// Van.
    Van,
    /// On foot.
    Foot,
}

impl Vehicle {
    /// The word in the API and in SQL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bike => "bike",
            Self::Car => "car",
            Self::Van => "van",
            Self::Foot => "foot",
        }
    }

    /// From the word in the API and in SQL.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Bike, Self::Car, Self::Van, Self::Foot]
            .into_iter()
            .find(|v| v.as_str() == word)
    }
}

/// The unit in which a device's OsmAnd-protocol uploads give speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub enum SpeedUnit {
    /// Knots, as Traccar Client sends.
    #[default]
    #[serde(rename = "kn")]
    Knots,
    /// Metres a second, as OsmAnd sends.
    #[serde(rename = "mps")]
    MetresPerSecond,
    /// Kilometres an hour.
    #[serde(rename = "kmh")]
    KilometresPerHour,
}

impl SpeedUnit {
    /// The word in the API and in SQL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Knots => "kn",
            Self::MetresPerSecond => "mps",
            Self::KilometresPerHour => "kmh",
        }
    }

    /// From the word in the API and in SQL.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Knots, Self::MetresPerSecond, Self::KilometresPerHour]
            .into_iter()
            .find(|u| u.as_str() == word)
    }

    /// One of this unit in metres a second.
    #[must_use]
    pub fn in_mps(self) -> f64 {
        match self {
            Self::Knots => 0.514_444,
            Self::MetresPerSecond => 1.0,
            Self::KilometresPerHour => 1.0 / 3.6,
        }
    }
}

/// A courier. The phone number is not part of it: only dispatch's SQL sees that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Courier {
    /// The caller's own id.
    pub id: CourierId,
    /// Name shown to customers.
    pub name: Option<Box<str>>,
    /// What the courier goes by.
    pub vehicle: Option<Vehicle>,
    /// Free words to filter by.
    pub tags: Box<[Box<str>]>,
    /// Off duty: fixes are answered and counted, not stored.
    pub on_duty: bool,
}
