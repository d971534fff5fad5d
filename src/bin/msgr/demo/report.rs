//! Figures as a table and as JSON.

use std::fmt::Write as _;

use super::load::{Figures, Load};
use crate::json::quoted;

/// A line of the table.
pub(super) struct Line {
    pub(super) load: Load,
    pub(super) figures: Figures,
}

impl Line {
    /// What went wrong, if anything did.
    pub(super) fn trouble(&self) -> Option<String> {
        let error = self.figures.first_error.as_ref()?;
        Some(format!("{}: {error}", self.load))
    }

    fn per_second(&self) -> f64 {
        self.figures.latency.len() as f64 / self.figures.time.as_secs_f64()
    }

    fn mib_per_second(&self) -> f64 {
        self.per_second() * f64::from(self.load.size) / f64::from(1 << 20)
    }

    /// Microseconds that this part of the requests took at most.
    fn latency(&self, quantile: f64) -> f64 {
        self.figures.latency.value_at_quantile(quantile) as f64 / 1e3
    }

    fn cpu_per_message(&self) -> Option<f64> {
        let messages = self.figures.latency.len();
        let cpu = self.figures.cpu.filter(|_| messages > 0)?;
        Some(cpu.as_secs_f64() * 1e6 / messages as f64)
    }
}

/// The table; with the memory if there is only one line, which is then a soak.
pub(super) fn table(lines: &[Line]) -> String {
    let mut out = format!(
        "{:<8} {:>8} {:>5} {:>5} {:>11} {:>9} {:>9} {:>9} {:>10}\n",
        "driver", "size", "depth", "conns", "messages/s", "MiB/s", "p50 µs", "p99 µs", "CPU µs/msg"
    );
    for line in lines {
        let Load {
            driver,
            size,
            depth,
            connections,
            ..
        } = &line.load;
        let (rate, mib, p50, p99) = (
            line.per_second(),
            line.mib_per_second(),
            line.latency(0.5),
            line.latency(0.99),
        );
        let cpu = line
            .cpu_per_message()
            .map_or("-".into(), |cpu| format!("{cpu:.1}"));
        let size = bytes(*size);
        let _ = writeln!(
            out,
            "{driver:<8} {size:>8} {depth:>5} {connections:>5} {rate:>11.0} {mib:>9.1} {p50:>9.1} \
             {p99:>9.1} {cpu:>10}"
        );
    }
    out += "A message is a request of that size and its empty answer; CPU time is that of both \
            sides.\n";
    if let [Line { figures, .. }] = lines {
        let (count, seconds) = (figures.latency.len(), figures.time.as_secs_f64());
        let _ = write!(
            out,
            "{count} messages in {seconds:.1} s, {} errors",
            figures.errors
        );
        if let Some((begin, end)) = figures.resident {
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            let _ = write!(
                out,
                "; memory {:.1} MiB, then {:.1} MiB",
                mib(begin),
                mib(end)
            );
        }
        out += ".\n";
    }
    out
}

fn bytes(n: u32) -> String {
    match n {
        n if n >= 1 << 20 && n.is_multiple_of(1 << 20) => format!("{} MiB", n >> 20),
        n if n >= 1 << 10 && n.is_multiple_of(1 << 10) => format!("{} KiB", n >> 10),
        n => format!("{n} B"),
    }
}

/// One object; times in microseconds, memory in bytes, `null` for what the system does not tell.
pub(super) fn json(lines: &[Line]) -> String {
    let lines: Vec<_> = lines.iter().map(json_line).collect();
    format!("{{\"cells\":[\n{}\n]}}\n", lines.join(",\n"))
}

fn json_line(line: &Line) -> String {
    let Line { load, figures } = line;
    let number = |n: Option<f64>| n.map_or("null".into(), |n| format!("{n:.3}"));
    let driver = quoted(load.driver.name());
    let Load {
        size,
        depth,
        connections,
        ..
    } = load;
    let mut out = format!(r#"{{"driver":{driver},"bytes":{size},"depth":{depth}"#);
    let mut member = |name: &str, value: String| {
        let _ = write!(out, r#","{name}":{value}"#);
    };
    member("connections", connections.to_string());
    member("seconds", number(Some(figures.time.as_secs_f64())));
    member("messages", figures.latency.len().to_string());
    member("messages_per_second", number(Some(line.per_second())));
    member("mib_per_second", number(Some(line.mib_per_second())));
    member("p50_us", number(Some(line.latency(0.5))));
    member("p99_us", number(Some(line.latency(0.99))));
    member("cpu_us_per_message", number(line.cpu_per_message()));
    let (begin, end) = figures.resident.unzip();
    member("rss_begin", begin.map_or("null".into(), |n| n.to_string()));
    member("rss_end", end.map_or("null".into(), |n| n.to_string()));
    member("errors", figures.errors.to_string());
    let error = figures.first_error.as_deref();
    member("first_error", error.map_or("null".into(), quoted));
    out.push('}');
    out
}
