//! Who owes which answers: the pings of all connections that have no pong yet, and what has gone
//! wrong.
//!
//! Ceph's test forgets what is outstanding on a connection with each handshake of it, and with a
//! reset of either side. This one is stricter: what was outstanding at a handshake stays so, as a
//! session without loss has to answer it, too; only after a reset may it be missing. It also
//! watches lossy connections, as the loss of a message there has to come with a reset. And no ping
//! or pong may come twice, or behind one that was sent later, on any connection.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_messenger::message::{Message, Payload};
use async_messenger::messages::MPing;
use async_messenger::wire::{MsgHead, msgtype};
use async_messenger::{Connection, ConnectionEvent, Dispatcher, Ready, SendError};
use bytes::Bytes;

use super::payload::{Numbered, Who};

/// A connection of one of the messengers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) node: usize,
    pub(super) id: u64,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection {} of messenger {}", self.id, self.node)
    }
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) pings: u64,
    pub(super) pongs: u64,
    /// Pongs for pings that were sent before the last handshake of their connection.
    pub(super) carried: u64,
    pub(super) commands: u64,
    pub(super) resets: u64,
    pub(super) remote_resets: u64,
    pub(super) refused: u64,
}

#[derive(Default)]
struct Entry {
    index: u64,
    /// There was a handshake since it was sent.
    carried: bool,
}

#[derive(Default)]
struct Line {
    outstanding: VecDeque<Entry>,
    last_ping: Option<u64>,
    last_pong: Option<u64>,
    /// A ping whose pong is missing, while a later one has come.
    missing: Option<u64>,
    was_reset: bool,
}

#[derive(Default)]
struct State {
    lines: BTreeMap<Key, Line>,
    outstanding: usize,
    /// The blob of each ping, by its index.
    blobs: Vec<usize>,
    counts: Counts,
    wrong: Option<String>,
}

/// Shared by the workload and all its dispatchers.
pub(super) struct Ledger {
    blobs: Vec<Bytes>,
    state: Mutex<State>,
    changed: Condvar,
}

impl Ledger {
    pub(super) fn new(blobs: Vec<Bytes>) -> Arc<Self> {
        Arc::new(Self {
            blobs,
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn counts(&self) -> Counts {
        self.state().counts
    }

    pub(super) fn blobs(&self) -> usize {
        self.blobs.len()
    }

    /// The next ping, which is outstanding from now on.
    pub(super) fn ping(&self, key: Key, blob: usize) -> Message {
        let mut state = self.state();
        let index = state.blobs.len() as u64;
        state.blobs.push(blob);
        state.outstanding += 1;
        let line = state.lines.entry(key).or_default();
        line.outstanding.push_back(Entry {
            index,
            carried: false,
        });
        drop(state);
        Numbered {
            who: Who::Ping,
            index,
            blob: self.blobs[blob].clone(),
        }
        .to_message()
    }

    /// Waits until as few are outstanding and as many commands have come. Says what is missing if
    /// that takes too long, or what went wrong if something did.
    pub(super) fn wait(
        &self,
        outstanding: usize,
        commands: u64,
        limit: Duration,
    ) -> Result<(), String> {
        let waiting = |state: &mut State| {
            state.wrong.is_none()
                && (state.outstanding > outstanding || state.counts.commands < commands)
        };
        let waited = self
            .changed
            .wait_timeout_while(self.state(), limit, waiting);
        let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        if let Some(wrong) = &state.wrong {
            return Err(wrong.clone());
        }
        if timeout.timed_out() {
            return Err(format!("after {limit:?} {}", state.describe(commands)));
        }
        Ok(())
    }

    /// Lets time pass; ends early if something goes wrong.
    pub(super) fn pause(&self, time: Duration) {
        let waited = self
            .changed
            .wait_timeout_while(self.state(), time, |state| state.wrong.is_none());
        drop(waited);
    }

    /// Forgets what is outstanding on a connection that has ended.
    pub(super) fn forget(&self, key: Key) {
        self.state().reset(key);
        self.changed.notify_all();
    }

    /// What went wrong: also a pong that is missing on a connection that was never reset.
    pub(super) fn check(&self) -> Result<(), String> {
        let state = self.state();
        if let Some(wrong) = &state.wrong {
            return Err(wrong.clone());
        }
        for (key, line) in &state.lines {
            if let Some(missing) = line.missing.filter(|_| !line.was_reset) {
                return Err(format!(
                    "{key:?}: ping {missing} has no pong, those after it have, and the session was \
                     not reset"
                ));
            }
        }
        Ok(())
    }

    fn complain(&self, key: Key, what: impl fmt::Display) {
        self.state()
            .wrong
            .get_or_insert_with(|| format!("{key:?}: {what}"));
        self.changed.notify_all();
    }

    fn has_blob(&self, state: &State, numbered: &Numbered) -> bool {
        let sent = state.blobs.get(numbered.index as usize);
        sent.is_some_and(|sent| self.blobs[*sent] == numbered.blob)
    }

    fn take(&self, key: Key, connection: &Connection, message: &Message) -> Result<(), String> {
        if message.kind() != MPing::KIND {
            self.state().counts.commands += 1;
            self.changed.notify_all();
            return Ok(());
        }
        let mut numbered = Numbered::decode(message).map_err(|e| e.to_string())?;
        let mut state = self.state();
        if !self.has_blob(&state, &numbered) {
            let (who, index) = (numbered.who, numbered.index);
            return Err(format!("the content of {who:?} {index} has changed"));
        }
        if numbered.who == Who::Pong {
            state.take_pong(key, numbered.index)?;
            drop(state);
            self.changed.notify_all();
            return Ok(());
        }
        state.take_ping(key, numbered.index)?;
        drop(state);
        numbered.who = Who::Pong;
        match connection.send(numbered.to_message()) {
            // Whoever has closed it meanwhile wants no answer.
            Ok(()) | Err(SendError::Closed(_)) => Ok(()),
            Err(error) => Err(format!("the pong {}: {error:?}", numbered.index)),
        }
    }
}

impl State {
    fn take_ping(&mut self, key: Key, index: u64) -> Result<(), String> {
        self.counts.pings += 1;
        let line = self.lines.entry(key).or_default();
        follows("ping", &mut line.last_ping, index)
    }

    fn take_pong(&mut self, key: Key, index: u64) -> Result<(), String> {
        self.counts.pongs += 1;
        let line = self.lines.entry(key).or_default();
        follows("pong", &mut line.last_pong, index)?;
        let Some(at) = line.outstanding.iter().position(|e| e.index == index) else {
            // Forgotten with a reset.
            return Ok(());
        };
        for skipped in line.outstanding.drain(..at) {
            if !skipped.carried {
                let skipped = skipped.index;
                return Err(format!("pong {index} came before pong {skipped}"));
            }
            line.missing.get_or_insert(skipped.index);
        }
        let answered = line.outstanding.pop_front();
        self.counts.carried += u64::from(answered.is_some_and(|entry| entry.carried));
        self.outstanding -= at + 1;
        Ok(())
    }

    fn reset(&mut self, key: Key) {
        let line = self.lines.entry(key).or_default();
        line.was_reset = true;
        self.outstanding -= line.outstanding.len();
        line.outstanding.clear();
    }

    /// What is missing, with the connections that owe it.
    fn describe(&self, commands: u64) -> String {
        let mut text = format!(
            "{} pings are outstanding and {} of {commands} commands have come; {:?}",
            self.outstanding, self.counts.commands, self.counts
        );
        for (key, line) in &self.lines {
            let Some(first) = line.outstanding.front() else {
                continue;
            };
            text += &format!(
                "\n  {key:?}: {} outstanding, first {}, carried {}, last pong {:?}",
                line.outstanding.len(),
                first.index,
                first.carried,
                line.last_pong
            );
        }
        text
    }
}

/// Indices rise on each connection, whatever happens to it.
fn follows(what: &str, last: &mut Option<u64>, index: u64) -> Result<(), String> {
    match last.replace(index) {
        Some(before) if before == index => Err(format!("{what} {index} came twice")),
        Some(before) if before > index => Err(format!("{what} {index} came after {before}")),
        _ => Ok(()),
    }
}

/// The dispatcher of one messenger. All share the ledger; each knows which messenger it is, as
/// the numbers of connections are each messenger's own.
pub(super) struct Ears {
    pub(super) node: usize,
    pub(super) ledger: Arc<Ledger>,
}

impl Ears {
    fn key(&self, connection: &Connection) -> Key {
        Key {
            node: self.node,
            id: connection.id(),
        }
    }
}

impl Dispatcher for Ears {
    fn can_fast_dispatch(&self, head: &MsgHead) -> bool {
        head.kind == MPing::KIND || head.kind == msgtype::COMMAND
    }

    fn fast_dispatch(&self, connection: &Connection, message: Message) {
        let key = self.key(connection);
        if let Err(what) = self.ledger.take(key, connection, &message) {
            self.ledger.complain(key, what);
        }
    }

    fn fast_event(&self, connection: &Connection, _: Ready) {
        let mut state = self.ledger.state();
        if let Some(line) = state.lines.get_mut(&self.key(connection)) {
            line.outstanding.iter_mut().for_each(|e| e.carried = true);
        }
    }

    fn event(&self, connection: &Connection, event: &ConnectionEvent) {
        let mut state = self.ledger.state();
        let count = match event {
            ConnectionEvent::Reset { .. } => &mut state.counts.resets,
            ConnectionEvent::RemoteReset { .. } => &mut state.counts.remote_resets,
            ConnectionEvent::Refused(_) => {
                state.counts.refused += 1;
                return;
            }
            _ => return,
        };
        *count += 1;
        state.reset(self.key(connection));
        drop(state);
        self.ledger.changed.notify_all();
    }
}
