//! Questions that wait for an answer: what was asked, until when, and whether it went out.
//!
//! Plain data. Invariants: a question goes out once on each session; it is answered once, by the
//! tid that is its own; the table is bounded by `requests_max`.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;

use super::pending::Promise;
use crate::error::{Error, ErrorKind};
use crate::message::Message;
use crate::messages::{
    Fsid, MMonCommand, MMonCommandAck, MMonGetMap, MMonGetVersion, MMonGetVersionReply, MonMap,
};
use crate::wire::EntityAddr;

/// What a command came to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Answer {
    /// 0, or a negative errno of Linux.
    pub result: i32,
    /// What the monitor says about it.
    pub text: String,
    /// What the command gave.
    pub data: Bytes,
}

/// Which versions of a map the monitors have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Versions {
    /// The current one.
    pub newest: u64,
    /// The oldest that they still have; 0 if they do not say.
    pub oldest: u64,
}

/// What is asked, and who waits for it.
pub(super) enum Ask {
    Command {
        command: Vec<String>,
        input: Bytes,
        promise: Promise<Answer>,
    },
    Versions {
        what: String,
        promise: Promise<Versions>,
    },
    Map(Promise<MonMap>),
    /// Nothing but a session whose cluster is known.
    Session(Promise<EntityAddr>),
}

/// An answer that is to be given once no lock is held.
pub(super) type Due = Box<dyn FnOnce() + Send>;

struct Request {
    ask: Ask,
    until: Instant,
    /// Whether it went out on the session there is.
    is_sent: bool,
}

/// All that waits, by tid.
#[derive(Default)]
pub(super) struct Requests {
    waiting: BTreeMap<u64, Request>,
    last_tid: u64,
}

impl Requests {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn push(&mut self, ask: Ask, until: Instant) {
        self.last_tid += 1;
        let request = Request {
            ask,
            until,
            is_sent: false,
        };
        self.waiting.insert(self.last_tid, request);
    }

    /// The first deadline.
    pub(super) fn first_deadline(&self) -> Option<Instant> {
        self.waiting.values().map(|request| request.until).min()
    }

    /// There is another session: all have to go out again.
    pub(super) fn unsend(&mut self) {
        for request in self.waiting.values_mut() {
            request.is_sent = false;
        }
    }

    /// What has to go out and has not, as messages, in the order of asking.
    pub(super) fn unsent(&self, features: u64, fsid: Fsid) -> Vec<Message> {
        let unsent = self.waiting.iter().filter(|(_, request)| !request.is_sent);
        let message = |(tid, request): (&u64, &Request)| {
            Some(request.ask.message(*tid, features, fsid)?.with_tid(*tid))
        };
        unsent.filter_map(message).collect()
    }

    pub(super) fn sent(&mut self, tid: u64) {
        if let Some(request) = self.waiting.get_mut(&tid) {
            request.is_sent = true;
        }
    }

    /// It cannot go out at all.
    pub(super) fn refuse(&mut self, tid: u64, error: Error) -> Option<Due> {
        let request = self.waiting.remove(&tid)?;
        Some(request.ask.fail(error))
    }

    /// Those whose time is up.
    pub(super) fn expire(&mut self, now: Instant, why: impl Fn(&str, bool) -> Error) -> Vec<Due> {
        self.take(|request| request.until <= now)
            .map(|request| {
                let error = why(&request.ask.name(), request.is_sent);
                request.ask.fail(error)
            })
            .collect()
    }

    /// All that waits fails.
    pub(super) fn fail_all(&mut self, error: &Error) -> Vec<Due> {
        self.take(|_| true)
            .map(|request| request.ask.fail(error.clone()))
            .collect()
    }

    /// There is a session.
    pub(super) fn session(&mut self, peer: EntityAddr) -> Vec<Due> {
        self.take(|request| matches!(request.ask, Ask::Session(_)))
            .filter_map(|request| match request.ask {
                Ask::Session(promise) => Some(due(promise, peer)),
                _ => None,
            })
            .collect()
    }

    /// A monmap, which carries no tid: it answers all that asked on this session.
    pub(super) fn map(&mut self, map: &MonMap) -> Vec<Due> {
        self.take(|request| request.is_sent && matches!(request.ask, Ask::Map(_)))
            .filter_map(|request| match request.ask {
                Ask::Map(promise) => Some(due(promise, map.clone())),
                _ => None,
            })
            .collect()
    }

    /// The answer to a command; `None` if nobody waits for it (any more).
    pub(super) fn command(&mut self, tid: u64, ack: MMonCommandAck) -> Option<Due> {
        let is_it = |request: &Request| matches!(request.ask, Ask::Command { .. });
        match self.answered(tid, is_it)? {
            Ask::Command { promise, .. } => {
                let answer = Answer {
                    result: ack.result,
                    text: ack.status,
                    data: ack.output,
                };
                Some(due(promise, answer))
            }
            _ => None,
        }
    }

    /// The answer to a question for versions.
    pub(super) fn versions(&mut self, reply: &MMonGetVersionReply) -> Option<Due> {
        let is_it = |request: &Request| matches!(request.ask, Ask::Versions { .. });
        match self.answered(reply.handle, is_it)? {
            Ask::Versions { promise, .. } => {
                let versions = Versions {
                    newest: reply.version,
                    oldest: reply.oldest_version,
                };
                Some(due(promise, versions))
            }
            _ => None,
        }
    }

    fn answered(&mut self, tid: u64, is_it: impl Fn(&Request) -> bool) -> Option<Ask> {
        let request = self.waiting.get(&tid)?;
        if !request.is_sent || !is_it(request) {
            return None;
        }
        self.waiting.remove(&tid).map(|request| request.ask)
    }

    fn take(&mut self, wanted: impl Fn(&Request) -> bool) -> impl Iterator<Item = Request> {
        let tids = self.waiting.iter().filter(|(_, request)| wanted(request));
        let tids: Vec<u64> = tids.map(|(tid, _)| *tid).collect();
        let taken = tids.into_iter().map(|tid| self.waiting.remove(&tid));
        taken.collect::<Vec<_>>().into_iter().flatten()
    }
}

impl Ask {
    fn message(&self, tid: u64, features: u64, fsid: Fsid) -> Option<Message> {
        let message = match self {
            Self::Command { command, input, .. } => {
                let payload = MMonCommand {
                    fsid,
                    command: command.clone(),
                    input: input.clone(),
                    ..MMonCommand::default()
                };
                Message::from_payload(&payload, features)
            }
            Self::Versions { what, .. } => {
                let payload = MMonGetVersion {
                    handle: tid,
                    what: what.clone(),
                };
                Message::from_payload(&payload, features)
            }
            Self::Map(_) => Message::from_payload(&MMonGetMap, features),
            Self::Session(_) => return None,
        };
        Some(message)
    }

    /// For texts.
    fn name(&self) -> String {
        match self {
            Self::Command { command, .. } => {
                // Enough to tell which one; what comes behind its name may be secret.
                let text = command.join(" ");
                let name = text.split(',').next().unwrap_or_default();
                let short: String = name.chars().take(60).collect();
                let rest = if short.len() < text.len() { "…" } else { "" };
                format!("the answer to the command {short}{rest}")
            }
            Self::Versions { what, .. } => format!("the versions of {what}"),
            Self::Map(_) => "the monmap".into(),
            Self::Session(_) => "a session with a monitor".into(),
        }
    }

    fn fail(self, error: Error) -> Due {
        match self {
            Self::Command { promise, .. } => failed(promise, error),
            Self::Versions { promise, .. } => failed(promise, error),
            Self::Map(promise) => failed(promise, error),
            Self::Session(promise) => failed(promise, error),
        }
    }
}

pub(super) fn due<T: Send + 'static>(promise: Promise<T>, value: T) -> Due {
    Box::new(move || promise.give(Ok(value)))
}

pub(super) fn failed<T: Send + 'static>(promise: Promise<T>, error: Error) -> Due {
    Box::new(move || promise.give(Err(error)))
}

/// There are as many open questions as there may be.
pub(super) fn too_many(max: usize) -> Error {
    let text = format!(
        "{max} questions to monitors are open, which is the limit (requests_max): wait for some \
         of them"
    );
    Error::text(ErrorKind::Misuse, text)
}
