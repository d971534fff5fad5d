//! One program, one shape: starts a server, runs a client, and ends the server.

use std::io::{self, BufRead as _, BufReader, ErrorKind};
use std::process::{Child, Command, Stdio};

use common::Figures;

use crate::program::Program;
use crate::shape::Shape;

/// What a client may need beyond what it was asked to measure, seconds.
const GRACE: f64 = 30.0;

pub(crate) fn run(
    program: &Program,
    shape: Shape,
    seconds: f64,
    warm_up: f64,
) -> io::Result<Figures> {
    let (server, addr) = Server::start(&program.server, shape)?;
    let limit = (seconds + warm_up + GRACE).to_string();
    let output = Command::new("timeout")
        .args([&limit[..], "taskset", "-c", shape.cpus()])
        .args(&program.client)
        .args([&addr[..], "--json"])
        .args(["--server-pid", &server.0.id().to_string()])
        .args(["--size", &shape.size.to_string()])
        .args(["--depth", &shape.depth.to_string()])
        .args(["--connections", &shape.connections.to_string()])
        .args(["--seconds", &seconds.to_string()])
        .args(["--warm-up", &warm_up.to_string()])
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(wrong(format!("{}: {}", output.status, said.trim())));
    }
    let line = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(line.trim()).map_err(|e| wrong(format!("{e}: {line}")))
}

pub(crate) fn wrong(what: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

/// A server that runs as long as this is there.
struct Server(Child);

impl Server {
    /// Returns it and where it listens.
    fn start(words: &[String], shape: Shape) -> io::Result<(Self, String)> {
        // taskset becomes the server, so its process is the server's.
        let mut child = Command::new("taskset")
            .args(["-c", shape.cpus()])
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let out = child.stdout.take().expect("a pipe");
        let this = Self(child);
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        match line.trim().strip_prefix("listening ") {
            Some(addr) => Ok((this, addr.to_owned())),
            None => Err(wrong(format!("the server said {line:?}"))),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Whatever it holds, it is of no use any more.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
