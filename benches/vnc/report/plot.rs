//! The plot, as SVG.

use std::path::Path;

use plotters::prelude::*;

use super::{Figures, times};

const WIDTH: u32 = 860;
/// Of each bar, with what is between two.
const HEIGHT: u32 = 24;
const MARGIN: u32 = 60;
/// Left of the bars, for the names.
const NAMES: u32 = 360;
const OURS: RGBColor = RGBColor(0, 110, 140);

/// How many times better ours is: a bar for each figure, on a logarithmic axis.
pub(crate) fn ratios(figures: &Figures, path: &Path) {
    let bars: Vec<(&str, f64)> = figures.ratios().map(|(figure, ratio)| (figure.name, ratio)).collect();
    let most = bars.iter().fold(10.0, |most, (_, ratio)| f64::max(most, *ratio));
    let height = HEIGHT * u32::try_from(bars.len()).unwrap() + MARGIN;
    let area = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    area.fill(&WHITE).unwrap();
    let mut chart = ChartBuilder::on(&area)
        .margin(12)
        .margin_left(NAMES)
        .margin_right(50)
        .caption("How many times better than the usual ways (logarithmic)", ("sans-serif", 17))
        .x_label_area_size(24)
        .build_cartesian_2d((0.5..most).log_scale(), (bars.len() as f64)..0.0)
        .unwrap();
    chart.configure_mesh().disable_y_mesh().light_line_style(TRANSPARENT).x_label_formatter(&|ratio| format!("{ratio}")).draw().unwrap();
    for (place, (name, ratio)) in bars.iter().enumerate() {
        let (top, bottom) = (place as f64 + 0.15, place as f64 + 0.85);
        chart.draw_series([Rectangle::new([(1.0, top), (*ratio, bottom)], OURS.filled())]).unwrap();
        let (edge, middle) = chart.backend_coord(&(ratio.max(1.0), f64::midpoint(top, bottom)));
        area.draw(&Text::new(times(*ratio), (edge + 5, middle - 7), ("sans-serif", 14))).unwrap();
        area.draw(&Text::new(*name, (12, middle - 7), ("sans-serif", 14))).unwrap();
    }
    area.present().unwrap();
}
