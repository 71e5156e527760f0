//! Lays a file and the environment over the defaults, key by key.

use std::path::Path;

use toml::{Table, Value};

use super::ConfigError;

const PREFIX: &str = "WAYLOG__";
/// A table that takes any key: names that are not ours to know.
const OPEN: &str = "stream.kafka.properties";
/// Words further apart than this are no suggestion (Jaro-Winkler similarity).
const NEAREST_AT_LEAST: f64 = 0.7;

/// Lays `over` on `settings`; every key must exist in `defaults`.
pub(super) fn merge_file(
    settings: &mut Table,
    over: Table,
    defaults: &Table,
    path: &Path,
) -> Result<(), ConfigError> {
    merge_table(settings, over, defaults, "", path)
}

fn merge_table(
    settings: &mut Table,
    over: Table,
    defaults: &Table,
    prefix: &str,
    path: &Path,
) -> Result<(), ConfigError> {
    for (key, value) in over {
        let full = if prefix.is_empty() {
            key.clone()
        } else {
            format!("{prefix}.{key}")
        };
        let Some(default) = defaults.get(&key) else {
            let known = defaults.keys().map(String::as_str);
            return Err(unknown(
                &full,
                &key,
                known,
                &format!(" in {}", path.display()),
            ));
        };
        match (default, value) {
            (Value::Table(_), Value::Table(value)) if full == OPEN => {
                if let Some(Value::Table(settings)) = settings.get_mut(&key) {
                    flatten(settings, value, "");
                }
            }
            (Value::Table(default), Value::Table(value)) => {
                if let Some(Value::Table(settings)) = settings.get_mut(&key) {
                    merge_table(settings, value, default, &full, path)?;
                }
            }
            (default, value) if default.same_type(&value) => {
                settings.insert(key, value);
            }
            (default, value) => {
                return Err(ConfigError(format!(
                    "{full} in {} must be of type {}, not {}",
                    path.display(),
                    default.type_str(),
                    value.type_str()
                )));
            }
        }
    }
    Ok(())
}

/// Takes over every key as text; `a.b = 1` is a table in a table for TOML and one key here.
fn flatten(into: &mut Table, from: Table, prefix: &str) {
    for (key, value) in from {
        let name = format!("{prefix}{key}");
        match value {
            Value::Table(inner) => flatten(into, inner, &format!("{name}.")),
            Value::String(text) => drop(into.insert(name, Value::String(text))),
            other => drop(into.insert(name, Value::String(other.to_string()))),
        }
    }
}

/// Lays `WAYLOG__A__B=value` on `settings`, read as the type that `a.b` has in `defaults`.
pub(super) fn merge_environment(
    settings: &mut Table,
    defaults: &Table,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<(), ConfigError> {
    for (name, text) in environment {
        let Some(path) = name.strip_prefix(PREFIX) else {
            continue;
        };
        let mut path: Vec<String> = path.split("__").map(str::to_lowercase).collect();
        if let Some((last, table)) = path.split_last_mut()
            && table.join(".") == OPEN
        {
            *last = last.replace('_', ".");
            insert(settings, &path, Value::String(text));
            continue;
        }
        let Some(default) = lookup(defaults, &path).filter(|v| !v.is_table()) else {
            let known = all_names(defaults, PREFIX.trim_end_matches('_'));
            return Err(unknown(&name, &name, known.iter().map(String::as_str), ""));
        };
        let value = parse_as(default, &text)
            .ok_or_else(|| ConfigError(format!("{name} must be of type {}", default.type_str())))?;
        insert(settings, &path, value);
    }
    Ok(())
}

fn lookup<'a>(table: &'a Table, path: &[String]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    let value = table.get(first)?;
    if rest.is_empty() {
        Some(value)
    } else {
        lookup(value.as_table()?, rest)
    }
}

fn insert(table: &mut Table, path: &[String], value: Value) {
    match path {
        [] => {}
        [last] => {
            table.insert(last.clone(), value);
        }
        [first, rest @ ..] => {
            if let Some(Value::Table(inner)) = table.get_mut(first) {
                insert(inner, rest, value);
            }
        }
    }
}

fn parse_as(default: &Value, text: &str) -> Option<Value> {
    match default {
        Value::String(_) => Some(Value::String(text.to_owned())),
        Value::Integer(_) => text.parse().ok().map(Value::Integer),
        Value::Float(_) => text.parse().ok().map(Value::Float),
        Value::Boolean(_) => text.parse().ok().map(Value::Boolean),
        Value::Array(_) => {
            let parts = text.split(',').map(str::trim).filter(|p| !p.is_empty());
            Some(Value::Array(
                parts.map(|p| Value::String(p.to_owned())).collect(),
            ))
        }
        Value::Datetime(_) | Value::Table(_) => None,
    }
}

fn all_names(table: &Table, prefix: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (key, value) in table {
        let name = format!("{prefix}__{}", key.to_uppercase());
        match value {
            Value::Table(inner) => names.extend(all_names(inner, &name)),
            _ => names.push(name),
        }
    }
    names
}

fn unknown<'a>(
    full: &str,
    word: &str,
    known: impl Iterator<Item = &'a str>,
    place: &str,
) -> ConfigError {
    let nearest = known
        .map(|k| (strsim::jaro_winkler(k, word), k))
        .filter(|(likeness, _)| *likeness >= NEAREST_AT_LEAST)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((_, name)) => ConfigError(format!(
            "unknown setting {full}{place}; did you mean {name}?"
        )),
        None => ConfigError(format!(
            "unknown setting {full}{place}; config/default.toml lists all that exist"
        )),
    }
}
