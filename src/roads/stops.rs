//! Places where deliveries begin and end: food shops and house numbers of the extract.

use serde::{Deserialize, Serialize};

use crate::domain::Position;

/// A place with what people call it.
#[derive(Debug, Clone, PartialEq)]
pub struct Stop {
    /// Where.
    pub position: Position,
    /// Its name or address.
    pub label: Box<str>,
}

/// The places of an extract.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct Stops {
    /// Where goods are fetched: restaurants, fast food, cafés, pharmacies.
    pub shops: Vec<Stop>,
    /// Where goods go: house numbers.
    pub doors: Vec<Stop>,
}

impl Stops {
    /// Takes a node, if it is a shop or a door.
    pub(super) fn take<'a>(
        &mut self,
        position: Position,
        tags: impl Iterator<Item = (&'a str, &'a str)>,
    ) {
        let (mut name, mut street, mut number, mut shop) = (None, None, None, None);
        for (key, value) in tags {
            match key {
                "name" => name = Some(value),
                "addr:street" => street = Some(value),
                "addr:housenumber" => number = Some(value),
                "amenity" if matches!(value, "restaurant" | "fast_food" | "cafe" | "pharmacy") => {
                    shop = Some(value);
                }
                _ => {}
            }
        }
        if let Some(kind) = shop {
            let label = name.map_or_else(|| kind.replace('_', " "), str::to_owned);
            self.shops.push(Stop {
                position,
                label: label.into(),
            });
        } else if let Some(number) = number {
            let label = match street.or(name) {
                Some(street) => format!("{number} {street}"),
                None => format!("No. {number}"),
            };
            self.doors.push(Stop {
                position,
                label: label.into(),
            });
        }
    }
}

/// How stops lie on disk: latitude and longitude in steps of 1e-7°, and the label.
type Stored = [Vec<(i32, i32, Box<str>)>; 2];

impl From<Stops> for Stored {
    fn from(stops: Stops) -> Self {
        [stops.shops, stops.doors].map(|kind| {
            kind.into_iter()
                .map(|s| (s.position.lat_e7(), s.position.lon_e7(), s.label))
                .collect()
        })
    }
}

impl From<Stored> for Stops {
    fn from(stored: Stored) -> Self {
        let [shops, doors] = stored.map(|kind| {
            kind.into_iter()
                .filter_map(|(lat, lon, label)| {
                    let position = Position::from_e7(lat.into(), lon.into()).ok()?;
                    Some(Stop { position, label })
                })
                .collect()
        });
        Self { shops, doors }
    }
}
