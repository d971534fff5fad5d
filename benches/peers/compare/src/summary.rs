//! What the records say: medians, ratios, and who lost against whom.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use common::Figures;

use crate::records::{Record, Rounds, median, ratio};
use crate::shape::Shape;
use crate::table::Table;

/// What there is to know of one program and one shape.
#[derive(Default)]
struct Cell {
    /// Microseconds of both processes for one operation.
    cpu: Rounds,
    /// Operations in a second.
    rate: Rounds,
    figures: Vec<Figures>,
}

pub(crate) struct Summary {
    pub(crate) shapes: Vec<Shape>,
    /// In the order in which they came first.
    pub(crate) programs: Vec<String>,
    cells: BTreeMap<(Shape, String), Cell>,
    floor: String,
}

/// Whether it is a `msgr`.
fn is_ours(program: &str) -> bool {
    let variant = program.rsplit(':').next().unwrap_or(program);
    variant.starts_with("v1") || variant.starts_with("v2")
}

/// Whether it encrypts; those that do are not compared with those that do not.
fn is_secure(program: &str) -> bool {
    program.contains("secure") || program.contains("tls")
}

impl Summary {
    pub(crate) fn new(records: &[Record], floor: &str) -> Self {
        let mut this = Self {
            shapes: Vec::new(),
            programs: Vec::new(),
            cells: BTreeMap::new(),
            floor: floor.to_owned(),
        };
        for record in records {
            if !this.shapes.contains(&record.shape) {
                this.shapes.push(record.shape);
            }
            if !this.programs.contains(&record.program) {
                this.programs.push(record.program.clone());
            }
            let key = (record.shape, record.program.clone());
            let cell = this.cells.entry(key).or_default();
            let round = (record.run, record.round);
            cell.cpu.extend(record.cpu().map(|cpu| (round, cpu)));
            cell.rate.extend(record.rate().map(|rate| (round, rate)));
            cell.figures.extend(record.figures);
        }
        this
    }

    /// The median of something that was measured.
    pub(crate) fn median(
        &self,
        shape: Shape,
        program: &str,
        what: impl Fn(&Figures) -> Option<f64>,
    ) -> Option<f64> {
        median(
            self.cell(shape, program)?
                .figures
                .iter()
                .filter_map(what)
                .collect(),
        )
    }

    /// How the CPU time of one compares with that of another; on two cores, how the rate of the
    /// other compares with that of the one. Below 1 the one is better.
    fn against(&self, shape: Shape, one: &str, other: &str) -> Option<f64> {
        let (one, other) = (self.cell(shape, one)?, self.cell(shape, other)?);
        match shape.cores {
            1 => ratio(&one.cpu, &other.cpu),
            _ => ratio(&other.rate, &one.rate),
        }
    }

    fn cell(&self, shape: Shape, program: &str) -> Option<&Cell> {
        self.cells.get(&(shape, program.to_owned()))
    }

    fn rounds(&self) -> usize {
        let rounds = self.cells.values().map(|cell| cell.figures.len());
        rounds.max().unwrap_or(0)
    }

    pub(crate) fn tables(&self) -> Vec<Table> {
        vec![
            self.figures(),
            self.rates(),
            self.latencies(),
            self.rivalry(),
        ]
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = String::new();
        for table in self.tables() {
            if !table.rows.is_empty() {
                let _ = writeln!(text, "{}", table.markdown());
            }
        }
        for line in self.losses() {
            let _ = writeln!(text, "- {line}");
        }
        text
    }

    /// A row for each program.
    fn by_program(&self, title: String, cell: impl Fn(Shape, &str) -> Option<String>) -> Table {
        let mut head = vec!["program".to_owned()];
        head.extend(self.shapes.iter().map(Shape::to_string));
        let row = |program: &String| {
            let cells = self.shapes.iter();
            let cells = cells.map(|shape| cell(*shape, program).unwrap_or("–".to_owned()));
            [program.clone()].into_iter().chain(cells).collect()
        };
        let rows = self.programs.iter().map(row).collect();
        Table { title, head, rows }
    }

    fn figures(&self) -> Table {
        let title = format!(
            "CPU µs per operation of both processes, @2 with operations per second before it; \
             medians of up to {} rounds (in brackets the ratio to {}: CPU; @2 rate)",
            self.rounds(),
            self.floor
        );
        self.by_program(title, |shape, program| {
            let cpu = self.median(shape, program, cpu)?;
            let rate = self.median(shape, program, |figures| Some(figures.ops_per_s))?;
            let cells = (self.cell(shape, program)?, self.cell(shape, &self.floor));
            let beside = cells.1.and_then(|floor| match shape.cores {
                1 => ratio(&cells.0.cpu, &floor.cpu),
                _ => ratio(&cells.0.rate, &floor.rate),
            });
            let beside = beside.map_or(String::new(), |ratio| format!(" ({})", short(ratio)));
            Some(match shape.cores {
                1 => format!("{}{beside}", short(cpu)),
                _ => format!("{}{beside}, {}", count(rate), short(cpu)),
            })
        })
    }

    /// What the kernel does in threads of its own is no CPU time of the processes, but it is in the
    /// rate if there is one core.
    fn rates(&self) -> Table {
        let title = format!(
            "Operations per second; medians (in brackets the ratio to {})",
            self.floor
        );
        self.by_program(title, |shape, program| {
            let rate = self.median(shape, program, |figures| Some(figures.ops_per_s))?;
            let one = self.cell(shape, program)?;
            let floor = self.cell(shape, &self.floor);
            let beside = floor.and_then(|floor| ratio(&one.rate, &floor.rate));
            let beside = beside.map_or(String::new(), |ratio| format!(" ({})", short(ratio)));
            Some(format!("{}{beside}", count(rate)))
        })
    }

    fn latencies(&self) -> Table {
        let title = "Latency in µs: p50 / p99 / p99.9, medians of the rounds".to_owned();
        self.by_program(title, |shape, program| {
            let quantiles = [
                self.median(shape, program, |figures| figures.p50_us)?,
                self.median(shape, program, |figures| figures.p99_us)?,
                self.median(shape, program, |figures| figures.p999_us)?,
            ];
            Some(quantiles.map(short).join(" / "))
        })
    }

    /// Who of ours meets whom.
    fn pairs(&self) -> impl Iterator<Item = (&String, &String)> {
        let ours = self.programs.iter().filter(|program| is_ours(program));
        ours.flat_map(|one| {
            let others = self.programs.iter().filter(|program| !is_ours(program));
            let others = others.filter(|other| is_secure(one) == is_secure(other));
            others.map(move |other| (one, other))
        })
    }

    fn rivalry(&self) -> Table {
        let mut head = vec!["ours / other".to_owned()];
        head.extend(self.shapes.iter().map(Shape::to_string));
        let met = |(one, other): &(&String, &String)| {
            let mut shapes = self.shapes.iter();
            shapes.any(|shape| self.against(*shape, one, other).is_some())
        };
        let row = |(one, other): (&String, &String)| {
            let cells = self.shapes.iter().map(|shape| {
                let ratio = self.against(*shape, one, other);
                ratio.map_or("–".to_owned(), |ratio| match ratio {
                    1.0.. => format!("**{}**", short(ratio)),
                    _ => short(ratio),
                })
            });
            let name = format!("{one} / {other}");
            [name].into_iter().chain(cells).collect()
        };
        Table {
            title:
                "Ours against others: ratio of CPU per operation, @2 of the time per operation; \
                    medians of the ratios within a round, bold where we lose"
                    .to_owned(),
            head,
            rows: self.pairs().filter(met).map(row).collect(),
        }
    }

    /// Where we need more than a rival; the floor is none.
    pub(crate) fn losses(&self) -> Vec<String> {
        let rivals = self.pairs().filter(|(_, other)| **other != self.floor);
        let met = rivals.flat_map(|(one, other)| {
            let shapes = self.shapes.iter();
            shapes.filter_map(move |shape| {
                Some((one, other, shape, self.against(*shape, one, other)?))
            })
        });
        let lost = met.filter(|(.., ratio)| *ratio >= 1.0);
        lost.map(|(one, other, shape, ratio)| {
            let of = if shape.cores == 1 {
                "the CPU time"
            } else {
                "the time"
            };
            format!(
                "Lost: {one} needs {}× {of} of {other} at {shape}",
                short(ratio)
            )
        })
        .collect()
    }
}

/// Microseconds of both processes for one operation.
pub(crate) fn cpu(figures: &Figures) -> Option<f64> {
    Some(figures.client_cpu_us_per_op + figures.server_cpu_us_per_op?)
}

/// With as many digits as mean something.
fn short(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn count(value: f64) -> String {
    match value {
        1e6.. => format!("{:.2} M", value / 1e6),
        1e4.. => format!("{:.0} k", value / 1e3),
        _ => format!("{value:.0}"),
    }
}
