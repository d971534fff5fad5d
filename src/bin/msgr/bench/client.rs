//! `msgr bench client`: connects, waits for the end of the warm-up and of the measurement, and
//! tells what came of it. The requests are sent by workers, see [`lanes`](super::lanes).

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use async_messenger::messages::MOSDOp;
use async_messenger::wire::{EntityName, EntityType};
use async_messenger::{Config, Connection, Error, Messenger, Workers};

use super::args::ClientArgs;
use super::figures::Figures;
use super::lanes::{Lanes, Phase, Told};
use super::op::Requests;
use super::secrets::Secrets;
use crate::args::Global;
use crate::failure::{Exit, Failure};
use crate::usage::{cpu_time, cpu_time_of};

/// How much longer than the time-out to wait, so that the messenger itself says what is wrong.
const GRACE: Duration = Duration::from_secs(1);

/// Measures, and prints what came of it.
pub(super) fn run(global: &Global, args: &ClientArgs) -> Result<(), Failure> {
    if let Some(pid) = args.server_pid
        && cpu_time_of(pid).is_none()
    {
        let what = format!("--server-pid {pid}: the system does not tell its CPU time");
        let cure = "give the process that listens on this machine, or none";
        return Err(Failure::new(Exit::Usage, what, cure));
    }
    let (tell, told) = mpsc::channel();
    let requests = Requests::of_size(args.size as usize);
    let lanes = Arc::new(Lanes::new(quotas(args), args.depth, requests, tell));
    let messengers = messengers(global, args, &lanes)?;
    let bench = Bench {
        global,
        args,
        messengers: &messengers,
        lanes: &lanes,
        told,
    };
    let figures = bench.run()?;
    crate::print(if args.json {
        figures.json(args)
    } else {
        figures.table(args)
    })
}

/// How many requests each connection has to measure.
fn quotas(args: &ClientArgs) -> impl Iterator<Item = u64> {
    let connections = u64::from(args.connections);
    let share = move |ops: u64, number| ops / connections + u64::from(number < ops % connections);
    let ops = args.ops;
    (0..connections).map(move |number| ops.map_or(u64::MAX, |ops| share(ops, number)))
}

/// One messenger, or as many as connections.
fn messengers(
    global: &Global,
    args: &ClientArgs,
    lanes: &Arc<Lanes>,
) -> Result<Vec<Messenger>, Failure> {
    let mut config = args.side.config(global)?;
    let bytes = (u64::from(args.size) + 4096) * u64::from(args.depth);
    config.send_queue_bytes = config.send_queue_bytes.max(bytes);
    config.send_queue_messages = config.send_queue_messages.max(args.depth as usize);
    let workers = Workers::start(&config)?;
    let count = if args.own_messengers {
        args.connections
    } else {
        1
    };
    (0..count)
        .map(|number| messenger(number, args, config.clone(), &workers, lanes))
        .collect()
}

fn messenger(
    number: u32,
    args: &ClientArgs,
    config: Config,
    workers: &Arc<Workers>,
    lanes: &Arc<Lanes>,
) -> Result<Messenger, Failure> {
    let mut builder = Messenger::builder(EntityName::client(number.into()))
        .config(config)
        .workers(workers)
        .default_policy(args.policy.policy(MOSDOp::FEATURES));
    if let Some(secrets) = Secrets::read(&args.side)? {
        builder = builder.credentials(secrets.credentials());
    }
    let messenger = builder.build()?;
    messenger.add_dispatcher_tail(Arc::clone(lanes) as _)?;
    messenger.start()?;
    Ok(messenger)
}

struct Bench<'a> {
    global: &'a Global,
    args: &'a ClientArgs,
    messengers: &'a [Messenger],
    lanes: &'a Lanes,
    told: Receiver<Told>,
}

impl Bench<'_> {
    fn run(&self) -> Result<Figures, Failure> {
        let connections = self.connect()?;
        if self.args.warm_up.is_zero() {
            self.lanes.enter(Phase::Measure);
            return self.measure(|| self.lanes.begin(&connections));
        }
        self.lanes.begin(&connections);
        self.wait(Some(self.args.warm_up))?;
        self.measure(|| self.lanes.enter(Phase::Measure))
    }

    /// Makes all connections, and waits until they stand.
    fn connect(&self) -> Result<Vec<Connection>, Failure> {
        let (args, addrs) = (self.args, &self.args.addr.0);
        let connect = |number: usize| match self.messengers {
            [one] => one.connect_anonymous(EntityType::OSD, addrs),
            many => many[number].connect(EntityType::OSD, addrs),
        };
        let connections = (0..args.connections as usize).map(connect);
        let connections = connections.collect::<Result<Vec<_>, _>>()?;
        let end = Instant::now() + self.global.timeout + GRACE;
        let mut ready = 0;
        while ready < connections.len() {
            match self
                .told
                .recv_timeout(end.saturating_duration_since(Instant::now()))
            {
                Ok(Told::Ready) => ready += 1,
                Ok(told) => self.heed(told)?,
                Err(_) => {
                    let missing = connections.len() - ready;
                    return Err(self.silent(&format!("{missing} connections are not ready")));
                }
            }
        }
        Ok(connections)
    }

    /// Measures from `begin` to the last answer of so many requests, or for so long; then lets
    /// what is in flight come in.
    fn measure(&self, begin: impl FnOnce()) -> Result<Figures, Failure> {
        let server_cpu = || self.args.server_pid.and_then(cpu_time_of);
        let before = (cpu_time(), server_cpu());
        let began = Instant::now();
        begin();
        match self.args.ops {
            Some(_) => self.wait(None)?,
            None => self.wait(Some(self.args.seconds))?,
        }
        self.lanes.enter(Phase::Drain);
        let time = began.elapsed();
        let after = (cpu_time(), server_cpu());
        if self.args.ops.is_none() {
            self.wait(None)?;
        }
        let spent = |after: Option<Duration>, before| Some(after?.saturating_sub(before?));
        Ok(Figures {
            time,
            latency: self.lanes.latency(),
            client_cpu: spent(after.0, before.0),
            server_cpu: spent(after.1, before.1),
        })
    }

    /// Lets time pass, or waits until nothing is in flight. A server that answers nothing for the
    /// time-out is an error.
    fn wait(&self, time: Option<Duration>) -> Result<(), Failure> {
        let end = time.map(|time| Instant::now() + time);
        loop {
            let received = self.received();
            let patience = self.global.timeout;
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            match self
                .told
                .recv_timeout(left.map_or(patience, |left| left.min(patience)))
            {
                Ok(Told::Drained) if end.is_none() => return Ok(()),
                Ok(told) => self.heed(told)?,
                Err(RecvTimeoutError::Timeout) if left.is_some_and(|left| left <= patience) => {
                    return Ok(());
                }
                Err(_) if self.received() > received => {}
                Err(_) => return Err(self.silent("no request is answered any more")),
            }
        }
    }

    /// How many messages have come so far.
    fn received(&self) -> u64 {
        let messengers = self.messengers.iter();
        messengers.map(|messenger| messenger.stats().received).sum()
    }

    fn heed(&self, told: Told) -> Result<(), Failure> {
        match told {
            Told::Ready | Told::Drained => Ok(()),
            Told::Failed(error) => Err(failed(error)),
            Told::Nonsense(what) => {
                let what = format!("{}: {what}", self.args.addr.0);
                Err(Failure::new(Exit::Refused, what, "is it a bench server?"))
            }
        }
    }

    fn silent(&self, what: &str) -> Failure {
        let (addr, time) = (&self.args.addr.0, self.global.timeout);
        let what = format!("{addr}: {what}, for {time:?}");
        Failure::new(
            Exit::Unreachable,
            what,
            "is it a bench server? or give it more --timeout",
        )
    }
}

/// The cures that are usually told are for clients of monitors.
fn failed(error: Error) -> Failure {
    let failure = Failure::from(error);
    match failure.exit {
        Exit::Unreachable => {
            failure.with_cure("does `msgr bench server` run, and is this what it says?")
        }
        Exit::Authentication => {
            failure.with_cure("give the keyring that the server has, by --keyring")
        }
        _ => failure,
    }
}
