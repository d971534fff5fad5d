//! What was measured, as JSON and for people.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::args::ClientArgs;

/// One measurement.
pub(super) struct Figures {
    /// How long it took.
    pub(super) time: Duration,
    /// How long each request took, in nanoseconds.
    pub(super) latency: Histogram<u64>,
    /// CPU time of the processes; where the system tells it.
    pub(super) client_cpu: Option<Duration>,
    pub(super) server_cpu: Option<Duration>,
}

impl Figures {
    fn ops(&self) -> u64 {
        self.latency.len()
    }

    fn ops_per_second(&self) -> f64 {
        self.ops() as f64 / self.time.as_secs_f64()
    }

    /// Millions of bytes of data in a second.
    fn mb_per_second(&self, size: u32) -> f64 {
        self.ops_per_second() * f64::from(size) / 1e6
    }

    /// Microseconds that this part of the requests took at most.
    fn latency(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1e3
    }

    /// Microseconds of CPU for one request.
    fn per_op(&self, cpu: Option<Duration>) -> Option<f64> {
        let cpu = cpu.filter(|_| self.ops() > 0)?;
        Some(cpu.as_secs_f64() * 1e6 / self.ops() as f64)
    }

    /// One line; times in microseconds, `null` for what is not known.
    pub(super) fn json(&self, args: &ClientArgs) -> String {
        let number = |n: Option<f64>| n.map_or("null".into(), |n| format!("{n:.3}"));
        let members = [
            ("ops", self.ops().to_string()),
            ("seconds", format!("{:.6}", self.time.as_secs_f64())),
            ("ops_per_s", number(Some(self.ops_per_second()))),
            ("mb_per_s", number(Some(self.mb_per_second(args.size)))),
            ("client_cpu_us_per_op", number(self.per_op(self.client_cpu))),
            ("server_cpu_us_per_op", number(self.per_op(self.server_cpu))),
            ("p50_us", number(Some(self.latency(0.5)))),
            ("p99_us", number(Some(self.latency(0.99)))),
            ("p999_us", number(Some(self.latency(0.999)))),
        ];
        let members = members.map(|(name, value)| format!("\"{name}\":{value}"));
        format!("{{{}}}", members.join(","))
    }

    /// A small table.
    pub(super) fn table(&self, args: &ClientArgs) -> String {
        let number = |n: Option<f64>| n.map_or("-".into(), |n| format!("{n:.2}"));
        let ClientArgs {
            size,
            depth,
            connections,
            ..
        } = args;
        let (ops, seconds) = (self.ops(), self.time.as_secs_f64());
        let (rate, mb) = (self.ops_per_second(), self.mb_per_second(*size));
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|quantile| self.latency(quantile));
        let [client, server] =
            [self.client_cpu, self.server_cpu].map(|cpu| number(self.per_op(cpu)));
        format!(
            "load            {size} bytes, depth {depth}, {connections} connections\n\
             requests        {ops} in {seconds:.2} s\n\
             rate            {rate:.0} per second, {mb:.1} MB/s\n\
             latency, µs     {p50:.1} p50, {p99:.1} p99, {p999:.1} p99.9\n\
             CPU, µs/request {client} client, {server} server\n"
        )
    }
}
