//! Two OSDs, each a process with the six messengers of a real one; one is killed and comes back.
//!
//! `cargo run --example osd_messengers`
//!
//! What an OSD does with its messengers is in `osd.rs`. This file tells the story, and plays the
//! monitor: it hands out the map that says where everybody is. Exit code 1 if anything that should
//! have happened did not.

mod osd;

use std::error::Error;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How long any single thing may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// An OSD in a process of its own, which is told lines and tells lines.
struct Process {
    number: usize,
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
}

impl Process {
    fn start(number: usize) -> Result<Self, Box<dyn Error>> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["osd", &number.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take().ok_or("stdin is piped")?;
        let stdout = BufReader::new(child.stdout.take().ok_or("stdout is piped")?);
        let (tell, lines) = channel();
        // Ends with the child, which has the other end of the pipe.
        thread::spawn(move || {
            let lines = stdout.lines().map_while(Result::ok);
            lines.map_while(|line| tell.send(line).ok()).for_each(drop);
        });
        Ok(Self {
            number,
            child,
            stdin,
            lines,
        })
    }

    fn tell(&mut self, line: &str) -> Result<(), Box<dyn Error>> {
        Ok(writeln!(self.stdin, "{line}")?)
    }

    /// Repeats what the OSD says, until a line begins like this; returns the rest of it.
    fn expect(&self, start: &str) -> Result<String, Box<dyn Error>> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self
                .lines
                .recv_timeout(left)
                .map_err(|_| format!("osd.{} did not say '{start}'", self.number))?;
            println!("  osd.{}: {line}", self.number);
            if let Some(rest) = line.strip_prefix(start) {
                return Ok(rest.trim().to_owned());
            }
            if line.starts_with("wrong") {
                return Err(line.into());
            }
        }
    }

    /// SIGKILL: it gets no chance to say goodbye.
    fn kill(&mut self) -> Result<(), Box<dyn Error>> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn stop(mut self) -> Result<(), Box<dyn Error>> {
        self.tell("stop")?;
        self.expect("end:")?;
        let status = self.child.wait()?;
        status
            .success()
            .then_some(())
            .ok_or(status.to_string().into())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.kill();
    }
}

fn story() -> Result<(), Box<dyn Error>> {
    println!(
        "Two OSDs start and say where they listen: public, cluster, heartbeats back and front."
    );
    let (mut zero, mut one) = (Process::start(0)?, Process::start(1)?);
    let (at_zero, at_one) = (zero.expect("up")?, one.expect("up")?);
    println!("The map tells each where the other is. Clients' and OSDs' messages, and heartbeats:");
    zero.tell(&format!("map 1 {at_one}"))?;
    one.tell(&format!("map 0 {at_zero}"))?;
    for osd in [&zero, &one] {
        osd.expect("public")?;
        osd.expect("exchanged")?;
    }

    println!("osd.1 is killed. Its sessions stay, without a link, and their messages with them:");
    one.kill()?;
    zero.expect("refused")?;
    zero.expect("no heartbeat")?;

    println!("osd.1 is started again: another process, so another nonce, so other sessions.");
    let mut one = Process::start(1)?;
    let at_one = one.expect("up")?;
    println!("The new map makes osd.0 give up what belonged to the old one, and send it again:");
    zero.tell(&format!("map 1 {at_one}"))?;
    one.tell(&format!("map 0 {at_zero}"))?;
    zero.expect("dropped")?;
    for osd in [&zero, &one] {
        osd.expect("public")?;
        osd.expect("exchanged")?;
    }
    println!("Both stop:");
    zero.stop()?;
    one.stop()
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => story(),
        ["osd", number] => osd::run(number),
        _ => Err("usage: osd_messengers".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("osd_messengers: {error}");
            ExitCode::FAILURE
        }
    }
}
