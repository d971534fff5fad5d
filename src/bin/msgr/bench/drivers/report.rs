//! The report: one HTML file with the tables, and plots of them as SVG in it.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io, thread};

use plotters::chart::ChartBuilder;
use plotters::coord::Shift;
use plotters::prelude::{
    Circle, DrawingArea, IntoDrawingArea as _, IntoLogRange as _, IntoSegmentedCoord as _,
    LineSeries, PathElement, Rectangle, SVGBackend, SegmentValue, SeriesLabelPosition,
};
use plotters::style::{BLACK, Color as _, Palette as _, Palette99, WHITE};

use super::table::Table;

const SIZE: (u32, u32) = (760, 420);
const STYLE: &str = "body { font-family: sans-serif; max-width: 60em; margin: 2em auto } \
    table { border-collapse: collapse; margin: 1em 0 } \
    td, th { padding: .2em .8em; text-align: right; border-bottom: 1px solid #ccc } \
    svg { max-width: 100%; height: auto }";

type Drawn = Result<(), Box<dyn Error>>;
type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;
/// Which column of a table.
type Column = fn(&Table) -> usize;

/// Where the figures come from, in one line.
pub(super) fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split_once(": "));
    format!(
        "Linux {}, {} processors ({}); {}",
        read("/proc/sys/kernel/osrelease").trim(),
        thread::available_parallelism().map_or(1, usize::from),
        model.map_or("of unknown model", |(_, name)| name),
        std::env::args()
            .skip(1)
            .fold("msgr".to_owned(), |all, word| all + " " + &word),
    )
}

/// Writes the report and says where.
pub(super) fn write(directory: &Path, tables: &[Table]) -> io::Result<PathBuf> {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Event drivers</title>\n\
         <style>{STYLE}</style>\n<h1>Event drivers</h1>\n<p>{}</p>\n\
         <p>Medians of rounds in which all take turns, in nanoseconds; in brackets the ratio to \
         the first row.</p>\n",
        escaped(&machine())
    );
    let plots = plots(tables).map_err(|error| io::Error::other(error.to_string()))?;
    for plot in plots {
        html += &plot;
    }
    for table in tables {
        html += &rows(table);
    }
    fs::create_dir_all(directory)?;
    let path = directory.join("drivers.html");
    fs::write(&path, html)?;
    Ok(path)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

fn rows(table: &Table) -> String {
    let mut html = format!("<h2>{}</h2>\n", escaped(&table.title));
    for why in &table.skipped {
        let _ = writeln!(html, "<p>skipped: {}</p>", escaped(why));
    }
    html += "<table><tr><th></th>";
    for column in &table.columns {
        let _ = write!(html, "<th>{column}</th>");
    }
    html += "</tr>\n";
    for row in &table.rows {
        let _ = write!(html, "<tr><th>{}</th>", row.name);
        for cell in &row.cells {
            match cell {
                Some(cell) => {
                    let _ = write!(html, "<td>{:.1} ({:.2})</td>", cell.median, cell.ratio);
                }
                None => html += "<td>-</td>",
            }
        }
        html += "</tr>\n";
    }
    html + "</table>\n"
}

/// Lines over the number of sources, and bars for what does not depend on it.
fn plots(tables: &[Table]) -> Result<Vec<String>, Box<dyn Error>> {
    let (series, single): (Vec<&Table>, Vec<&Table>) = tables
        .iter()
        .filter(|table| !table.rows.is_empty())
        .partition(|table| table.sources.is_some());
    let mut all = Vec::new();
    // By their place from either end, as there are fewer columns where few are all.
    let columns: [(&str, Column); 5] = [
        ("one active", |_| 0),
        ("32 active", |_| 1),
        ("all active, or as many as there are descriptors", |table| {
            table.columns.len() - 3
        }),
        ("empty wait", |table| table.columns.len() - 2),
        ("close, for each source", |table| table.columns.len() - 1),
    ];
    if !series.is_empty() {
        for (name, column) in columns {
            let title = format!("{name}: ns by the number of sources");
            all.push(drawn(|canvas| lines(canvas, &title, &series, column))?);
        }
    }
    for table in single {
        for column in 0..table.columns.len() {
            all.push(drawn(|canvas| bars(canvas, table, column))?);
        }
    }
    Ok(all)
}

fn drawn(draw: impl FnOnce(&Canvas<'_>) -> Drawn) -> Result<String, Box<dyn Error>> {
    let mut svg = String::new();
    {
        let canvas = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        canvas.fill(&WHITE)?;
        draw(&canvas)?;
        canvas.present()?;
    }
    Ok(svg)
}

/// One place beyond both ends of the figures.
fn range(values: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
    let (low, high) = values.fold((f64::MAX, 1.0_f64), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    low.min(high) / 1.5..high * 1.5
}

fn lines(canvas: &Canvas<'_>, title: &str, tables: &[&Table], column: Column) -> Drawn {
    let points = |name: &str| -> Vec<(f64, f64)> {
        let point = |table: &&Table| {
            let row = table.rows.iter().find(|row| row.name == name)?;
            let cell = row.cells[column(table)].as_ref()?;
            Some((table.sources? as f64, cell.median))
        };
        tables.iter().filter_map(point).collect()
    };
    let mut names: Vec<&str> = Vec::new();
    for row in tables.iter().flat_map(|table| &table.rows) {
        if !names.contains(&row.name.as_str()) {
            names.push(&row.name);
        }
    }
    let all: Vec<(f64, f64)> = names.iter().copied().flat_map(points).collect();
    let mut chart = ChartBuilder::on(canvas)
        .caption(title, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(36)
        .y_label_area_size(70)
        .build_cartesian_2d(
            range(all.iter().map(|point| point.0)).log_scale(),
            range(all.iter().map(|point| point.1)).log_scale(),
        )?;
    chart
        .configure_mesh()
        .x_desc("sources")
        .y_desc("ns")
        .draw()?;
    for (i, name) in names.into_iter().enumerate() {
        let color = Palette99::pick(i);
        chart
            .draw_series(LineSeries::new(points(name), color.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| {
                let color = Palette99::pick(i);
                PathElement::new(vec![(x, y), (x + 16, y)], color.stroke_width(2))
            });
        let dots = points(name).into_iter();
        chart.draw_series(dots.map(|point| Circle::new(point, 3, color.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()?;
    Ok(())
}

fn bars(canvas: &Canvas<'_>, table: &Table, column: usize) -> Drawn {
    let figures: Vec<(&str, f64)> = table
        .rows
        .iter()
        .filter_map(|row| Some((row.name.as_str(), row.cells[column].as_ref()?.median)))
        .collect();
    let high = figures.iter().fold(1.0_f64, |high, bar| high.max(bar.1)) * 1.1;
    let title = format!("{}: {}", table.columns[column], table.title);
    // The first row on top.
    let last = figures.len() as i32 - 1;
    let name = |place: &SegmentValue<i32>| {
        let (SegmentValue::CenterOf(i) | SegmentValue::Exact(i)) = place else {
            return String::new();
        };
        let row = usize::try_from(last - i).ok();
        row.and_then(|row| figures.get(row))
            .map_or(String::new(), |(name, _)| (*name).to_owned())
    };
    let mut chart = ChartBuilder::on(canvas)
        .caption(title, ("sans-serif", 13))
        .margin(10)
        .x_label_area_size(36)
        .y_label_area_size(110)
        .build_cartesian_2d(0.0..high, (0..last).into_segmented())?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(figures.len())
        .y_label_formatter(&name)
        .x_desc("ns")
        .draw()?;
    let bars = figures.iter().enumerate().map(|(row, &(_, value))| {
        let place = last - row as i32;
        let corners = [
            (0.0, SegmentValue::Exact(place)),
            (value, SegmentValue::Exact(place + 1)),
        ];
        let mut bar = Rectangle::new(corners, Palette99::pick(row).filled());
        bar.set_margin(4, 4, 0, 0);
        bar
    });
    chart.draw_series(bars)?;
    Ok(())
}
