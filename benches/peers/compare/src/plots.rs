//! The plots: CPU time, rate and latencies of each shape, and what more connections change.

use std::error::Error;

use common::Figures;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::shape::Shape;
use crate::summary::{Summary, cpu};

/// Name of the file, title, and the drawing.
type Plot = (String, String, String);

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const WIDTH: u32 = 900;

/// What the bars of a plot are, and their colours.
type Bars = [(&'static str, Figure, RGBColor)];

/// What is taken of a run.
type Figure = fn(&Figures) -> Option<f64>;

const CPU: &Bars = &[
    (
        "client",
        |f| Some(f.client_cpu_us_per_op),
        RGBColor(70, 130, 180),
    ),
    ("server", |f| f.server_cpu_us_per_op, RGBColor(220, 140, 60)),
];
const RATE: &Bars = &[("rate", |f| Some(f.ops_per_s), RGBColor(90, 150, 90))];
const LATENCY: &Bars = &[
    ("p50", |f| f.p50_us, RGBColor(120, 170, 120)),
    ("p99", |f| f.p99_us, RGBColor(220, 180, 70)),
    ("p99.9", |f| f.p999_us, RGBColor(200, 90, 80)),
];

/// Draws all there is to draw.
pub(crate) fn all(summary: &Summary) -> Result<Vec<Plot>> {
    let mut plots = Vec::new();
    for &shape in &summary.shapes {
        let bars = [
            ("cpu", "CPU µs per operation", CPU),
            ("rate", "operations per second", RATE),
            ("latency", "latency, µs", LATENCY),
        ];
        for (name, what, bars) in bars {
            let svg = bar_chart(summary, shape, what, bars)?;
            plots.push((format!("{name}-{shape}"), format!("{shape}: {what}"), svg));
        }
    }
    for shapes in series(summary) {
        let first = shapes[0];
        let base = format!("{}x{}@{}", first.size, first.depth, first.cores);
        let lines: [(&str, &str, Figure); 3] = [
            ("cpu", "CPU µs per operation", cpu),
            ("rate", "operations per second", |f| Some(f.ops_per_s)),
            ("p99", "p99 latency, µs", |f| f.p99_us),
        ];
        for (name, what, figure) in lines {
            let svg = line_chart(summary, &shapes, what, figure)?;
            let title = format!("{base}: {what} by connections");
            plots.push((format!("connections-{name}-{base}"), title, svg));
        }
    }
    Ok(plots)
}

/// Shapes that differ in their connections alone, of which there are three or more.
fn series(summary: &Summary) -> Vec<Vec<Shape>> {
    let mut all: Vec<Vec<Shape>> = Vec::new();
    let mut shapes = summary.shapes.clone();
    shapes.sort_by_key(|shape| shape.connections);
    for shape in shapes {
        let key = |shape: &Shape| (shape.size, shape.depth, shape.cores);
        match all.iter_mut().find(|series| key(&series[0]) == key(&shape)) {
            Some(series) => series.push(shape),
            None => all.push(vec![shape]),
        }
    }
    all.retain(|series| series.len() >= 3);
    all
}

/// A lying bar for each program and figure.
fn bar_chart(summary: &Summary, shape: Shape, what: &str, bars: &Bars) -> Result<String> {
    let measured = |program: &&String| summary.median(shape, program, bars[0].1).is_some();
    let programs: Vec<&String> = summary.programs.iter().filter(measured).collect();
    let value = |i: usize, bar: usize| summary.median(shape, programs[i], bars[bar].1);
    let all = (0..programs.len()).flat_map(|i| (0..bars.len()).map(move |bar| (i, bar)));
    let top = all
        .clone()
        .filter_map(|(i, bar)| value(i, bar))
        .fold(0.0, f64::max);
    let mut svg = String::new();
    let height = 90 + 16 * (programs.len() * (bars.len() + 1)) as u32;
    let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(130)
        .build_cartesian_2d(
            0.0..top * 1.1 + f64::MIN_POSITIVE,
            0.0..programs.len() as f64,
        )?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .x_desc(what)
        .draw()?;
    // The first one on top.
    let lane = |i: usize| (programs.len() - 1 - i) as f64;
    let style = ("sans-serif", 14).into_font().color(&BLACK);
    let style = style.pos(Pos::new(HPos::Right, VPos::Center));
    let names = (0..programs.len()).map(|i| {
        Text::new(
            format!("{} ", programs[i]),
            (0.0, lane(i) + 0.5),
            style.clone(),
        )
    });
    chart.draw_series(names)?;
    let thickness = 0.8 / bars.len() as f64;
    for (bar, (label, _, colour)) in bars.iter().enumerate() {
        let rectangles = (0..programs.len()).filter_map(|i| {
            let from = lane(i) + 0.9 - thickness * bar as f64;
            let corners = [(0.0, from), (value(i, bar)?, from - thickness)];
            Some(Rectangle::new(corners, colour.filled()))
        });
        let colour = *colour;
        chart
            .draw_series(rectangles)?
            .label(*label)
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.filled()));
    }
    if bars.len() > 1 {
        chart
            .configure_series_labels()
            .background_style(WHITE.filled())
            .border_style(BLACK)
            .position(SeriesLabelPosition::UpperRight)
            .draw()?;
    }
    area.present()?;
    drop(chart);
    drop(area);
    Ok(svg)
}

/// A line for each program over the number of connections; both axes are logarithmic.
fn line_chart(summary: &Summary, shapes: &[Shape], what: &str, figure: Figure) -> Result<String> {
    let points = |program: &str| -> Vec<(f64, f64)> {
        let points = shapes.iter().filter_map(|&shape| {
            let value = summary.median(shape, program, figure)?;
            Some((f64::from(shape.connections), value))
        });
        points.collect()
    };
    let all: Vec<f64> = summary
        .programs
        .iter()
        .flat_map(|p| points(p))
        .map(|p| p.1)
        .collect();
    let low = all.iter().copied().fold(f64::INFINITY, f64::min);
    let high = all.iter().copied().fold(0.0, f64::max);
    let last = f64::from(shapes[shapes.len() - 1].connections);
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, (WIDTH, 500)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(
            (1.0..last * 2.0).log_scale(),
            (low * 0.7..high * 1.5).log_scale(),
        )?;
    chart
        .configure_mesh()
        .x_desc("connections")
        .y_desc(what)
        .draw()?;
    for (i, program) in summary.programs.iter().enumerate() {
        let colour = Palette99::pick(i).to_rgba();
        chart
            .draw_series(LineSeries::new(points(program), colour.stroke_width(2)).point_size(3))?
            .label(program)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 12, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.filled())
        .border_style(BLACK)
        .position(SeriesLabelPosition::UpperLeft)
        .draw()?;
    area.present()?;
    drop(chart);
    drop(area);
    Ok(svg)
}
