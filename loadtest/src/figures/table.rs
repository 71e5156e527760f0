//! The table of `README.md`, between its two marks.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use super::list::{ALL, Item};
use super::read;
use crate::report::shown;

const BEGIN: &str = "<!-- figures: written by `loadtest figures` -->";
const END: &str = "<!-- end of figures -->";

/// Writes the table anew from the results that are there.
pub fn rewrite(readme: &Path, results: &Path) -> anyhow::Result<()> {
    let text =
        std::fs::read_to_string(readme).with_context(|| format!("read {}", readme.display()))?;
    let (before, rest) = text
        .split_once(BEGIN)
        .with_context(|| format!("{} has no mark {BEGIN}", readme.display()))?;
    let (_, after) = rest
        .split_once(END)
        .with_context(|| format!("{} has no mark {END}", readme.display()))?;
    let table = table(results)?;
    let text = format!("{before}{BEGIN}\n\n{table}\n{END}{after}");
    std::fs::write(readme, text).with_context(|| format!("write {}", readme.display()))
}

fn table(results: &Path) -> anyhow::Result<String> {
    let mut rows = String::from(
        "| server | command | date | figure: median (least–most of the runs) |\n| --- | --- | --- | --- |\n",
    );
    let mut peers = String::new();
    let mut machines: Vec<String> = Vec::new();
    for item in ALL {
        let Some(result) = read(results, item)? else {
            continue;
        };
        let word = |name: &str| result[name].as_str().unwrap_or_default().to_owned();
        if let Some(machine) = machine(&result).filter(|m| !machines.contains(m)) {
            machines.push(machine);
        }
        if let Some(of_peers) = result["peers"].as_array() {
            write_peers(
                &mut peers,
                &word("title"),
                &word("command"),
                &word("date"),
                of_peers,
            )?;
            continue;
        }
        writeln!(
            rows,
            "| {} | `{}` | {} | {} |",
            word("server"),
            word("command"),
            word("date"),
            figures(item, &result)
        )?;
    }
    Ok(format!("{}.\n\n{rows}{peers}", machines.join("; ")))
}

fn machine(result: &Value) -> Option<String> {
    let machine = result.get("machine").or_else(|| {
        let first = result["peers"].as_array()?.first()?;
        first["report"].get("machine")
    })?;
    Some(format!(
        "{} cores of {}, {:.0} GiB, Linux {}",
        machine["cores"].as_u64()?,
        machine["cpu"].as_str()?,
        machine["memory_gib"].as_f64()?,
        machine["kernel"].as_str()?
    ))
}

fn figures(item: &Item, result: &Value) -> String {
    let parts = item.shown.iter().filter_map(|(name, words)| {
        let figure = figure(result, name)?;
        Some(format!("{} {words}", spread(figure)?))
    });
    parts.collect::<Vec<_>>().join("; ")
}

fn figure<'a>(result: &'a Value, name: &str) -> Option<&'a Value> {
    let figures = result["figures"].as_array()?;
    figures.iter().find(|f| f["name"] == name)
}

/// Median and spread; of runs that differ by intent, each.
fn spread(figure: &Value) -> Option<String> {
    let runs = figure["runs"].as_array()?;
    let value = |name: &str| figure[name].as_f64().map(shown);
    match runs.len() {
        1 => value("median"),
        2 => {
            let each = runs.iter().filter_map(Value::as_f64).map(shown);
            Some(each.collect::<Vec<_>>().join(" and "))
        }
        _ => Some(format!(
            "{} ({}–{})",
            value("median")?,
            value("min")?,
            value("max")?
        )),
    }
}

fn write_peers(
    out: &mut String,
    title: &str,
    command: &str,
    date: &str,
    peers: &[Value],
) -> std::fmt::Result {
    writeln!(out, "\n{title} (`{command}`, {date}):\n")?;
    writeln!(
        out,
        "| way | durable when answered | fixes/s | p50 ms | p99 ms | server CPU a fix, µs |\n| --- | --- | --- | --- | --- | --- |"
    )?;
    for peer in peers {
        let of = |name| {
            let found = figure(&peer["report"], name).and_then(spread);
            found.unwrap_or_else(|| "–".to_owned())
        };
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} |",
            peer["name"].as_str().unwrap_or_default(),
            peer["durability"].as_str().unwrap_or_default(),
            of("fixes a second"),
            of("acknowledged p50"),
            of("acknowledged p99"),
            of("server CPU a fix"),
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_table_stands_between_its_marks_and_nothing_else_changes() {
        let home = tempfile::tempdir().expect("a folder");
        let (readme, results) = (home.path().join("README.md"), home.path().join("results"));
        std::fs::create_dir(&results).expect("a folder");
        std::fs::write(&readme, format!("a\n{BEGIN}\nold\n{END}\nz\n")).expect("written");
        let result = json!({
            "command": "loadtest sink", "server": "its own", "date": "2026-11-29",
            "machine": {"cores": 2, "cpu": "X", "memory_gib": 4.0, "kernel": "6"},
            "figures": [{"name": "fixes into Postgres", "unit": "1/s", "median": 1234567.0,
                "min": 1.0, "max": 2.0, "runs": [1.0, 2.0, 1234567.0]}],
        });
        std::fs::write(results.join("sink.json"), result.to_string()).expect("written");
        rewrite(&readme, &results).expect("rewritten");
        let text = std::fs::read_to_string(&readme).expect("read");
        assert!(text.starts_with("a\n") && text.ends_with("\nz\n") && !text.contains("old"));
        assert!(text.contains("2 cores of X, 4 GiB, Linux 6."));
        assert!(text.contains(
            "| its own | `loadtest sink` | 2026-11-29 | 1,234,567 (1.00–2.00) fixes/s into Postgres |"
        ));
        rewrite(&readme, &results).expect("again");
        assert_eq!(std::fs::read_to_string(&readme).expect("read"), text);
    }
}
