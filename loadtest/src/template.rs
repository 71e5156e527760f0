//! An upload's bytes, made once: only the token and the fix times change from one to the next.

/// Unix milliseconds have this many digits from 2001 to 2286.
const TIME_DIGITS: usize = 13;
/// Stands where a time will be.
const NO_TIME: &str = "0000000000000";
/// A fix every second, milliseconds.
pub const STEP_MS: u64 = 1000;

/// Where drives begin: the south-west and the north-east corner, degrees.
pub const AREA: ((f64, f64), (f64, f64)) = ((35.9, 14.5), (36.1, 14.7));

/// A request whose bytes are ready but for token and times.
pub struct Template {
    bytes: Vec<u8>,
    token_at: usize,
    token_len: usize,
    times_at: Vec<usize>,
}

impl Template {
    /// A native upload of `fixes` fixes, a drive that `seed` chooses.
    pub fn new(host: &str, token_len: usize, fixes: usize, seed: u64) -> Self {
        let mut body = String::new();
        let mut drive = Drive::new(seed);
        for i in 0..fixes {
            body.push(if i == 0 { '[' } else { ',' });
            drive.write_next(&mut body);
        }
        body.push(']');
        if fixes == 1 {
            body = body[1..body.len() - 1].to_owned();
        }
        let head = format!("POST /v1/positions HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer ");
        let token_at = head.len();
        let request = format!(
            "{head}{}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            "x".repeat(token_len),
            body.len()
        );
        let times_at = request.match_indices(NO_TIME).map(|(at, _)| at).collect();
        Self {
            bytes: request.into_bytes(),
            token_at,
            token_len,
            times_at,
        }
    }

    /// The request of `token` with fixes from `first_ms` on, one every [`STEP_MS`].
    pub fn fill(&mut self, token: &str, first_ms: u64) -> &[u8] {
        self.fill_every(token, first_ms, STEP_MS)
    }

    /// The request of `token` with fixes from `first_ms` on, one every `step_ms`.
    pub fn fill_every(&mut self, token: &str, first_ms: u64, step_ms: u64) -> &[u8] {
        let token = &token.as_bytes()[..self.token_len];
        self.bytes[self.token_at..self.token_at + self.token_len].copy_from_slice(token);
        let mut time = first_ms;
        for at in &self.times_at {
            write_digits(&mut self.bytes[*at..*at + TIME_DIGITS], time);
            time += step_ms;
        }
        &self.bytes
    }

    /// Bytes of a request.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }
}

fn write_digits(out: &mut [u8], mut value: u64) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// A plausible drive: steps of some metres, a slowly turning heading.
struct Drive {
    state: u64,
    lat: f64,
    lon: f64,
    heading_deg: f64,
}

impl Drive {
    fn new(seed: u64) -> Self {
        let mut drive = Self {
            state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            lat: 0.0,
            lon: 0.0,
            heading_deg: 0.0,
        };
        let ((south, west), (north, east)) = AREA;
        drive.lat = south + drive.next() * (north - south);
        drive.lon = west + drive.next() * (east - west);
        drive.heading_deg = drive.next() * 360.0;
        drive
    }

    /// Between 0 and 1 (xorshift64*).
    fn next(&mut self) -> f64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        (self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn write_next(&mut self, out: &mut String) {
        let speed_mps = 4.0 + 10.0 * self.next();
        self.heading_deg = (self.heading_deg + 20.0 * (self.next() - 0.5)).rem_euclid(360.0);
        let step_deg = speed_mps / 111_000.0;
        self.lat += step_deg * self.heading_deg.to_radians().cos();
        self.lon += step_deg * self.heading_deg.to_radians().sin();
        let accuracy_m = 4 + (self.next() * 6.0) as u32;
        let Self {
            lat,
            lon,
            heading_deg,
            ..
        } = self;
        out.push_str(&format!(
            r#"{{"fix_time":{NO_TIME},"lat":{lat:.7},"lon":{lon:.7},"accuracy_m":{accuracy_m},"#
        ));
        out.push_str(&format!(
            r#""speed_mps":{speed_mps:.1},"heading_deg":{heading_deg:.1}}}"#
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_token_and_times_change() {
        let mut template = Template::new("h:1", 5, 3, 7);
        let request = String::from_utf8(template.fill("abcde", 1_700_000_000_000).to_vec());
        let request = request.expect("text");
        assert!(request.contains("Authorization: Bearer abcde\r\n"));
        let (_, body) = request.split_once("\r\n\r\n").expect("a body");
        let fixes: Vec<serde_json::Value> = serde_json::from_str(body).expect("JSON");
        let times: Vec<u64> = fixes
            .iter()
            .filter_map(|f| f["fix_time"].as_u64())
            .collect();
        assert_eq!(
            times,
            [1_700_000_000_000, 1_700_000_001_000, 1_700_000_002_000]
        );
        assert!(request.contains(&format!("Content-Length: {}\r\n", body.len())));
        let one = Template::new("h:1", 5, 1, 7)
            .fill("abcde", 1_700_000_000_000)
            .to_vec();
        assert!(String::from_utf8(one).expect("text").ends_with('}'));
    }
}
