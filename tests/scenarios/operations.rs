//! What operators get fits the program: every metric that a rule or the dashboard names exists and is
//! set somewhere, and every alert has its section in the runbook.

use std::collections::BTreeSet;
use std::path::PathBuf;

use waylog::telemetry::metrics::{CATALOGUE, Kind};

fn read(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Words of `text` that begin like one of our metrics.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    let part = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    text.split(part)
        .filter(|word| word.starts_with("waylog_"))
        .collect()
}

/// Whether `/metrics` has a series of that name.
fn exists(name: &str) -> bool {
    CATALOGUE.iter().any(|metric| {
        let series = ["_bucket", "_sum", "_count"];
        match metric.kind {
            Kind::Histogram => series
                .iter()
                .any(|suffix| name.strip_suffix(suffix) == Some(metric.name)),
            _ => metric.name == name,
        }
    })
}

#[test]
fn rules_and_dashboard_name_only_metrics_that_exist() {
    for file in [
        "config/prometheus/alerts.yml",
        "config/prometheus/alerts.test.yml",
        "config/grafana/waylog.json",
    ] {
        let text = read(file);
        let named = metrics_in(&text);
        assert!(named.len() > 10, "{file} names {named:?}");
        let unknown: Vec<&str> = named.into_iter().filter(|name| !exists(name)).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
}

#[test]
fn every_metric_of_the_catalogue_is_set_somewhere() {
    let catalogue = read("src/telemetry/metrics.rs");
    let constants = catalogue.lines().filter_map(|line| {
        let (name, rest) = line.trim().split_once(" = \"")?;
        let upper = name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
        (upper && rest.starts_with("waylog_")).then(|| name.to_owned())
    });
    let constants: Vec<String> = constants.collect();
    assert_eq!(constants.len(), CATALOGUE.len());
    let mut sources = String::new();
    let mut folders = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.ends_with("telemetry/metrics.rs") {
                sources += &std::fs::read_to_string(&path).expect("readable");
            }
        }
    }
    let part = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    let words: BTreeSet<&str> = sources.split(part).collect();
    let unset: Vec<&String> = constants
        .iter()
        .filter(|name| !words.contains(name.as_str()))
        .collect();
    assert!(unset.is_empty(), "{unset:?} are never set");
}

#[test]
fn every_alert_has_a_section_and_leads_to_it() {
    let rules = read("config/prometheus/alerts.yml");
    let runbook = read("docs/runbook.md");
    let after = |mark: &str| -> Vec<String> {
        rules
            .lines()
            .filter_map(|line| line.trim().strip_prefix(mark))
            .map(str::to_owned)
            .collect()
    };
    let alerts = after("- alert: ");
    assert!(alerts.len() > 20, "{alerts:?}");
    let addresses = after("runbook_url: ");
    assert_eq!(alerts.len(), addresses.len(), "one for each");
    for (alert, address) in alerts.iter().zip(addresses) {
        let heading = format!("\n### {alert}\n");
        assert!(runbook.contains(&heading), "{heading:?} is missing");
        let wanted = format!("docs/runbook.md#{}", alert.to_lowercase());
        assert_eq!(address, wanted);
    }
    assert_eq!(after("labels: {severity: ").len(), alerts.len());
}

#[test]
fn the_runbook_has_no_section_that_nothing_leads_to() {
    let rules = read("config/prometheus/alerts.yml");
    let findings = read("src/cli/status/finding.rs");
    for line in read("docs/runbook.md").lines() {
        let Some(name) = line.strip_prefix("### Waylog") else {
            continue;
        };
        let alert = rules.contains(&format!("- alert: Waylog{name}\n"));
        let finding = findings.contains(&format!("Self::{name},"));
        assert!(
            alert || finding,
            "Waylog{name} is neither alert nor finding"
        );
    }
}

#[test]
fn every_alert_is_shown_to_fire() {
    let rules = read("config/prometheus/alerts.yml");
    let tests = read("config/prometheus/alerts.test.yml");
    for alert in rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
    {
        let shown = format!("alertname: {alert}\n        exp_alerts:\n          - ");
        assert!(tests.contains(&shown), "no test fires {alert}");
    }
}
