//! Calls at a time, for a part of the crate that has no thread of its own.
//!
//! The call runs on a worker, once, and must not block. If its time never comes, because the
//! messenger was shut down or the pool has ended, it is dropped without being run; who has to know
//! notices that by its own `Drop`. A panic in it stays inside.

use std::sync::Arc;
use std::time::Instant;

use event_driver::Token;

use super::{Cmd, Entry, WorkerState};
use crate::event::{EventCenter, TimerId};
use crate::messenger::Shared;

/// What is to be called.
pub(crate) struct Alarm {
    pub(crate) shared: Arc<Shared>,
    pub(crate) call: Box<dyn FnOnce() + Send>,
}

/// An alarm that has been set.
pub(super) struct Pending {
    pub(super) alarm: Alarm,
    timer: Option<TimerId>,
}

impl WorkerState {
    pub(super) fn set_alarm(&mut self, center: &mut EventCenter<Cmd>, at: Instant, alarm: Alarm) {
        if alarm.shared.is_stopped() {
            return;
        }
        let slot = self.insert(Entry::Alarm(Pending { alarm, timer: None }));
        let timer = center.set_timer(at, slot.to_u64());
        if let Some(Entry::Alarm(pending)) = self.entries.get_mut(slot) {
            pending.timer = Some(timer);
        }
    }

    pub(super) fn ring(&mut self, slot: Token) {
        if let Some(Entry::Alarm(pending)) = self.forget(slot) {
            pending.alarm.shared.ring(pending.alarm.call);
        }
    }

    /// Drops the alarms of a messenger.
    pub(super) fn drop_alarms(&mut self, center: &mut EventCenter<Cmd>, shared: &Arc<Shared>) {
        let of_it = |(slot, entry): (Token, &Entry)| match entry {
            Entry::Alarm(pending) if Arc::ptr_eq(&pending.alarm.shared, shared) => Some(slot),
            _ => None,
        };
        let slots: Vec<Token> = self.entries.iter().filter_map(of_it).collect();
        for slot in slots {
            if let Some(Entry::Alarm(pending)) = self.forget(slot)
                && let Some(timer) = pending.timer
            {
                center.cancel_timer(timer);
            }
        }
    }
}
