//! Where a monitor client meets the messenger: as a dispatcher, and by an alarm.
//!
//! There is no thread. Each piece of news takes the lock, does a step of [`State`], sets the alarm
//! for what happens next by itself, and lets go of the lock before anybody is woken. Lock order:
//! this lock goes before all of the messenger's; no handler of a user runs under it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::pending::ended;
use super::state::{Cx, State};
use crate::connection::Connection;
use crate::error::{Error, ErrorKind};
use crate::event::Env;
use crate::message::Message;
use crate::messenger::{ConnectionEvent, Dispatcher, Handled, Messenger};

pub(super) struct Core {
    me: Weak<Self>,
    messenger: Weak<Messenger>,
    env: Arc<dyn Env>,
    state: Mutex<State>,
}

impl Core {
    pub(super) fn new(messenger: &Arc<Messenger>, state: State) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            messenger: Arc::downgrade(messenger),
            env: Arc::clone(messenger.workers().env()),
            state: Mutex::new(state),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does a step. `None` if the messenger is gone.
    pub(super) fn step<R>(&self, f: impl FnOnce(&mut State, &mut Cx<'_>) -> R) -> Option<R> {
        // Let go of behind the lock: dropping the last reference waits for handlers.
        let messenger = self.messenger.upgrade()?;
        let mut cx = Cx {
            now: self.env.now(),
            env: &*self.env,
            messenger: &messenger,
            due: Vec::new(),
        };
        let mut state = self.lock();
        let result = f(&mut state, &mut cx);
        let alarm = state.arm();
        drop(state);
        if let Some(at) = alarm {
            let alarm = Alarm(Some(Weak::clone(&self.me)));
            messenger.alarm(at, Box::new(move || alarm.ring()));
        }
        for due in cx.due {
            due();
        }
        Some(result)
    }

    /// Ends the session, and tells all who wait.
    pub(super) fn stop(&self) {
        let dues = self.lock().stopped(&ended());
        for due in dues {
            due();
        }
    }
}

/// Goes off once, or is dropped when the messenger is shut down, which is news as well.
struct Alarm(Option<Weak<Core>>);

impl Alarm {
    fn ring(mut self) {
        if let Some(core) = self.0.take().and_then(|core| core.upgrade()) {
            core.step(State::on_alarm);
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(core) = self.0.take().and_then(|core| core.upgrade()) {
            core.stop();
        }
    }
}

impl Dispatcher for Core {
    fn dispatch(&self, connection: &Connection, message: Message) -> Handled {
        let mut message = Some(message);
        let handled = self.step(|state, cx| {
            let message = message.take()?;
            Some(state.handle_message(cx, connection, message))
        });
        match (handled.flatten(), message) {
            (Some(handled), _) => handled,
            (None, Some(message)) => Handled::No(message),
            (None, None) => Handled::Yes,
        }
    }

    fn event(&self, connection: &Connection, event: &ConnectionEvent) {
        self.step(|state, cx| match event {
            ConnectionEvent::Ready(_) if state.is_current(connection) => state.handshake_done(cx),
            ConnectionEvent::Reset { error, .. } | ConnectionEvent::Refused(error) => {
                let was_ping = state.ping_failed(cx, connection, error);
                if !was_ping && state.is_current(connection) {
                    state.refused(cx, error.clone());
                }
            }
            // Only if the policy for monitors is none that Ceph has: the session is another one.
            ConnectionEvent::RemoteReset { .. } if state.is_current(connection) => {
                let text = "the monitor has lost the session";
                let error = Error::text(ErrorKind::Disconnected, text);
                state.give_up(cx, error.at(connection.peer_addr(), None));
            }
            _ => {}
        });
    }
}
