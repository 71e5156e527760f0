//! Several runs of one measurement: medians with their spread, as a table or as JSON.

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::machine::Machine;

/// A figure of every run.
#[derive(Debug, Clone)]
struct Figure {
    name: &'static str,
    unit: &'static str,
    runs: Vec<f64>,
}

/// How something went over the time of a run.
#[derive(Debug, Clone, Serialize)]
struct Series {
    name: &'static str,
    unit: &'static str,
    /// Seconds since the beginning, and the value then.
    points: Vec<(f64, f64)>,
}

/// Figures of a measurement, in the order in which they are shown.
#[derive(Debug, Clone)]
pub struct Report {
    title: String,
    settings: Map<String, Value>,
    figures: Vec<Figure>,
    series: Vec<Series>,
    /// Runs differ by intent: the table shows each.
    each: bool,
    warnings: Vec<String>,
}

impl Report {
    /// No figures yet; `settings` is what the measurement was asked to do.
    pub fn new(title: impl Into<String>, settings: &impl Serialize) -> Self {
        let settings = serde_json::to_value(settings).ok();
        Self {
            title: title.into(),
            settings: settings
                .and_then(|s| s.as_object().cloned())
                .unwrap_or_default(),
            figures: Vec::new(),
            series: Vec::new(),
            each: false,
            warnings: Vec::new(),
        }
    }

    /// Adds a run's figure.
    pub fn add(&mut self, name: &'static str, unit: &'static str, value: f64) {
        match self.figures.iter_mut().find(|f| f.name == name) {
            Some(figure) => figure.runs.push(value),
            None => self.figures.push(Figure {
                name,
                unit,
                runs: vec![value],
            }),
        }
    }

    /// Adds how something went over time, for a plot: seconds since the beginning, and the value.
    pub fn add_series(&mut self, name: &'static str, unit: &'static str, points: Vec<(f64, f64)>) {
        self.series.push(Series { name, unit, points });
    }

    /// The runs measured different things: the table shows each instead of medians.
    pub fn each_run(&mut self) {
        self.each = true;
    }

    /// Something that whoever reads the figures must know.
    pub fn warn(&mut self, what: impl Into<String>) {
        self.warnings.push(what.into());
    }

    /// Prints it.
    pub fn print(&self, as_json: bool) {
        let machine = Machine::here();
        if as_json {
            println!("{}", self.json(&machine));
            return;
        }
        println!("\n{}", self.title);
        println!("{machine}");
        let settings: Vec<String> = self
            .settings
            .iter()
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        println!("{}\n", settings.join(", "));
        if self.each {
            return self.print_each();
        }
        println!(
            "{:<32} {:>14} {:>14} {:>14}  unit",
            "figure", "median", "min", "max"
        );
        for figure in &self.figures {
            let (median, min, max) = figure.spread();
            println!(
                "{:<32} {:>14} {:>14} {:>14}  {}",
                figure.name,
                shown(median),
                shown(min),
                shown(max),
                figure.unit
            );
        }
        for warning in &self.warnings {
            println!("note: {warning}");
        }
    }

    /// The median of a figure; 0 if it was not measured.
    pub fn median(&self, name: &str) -> f64 {
        let figure = self.figures.iter().find(|f| f.name == name);
        figure.map_or(0.0, |f| f.spread().0)
    }

    /// One run only: the table shows no spread.
    pub fn single(&mut self) {
        self.each = true;
    }

    /// All of it, for programs.
    pub fn to_json(&self) -> Value {
        self.json(&Machine::here())
    }

    fn print_each(&self) {
        for figure in &self.figures {
            let runs: String = figure
                .runs
                .iter()
                .map(|run| format!("{:>14}", shown(*run)))
                .collect();
            println!("{:<32} {runs}  {}", figure.name, figure.unit);
        }
        for warning in &self.warnings {
            println!("note: {warning}");
        }
    }

    fn json(&self, machine: &Machine) -> Value {
        let figures: Vec<Value> = self
            .figures
            .iter()
            .map(|figure| {
                let (median, min, max) = figure.spread();
                json!({
                    "name": figure.name, "unit": figure.unit, "median": median,
                    "min": min, "max": max, "runs": figure.runs,
                })
            })
            .collect();
        json!({
            "title": self.title, "machine": machine, "settings": self.settings,
            "figures": figures, "series": self.series, "notes": self.warnings,
        })
    }
}

impl Figure {
    fn spread(&self) -> (f64, f64, f64) {
        let mut runs = self.runs.clone();
        runs.sort_by(f64::total_cmp);
        let n = runs.len();
        let median = if n % 2 == 1 {
            runs[n / 2]
        } else {
            f64::midpoint(runs[n / 2 - 1], runs[n / 2])
        };
        (median, runs[0], runs[n - 1])
    }
}

/// Three significant digits below a thousand, groups of three from there on.
pub fn shown(value: f64) -> String {
    if value.abs() < 1000.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) && !out.ends_with('-') {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_spread() {
        let mut report = Report::new("t", &json!({}));
        for value in [3.0, 1.0, 2.0] {
            report.add("a", "x/s", value);
        }
        assert_eq!(report.figures[0].spread(), (2.0, 1.0, 3.0));
        assert_eq!(shown(1_234_567.0), "1,234,567");
        assert_eq!(shown(12.345), "12.35");
    }
}
