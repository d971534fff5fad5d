//! A messenger without a dispatch thread: whoever steps its workers steps its dispatch too.
//!
//! For the simulation only. Everything else about the messenger is as with threads.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use super::dispatch::Item;
use super::{Messenger, Phase, Shared, dispatch_item};
use crate::error::Error;

/// What the dispatch thread would have at hand.
#[derive(Default)]
pub(crate) struct Dispatching {
    items: VecDeque<Item>,
}

impl Messenger {
    /// As [`start`](Self::start), without a thread.
    pub(crate) fn start_stepped(&self) -> Result<(), Error> {
        self.start_with(|| Ok(None))
    }

    /// Whether [`dispatch_one`](Self::dispatch_one) has something to do.
    pub(crate) fn has_dispatch(&self, at_hand: &Dispatching) -> bool {
        !at_hand.items.is_empty() || self.shared.queue.len() > 0
    }

    /// Dispatches one message or event, taking them from the queue as the thread does. The caller
    /// has asked [`has_dispatch`](Self::has_dispatch), so this does not wait.
    pub(crate) fn dispatch_one(&self, at_hand: &mut Dispatching) {
        if at_hand.items.is_empty() {
            self.shared.queue.take(&mut at_hand.items);
        }
        if let Some(item) = at_hand.items.pop_front() {
            dispatch_item(&self.shared, item);
        }
    }

    /// After a shutdown: whether all workers have let go. If so, the messenger is as before its
    /// start.
    pub(crate) fn finish_stepped(&self) -> bool {
        let mut life = self.life();
        let done = match &life.phase {
            Phase::ShuttingDown(latch) => latch.wait(std::time::Duration::ZERO),
            _ => true,
        };
        if done {
            self.shared.queue.stop();
            life.phase = Phase::New;
        }
        done
    }

    /// Forgets everything without a word, as a process that is killed does.
    pub(crate) fn abandon(&self, at_hand: &mut Dispatching) {
        self.shared.stop();
        self.shared.queue.stop();
        at_hand.items.clear();
        while self.shared.queue.len() > 0 {
            self.shared.queue.take(&mut at_hand.items);
            at_hand.items.clear();
        }
        let mut life = self.life();
        life.listeners.clear();
        life.phase = Phase::New;
    }

    /// Lives as long as anything of this messenger: a link, a session, an event about one.
    pub(crate) fn traces(&self) -> Weak<Shared> {
        Arc::downgrade(&self.shared)
    }
}
