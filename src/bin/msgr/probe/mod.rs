//! `msgr probe`: what a server says to somebody who cannot prove anything.
//!
//! A plain blocking socket carries the handshake of the library's protocol cores; every read and
//! write has the same deadline. The server's first bytes tell which version it speaks. That a
//! server refuses us is a result, not a failure.

mod report;
mod v1;
mod v2;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use async_messenger::wire::EntityAddr;
use bytes::BytesMut;

use crate::args::{Global, ProbeArgs};
use crate::failure::{Exit, Failure};
use report::Report;

/// How much of what the server says is kept for the report.
const KEPT_MAX: usize = 512;
/// How a banner begins that announces version 2.
const V2_PREFIX: &[u8] = b"ceph v2\n";
/// How each banner begins, whatever the version.
const PREFIX: &[u8] = b"ceph v";

/// Probes a server, and prints what it has found.
pub(crate) fn run(global: &Global, args: &ProbeArgs) -> Result<(), Failure> {
    let mut line = Line::dial(args.addr, global.timeout)?;
    let mut report = Report {
        addr: args.addr,
        connect: line.connected_in,
        ..Report::default()
    };
    let start = line.banner()?;
    report.version = if start.starts_with(V2_PREFIX) { 2 } else { 1 };
    match report.version {
        2 => v2::probe(line, &args.name, global, &mut report)?,
        _ => v1::probe(line, &args.name, global, &mut report)?,
    }
    crate::print(if args.json {
        report.as_json()
    } else {
        report.as_text()
    })
}

/// A connection, with a deadline for all that happens on it.
struct Line {
    socket: TcpStream,
    peer: EntityAddr,
    until: Instant,
    connected_in: Duration,
    /// What has come and was not taken yet.
    rx: BytesMut,
    /// The first bytes that came.
    first: Vec<u8>,
    asked: Option<Instant>,
    /// How long the last answer took; what came before it may have been said unasked.
    rtt: Option<Duration>,
}

impl Line {
    fn dial(peer: EntityAddr, timeout: Duration) -> Result<Self, Failure> {
        let began = Instant::now();
        let Some(sock) = peer.sock else {
            return Err(Failure::new(Exit::Usage, format!("{peer}: no address"), ""));
        };
        let socket = connect(sock, timeout).map_err(|error| {
            let cure = "is a daemon running there? `ceph mon dump` and `ceph osd dump` list them";
            let what = format!("{peer}: connecting: {error}");
            Failure::new(Exit::Unreachable, what, cure)
        })?;
        Ok(Self {
            socket,
            peer,
            until: began + timeout,
            connected_in: began.elapsed(),
            rx: BytesMut::new(),
            first: Vec::new(),
            asked: None,
            rtt: None,
        })
    }

    /// Waits for enough of the server's banner to tell the version; both versions send it first.
    fn banner(&mut self) -> Result<Vec<u8>, Failure> {
        while self.rx.len() < V2_PREFIX.len() && PREFIX.starts_with(clip(&self.rx, PREFIX.len())) {
            if !self.receive("its banner")? {
                let what = format!(
                    "{}: it hung up in its banner, after \"{}\"",
                    self.peer,
                    self.rx.escape_ascii()
                );
                return Err(Failure::new(Exit::Refused, what, stranger()));
            }
        }
        if !self.rx.starts_with(PREFIX) {
            let shown = clip(&self.rx, 40).escape_ascii();
            let what = format!("{}: its banner begins with \"{shown}\"", self.peer);
            return Err(Failure::new(Exit::Refused, what, stranger()));
        }
        Ok(self.rx.to_vec())
    }

    /// Takes more in; false if that was the end.
    fn receive(&mut self, what: &str) -> Result<bool, Failure> {
        let mut buf = [0; 4096];
        loop {
            let left = self.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.late(what));
            }
            self.socket
                .set_read_timeout(Some(left))
                .map_err(|error| self.broken(&error))?;
            match self.socket.read(&mut buf) {
                Ok(n) => {
                    self.rtt = self.asked.take().map_or(self.rtt, |at| Some(at.elapsed()));
                    let room = KEPT_MAX.saturating_sub(self.first.len());
                    self.first.extend_from_slice(&buf[..n.min(room)]);
                    self.rx.extend_from_slice(&buf[..n]);
                    return Ok(n > 0);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    return Err(self.late(what));
                }
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(false),
                Err(error) => return Err(self.broken(&error)),
            }
        }
    }

    /// Sends all of it.
    fn send(&mut self, bytes: &mut BytesMut) -> Result<(), Failure> {
        if bytes.is_empty() {
            return Ok(());
        }
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(self.late("it to read"));
        }
        let sent = self
            .socket
            .set_write_timeout(Some(left))
            .and_then(|()| self.socket.write_all(bytes));
        bytes.clear();
        match sent {
            Ok(()) => {
                self.asked.get_or_insert_with(Instant::now);
                Ok(())
            }
            // What it said before is still to be read, and says more.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(self.broken(&error)),
        }
    }

    fn late(&self, what: &str) -> Failure {
        let what = format!("{}: waiting for {what}: the time is up", self.peer);
        let cure = "check that a msgr server listens there, or wait longer by --timeout";
        Failure::new(Exit::Unreachable, what, cure)
    }

    fn broken(&self, error: &std::io::Error) -> Failure {
        let what = format!("{}: {error}", self.peer);
        Failure::new(Exit::Unreachable, what, "try again")
    }
}

fn connect(sock: SocketAddr, timeout: Duration) -> std::io::Result<TcpStream> {
    let socket = TcpStream::connect_timeout(&sock, timeout)?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

fn clip(bytes: &[u8], len: usize) -> &[u8] {
    &bytes[..bytes.len().min(len)]
}

fn stranger() -> &'static str {
    "that is no msgr server: monitors have port 6789 for v1 and 3300 for v2"
}
