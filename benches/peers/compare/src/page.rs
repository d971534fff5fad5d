//! The report: one page with tables and plots, the tables as text, and each plot as a file.

use std::fs;
use std::io;
use std::path::Path;

use crate::cell::wrong;
use crate::plots;
use crate::summary::Summary;

const HEAD: &str = "<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<title>Messengers compared</title>
<style>
body { font: 15px/1.4 sans-serif; margin: 2em; max-width: 75em }
table { border-collapse: collapse }
td, th { border: 1px solid #ccc; padding: .2em .6em; text-align: right }
td:first-child, th:first-child { text-align: left }
b { color: #b00 }
h2 { font-size: 1.05em; margin-top: 2em }
</style>
<h1>Messengers compared</h1>
";

/// Writes `index.html`, `tables.md` and the plots into a folder.
pub(crate) fn write(dir: &Path, summary: &Summary, markdown: &str) -> io::Result<()> {
    fs::write(dir.join("tables.md"), markdown)?;
    let mut page = HEAD.to_owned();
    for table in summary.tables() {
        page += &table.html();
    }
    page += "<h2>Losses</h2>\n<ul>\n";
    for line in summary.losses() {
        page += &format!("<li>{line}</li>\n");
    }
    page += "</ul>\n";
    let plots = plots::all(summary).map_err(|e| wrong(format!("plots: {e}")))?;
    for (name, title, svg) in plots {
        fs::write(dir.join(format!("{name}.svg")), &svg)?;
        page += &format!("<h2>{title}</h2>\n{svg}\n");
    }
    fs::write(dir.join("index.html"), page)
}
