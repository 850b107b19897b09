//! The plots, as SVG.

use std::path::Path;

use plotters::{coord::Shift, prelude::*};

use super::Figures;

const SIZE: (u32, u32) = (760, 380);
const SERVERS: [(&str, RGBColor); 4] = [
    ("transport alone", RGBColor(200, 215, 220)),
    ("Outrigger", RGBColor(0, 110, 140)),
    ("typed and diffed", RGBColor(220, 140, 30)),
    ("controller-runtime", RGBColor(130, 130, 130)),
];
/// Of a bar, where its review's place is 1 wide.
const WIDTH: f64 = 0.2;

/// Reviews for each CPU-second: a bar for each server and review, on a logarithmic axis.
pub(crate) fn efficiency(figures: &Figures, path: &Path) {
    let area = sheet(path);
    let names: Vec<&str> = figures.sizes.iter().map(|(name, _)| *name).collect();
    let mut chart = ChartBuilder::on(&area)
        .margin(12)
        .x_label_area_size(32)
        .y_label_area_size(64)
        .caption("Reviews for each CPU-second (logarithmic)", ("sans-serif", 17))
        .build_cartesian_2d(-0.5..2.5, (10.0..100_000.0).log_scale())
        .unwrap();
    let name = |place: &f64| names.iter().enumerate().find(|(n, _)| (position(*n) - place).abs() < 0.01).map_or("", |(_, name)| name);
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .x_labels(5)
        .x_label_formatter(&|place| name(place).to_owned())
        .y_label_formatter(&|value| format!("{value:.0}"))
        .draw()
        .unwrap();
    for (turn, (server, color)) in SERVERS.into_iter().enumerate() {
        let bars = names.iter().enumerate().map(|(n, review)| {
            let left = position(n) + (position(turn) - 2.0) * WIDTH;
            Rectangle::new([(left, 10.0), (left + WIDTH * 0.94, figures.efficiency(server, review))], color.filled())
        });
        chart.draw_series(bars).unwrap().label(server).legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], color.filled()));
    }
    name_the_series(&mut chart, SeriesLabelPosition::UpperRight);
    area.present().unwrap();
}

/// The 99th percentile of the large review by rate: a line for each server.
pub(crate) fn latency(figures: &Figures, path: &Path) {
    let area = sheet(path);
    let mut chart = ChartBuilder::on(&area)
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .caption("99th percentile of the large review (both axes logarithmic)", ("sans-serif", 17))
        .build_cartesian_2d((400.0..6_000.0).log_scale(), (0.1..20_000.0).log_scale())
        .unwrap();
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("reviews due a second")
        .x_label_formatter(&|rate| format!("{rate:.0}"))
        .y_label_formatter(&|value| format!("{value} ms"))
        .draw()
        .unwrap();
    for (server, color) in SERVERS {
        let points: Vec<(f64, f64)> = figures
            .open()
            .filter(|(_, row)| row.server == server && row.review == "large")
            .map(|(rate, row)| (f64::from(rate), row.latencies[1].as_secs_f64() * 1e3))
            .collect();
        chart
            .draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2)))
            .unwrap()
            .label(server)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 14, y)], color.stroke_width(2)));
        chart.draw_series(points.iter().map(|point| Circle::new(*point, 4, color.filled()))).unwrap();
    }
    name_the_series(&mut chart, SeriesLabelPosition::UpperLeft);
    area.present().unwrap();
}

fn name_the_series<'a, X, Y>(chart: &mut ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, Y>>, position: SeriesLabelPosition)
where
    X: Ranged<ValueType = f64>,
    Y: Ranged<ValueType = f64>,
{
    chart.configure_series_labels().position(position).border_style(TRANSPARENT).background_style(WHITE).draw().unwrap();
}

fn sheet(path: &Path) -> DrawingArea<SVGBackend<'_>, Shift> {
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE).unwrap();
    area
}

#[allow(clippy::cast_precision_loss, reason = "one of a few")]
fn position(n: usize) -> f64 {
    n as f64
}
