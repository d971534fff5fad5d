//! Real Ceph for integration tests: `.ci/ceph` with a node's life bound to a value, and what a
//! test needs around it: commands that always end, servers that never outlive their test, JSON.
//!
//! Nothing here waits without a deadline, and nothing sleeps.

// Every test binary that includes this file uses a part of it.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The first start may have to install Ceph; a start alone takes half a second.
const START_DEADLINE: Duration = Duration::from_secs(900);
const COMMAND_DEADLINE: Duration = Duration::from_secs(30);
/// The exit code by which `.ci/ceph` says that Ceph cannot be had on this machine.
const UNAVAILABLE: i32 = 77;

/// Why there is no Ceph to test against.
#[derive(Debug)]
pub(crate) struct Skip(pub(crate) String);

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Turns "no Ceph here" into a loud skip, or into a failure where `REQUIRE_CEPH=1` promises one.
pub(crate) fn or_skip<T>(wanted: Result<T, Skip>) -> Option<T> {
    match wanted {
        Ok(had) => Some(had),
        Err(why) if std::env::var("REQUIRE_CEPH").is_ok_and(|value| value == "1") => {
            panic!("REQUIRE_CEPH=1, but there is no Ceph: {why}")
        }
        Err(why) => {
            let name = thread::current().name().unwrap_or("a test").to_owned();
            // Not by eprintln!: libtest would swallow it, and a skip must be seen.
            writeln!(std::io::stderr(), "skipped: {name}: {why}").expect("stderr is open");
            None
        }
    }
}

/// Makes sure that the real `ceph` command is there, without any daemon.
pub(crate) fn client() -> Result<(), Skip> {
    harness(["install"]).map(drop)
}

/// The real `ceph` as it talks to a monitor that is known by its address only, `v1:IP:PORT`.
pub(crate) fn ceph_at(monitor: &str, args: &[&str]) -> Command {
    let mut ceph = Command::new("ceph");
    ceph.args([
        "-c",
        "/dev/null",
        "-k",
        "/dev/null",
        "--auth-client-required=none",
    ])
    .args(["--connect-timeout", "10", "-m", monitor])
    .args(args);
    without_ceph_environment(&mut ceph);
    ceph
}

/// Runs the real `ceph ping` that `command` makes, and again where it loses a race with itself, as
/// that of 16.2.15 does now and then: it crashes before it has said anything (on a busy machine once
/// in 200 times, at a real monitor as well), or forgets an answer that came before it began to wait
/// (once in some 3,000).
pub(crate) fn ceph_ping(command: impl Fn() -> Command, deadline: Duration) -> Finished {
    let mut tries = 0;
    loop {
        let mut ping = command();
        // Not the half minute that it would wait in vain.
        ping.args(["ping", "mon.a", "--mon-client-ping-timeout=5"]);
        let finished = run(ping, deadline);
        let crashed = finished.code.is_none() && finished.elapsed < deadline;
        let forgot = finished.stderr.contains("error calling ping_monitor");
        if !(crashed || forgot) || tries == 3 {
            return finished;
        }
        // If it were ours after all, this would be all that is seen of it.
        println!("ceph ping has to be asked again: {finished}");
        tries += 1;
    }
}

/// What a node is made of; the default is one monitor on msgr v1 without authentication.
#[derive(Debug)]
pub(crate) struct Options {
    /// `none` or `cephx`.
    pub(crate) auth: &'static str,
    /// How many OSDs.
    pub(crate) osds: u32,
    /// `v1`, `v2` or `both`.
    pub(crate) msgr: &'static str,
    /// Modes of msgr v2: `crc`, `secure` or `any`.
    pub(crate) mode: &'static str,
    /// Further lines for `[global]` of ceph.conf, `key = value`.
    pub(crate) set: &'static [&'static str],
}

impl Default for Options {
    fn default() -> Self {
        Self {
            auth: "none",
            osds: 0,
            msgr: "v1",
            mode: "crc",
            set: &[],
        }
    }
}

/// A running node; stopped and removed when dropped, by a guard process if even that fails.
#[derive(Debug)]
pub(crate) struct Cluster {
    dir: PathBuf,
    env: BTreeMap<String, String>,
}

impl Cluster {
    /// Starts a node of its own; whatever goes wrong with a Ceph that is there is a panic.
    pub(crate) fn start(options: &Options) -> Result<Self, Skip> {
        let dir = fresh_dir();
        let mut args = vec!["start".to_owned(), dir.display().to_string()];
        for (option, value) in [
            ("--auth", options.auth.to_owned()),
            ("--osd", options.osds.to_string()),
            ("--msgr", options.msgr.to_owned()),
            ("--mode", options.mode.to_owned()),
            ("--owner", std::process::id().to_string()),
        ] {
            args.extend([option.to_owned(), value]);
        }
        for line in options.set {
            args.extend(["--set".to_owned(), (*line).to_owned()]);
        }
        // Made before the start, so that a start that panics half-way is cleaned up as well.
        let mut cluster = Self {
            dir,
            env: BTreeMap::new(),
        };
        let printed = harness(args)?;
        cluster.env = printed
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        Ok(cluster)
    }

    /// A line of what `.ci/ceph start` printed.
    pub(crate) fn get(&self, key: &str) -> &str {
        match self.env.get(key) {
            Some(value) if !value.is_empty() => value,
            _ => panic!("the node has no {key}: {:?}", self.env),
        }
    }

    /// The cluster's id.
    pub(crate) fn fsid(&self) -> &str {
        self.get("FSID")
    }

    /// The monitor's address as Ceph writes it, `v1:IP:PORT`.
    pub(crate) fn mon_v1(&self) -> String {
        format!("v1:{}", self.get("MON_V1"))
    }

    /// The same of version 2, `v2:IP:PORT`.
    pub(crate) fn mon_v2(&self) -> String {
        format!("v2:{}", self.get("MON_V2"))
    }

    /// The real `ceph` as this cluster's administrator; it has to succeed, and this is its stdout.
    pub(crate) fn ceph(&self, args: &[&str]) -> String {
        let began = Instant::now();
        loop {
            let mut ceph = Command::new("ceph");
            ceph.args(["-c", self.get("CEPH_CONF"), "--connect-timeout", "10"]);
            without_ceph_environment(ceph.args(args));
            let finished = run(ceph, COMMAND_DEADLINE);
            // The real client loses a race with itself now and then: it sends its first command
            // before the map is in, without the cluster's id, and the monitor refuses that.
            let lost = finished
                .stderr
                .contains("problem getting command descriptions");
            if !lost || began.elapsed() > COMMAND_DEADLINE {
                return finished.expect_success().stdout;
            }
        }
    }

    /// The same with `--format json`.
    pub(crate) fn ceph_json(&self, args: &[&str]) -> Json {
        Json::parse(&self.ceph(&[args, &["--format", "json"]].concat()))
    }

    /// Kills an OSD and returns its addresses, which the map goes on naming.
    pub(crate) fn kill_osd(&self, number: u32) -> String {
        let args = [
            "kill-osd",
            &self.dir.display().to_string(),
            &number.to_string(),
        ];
        harness(args)
            .expect("a node that runs needs nothing installed")
            .trim()
            .to_owned()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Empty if Ceph could not be had, or could not even be looked for.
        if std::fs::remove_dir(&self.dir).is_ok() {
            return;
        }
        // No panic in here: it may run because of one, and the guard cleans up in any case.
        let wiped = run(
            harness_command(["wipe".as_ref(), self.dir.as_os_str()]),
            COMMAND_DEADLINE,
        );
        if wiped.code != Some(0) {
            eprintln!("{} is left: {wiped}", self.dir.display());
        }
    }
}

/// Runs `.ci/ceph` and returns its stdout.
fn harness<A: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = A>) -> Result<String, Skip> {
    let script = harness_path();
    if !script.exists() {
        return Err(Skip(format!(
            "no {}: it is not part of the package",
            script.display()
        )));
    }
    let finished = run(harness_command(args), START_DEADLINE);
    if finished.code == Some(UNAVAILABLE) {
        let why = finished
            .stderr
            .trim_end()
            .lines()
            .last()
            .unwrap_or("no reason given");
        return Err(Skip(why.trim_start_matches("ceph: ").to_owned()));
    }
    Ok(finished.expect_success().stdout)
}

fn harness_path() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.ci/ceph"))
}

fn harness_command<A: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new("bash");
    command.arg(harness_path()).args(args);
    command
}

pub(crate) fn without_ceph_environment(command: &mut Command) {
    for variable in ["CEPH_ARGS", "CEPH_CONF", "CEPH_KEYRING"] {
        command.env_remove(variable);
    }
}

/// A new directory with a short path: UNIX sockets live in it.
fn fresh_dir() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let id = std::process::id();
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = PathBuf::from(format!("/tmp/msgr-ceph-{id}-{number}"));
        match std::fs::create_dir(&dir) {
            Ok(()) => return dir,
            // Left by a process that had our number before.
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => panic!("cannot make {}: {e}", dir.display()),
        }
    }
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Finished {
    command: String,
    /// The exit code; none if it was killed, as it is when its deadline passes.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) elapsed: Duration,
}

impl Finished {
    /// Panics, with all that the command said, unless it exited with this code.
    #[track_caller]
    pub(crate) fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// Panics, with all that the command said, unless it exited with 0.
    #[track_caller]
    pub(crate) fn expect_success(self) -> Self {
        self.expect_code(0)
    }
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(f, "exit code {code}")?,
            None => f.write_str("killed")?,
        }
        write!(f, " after {:.1?}: {}", self.elapsed, self.command)?;
        write!(
            f,
            "\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout, self.stderr
        )
    }
}

/// Runs a command to its end, or kills it and its children when the deadline passes.
pub(crate) fn run(mut command: Command, deadline: Duration) -> Finished {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let shown = format!("{command:?}");
    let started = Instant::now();
    let child = command
        .spawn()
        .unwrap_or_else(|e| panic!("cannot run {shown}: {e}"));
    let group = child.id();
    let (done, ended) = mpsc::channel();
    let waiter = thread::spawn(move || {
        let output = child.wait_with_output();
        // The other end is there until this thread has been joined.
        let _ = done.send(());
        output
    });
    if ended.recv_timeout(deadline).is_err() {
        kill_group(group);
    }
    let output = waiter.join().expect("the waiter does not panic");
    let output = output.unwrap_or_else(|e| panic!("cannot wait for {shown}: {e}"));
    Finished {
        command: shown,
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        elapsed: started.elapsed(),
    }
}

/// By the shell, which has `kill` built in; the standard library has none for groups.
fn kill_group(group: u32) {
    let killed = Command::new("sh")
        .args(["-c", &format!("kill -KILL -{group}")])
        .status();
    assert!(killed.is_ok(), "cannot run sh: {killed:?}");
}

/// A process that serves until the test is done with it.
#[derive(Debug)]
pub(crate) struct Server {
    shown: String,
    child: Child,
    lines: mpsc::Receiver<String>,
    stderr: Option<JoinHandle<String>>,
}

impl Server {
    /// Starts it.
    pub(crate) fn spawn(mut command: Command) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let shown = format!("{command:?}");
        let mut child = command
            .spawn()
            .unwrap_or_else(|e| panic!("cannot run {shown}: {e}"));
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut stderr = child.stderr.take().expect("stderr is piped");
        let (send, lines) = mpsc::channel();
        // Both end with the child, whose ends of the pipes nobody else has.
        thread::spawn(move || {
            // Reads on when nobody listens any more, so that the child is never blocked.
            for line in stdout.lines().map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
        let stderr = thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        Self {
            shown,
            child,
            lines,
            stderr: Some(stderr),
        }
    }

    /// The next line it prints; a panic with its stderr if none comes.
    pub(crate) fn line(&mut self, deadline: Duration) -> String {
        match self.lines.recv_timeout(deadline) {
            Ok(line) => line,
            Err(why) => {
                let stderr = self.end();
                panic!(
                    "no line from {} in {deadline:?}: {why}\n{stderr}",
                    self.shown
                )
            }
        }
    }

    /// Its number as a process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it is still running.
    pub(crate) fn is_up(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it and returns what it wrote to stderr.
    pub(crate) fn end(&mut self) -> String {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.stderr
            .take()
            .map(|text| text.join().unwrap_or_default())
            .unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let stderr = self.end();
        if thread::panicking() && !stderr.is_empty() {
            eprintln!("--- stderr of {}\n{stderr}", self.shown);
        }
    }
}

/// A JSON value, as much of it as comparing two programs' answers takes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Self>),
    Object(BTreeMap<String, Self>),
}

impl Json {
    /// Panics, with the text, if that is anything but one JSON value and white space.
    #[track_caller]
    pub(crate) fn parse(text: &str) -> Self {
        let mut rest = text.as_bytes();
        let value = Self::value(&mut rest);
        skip_space(&mut rest);
        match value {
            Some(value) if rest.is_empty() => value,
            _ => panic!("no JSON, at byte {} of:\n{text}", text.len() - rest.len()),
        }
    }

    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        let Self::Text(text) = self else {
            panic!("not a string: {self:?}")
        };
        text
    }

    #[track_caller]
    pub(crate) fn number(&self) -> f64 {
        let Self::Number(number) = self else {
            panic!("not a number: {self:?}")
        };
        *number
    }

    #[track_caller]
    pub(crate) fn list(&self) -> &[Self] {
        let Self::List(list) = self else {
            panic!("not a list: {self:?}")
        };
        list
    }

    fn value(rest: &mut &[u8]) -> Option<Self> {
        skip_space(rest);
        match *rest.first()? {
            b'{' => {
                let mut object = BTreeMap::new();
                Self::items(rest, b'}', |rest| {
                    skip_space(rest);
                    let key = Self::string(rest)?;
                    skip_space(rest);
                    *rest = rest.strip_prefix(b":")?;
                    object.insert(key, Self::value(rest)?);
                    Some(())
                })?;
                Some(Self::Object(object))
            }
            b'[' => {
                let mut list = Vec::new();
                Self::items(rest, b']', |rest| {
                    list.push(Self::value(rest)?);
                    Some(())
                })?;
                Some(Self::List(list))
            }
            b'"' => Self::string(rest).map(Self::Text),
            _ => {
                let end = rest.iter().position(|b| b", \t\r\n]}".contains(b));
                let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
                *rest = after;
                match word {
                    b"null" => Some(Self::Null),
                    b"true" => Some(Self::Bool(true)),
                    b"false" => Some(Self::Bool(false)),
                    _ => std::str::from_utf8(word)
                        .ok()?
                        .parse()
                        .ok()
                        .map(Self::Number),
                }
            }
        }
    }

    /// What stands, separated by commas, between the bracket that comes next and `close`.
    fn items(
        rest: &mut &[u8],
        close: u8,
        mut item: impl FnMut(&mut &[u8]) -> Option<()>,
    ) -> Option<()> {
        *rest = &rest[1..];
        skip_space(rest);
        if rest.first() != Some(&close) {
            loop {
                item(rest)?;
                skip_space(rest);
                match rest.strip_prefix(b",") {
                    Some(after) => *rest = after,
                    None => break,
                }
            }
        }
        *rest = rest.strip_prefix(&[close])?;
        Some(())
    }

    fn string(rest: &mut &[u8]) -> Option<String> {
        *rest = rest.strip_prefix(b"\"")?;
        let mut text = Vec::new();
        loop {
            let (&byte, after) = rest.split_first()?;
            *rest = after;
            match byte {
                b'"' => return String::from_utf8(text).ok(),
                b'\\' => {
                    let (&escaped, after) = rest.split_first()?;
                    *rest = after;
                    match escaped {
                        b'n' => text.push(b'\n'),
                        b'r' => text.push(b'\r'),
                        b't' => text.push(b'\t'),
                        b'b' => text.push(8),
                        b'f' => text.push(12),
                        b'u' => {
                            let (digits, after) = rest.split_at_checked(4)?;
                            *rest = after;
                            let code = std::str::from_utf8(digits).ok()?;
                            // No surrogate pairs: Ceph escapes control characters only.
                            let c = char::from_u32(u32::from_str_radix(code, 16).ok()?)?;
                            text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                        }
                        b'"' | b'\\' | b'/' => text.push(escaped),
                        _ => return None,
                    }
                }
                _ => text.push(byte),
            }
        }
    }
}

impl std::ops::Index<&str> for Json {
    type Output = Self;

    #[track_caller]
    fn index(&self, key: &str) -> &Self {
        match self {
            Self::Object(object) if object.contains_key(key) => &object[key],
            _ => panic!("no member {key:?} in {self:?}"),
        }
    }
}

fn skip_space(rest: &mut &[u8]) {
    *rest = rest.trim_ascii_start();
}
