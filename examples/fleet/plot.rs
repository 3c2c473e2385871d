//! Plots of the results, as SVG.

use std::path::Path;

use anyhow::{Context as _, anyhow};
use plotters::prelude::*;

use crate::{
    report::Result,
    story::{Measured, Part},
};

const SIZE: (u32, u32) = (860, 480);
const COLOURS: [RGBColor; 6] = [
    RGBColor(31, 119, 180),
    RGBColor(214, 90, 20),
    RGBColor(44, 140, 60),
    RGBColor(148, 80, 170),
    RGBColor(120, 110, 20),
    RGBColor(90, 90, 90),
];

/// How many percent of the routers have come through a part, against the time since it began: one line for each
/// number of routers.
pub(crate) fn progress(path: &Path, title: &str, part: Part, results: &[Result]) -> anyhow::Result<()> {
    let longest = results
        .iter()
        .map(|result| result.part(part).time().max / 1000.0)
        .fold(1.0, f64::max);
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    let draw = || -> std::result::Result<(), Box<dyn std::error::Error>> {
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(50)
            .build_cartesian_2d(0.0..longest * 1.05, 0.0..100.0)?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_desc("seconds")
            .y_desc("percent of routers")
            .draw()?;
        for (result, colour) in results.iter().zip(COLOURS.iter().cycle()) {
            let points = steps(result.part(part));
            chart
                .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
                .label(format!("{} routers", result.routers))
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .border_style(BLACK)
            .background_style(WHITE)
            .draw()?;
        area.present()?;
        Ok(())
    };
    draw()
        .map_err(|error| anyhow!("{error}"))
        .with_context(|| path.display().to_string())
}

/// Seconds and percent, once for each percent: a line of a thousand points says no more.
#[expect(clippy::cast_precision_loss, reason = "counts of routers")]
fn steps(measured: &Measured) -> Vec<(f64, f64)> {
    let mut times = measured.times.clone();
    times.sort_by(f64::total_cmp);
    let all = measured.routers.max(1) as f64;
    let every = times.len().div_ceil(200).max(1);
    let last = times.len().saturating_sub(1);
    (times.iter().enumerate())
        .filter(|(at, _)| at % every == 0 || *at == last)
        .map(|(at, ms)| (ms / 1000.0, (at + 1) as f64 * 100.0 / all))
        .collect()
}

/// The 99th percentiles against the number of routers, both axes logarithmic.
#[expect(clippy::cast_precision_loss, reason = "counts of routers")]
pub(crate) fn growth(path: &Path, title: &str, results: &[Result]) -> anyhow::Result<()> {
    let parts = [Part::Start, Part::Rollover, Part::Failover];
    let seconds = |result: &Result, part| result.part(part).time().p99 / 1000.0;
    let all = || {
        results
            .iter()
            .flat_map(|result| parts.map(|part| seconds(result, part)))
            .filter(|value| *value > 0.0)
    };
    let (least, most) = (all().fold(1.0, f64::min), all().fold(1.0, f64::max));
    let routers = || results.iter().map(|result| result.routers as f64);
    let (fewest, many) = (routers().fold(f64::MAX, f64::min), routers().fold(1.0, f64::max));
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    let draw = || -> std::result::Result<(), Box<dyn std::error::Error>> {
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(60)
            .build_cartesian_2d(
                (fewest * 0.9..many * 1.1).log_scale(),
                (least * 0.8..most * 1.3).log_scale(),
            )?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_desc("routers on the link")
            .y_desc("seconds, 99th percentile")
            .draw()?;
        for (part, colour) in parts.into_iter().zip(COLOURS) {
            let points: Vec<(f64, f64)> = results
                .iter()
                .map(|result| (result.routers as f64, seconds(result, part)))
                .filter(|(_, value)| *value > 0.0)
                .collect();
            chart
                .draw_series(LineSeries::new(points.clone(), colour.stroke_width(2)))?
                .label(part.name())
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
            chart.draw_series(
                points
                    .into_iter()
                    .map(|point| Circle::new(point, 4, colour.filled())),
            )?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .border_style(BLACK)
            .background_style(WHITE)
            .draw()?;
        area.present()?;
        Ok(())
    };
    draw()
        .map_err(|error| anyhow!("{error}"))
        .with_context(|| path.display().to_string())
}
