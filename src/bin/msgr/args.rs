//! The command line.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_messenger::auth::{Method, Mode};
use async_messenger::mon;
use async_messenger::wire::{AddrType, AddrVec, AuthName, EntityAddr, ParseError};
use async_messenger::{CEPH_CONF_MAX, Config, DriverKind};
use clap::{Args, Parser, Subcommand};

use crate::bench::BenchArgs;
use crate::failure::{Exit, Failure};

/// Speaks msgr, the protocol of Ceph's messenger.
///
/// Exit codes: 0 ok, 1 refused or unhealthy, 2 usage, 3 unreachable, 4 authentication.
#[derive(Debug, Parser)]
#[command(name = "msgr", version)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) task: Task,
}

/// Options of every subcommand.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Event backend, such as epoll or poll [default: $EVENT_DRIVER, or the best one]
    #[arg(long, global = true, value_name = "NAME", value_parser = driver)]
    driver: Option<DriverKind>,

    /// Seconds that a peer may take to answer
    #[arg(long, global = true, value_name = "SECONDS", default_value = "10",
          value_parser = seconds)]
    pub(crate) timeout: Duration,

    /// Take messenger options, monitors, keyring and methods from this ceph.conf
    #[arg(long, global = true, value_name = "FILE")]
    conf: Option<PathBuf>,

    /// Set a messenger option, such as ms_initial_backoff=0.5; more than one may be given
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,

    /// Log what the messenger does to stderr
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Measure two messengers against each other over each event backend
    Demo(DemoArgs),
    /// Ask a monitor for its health and print the answer; needs no authentication
    Ping(PeerArgs),
    /// Find out what a server speaks, offers and refuses; needs no key
    Probe(ProbeArgs),
    /// Print who the monitors are
    MonMap(MonMapArgs),
    /// Have a monitor run a command and print what it gives
    MonCommand(MonCommandArgs),
    /// Answer real clients, as far as they need for `ceph ping` and `ceph -s`
    Serve(ServeArgs),
    /// Measure object requests between two processes, either of which may be Ceph's perf_msgr
    Bench(BenchArgs),
}

/// Where to listen.
#[derive(Clone, Debug)]
pub(crate) struct Own(pub(crate) AddrVec);

/// Where monitors are.
#[derive(Clone, Debug)]
pub(crate) struct Monitors(pub(crate) Vec<AddrVec>);

#[derive(Debug, Args)]
pub(crate) struct PeerArgs {
    /// The monitor, as v1:IP:PORT or v2:IP:PORT, or several with commas between
    /// [default: `mon host` of --conf]
    #[arg(value_name = "ADDR", value_parser = monitors)]
    pub(crate) addr: Option<Monitors>,

    /// Take the key from this keyring
    #[arg(long, value_name = "FILE")]
    pub(crate) keyring: Option<PathBuf>,

    /// Who to be
    #[arg(long, value_name = "TYPE.ID", default_value = "client.admin",
          value_parser = name)]
    pub(crate) name: AuthName,

    /// Accept this mode of msgr v2 only, crc or secure
    #[arg(long, value_name = "MODE", value_parser = mode)]
    pub(crate) mode: Option<Mode>,
}

#[derive(Debug, Args)]
pub(crate) struct ProbeArgs {
    /// The server: a monitor or any other daemon, as IP:PORT, v1:IP:PORT or v2:IP:PORT
    #[arg(value_name = "ADDR", value_parser = anything)]
    pub(crate) addr: EntityAddr,

    /// Who to pretend to be
    #[arg(long, value_name = "TYPE.ID", default_value = "client.admin",
          value_parser = name)]
    pub(crate) name: AuthName,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct MonMapArgs {
    #[command(flatten)]
    pub(crate) peer: PeerArgs,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(allow_missing_positional = true)]
pub(crate) struct MonCommandArgs {
    #[command(flatten)]
    pub(crate) peer: PeerArgs,
    /// The command, such as '{"prefix":"status","format":"json"}'
    #[arg(value_name = "JSON", required = true)]
    pub(crate) command: String,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Where to listen, as v1:IP:PORT, v2:IP:PORT or both: `[v2:IP:PORT,v1:IP:PORT]`; port 0 takes
    /// any free one
    #[arg(value_name = "ADDR", value_parser = own)]
    pub(crate) addr: Own,
    /// Stand in for a monitor
    #[arg(long, required = true)]
    mon: bool,
    /// The name of the monitor, the a of mon.a
    #[arg(long, value_name = "NAME", default_value = "a", requires = "mon")]
    pub(crate) name: String,
    /// Let in only who is in this keyring
    #[arg(long, value_name = "FILE")]
    pub(crate) keyring: Option<PathBuf>,
    /// How clients have to show who they are, cephx or none [default: cephx with a keyring]
    #[arg(long, value_name = "METHOD", value_parser = method)]
    pub(crate) auth: Option<Method>,
    /// Take this mode of msgr v2 only, crc or secure [default: both]
    #[arg(long, value_name = "MODE", value_parser = mode)]
    pub(crate) mode: Option<Mode>,
    /// How long tickets live [default: 72 hours for the monitor's own, 1 hour for others]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) ticket_ttl: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,

    /// Seconds for each line of the table, its warm-up included
    #[arg(long, value_name = "S", default_value = "2", value_parser = seconds)]
    pub(crate) seconds_per_cell: Duration,

    /// Measure only this many requests in flight on each connection
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) depth: Option<u32>,

    /// Measure only requests of this many bytes
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(0..=64 << 20))]
    pub(crate) size: Option<u32>,

    /// Connections to measure with
    #[arg(long, value_name = "N", default_value = "1",
          value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) connections: u32,

    /// Soak: one line only, which takes this many seconds
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub(crate) seconds: Option<Duration>,
}

impl Global {
    /// The driver that was asked for, by option or environment.
    pub(crate) fn chosen_driver(&self) -> Result<Option<DriverKind>, Failure> {
        let named = match (self.driver, std::env::var("EVENT_DRIVER")) {
            (Some(kind), _) => Ok(Some(kind)),
            (None, Ok(name)) => driver(&name).map(Some),
            (None, Err(_)) => Ok(None),
        };
        named.map_err(|error| {
            let what = format!("EVENT_DRIVER: {error}");
            Failure::new(Exit::Usage, what, "unset it, or give --driver")
        })
    }

    /// The text of the ceph.conf, if one was named.
    pub(crate) fn read_conf(&self) -> Result<Option<String>, Failure> {
        let read =
            |path: &PathBuf| read_bounded(path).map_err(|error| unusable(path, &error.to_string()));
        self.conf.as_ref().map(read).transpose()
    }

    /// Options for a messenger of this program: its own defaults, what the file says, what was
    /// set one by one, and the driver.
    pub(crate) fn config(&self) -> Result<Config, Failure> {
        // Any free port for port 0, and an answer at once if a port is taken.
        let mut config = Config {
            bind_port_min: 0,
            bind_port_max: 0,
            bind_retry_count: 1,
            ..Config::default()
        };
        if let (Some(path), Some(text)) = (&self.conf, self.read_conf()?) {
            apply_conf(&mut config, path, &text, self.verbose)?;
        }
        config.apply(&self.set).map_err(|error| {
            let what = format!("--set: {error}");
            Failure::new(Exit::Usage, what, "the options are in the docs of Config")
        })?;
        config.driver = self.chosen_driver()?.unwrap_or(config.driver);
        Ok(config)
    }
}

/// Applies a ceph.conf, and tells those who want to know which messenger options have no effect.
fn apply_conf(
    config: &mut Config,
    path: &Path,
    text: &str,
    is_verbose: bool,
) -> Result<(), Failure> {
    let place = path.display();
    let passed_over = config
        .apply_ceph_conf(text)
        .map_err(|error| unusable(path, &error.to_string()))?;
    for told in passed_over.iter().filter(|_| is_verbose) {
        eprintln!("msgr: {place}: {told}");
    }
    Ok(())
}

fn unusable(path: &Path, what: &str) -> Failure {
    let what = format!("{}: {what}", path.display());
    Failure::new(Exit::Usage, what, "give a readable ceph.conf, or none")
}

/// Reads no more than what makes a file too long.
fn read_bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let bound = CEPH_CONF_MAX as u64 + 1;
    File::open(path)?.take(bound).read_to_string(&mut text)?;
    Ok(text)
}

fn driver(name: &str) -> Result<DriverKind, String> {
    let kind: DriverKind = name.parse().map_err(|e| format!("{e}"))?;
    if DriverKind::compiled().contains(&kind) {
        return Ok(kind);
    }
    let compiled: Vec<_> = DriverKind::compiled()
        .iter()
        .map(|kind| kind.name())
        .collect();
    let compiled = compiled.join(", ");
    Err(format!(
        "the driver {kind} is not compiled in; there is: {compiled}"
    ))
}

pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|e| format!("{e}"))?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() && seconds < 1e9 => Ok(duration),
        _ => Err("give seconds, more than 0".into()),
    }
}

pub(crate) fn own(text: &str) -> Result<Own, String> {
    let wrong = || "write v1:IP:PORT, v2:IP:PORT, or both as [v2:IP:PORT,v1:IP:PORT]".to_owned();
    let addrs: AddrVec = text.parse().map_err(|_| wrong())?;
    let is_sound = |addr: &EntityAddr| {
        matches!(addr.kind, AddrType::Legacy | AddrType::Msgr2) && addr.sock.is_some()
    };
    if addrs.0.is_empty() || !addrs.0.iter().all(is_sound) || !text.contains('v') {
        return Err(wrong());
    }
    if addrs.0.iter().any(EntityAddr::is_blank_ip) {
        return Err(
            "clients insist on the ip that the monmap names: give an ip of this host".into(),
        );
    }
    Ok(Own(addrs))
}

fn monitors(text: &str) -> Result<Monitors, String> {
    if let Ok(addr) = text.parse::<EntityAddr>()
        && let (Some(sock), false) = (addr.sock, text.starts_with('v'))
        && sock.port() != 0
    {
        return Err(format!(
            "say which version of msgr it is: v1:{sock} or v2:{sock}"
        ));
    }
    let monitors = mon::parse_hosts(text).map_err(|error| error.to_string())?;
    Ok(Monitors(monitors))
}

/// An address of either version; which one it is will be seen.
fn anything(text: &str) -> Result<EntityAddr, String> {
    match text.parse::<EntityAddr>() {
        Ok(addr) if addr.port() == 0 || addr.is_blank_ip() => {
            Err("there is no port, or no ip".into())
        }
        Ok(addr) if text.starts_with('v') => Ok(addr),
        Ok(addr) => Ok(EntityAddr {
            kind: AddrType::Any,
            ..addr
        }),
        _ => Err("write IP:PORT, v1:IP:PORT or v2:IP:PORT".into()),
    }
}

fn name(text: &str) -> Result<AuthName, String> {
    text.parse().map_err(|error: ParseError| error.to_string())
}

fn method(text: &str) -> Result<Method, String> {
    match text {
        "cephx" => Ok(Method::CEPHX),
        "none" => Ok(Method::NONE),
        _ => Err("the methods are cephx and none".into()),
    }
}

pub(crate) fn mode(text: &str) -> Result<Mode, String> {
    match text {
        "crc" => Ok(Mode::CRC),
        "secure" => Ok(Mode::SECURE),
        _ => Err("the modes are crc and secure".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
        let parse = |line: &str| Cli::try_parse_from(line.split(' '));
        let cli = parse("msgr ping v1:127.0.0.1:6789 --timeout 0.5").expect("options behind");
        assert_eq!(cli.global.timeout, Duration::from_millis(500));
        parse("msgr --timeout 3 serve v1:127.0.0.1:0 --mon").expect("options before");
        let cli = parse("msgr demo --set workers=1 --set ms_crc_data=no").expect("two of them");
        let failure = cli.global.config().expect_err("no such option");
        assert!(
            failure
                .to_string()
                .contains("workers = 1: there is no such option")
        );
        let cli = parse("msgr demo --set ms_crc_data=no").expect("an option");
        assert!(!cli.global.config().expect("valid").checksums.data);
        let cli = parse("msgr demo --conf /dev/null/x").expect("an option");
        let failure = cli.global.config().expect_err("no such file");
        assert!(failure.to_string().contains("/dev/null/x: "), "{failure}");
        for (wrong, cure) in [
            ("msgr ping 127.0.0.1:6789", "v1:127.0.0.1:6789"),
            ("msgr ping v1:0.0.0.0:1", "write v1:IP:PORT"),
            ("msgr ping v1:localhost:6789", "write v1:IP:PORT"),
            ("msgr ping v1:127.0.0.1 --mode x", "crc and secure"),
            ("msgr ping v1:127.0.0.1 --name admin", "client.admin"),
            ("msgr serve v1:127.0.0.1:0", "--mon"),
            ("msgr --timeout 0 ping v1:127.0.0.1:1", "more than 0"),
            ("msgr --timeout inf ping v1:127.0.0.1:1", "more than 0"),
        ] {
            let error = parse(wrong).expect_err(wrong);
            assert!(error.to_string().contains(cure), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
    }
}
