//! Bugs for the models to find: steps of the outbox that must be one, split in two.

use std::io;

use super::super::{Flushed, Outbox, Tx};
use crate::connection::queue::Gate;
use crate::message::TxBatch;
use crate::wire::Timespec;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Plant {
    /// The flusher sees that nothing is left, and only then that it is the flusher no more.
    IdleTooLate,
    /// The gate of a full socket is blocked, whatever has become of it.
    BlockedBlindly,
    /// A link goes, and only then what was sent over it is queued and the gate says so.
    DroppedInTwoSteps,
    /// There is nothing to send, and only then somebody is to be told when there is.
    StoodByInTwoSteps,
}

impl Outbox {
    pub(super) fn flush_idle_too_late(&self, budget: usize) -> io::Result<Flushed> {
        let mut tx = self.tx();
        let mut written = 0;
        let mut taken = Vec::new();
        while written < budget {
            let mut queue = self.queue();
            if queue.is_empty() {
                drop(queue);
                self.queue().gate = Gate::Idle;
                return Ok(Flushed::Done);
            }
            let controls = tx.take(&mut queue, Timespec::default, &mut taken);
            drop(queue);
            let messages = tx.encode(&mut taken, true);
            controls.and(messages).map_err(io::Error::other)?;
            while !tx.batch.is_empty() {
                written += tx.write()?;
            }
        }
        Ok(Flushed::More)
    }

    pub(super) fn block_blindly(&self) {
        self.queue().gate = Gate::Blocked;
    }

    pub(super) fn drop_link_in_two_steps(&self) {
        let mut tx = self.tx();
        tx.link = None;
        tx.batch = TxBatch::default();
        let Tx { sent, out_seq, .. } = &mut *tx;
        let sent = std::mem::take(sent);
        *out_seq -= sent.len() as u64;
        drop(tx);
        let mut queue = self.queue();
        queue.requeue(sent);
        queue.gate = Gate::Down;
    }

    pub(super) fn stand_by_in_two_steps(&self) -> bool {
        if self.queue().has_messages() {
            return false;
        }
        self.queue().gate = Gate::Standby;
        true
    }
}
