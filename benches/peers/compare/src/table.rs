//! A table, as Markdown and as HTML.

use std::fmt::Write as _;

pub(crate) struct Table {
    pub(crate) title: String,
    pub(crate) head: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn markdown(&self) -> String {
        let rule = vec!["---".to_owned(); self.head.len()];
        let lines = [&self.head, &rule].into_iter().chain(&self.rows);
        let mut text = format!("### {}\n\n", self.title);
        for cells in lines {
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
        text
    }

    pub(crate) fn html(&self) -> String {
        let row = |cells: &[String], tag: &str| {
            let cell = |text: &String| match text.strip_prefix("**") {
                Some(bold) => format!("<{tag}><b>{}</b></{tag}>", bold.replace("**", "")),
                None => format!("<{tag}>{text}</{tag}>"),
            };
            let cells: String = cells.iter().map(cell).collect();
            format!("<tr>{cells}</tr>\n")
        };
        let rows: String = self.rows.iter().map(|cells| row(cells, "td")).collect();
        let head = row(&self.head, "th");
        format!("<h2>{}</h2>\n<table>\n{head}{rows}</table>\n", self.title)
    }
}
