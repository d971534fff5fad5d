//! What was measured, one line of JSON each.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::Path;

use common::Figures;
use serde::{Deserialize, Serialize};

use crate::cell::wrong;
use crate::shape::Shape;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Which start of this program, as seconds since 1970.
    pub(crate) run: u64,
    pub(crate) round: u32,
    pub(crate) shape: Shape,
    pub(crate) program: String,
    /// None if it failed.
    pub(crate) figures: Option<Figures>,
}

impl Record {
    /// Microseconds of both processes for one operation.
    pub(crate) fn cpu(&self) -> Option<f64> {
        let figures = self.figures?;
        Some(figures.client_cpu_us_per_op + figures.server_cpu_us_per_op?)
    }

    pub(crate) fn rate(&self) -> Option<f64> {
        self.figures.map(|figures| figures.ops_per_s)
    }
}

pub(crate) struct Store {
    file: Option<File>,
    records: Vec<Record>,
}

impl Store {
    /// Reads what is in a folder, and adds to it.
    pub(crate) fn open(dir: Option<&Path>) -> io::Result<Self> {
        let Some(dir) = dir else {
            return Ok(Self {
                file: None,
                records: Vec::new(),
            });
        };
        fs::create_dir_all(dir)?;
        let mut options = OpenOptions::new();
        let file = options.read(true).append(true).create(true);
        let file = file.open(dir.join("runs.jsonl"))?;
        let lines = BufReader::new(&file).lines();
        let records =
            lines.map(|line| serde_json::from_str(&line?).map_err(|e| wrong(e.to_string())));
        let records = records.collect::<io::Result<_>>()?;
        Ok(Self {
            file: Some(file),
            records,
        })
    }

    pub(crate) fn add(&mut self, record: Record) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            writeln!(file, "{}", serde_json::to_string(&record)?)?;
        }
        self.records.push(record);
        Ok(())
    }

    pub(crate) fn records(&self) -> &[Record] {
        &self.records
    }
}

/// The middle one, or the mean of the two in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}

/// The values of one program by run and round.
pub(crate) type Rounds = BTreeMap<(u64, u32), f64>;

/// The median of the ratios within the rounds that both took part in.
pub(crate) fn ratio(of: &Rounds, to: &Rounds) -> Option<f64> {
    let ratios = of.iter().filter_map(|(round, a)| Some(a / to.get(round)?));
    median(ratios.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_within_rounds() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
        let a = Rounds::from([((1, 0), 2.0), ((1, 1), 20.0), ((2, 0), 1.0)]);
        let b = Rounds::from([((1, 0), 1.0), ((1, 1), 10.0), ((3, 0), 9.0)]);
        assert_eq!(ratio(&a, &b), Some(2.0));
        assert_eq!(ratio(&a, &Rounds::new()), None);
    }
}
