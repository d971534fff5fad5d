//! Figures of several rounds, by who was measured and what.

use std::fmt;

/// Medians over rounds.
pub(super) struct Table {
    pub(super) title: String,
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<Row>,
    /// What is not in it, and why.
    pub(super) skipped: Vec<String>,
    /// Set for one of a series of tables that differ in the number of sources.
    pub(super) sources: Option<usize>,
}

pub(super) struct Row {
    pub(super) name: String,
    /// One for each column; none where it was not measured.
    pub(super) cells: Vec<Option<Cell>>,
}

pub(super) struct Cell {
    /// Nanoseconds.
    pub(super) median: f64,
    /// The median of the rounds' ratios to the first row: steadier than the figures themselves.
    pub(super) ratio: f64,
}

impl Table {
    /// `rounds` has the figures of each round: of each row in turn, one for each column.
    pub(super) fn new(
        title: impl Into<String>,
        columns: &[&str],
        names: &[&str],
        rounds: &[Vec<Vec<Option<f64>>>],
    ) -> Self {
        let cell = |row: usize, column: usize| {
            let own: Option<Vec<f64>> = rounds.iter().map(|round| round[row][column]).collect();
            let of_base = rounds.iter().map(|round| {
                round[0][column]
                    .zip(round[row][column])
                    .map(|(base, own)| own / base)
            });
            Some(Cell {
                median: median(own?)?,
                ratio: median(of_base.collect::<Option<Vec<f64>>>()?)?,
            })
        };
        let row = |(i, name): (usize, &&str)| Row {
            name: (*name).to_owned(),
            cells: (0..columns.len()).map(|column| cell(i, column)).collect(),
        };
        Self {
            title: title.into(),
            columns: columns.iter().map(|&column| column.to_owned()).collect(),
            rows: names.iter().enumerate().map(row).collect(),
            skipped: Vec::new(),
            sources: None,
        }
    }

    /// A table without rows, that says why.
    pub(super) fn skipped(title: impl Into<String>, why: String) -> Self {
        Self {
            skipped: vec![why],
            ..Self::new(title, &[], &[], &[])
        }
    }
}

/// The middle one, or the lower of two in the middle.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len().checked_sub(1)? / 2).copied()
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        for why in &self.skipped {
            writeln!(f, "skipped: {why}")?;
        }
        if self.rows.is_empty() {
            return Ok(());
        }
        write!(f, "{:>14}", "")?;
        for column in &self.columns {
            write!(f, " {column:>18}")?;
        }
        writeln!(f)?;
        for row in &self.rows {
            write!(f, "{:>14}", row.name)?;
            for cell in &row.cells {
                match cell {
                    Some(cell) => write!(f, " {cell:>18}")?,
                    None => write!(f, " {:>18}", "-")?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = usize::from(self.median < 100.0);
        f.pad(&format!("{:.digits$} x{:<6.2}", self.median, self.ratio))
    }
}

#[cfg(test)]
mod tests {
    // Not by `use`: as a bench this is compiled without tests.
    #[test]
    fn medians_of_figures_and_of_ratios() {
        let rounds: Vec<Vec<Vec<Option<f64>>>> = [(10.0, 30.0), (20.0, 20.0), (40.0, 44.0)]
            .map(|(base, other)| vec![vec![Some(base), None], vec![Some(other), Some(1.0)]])
            .to_vec();
        let table = super::Table::new("t", &["a", "b"], &["base", "other"], &rounds);
        let cell = table.rows[1].cells[0].as_ref().unwrap();
        assert_eq!((cell.median, cell.ratio), (30.0, 1.1));
        assert!(table.rows[0].cells[1].is_none());
    }
}
