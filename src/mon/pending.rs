//! An answer that is awaited: by a thread, or by a task of any executor.
//!
//! Invariant: a [`Pending`] always comes to an end. Whoever owes the answer holds the [`Promise`],
//! and dropping that is an answer, too. Knows nothing of monitors.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::error::{Error, ErrorKind};

/// How much longer than its deadline a thread waits. Used up only if no worker runs any more.
const GRACE: Duration = Duration::from_secs(5);

/// An answer that has not come yet; a future, or something to [`wait`](Self::wait) for.
///
/// Dropping it gives the answer up, not the question: what was asked may still be done.
#[must_use = "an answer that nobody waits for is lost"]
pub struct Pending<T> {
    slot: Arc<Slot<T>>,
    within: Duration,
}

/// The duty to give an answer.
pub(super) struct Promise<T> {
    slot: Option<Arc<Slot<T>>>,
}

struct Slot<T> {
    state: Mutex<State<T>>,
    given: Condvar,
}

enum State<T> {
    Open(Option<Waker>),
    Given(Result<T, Error>),
    Taken,
}

/// Both ends of a question that is answered within a time, one way or the other.
pub(super) fn pending<T>(within: Duration) -> (Promise<T>, Pending<T>) {
    let slot = Arc::new(Slot {
        state: Mutex::new(State::Open(None)),
        given: Condvar::new(),
    });
    let promise = Promise {
        slot: Some(Arc::clone(&slot)),
    };
    (promise, Pending { slot, within })
}

impl<T> Promise<T> {
    /// Gives the answer, and wakes who waits. Not to be called under a lock.
    pub(super) fn give(mut self, answer: Result<T, Error>) {
        if let Some(slot) = self.slot.take() {
            slot.give(answer);
        }
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            slot.give(Err(ended()));
        }
    }
}

pub(super) fn ended() -> Error {
    Error::text(
        ErrorKind::MarkedDown,
        "the monitor client or its messenger has ended before the answer came",
    )
}

impl<T> Slot<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give(&self, answer: Result<T, Error>) {
        let before = std::mem::replace(&mut *self.lock(), State::Given(answer));
        self.given.notify_all();
        if let State::Open(Some(waker)) = before {
            waker.wake();
        }
    }
}

impl<T> State<T> {
    fn take(&mut self) -> Option<Result<T, Error>> {
        match std::mem::replace(self, Self::Taken) {
            Self::Given(answer) => Some(answer),
            before => {
                *self = before;
                None
            }
        }
    }
}

impl<T> Pending<T> {
    /// Waits for the answer. Not for handlers: the answer comes through them.
    ///
    /// # Errors
    /// If the deadline has passed, or the question cannot be answered; the text says whom it
    /// concerns and what can be done.
    pub fn wait(self) -> Result<T, Error> {
        let limit = self.within.saturating_add(GRACE);
        let open = |state: &mut State<T>| matches!(state, State::Open(_));
        let waited = self
            .slot
            .given
            .wait_timeout_while(self.slot.lock(), limit, open);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.take().unwrap_or_else(|| {
            let text = "no worker runs that could give the answer; is this one of its handlers?";
            Err(Error::text(ErrorKind::TimedOut, text))
        })
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.slot.lock();
        if let State::Open(waker) = &mut *state {
            *waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        // A future that is polled after its end has nothing to give.
        Poll::Ready(state.take().unwrap_or_else(|| Err(ended())))
    }
}

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending")
            .field("within", &self.within)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn an_answer_wakes_a_thread_and_a_task() {
        let (promise, waits) = pending(LONG);
        let thread = std::thread::spawn(move || waits.wait());
        promise.give(Ok(7));
        assert_eq!(thread.join().expect("no panic").expect("an answer"), 7);

        let (promise, mut waits) = pending(LONG);
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let mut cx = Context::from_waker(&waker);
        assert!(Pin::new(&mut waits).poll(&mut cx).is_pending());
        promise.give(Ok(8));
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        let Poll::Ready(Ok(8)) = Pin::new(&mut waits).poll(&mut cx) else {
            panic!("it was given");
        };
        assert!(Pin::new(&mut waits).poll(&mut cx).is_ready(), "no panic");
    }

    #[test]
    fn a_broken_promise_is_an_answer() {
        let (promise, waits) = pending::<u8>(LONG);
        drop(promise);
        let error = waits.wait().expect_err("nobody answers");
        assert_eq!(error.kind(), ErrorKind::MarkedDown);
        let (promise, waits) = pending::<u8>(LONG);
        drop(waits);
        promise.give(Ok(1));
    }
}
