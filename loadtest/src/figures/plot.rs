//! Plots of a result as SVG: how it went over time, and peers as bars.

use std::path::Path;

use anyhow::anyhow;
use plotters::prelude::*;
use serde::Deserialize;
use serde_json::Value;

const SIZE: (u32, u32) = (860, 320);
const LINE: RGBColor = RGBColor(0x0b, 0x6e, 0x8f);
const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);

#[derive(Deserialize)]
struct Series {
    name: String,
    unit: String,
    points: Vec<(f64, f64)>,
}

/// Draws whatever the result holds, as `results/NAME-….svg`.
pub fn draw(results: &Path, name: &str, result: &Value) -> anyhow::Result<()> {
    if let Some(series) = result.get("series") {
        for series in serde_json::from_value::<Vec<Series>>(series.clone())? {
            let file = format!("{name}-{}.svg", series.name.replace(' ', "-"));
            over_time(&results.join(file), &series).map_err(|e| anyhow!("draw {name}: {e}"))?;
        }
    }
    if let Some(peers) = result["peers"].as_array() {
        let bars: Vec<(&str, f64)> = peers
            .iter()
            .filter_map(|peer| {
                let figures = peer["report"]["figures"].as_array()?;
                let figure = figures.iter().find(|f| f["name"] == "fixes a second")?;
                Some((peer["name"].as_str()?, figure["median"].as_f64()?))
            })
            .collect();
        let file = results.join(format!("{name}.svg"));
        as_bars(&file, &bars).map_err(|e| anyhow!("draw {name}: {e}"))?;
    }
    Ok(())
}

type Drawn = Result<(), Box<dyn std::error::Error>>;

fn over_time(file: &Path, series: &Series) -> Drawn {
    let most = |of: fn(&(f64, f64)) -> f64| series.points.iter().map(of).fold(0.0, f64::max);
    let (last_s, highest) = (most(|p| p.0), most(|p| p.1));
    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(
            format!("{}, {}", series.name, series.unit),
            ("sans-serif", 16),
        )
        .margin(12)
        .x_label_area_size(32)
        .y_label_area_size(84)
        .build_cartesian_2d(0.0..last_s.max(1.0), 0.0..(highest * 1.1).max(0.001))?;
    chart
        .configure_mesh()
        .x_desc("seconds")
        .y_label_formatter(&|value: &f64| crate::report::shown(*value))
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .draw()?;
    chart.draw_series(LineSeries::new(
        series.points.iter().copied(),
        LINE.stroke_width(2),
    ))?;
    root.present()?;
    Ok(())
}

fn as_bars(file: &Path, bars: &[(&str, f64)]) -> Drawn {
    let highest = bars.iter().map(|bar| bar.1).fold(1.0, f64::max);
    let row = 34;
    let root = SVGBackend::new(file, (SIZE.0, 50 + row * bars.len() as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    let text = ("sans-serif", 14).into_font();
    root.draw_text("fixes a second", &text.color(&BLACK), (12, 12))?;
    for (i, (name, value)) in bars.iter().enumerate() {
        let top = 40 + row as i32 * i as i32;
        let width = (value / highest * 440.0) as i32;
        root.draw_text(name, &text.color(&BLACK), (12, top + 4))?;
        root.draw(&Rectangle::new(
            [(270, top), (270 + width.max(1), top + 22)],
            LINE.filled(),
        ))?;
        let label = crate::report::shown(*value);
        root.draw_text(&label, &text.color(&BLACK), (278 + width, top + 4))?;
    }
    root.present()?;
    Ok(())
}
