//! `msgr bench server`: answers each request, on the worker that received it or by a pool of
//! threads.

use std::io::Read as _;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use async_messenger::message::{Message, Payload as _};
use async_messenger::messages::MOSDOp;
use async_messenger::wire::{EntityName, MsgHead};
use async_messenger::{Connection, Dispatcher, Messenger};

use super::args::ServerArgs;
use super::op;
use super::secrets::Secrets;
use crate::args::Global;
use crate::failure::{Exit, Failure};

/// Serves until it is told to end.
pub(super) fn run(global: &Global, args: &ServerArgs) -> Result<(), Failure> {
    let (tell, told) = mpsc::channel();
    let secrets = Secrets::read(&args.side)?;
    let messenger = Messenger::builder(EntityName::osd(0))
        .config(args.side.config(global)?)
        // A client that was told the address alone finds what it expects.
        .nonce(0)
        .default_policy(args.policy.policy(MOSDOp::FEATURES))
        .require_authorizer(secrets.is_some())
        .authority(secrets.map_or_else(Secrets::everybody, Secrets::authority))
        .build()?;
    let addrs = messenger.bind(&args.listen.0)?;
    messenger.add_dispatcher_tail(Arc::new(Osd::start(args.pool)?))?;
    messenger.start()?;
    end_by_signal(tell.clone())?;
    end_with_stdin(tell)?;
    crate::print(match &addrs.0[..] {
        [only] => format!("listening {only}"),
        _ => format!("listening {addrs}"),
    })?;
    // Without limit: whoever started it says when it is enough.
    let _ = told.recv();
    messenger.shutdown();
    Ok(messenger.wait()?)
}

fn end_by_signal(tell: Sender<()>) -> Result<(), Failure> {
    let handler = move || {
        // At the second signal nobody listens any more.
        let _ = tell.send(());
    };
    ctrlc::set_handler(handler).map_err(|error| {
        let what = format!("cannot wait for signals: {error}");
        Failure::new(Exit::Refused, what, "this is a bug")
    })
}

/// Ends with whoever started it and kept the other end of a pipe. A terminal, or nothing at all as
/// shells give to what runs in the background, says nothing.
fn end_with_stdin(tell: Sender<()>) -> Result<(), Failure> {
    if !stdin_is_pipe() {
        return Ok(());
    }
    spawn("stdin", move || {
        let mut buffer = [0; 256];
        let mut stdin = std::io::stdin().lock();
        while stdin.read(&mut buffer).is_ok_and(|count| count > 0) {}
        let _ = tell.send(());
    })
}

#[cfg(unix)]
fn stdin_is_pipe() -> bool {
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::FileTypeExt as _;

    let stdin = std::io::stdin().as_fd().try_clone_to_owned();
    let metadata = stdin.and_then(|stdin| std::fs::File::from(stdin).metadata());
    metadata.is_ok_and(|it| it.file_type().is_fifo() || it.file_type().is_socket())
}

#[cfg(not(unix))]
fn stdin_is_pipe() -> bool {
    false
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    let thread = thread::Builder::new().name(name.into()).spawn(run);
    thread.map(drop).map_err(|error| {
        let what = format!("cannot start a thread: {error}");
        Failure::new(Exit::Refused, what, "start fewer by --pool")
    })
}

/// A request, and whom to answer.
type Job = (Connection, Message);

/// The server.
struct Osd {
    /// To the threads of the pool; a connection's requests go to the same one.
    pool: Vec<Sender<Job>>,
}

impl Osd {
    fn start(threads: u64) -> Result<Self, Failure> {
        let start = |_| {
            let (tell, told): (Sender<Job>, Receiver<Job>) = mpsc::channel();
            let run = move || {
                for (connection, message) in told {
                    answer(&connection, message);
                }
            };
            spawn("bench_op", run).map(|()| tell)
        };
        let pool = (0..threads).map(start).collect::<Result<_, _>>()?;
        Ok(Self { pool })
    }
}

impl Dispatcher for Osd {
    fn can_fast_dispatch(&self, head: &MsgHead) -> bool {
        head.kind == MOSDOp::KIND
    }

    fn fast_dispatch(&self, connection: &Connection, message: Message) {
        match self.pool.len() as u64 {
            0 => answer(connection, message),
            threads => {
                let thread = (connection.id() % threads) as usize;
                // Its thread ends after all senders.
                let _ = self.pool[thread].send((connection.clone(), message));
            }
        }
    }
}

fn answer(connection: &Connection, message: Message) {
    let trouble = match op::answer(&message, connection.features()) {
        Ok(reply) => match connection.send(reply) {
            Ok(()) => return,
            // A client that went away wants no answer.
            Err(_) if connection.is_closed() => return,
            Err(error) => error.to_string(),
        },
        Err(error) => error.to_string(),
    };
    let peer = connection.peer_addr();
    eprintln!("msgr: {peer}: no answer to {message}: {trouble}; the connection is closed");
    connection.mark_down();
}
