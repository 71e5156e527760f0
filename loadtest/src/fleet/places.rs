//! Where couriers are and what screens look at.

use serde_json::json;

/// Clusters lie this far apart, degrees: a screen that looks at one sees no other.
const APART_DEG: f64 = 0.3;
/// A screen shows this much around the middle of a cluster, degrees: within one cell.
const VIEW_DEG: f64 = 0.001;
/// The area of those who are only known, degrees.
const AREA_DEG: f64 = 1.0;

/// The middle of a cluster, latitude and longitude.
pub fn middle(cluster: usize) -> (f64, f64) {
    let (row, column) = (cluster / 20, cluster % 20);
    (
        20.0 + row as f64 * APART_DEG,
        10.0 + column as f64 * APART_DEG,
    )
}

/// The message that looks at a cluster.
pub fn view_of(cluster: usize) -> String {
    let (lat, lon) = middle(cluster);
    let bbox = [
        lon - VIEW_DEG,
        lat - VIEW_DEG,
        lon + VIEW_DEG,
        lat + VIEW_DEG,
    ];
    json!({ "type": "view", "bbox": bbox, "zoom": 15 }).to_string()
}

/// A city and what lies around it, a square of a degree: most couriers are in the middle.
pub struct Area;

impl Area {
    /// Where the `n`-th is.
    pub fn place(&self, n: usize) -> (f64, f64) {
        // Multiples of the golden ratio and of the square root of two fill a square evenly.
        let x = (n as f64 * 0.618_033_988_749_895).fract() - 0.5;
        let y = (n as f64 * 0.414_213_562_373_095).fract() - 0.5;
        let nearer = |v: f64| v * v.abs() * 2.0;
        (45.0 + nearer(y) * AREA_DEG, 12.0 + nearer(x) * AREA_DEG)
    }
}
