//! The application on a node: sends numbered messages and reports what it hears to the ledger.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::chance::Chance;
use super::ledger::{DATA_MAX, KINDS, Ledger, Who, node_of};
use super::net::{Wire, net};
use super::trace::Happened;
use crate::connection::Connection;
use crate::message::Message;
use crate::messenger::{ConnectionEvent, Dispatcher, Handled, Ready};
use crate::wire::MsgHead;

/// The most messages that are kept after they were handled.
const HELD_MAX: usize = 16;

/// What an application does of its own, each of a thousand messages.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Habits {
    /// Dispatches fast what may be dispatched fast.
    pub(super) fast: bool,
    /// Answers at once.
    pub(super) answers: u32,
    /// Keeps the message, and so its shares of the throttles.
    pub(super) keeps: u32,
    /// Closes the connection.
    pub(super) hangs_up: u32,
}

pub(super) struct App {
    node: usize,
    life: u32,
    wire: Wire,
    ledger: Arc<Mutex<Ledger>>,
    inner: Mutex<Inner>,
    fast: bool,
}

struct Inner {
    habits: Habits,
    chance: Chance,
    /// Connections of peers.
    accepted: BTreeMap<u64, Connection>,
    held: Vec<Message>,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl App {
    pub(super) fn new(
        (node, life): (usize, u32),
        wire: &Wire,
        ledger: &Arc<Mutex<Ledger>>,
        chance: Chance,
        habits: Habits,
    ) -> Arc<Self> {
        Arc::new(Self {
            node,
            life,
            wire: Wire::clone(wire),
            ledger: Arc::clone(ledger),
            fast: habits.fast,
            inner: Mutex::new(Inner {
                habits,
                chance,
                accepted: BTreeMap::new(),
                held: Vec::new(),
            }),
        })
    }

    fn who(&self, connection: &Connection) -> Who {
        Who {
            node: self.node,
            life: self.life,
            connection: connection.id(),
        }
    }

    /// Only handles what comes from now on.
    pub(super) fn calm_down(&self) {
        lock(&self.inner).habits = Habits::default();
        self.release();
    }

    /// Gives up the messages that were kept.
    pub(super) fn release(&self) {
        let held = std::mem::take(&mut lock(&self.inner).held);
        drop(held);
    }

    /// Lets go of all connections.
    pub(super) fn forget(&self) {
        self.release();
        let accepted = std::mem::take(&mut lock(&self.inner).accepted);
        drop(accepted);
    }

    /// The connections of peers that have not ended.
    pub(super) fn accepted(&self) -> Vec<Connection> {
        let inner = lock(&self.inner);
        let open = inner.accepted.values().filter(|c| !c.is_closed());
        open.cloned().collect()
    }

    pub(super) fn send(&self, connection: &Connection, kind: usize, size: usize) {
        let who = self.who(connection);
        let message = lock(&self.ledger).compose(who, connection, kind, size);
        let taken = connection.send(message).is_ok();
        if taken {
            lock(&self.ledger).sent(who, kind);
        }
        let text = format!("{who:?} type {} of {size}: {taken}", KINDS[kind]);
        net(&self.wire).note(&Happened::Send(text));
    }

    pub(super) fn mark_down(&self, connection: &Connection) {
        let who = self.who(connection);
        net(&self.wire).note(&Happened::Act(format!("mark down {who:?}")));
        lock(&self.ledger).marked_down(who, node_of(connection));
        connection.mark_down();
        lock(&self.inner).accepted.remove(&connection.id());
    }

    fn handle(&self, connection: &Connection, message: Message) {
        let who = self.who(connection);
        net(&self.wire).note(&Happened::Message(format!("{who:?}: {message}")));
        lock(&self.ledger).received(who, &message);
        let mut inner = lock(&self.inner);
        let habits = inner.habits;
        if inner.chance.hits(habits.keeps) && inner.held.len() < HELD_MAX {
            inner.held.push(message);
        }
        let size = inner.chance.magnitude(DATA_MAX as u64 / 16) as usize;
        let kind = inner.chance.below(KINDS.len() as u64) as usize;
        let answers = inner.chance.hits(habits.answers);
        let hangs_up = inner.chance.hits(habits.hangs_up);
        drop(inner);
        if answers {
            self.send(connection, kind, size);
        }
        if hangs_up {
            self.mark_down(connection);
        }
    }

    fn keep(&self, connection: &Connection, ready: Ready) {
        if ready == Ready::Accepted && !connection.is_closed() {
            let mut inner = lock(&self.inner);
            inner.accepted.insert(connection.id(), connection.clone());
        }
    }
}

impl Dispatcher for App {
    fn can_fast_dispatch(&self, head: &MsgHead) -> bool {
        self.fast && head.kind != KINDS[1]
    }

    fn fast_dispatch(&self, connection: &Connection, message: Message) {
        self.handle(connection, message);
    }

    fn dispatch(&self, connection: &Connection, message: Message) -> Handled {
        self.handle(connection, message);
        Handled::Yes
    }

    fn fast_event(&self, connection: &Connection, ready: Ready) {
        self.keep(connection, ready);
    }

    fn event(&self, connection: &Connection, event: &ConnectionEvent) {
        let who = self.who(connection);
        net(&self.wire).note(&Happened::Told(format!("{who:?}: {event:?}")));
        if matches!(event, ConnectionEvent::Reset { .. }) {
            lock(&self.inner).accepted.remove(&connection.id());
        }
        lock(&self.ledger).event(who, node_of(connection), event);
    }
}
