//! The server's metrics as numbers: the part of Prometheus' text format that our own exporter writes.

use std::collections::BTreeMap;

/// One number with its labels.
#[derive(Debug, Clone, PartialEq)]
struct Sample {
    labels: BTreeMap<String, String>,
    value: f64,
}

/// What `/metrics` answered.
#[derive(Debug, Default)]
pub(super) struct Samples(BTreeMap<String, Vec<Sample>>);

impl Samples {
    /// Reads the answer; lines of another form are passed over.
    pub(super) fn parse(text: &str) -> Self {
        let mut samples: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if let Some((name, sample)) = parse_line(line) {
                samples.entry(name).or_default().push(sample);
            }
        }
        Self(samples)
    }

    /// The only value of `name`, or their sum; `None` if there is none.
    pub(super) fn sum(&self, name: &str) -> Option<f64> {
        let samples = self.0.get(name)?;
        Some(samples.iter().map(|sample| sample.value).sum())
    }

    /// The sum of those values whose `label` begins with `value`.
    pub(super) fn sum_where(&self, name: &str, label: &str, value: &str) -> f64 {
        self.by(name, label)
            .filter(|(text, _)| text.starts_with(value))
            .map(|(_, value)| value)
            .sum()
    }

    /// Values by one of their labels.
    pub(super) fn by<'a>(
        &'a self,
        name: &str,
        label: &'a str,
    ) -> impl Iterator<Item = (&'a str, f64)> + use<'a> {
        let samples = self.0.get(name).map_or(&[][..], Vec::as_slice);
        samples.iter().map(move |sample| {
            (
                sample.labels.get(label).map_or("", String::as_str),
                sample.value,
            )
        })
    }
}

fn parse_line(line: &str) -> Option<(String, Sample)> {
    let (name, rest) = match line.find(['{', ' ']) {
        Some(at) => line.split_at(at),
        None => return None,
    };
    let (labels, value) = match rest.strip_prefix('{') {
        Some(rest) => parse_labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let value = value.split_whitespace().next()?.parse().ok()?;
    Some((name.to_owned(), Sample { labels, value }))
}

/// Labels up to the closing brace, and what follows it.
fn parse_labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at,
                (_, '\\') => value.push(match chars.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, other) => value.push(other),
            }
        };
        labels.insert(name.to_owned(), value);
        rest = &after[end + 1..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_labels_and_values_are_read() {
        let samples = Samples::parse(
            "# TYPE a gauge\na{group=\"x\",topic=\"t\"} 2\na{group=\"y \\\"z\\\"\"} 3.5\nb 7\n\
             c{route=\"/v1/{id}\",status=\"5xx\"} 1e3\n\nnonsense\n",
        );
        assert_eq!(samples.sum("a"), Some(5.5));
        assert_eq!(samples.sum("b"), Some(7.0));
        assert_eq!(samples.sum("d"), None);
        let by: Vec<_> = samples.by("a", "group").collect();
        assert_eq!(by, [("x", 2.0), ("y \"z\"", 3.5)]);
        assert_eq!(samples.sum_where("c", "status", "5"), 1000.0);
        assert_eq!(samples.sum_where("c", "status", "2"), 0.0);
    }
}
