//! The event loop of one thread.
//!
//! Runs on the thread that owns it. Knows no file descriptor, no backend and no protocol: sources
//! come in as [`Source`]s and go out as tags.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use event_driver::{Event, EventDriver, Interest, Readiness, Source, Token};

use super::env::Env;
use super::inbox::{Handle, Inbox};
use super::slab::Slab;
use super::spin::Spin;
use super::timer::{TimerId, Timers};

/// What the owner of an [`EventCenter`] does with its events.
///
/// Each method gets the center, so that it can register, set timers and so on; what it does takes
/// effect at once, but events that it causes are delivered in the next turn.
pub trait Handler<X> {
    /// A registered source is ready. `tag` is what [`EventCenter::register`] was told.
    fn file_event(&mut self, center: &mut EventCenter<X>, token: Token, tag: u64, ready: Readiness);

    /// A timer's deadline has passed. `tag` is what [`EventCenter::set_timer`] was told.
    fn time_event(&mut self, center: &mut EventCenter<X>, id: TimerId, tag: u64);

    /// Somebody posted `event` by a [`Handle`].
    fn external_event(&mut self, center: &mut EventCenter<X>, event: X);

    /// All events of this turn have been delivered: the place for work that is worth collecting.
    fn turn_end(&mut self, center: &mut EventCenter<X>) {
        let _ = center;
    }
}

/// How many events of each sort a turn delivered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Turn {
    /// Sources that were ready.
    pub file_events: usize,
    /// Timers that fired.
    pub time_events: usize,
    /// External events.
    pub external_events: usize,
}

impl Turn {
    /// Whether the turn delivered nothing: the wait timed out, or was woken for nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Runs file events, time events and external events on one [`EventDriver`].
///
/// A turn delivers, in this order: what the driver reports (and the sources that were put off by
/// [`again`](Self::again)), the timers whose deadline is not later than the turn's
/// [`now`](Self::now), and the external events that were queued when their part began. Whatever a
/// handler causes, be it a due timer or an external event, waits for the next turn, so no sort of
/// event can starve the others.
///
/// ```
/// # use std::sync::Arc;
/// # use std::time::Duration;
/// use async_messenger::event::{EventCenter, Handler, SystemEnv, TimerId};
/// use async_messenger::{DriverKind, Readiness, Token};
///
/// struct Log(Vec<&'static str>);
///
/// impl Handler<&'static str> for Log {
///     fn file_event(&mut self, _: &mut EventCenter<&'static str>, _: Token, _: u64, _: Readiness) {}
///     fn time_event(&mut self, _: &mut EventCenter<&'static str>, _: TimerId, _: u64) {
///         self.0.push("timer");
///     }
///     fn external_event(&mut self, _: &mut EventCenter<&'static str>, event: &'static str) {
///         self.0.push(event);
///     }
/// }
///
/// # fn main() -> std::io::Result<()> {
/// let driver = DriverKind::default_for_target().open()?;
/// let mut center = EventCenter::new(driver, Arc::new(SystemEnv));
/// center.set_timer(center.now() + Duration::from_millis(1), 0);
/// center.handle().submit("posted").unwrap();
///
/// let mut log = Log(Vec::new());
/// while log.0.len() < 2 {
///     center.turn(None, &mut log)?;
/// }
/// assert_eq!(log.0, ["posted", "timer"]);
/// # Ok(())
/// # }
/// ```
pub struct EventCenter<X> {
    driver: Box<dyn EventDriver>,
    /// What the driver says of itself: it need not be told what it knows.
    keeps_armed: bool,
    sources: Slab<Registered>,
    timers: Timers,
    inbox: Arc<Inbox<X>>,
    env: Arc<dyn Env>,
    /// Zero of the timers' scale.
    start: Instant,
    now: Instant,
    /// Sources that have more to do, for the next turn.
    again: VecDeque<Token>,
    /// Counts turns, from 1.
    turn: u64,
    spin: Spin,
    // Kept between turns for their allocations.
    events: Vec<Event>,
    batch: Vec<X>,
}

struct Registered {
    tag: u64,
    /// The directions that were asked for, and not disarmed since.
    armed: Interest,
    /// What is to be delivered once more.
    again: Readiness,
    /// Whether it is in the list of those.
    queued: bool,
    /// The last turn in which it had an event.
    turn: u64,
}

impl<X> EventCenter<X> {
    /// A center on `driver`, with `env`'s clock.
    #[must_use]
    pub fn new(driver: Box<dyn EventDriver>, env: Arc<dyn Env>) -> Self {
        let now = env.now();
        Self {
            inbox: Inbox::new(driver.waker()),
            keeps_armed: driver.keeps_armed(),
            driver,
            sources: Slab::default(),
            timers: Timers::default(),
            env,
            start: now,
            now,
            again: VecDeque::new(),
            turn: 0,
            spin: Spin::default(),
            events: Vec::new(),
            batch: Vec::new(),
        }
    }

    /// The name of the driver below, for logs.
    #[must_use]
    pub fn driver_name(&self) -> &'static str {
        self.driver.name()
    }

    /// The time at which the current turn's events were collected. The clock is read once per
    /// turn, so all handlers of a turn agree.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The clock and randomness of this center.
    #[must_use]
    pub fn env(&self) -> &Arc<dyn Env> {
        &self.env
    }

    /// Watches a source. Its events carry `tag`, and the token that is returned.
    ///
    /// # Errors
    /// Those of [`EventDriver::add`].
    pub fn register(&mut self, source: Source, interest: Interest, tag: u64) -> io::Result<Token> {
        let token = self.sources.insert(Registered {
            tag,
            armed: interest,
            again: Readiness::NONE,
            queued: false,
            turn: 0,
        });
        self.driver.add(source, token, interest).inspect_err(|_| {
            self.sources.remove(token);
        })?;
        Ok(token)
    }

    /// Asks for the next events of a source whose transfer came to its end.
    ///
    /// # Errors
    /// Those of [`EventDriver::rearm`].
    pub fn rearm(&mut self, token: Token, interest: Interest) -> io::Result<()> {
        let source = self.sources.get_mut(token).ok_or(io::ErrorKind::NotFound)?;
        if self.keeps_armed && source.armed.contains(interest) {
            return Ok(());
        }
        self.driver.rearm(token, interest)?;
        source.armed |= interest;
        Ok(())
    }

    /// Stops the events of a direction until it is re-armed.
    ///
    /// # Errors
    /// Those of [`EventDriver::disarm`].
    pub fn disarm(&mut self, token: Token, interest: Interest) -> io::Result<()> {
        let source = self.sources.get_mut(token).ok_or(io::ErrorKind::NotFound)?;
        self.driver.disarm(token, interest)?;
        source.armed = source.armed.without(interest);
        Ok(())
    }

    /// Forgets a source; no event of it is delivered any more, not even a pending one.
    ///
    /// # Errors
    /// `NotFound` if it is not registered.
    pub fn deregister(&mut self, token: Token) -> io::Result<()> {
        match self.sources.remove(token) {
            Some(_) => self.driver.delete(token),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Delivers this readiness once more, in the next turn, which will not wait: for a handler that
    /// has used up its budget while the source had more to give.
    pub fn again(&mut self, token: Token, ready: Readiness) {
        let Some(source) = self.sources.get_mut(token) else {
            return;
        };
        source.again |= ready;
        if !std::mem::replace(&mut source.queued, true) {
            self.again.push_back(token);
        }
    }

    /// Calls [`Handler::time_event`] once, when `at` has passed.
    pub fn set_timer(&mut self, at: Instant, tag: u64) -> TimerId {
        let nanos = self.scale(at);
        self.timers.insert(nanos, tag)
    }

    /// Cancels a timer. False if it has fired or was cancelled before.
    pub fn cancel_timer(&mut self, id: TimerId) -> bool {
        self.timers.cancel(id)
    }

    /// Has a turn that would wait look for so long first, without sleeping. Zero, the default:
    /// never.
    ///
    /// Who is awake when something comes need not be woken; meanwhile it takes a whole core. After
    /// looks in vain more and more waits begin at once, up to 63 of 64, until one pays again.
    pub fn set_spin(&mut self, most: Duration) {
        self.spin = Spin::new(most);
    }

    /// The number of sources that are registered.
    #[must_use]
    pub fn sources(&self) -> usize {
        self.sources.len()
    }

    /// The number of timers that are pending.
    #[must_use]
    pub fn timers(&self) -> usize {
        self.timers.len()
    }

    /// A handle for posting external events to this center.
    #[must_use]
    pub fn handle(&self) -> Handle<X> {
        Handle::new(Arc::clone(&self.inbox))
    }

    /// One round: waits at most `max_wait` (`None`: without limit) for something to happen, then
    /// delivers it to `handler`.
    ///
    /// # Errors
    /// What the driver's `wait` says; nothing was delivered then.
    pub fn turn(
        &mut self,
        max_wait: Option<Duration>,
        handler: &mut impl Handler<X>,
    ) -> io::Result<Turn> {
        self.turn += 1;
        let mut events = std::mem::take(&mut self.events);
        let waited = self.wait(&mut events, max_wait);
        self.events = events;
        waited?;
        let turn = Turn {
            file_events: self.run_file_events(handler),
            time_events: self.run_time_events(handler),
            external_events: self.run_external_events(handler),
        };
        handler.turn_end(self);
        Ok(turn)
    }

    /// How long a turn would wait if its driver had nothing to report; `None`: without limit.
    #[cfg(feature = "sim")]
    pub(crate) fn idle(&mut self) -> Option<Duration> {
        if self.inbox.is_empty() {
            self.limit(None)
        } else {
            Some(Duration::ZERO)
        }
    }

    /// Ends the center and returns the external events that were not delivered.
    #[must_use]
    pub fn close(self) -> Vec<X> {
        self.inbox.close()
    }

    fn wait(&mut self, events: &mut Vec<Event>, max_wait: Option<Duration>) -> io::Result<()> {
        let mut limit = self.limit(max_wait);
        if limit != Some(Duration::ZERO)
            && let Some(most) = self.spin.next()
        {
            let most = limit.map_or(most, |limit| limit.min(most));
            let found = self.look(events, most)?;
            self.spin.learn(found);
            if found {
                return Ok(());
            }
            limit = limit.map(|limit| limit.saturating_sub(most));
        }
        let waits = limit != Some(Duration::ZERO) && self.inbox.park();
        let result = self
            .driver
            .wait(events, if waits { limit } else { Some(Duration::ZERO) });
        if waits {
            self.inbox.unpark();
        }
        self.now = self.env.now();
        result
    }

    /// Looks for events for so long. Whether there are some.
    fn look(&mut self, events: &mut Vec<Event>, most: Duration) -> io::Result<bool> {
        let until = self.env.now() + most;
        loop {
            self.driver.wait(events, Some(Duration::ZERO))?;
            self.now = self.env.now();
            let found = !events.is_empty() || !self.inbox.is_empty();
            if found || self.now >= until {
                return Ok(found);
            }
        }
    }

    /// How long this turn may wait.
    fn limit(&mut self, max_wait: Option<Duration>) -> Option<Duration> {
        if !self.again.is_empty() || max_wait == Some(Duration::ZERO) {
            return Some(Duration::ZERO);
        }
        let Some(next) = self.timers.next() else {
            return max_wait;
        };
        // The handlers of the last turn took time, so its `now` would make this one late.
        let until = Duration::from_nanos(next.saturating_sub(self.scale(self.env.now())));
        Some(max_wait.map_or(until, |max| max.min(until)))
    }

    fn run_file_events(&mut self, handler: &mut impl Handler<X>) -> usize {
        let events = std::mem::take(&mut self.events);
        let put_off = self.again.len();
        let mut count = 0;
        for event in &events {
            count += usize::from(self.deliver(event.token, event.ready, handler));
        }
        for _ in 0..put_off {
            let Some(token) = self.again.pop_front() else {
                break;
            };
            let Some(source) = self.sources.get_mut(token) else {
                continue;
            };
            if source.turn == self.turn && !source.again.is_empty() {
                // It has had its event of this turn, from the driver.
                self.again.push_back(token);
                continue;
            }
            source.queued = false;
            if !source.again.is_empty() {
                count += usize::from(self.deliver(token, Readiness::NONE, handler));
            }
        }
        self.events = events;
        count
    }

    /// False for an event of a source that is gone.
    fn deliver(&mut self, token: Token, ready: Readiness, handler: &mut impl Handler<X>) -> bool {
        let Some(source) = self.sources.get_mut(token) else {
            return false;
        };
        source.turn = self.turn;
        let ready = ready | std::mem::take(&mut source.again);
        let tag = source.tag;
        handler.file_event(self, token, tag, ready);
        true
    }

    fn run_time_events(&mut self, handler: &mut impl Handler<X>) -> usize {
        let (now, newest) = (self.scale(self.now), self.timers.newest());
        let mut count = 0;
        while let Some((id, tag)) = self.timers.pop_due(now, newest) {
            handler.time_event(self, id, tag);
            count += 1;
        }
        count
    }

    fn run_external_events(&mut self, handler: &mut impl Handler<X>) -> usize {
        let mut batch = std::mem::take(&mut self.batch);
        self.inbox.swap(&mut batch);
        let count = batch.len();
        for event in batch.drain(..) {
            handler.external_event(self, event);
        }
        self.batch = batch;
        count
    }

    /// Nanoseconds since this center's start; half a millennium fits.
    fn scale(&self, at: Instant) -> u64 {
        // `as_nanos` calculates in 128 bits.
        let after = at.saturating_duration_since(self.start);
        let nanos = after.as_secs().saturating_mul(1_000_000_000);
        nanos.saturating_add(u64::from(after.subsec_nanos()))
    }
}

impl<X> Drop for EventCenter<X> {
    fn drop(&mut self) {
        drop(self.inbox.close());
    }
}

impl<X> fmt::Debug for EventCenter<X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventCenter")
            .field("driver", &self.driver.name())
            .field("sources", &self.sources.len())
            .field("timers", &self.timers.len())
            .finish_non_exhaustive()
    }
}
