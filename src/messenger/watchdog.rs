//! Handlers that take long are reported (`Config::dispatch_warn_after`).
//!
//! A call on the dispatch thread is measured by itself, and stands in a [`Watchdog`] where the
//! workers see it, so that one which does not return is reported too. On workers, where messages
//! are many and handlers short, a whole pass over what a link has received is measured.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::Shared;
use crate::connection::Connection;
use crate::error::Error;
use crate::message::Message;
use crate::throttle::Permit;

/// Stands for an event in place of a message type.
const EVENT: u32 = u32::MAX;
/// Set in `Watchdog::since` when the call has been reported.
const REPORTED: u64 = 1;

/// The call that the dispatch thread is in. Written by that thread, read by workers.
#[derive(Debug)]
pub(super) struct Watchdog {
    /// Zero of `since`.
    start: Instant,
    limit: Duration,
    /// When the call began, in nanoseconds and from 1, shifted by the flag. 0: there is no call.
    since: AtomicU64,
    connection: AtomicU64,
    kind: AtomicU32,
}

impl Watchdog {
    pub(super) fn new(start: Instant, limit: Duration) -> Self {
        Self {
            start,
            limit,
            since: AtomicU64::new(0),
            connection: AtomicU64::new(0),
            kind: AtomicU32::new(EVENT),
        }
    }

    fn nanos(&self, at: Instant) -> u64 {
        let nanos = at.saturating_duration_since(self.start).as_nanos();
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }

    fn begin(&self, now: Instant, connection: u64, kind: Option<u16>) {
        self.connection.store(connection, Ordering::Relaxed);
        let kind = kind.map_or(EVENT, u32::from);
        self.kind.store(kind, Ordering::Relaxed);
        let since = self.nanos(now).saturating_add(1) << 1;
        self.since.store(since, Ordering::Release);
    }

    /// Whether the call was reported while it ran.
    fn end(&self) -> bool {
        self.since.swap(0, Ordering::AcqRel) & REPORTED != 0
    }

    /// The call that has run for too long, if there is one and nobody was told yet: how long, for
    /// which connection, and with a message of which type.
    fn overdue(&self, now: Instant) -> Option<(Duration, u64, Option<u16>)> {
        let since = self.since.load(Ordering::Acquire);
        if since == 0 || since & REPORTED != 0 {
            return None;
        }
        let running = Duration::from_nanos(self.nanos(now).saturating_sub((since >> 1) - 1));
        if running <= self.limit {
            return None;
        }
        let connection = self.connection.load(Ordering::Relaxed);
        let kind = self.kind.load(Ordering::Relaxed);
        // Fails if the call has ended meanwhile; then these may be of the next one.
        self.since
            .compare_exchange(since, since | REPORTED, Ordering::AcqRel, Ordering::Relaxed)
            .ok()?;
        Some((running, connection, u16::try_from(kind).ok()))
    }
}

impl Shared {
    /// Makes a call to handlers on the dispatch thread, and reports it if it takes long.
    pub(super) fn watched<R>(
        &self,
        connection: &Connection,
        message_type: Option<u16>,
        call: impl FnOnce() -> R,
    ) -> R {
        let since = self.env.now();
        self.watchdog.begin(since, connection.id(), message_type);
        let result = call();
        let reported = self.watchdog.end();
        let took = self.env.now().saturating_duration_since(since);
        if took > self.config.dispatch_warn_after || reported {
            if !reported {
                self.stats.slow_handlers.fetch_add(1, Ordering::Relaxed);
            }
            tracing::warn!(
                ?connection,
                message_type,
                ?took,
                "a handler took long; nothing else was dispatched meanwhile"
            );
        }
        result
    }

    /// Reports a call on the dispatch thread that runs for too long. For workers, at their
    /// convenience.
    pub(crate) fn look_after_dispatch(&self, now: Instant) {
        if let Some((running, connection, message_type)) = self.watchdog.overdue(now) {
            self.stats.slow_handlers.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                connection,
                message_type,
                ?running,
                "a handler has not returned; nothing else is dispatched"
            );
        }
    }
}

/// A worker's pass over received messages of one connection. Dropping it reports what the handlers
/// took, if that was long.
pub(crate) struct Pass<'a> {
    connection: &'a Connection,
    /// When the first message was delivered.
    since: Option<Instant>,
    messages: u32,
    /// The type of the last one.
    message_type: u16,
}

impl<'a> Pass<'a> {
    pub(crate) fn new(connection: &'a Connection) -> Self {
        Self {
            connection,
            since: None,
            messages: 0,
            message_type: 0,
        }
    }

    /// See [`Shared::deliver`].
    pub(crate) fn deliver(
        &mut self,
        message: Message,
        permits: &mut [Option<Permit>; 2],
    ) -> Result<(), Error> {
        let shared = &self.connection.0.shared;
        self.since.get_or_insert_with(|| shared.env.now());
        self.messages += 1;
        self.message_type = message.kind();
        shared.deliver(self.connection, message, permits)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let Some(since) = self.since else { return };
        let shared = &self.connection.0.shared;
        let took = shared.env.now().saturating_duration_since(since);
        if took > shared.config.dispatch_warn_after {
            shared.stats.slow_handlers.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                connection = ?self.connection,
                message_type = self.message_type,
                messages = self.messages,
                ?took,
                "handlers took long on a worker; it served nobody else meanwhile"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_runs_too_long_is_reported_once() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let dog = Watchdog::new(start, second);
        assert_eq!(dog.overdue(start + 5 * second), None, "there is no call");
        dog.begin(start + second, 7, Some(42));
        assert_eq!(dog.overdue(start), None, "a worker's clock may be behind");
        assert_eq!(dog.overdue(start + 2 * second), None, "not too long yet");
        let overdue = dog.overdue(start + 3 * second);
        assert_eq!(overdue, Some((2 * second, 7, Some(42))));
        assert_eq!(dog.overdue(start + 4 * second), None, "it is known");
        assert!(dog.end());
        dog.begin(start + 4 * second, 8, None);
        assert_eq!(dog.overdue(start + 4 * second), None);
        assert_eq!(dog.overdue(start + 6 * second), Some((2 * second, 8, None)));
        dog.end();
        dog.begin(start + 7 * second, 8, None);
        assert!(!dog.end(), "another call");
        assert_eq!(dog.overdue(start + 9 * second), None);
    }
}
