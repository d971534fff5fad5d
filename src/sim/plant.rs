//! Bugs that can be switched on, to see whether the simulation finds them.
//!
//! The session code asks at three places; without the feature `sim` it has nothing to ask. A plant
//! belongs to the thread that steps the world, so that tests can run side by side.

use std::cell::Cell;
use std::collections::VecDeque;

use crate::connection::Opened;
use crate::message::Message;
use crate::throttle::Permit;

/// A bug.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plant {
    /// When a session takes over a new link, what the peer says it has is not heeded.
    AckDroppedOnTakeover,
    /// What was sent over a broken link is sent again in another order.
    ReplayOutOfOrder,
    /// A link that breaks in the middle of a message keeps a share of a throttle.
    ShareLeakedOnFault,
}

thread_local! {
    static PLANTED: Cell<Option<Plant>> = const { Cell::new(None) };
}

/// Switches a bug on, or off, for this thread.
pub(super) fn set(plant: Option<Plant>) {
    PLANTED.set(plant);
}

fn is(plant: Plant) -> bool {
    PLANTED.get() == Some(plant)
}

/// What a handshake came to, as a session hears it.
pub(crate) fn opened(opened: &Opened, takeover: bool) -> Opened {
    let mut opened = opened.clone();
    if takeover && is(Plant::AckDroppedOnTakeover) {
        opened.acked = opened.acked.map(|_| 0);
    }
    opened
}

/// Messages of a broken link, on their way to be sent again.
pub(crate) fn replay(mut sent: VecDeque<Message>) -> VecDeque<Message> {
    if is(Plant::ReplayOutOfOrder) && sent.len() > 1 {
        sent.swap(0, 1);
    }
    sent
}

/// Shares that a broken link holds.
pub(crate) fn broken(held: &mut [Option<Permit>]) {
    if is(Plant::ShareLeakedOnFault)
        && let Some(permit) = held.iter_mut().find_map(Option::take)
    {
        std::mem::forget(permit);
    }
}
