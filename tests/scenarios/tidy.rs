//! The shape of the house: who may import whom, and what no file may hold.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Module, and what it may import beside itself. The leaves (`config`, `telemetry`, `lifecycle`,
/// `clock`) are open to all but `domain`.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    ("cli", &["app", "config", "stream", "roads", "domain"]),
    ("config", &["domain"]),
    ("lifecycle", &[]),
    ("local_postgres", &[]),
    ("telemetry", &[]),
    ("advisory_lock", &[]),
    ("clock", &[]),
    ("domain", &[]),
    ("stream", &[]),
    ("directory", &["domain"]),
    ("access", &["directory", "domain"]),
    ("http", &["access", "directory", "domain"]),
    (
        "ingest",
        &["http", "access", "directory", "stream", "domain"],
    ),
    (
        "live_map",
        &["http", "access", "directory", "stream", "roads", "domain"],
    ),
    (
        "analytics",
        &["http", "access", "directory", "stream", "domain"],
    ),
    (
        "notifications",
        &["http", "access", "directory", "stream", "roads", "domain"],
    ),
    ("roads", &["domain"]),
    ("dispatch", &["http", "access", "directory", "domain"]),
];
const LEAVES: &[&str] = &["config", "telemetry", "lifecycle", "clock", "advisory_lock"];
/// What the pure domain must never touch.
const IMPURE: &[&str] = &[
    "tokio",
    "sqlx",
    "axum",
    "std::fs",
    "std::net",
    "std::time::SystemTime",
    "std::env",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

fn sources() -> Vec<(String, PathBuf, String)> {
    let src = root().join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    assert!(files.len() > 20, "the sources were not found");
    files
        .into_iter()
        .map(|path| {
            let inside = path.strip_prefix(&src).expect("below src");
            let first = inside.components().next().expect("a name").as_os_str();
            let module = first.to_string_lossy().trim_end_matches(".rs").to_owned();
            let text = std::fs::read_to_string(&path).expect("readable");
            (module, path, text)
        })
        .collect()
}

/// Sources that are served, without those of tests.
pub fn served_sources() -> impl Iterator<Item = (PathBuf, String)> {
    let of_tests = |path: &Path| {
        let inside = path.strip_prefix(root()).unwrap_or(path);
        inside.components().any(|part| {
            let name = part.as_os_str().to_string_lossy();
            name == "tests" || name.contains("test")
        })
    };
    let all = sources().into_iter().map(|(_, path, text)| (path, text));
    all.filter(move |(path, _)| !of_tests(path))
}

/// Module names that stand behind `crate::` (or `waylog::` in the binary), outside comments.
fn imports(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in text.lines().map(str::trim).filter(|l| !l.starts_with("//")) {
        for prefix in ["crate::", "waylog::"] {
            for (at, _) in line.match_indices(prefix) {
                let rest = &line[at + prefix.len()..];
                if let Some(group) = rest.strip_prefix('{') {
                    let group = group.split('}').next().unwrap_or_default();
                    found.extend(group.split(',').map(|name| first_word(name.trim())));
                } else {
                    found.insert(first_word(rest));
                }
            }
        }
    }
    found
}

fn first_word(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
        .collect()
}

#[test]
fn modules_import_only_what_the_table_allows() {
    let modules: BTreeSet<&str> = MAY_IMPORT.iter().map(|(m, _)| *m).chain(["app"]).collect();
    let mut wrong = Vec::new();
    for (module, path, text) in sources() {
        if matches!(module.as_str(), "app" | "lib" | "test_support") {
            continue;
        }
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(m, _)| *m == module) else {
            wrong.push(format!(
                "{}: module {module} is not in the table",
                path.display()
            ));
            continue;
        };
        for name in imports(&text) {
            let leaf = LEAVES.contains(&name.as_str()) && module != "domain";
            let known = modules.contains(name.as_str());
            if known && name != module && !leaf && !allowed.contains(&name.as_str()) {
                wrong.push(format!(
                    "{}: {module} may not import {name}",
                    path.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_domain_is_pure() {
    for (module, path, text) in sources() {
        if module == "domain" {
            for word in IMPURE {
                let used = text
                    .lines()
                    .any(|l| !l.trim().starts_with("//") && l.contains(word));
                assert!(!used, "{} uses {word}", path.display());
            }
        }
    }
}

#[test]
fn every_file_says_what_it_owns() {
    for (_, path, text) in sources() {
        assert!(
            text.starts_with("//!"),
            "{} has no module doc",
            path.display()
        );
    }
}

#[test]
fn nothing_is_left_for_later() {
    // Spelled apart, so that this file does not find itself.
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("todo", "!("),
        concat!("db", "g!("),
    ];
    for (_, path, text) in sources() {
        for mark in marks {
            assert!(!text.contains(mark), "{} holds {mark}", path.display());
        }
    }
}
