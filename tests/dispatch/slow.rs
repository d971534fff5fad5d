//! Handlers that take long are reported. Time passes only when a test says so.

use std::cell::Cell;
use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant, SystemTime};

use async_messenger::Config;
use async_messenger::event::{Env, ManualEnv};
use async_messenger::message::Message;

use crate::peers::{config, eventually};
use crate::{Call, FAST, NORMAL, PLUG, SLOW, SLOW_FAST, Server, client, server_with};

thread_local! {
    static PASSED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// A second passes for this thread. Not for others: what they measure meanwhile is not slow.
pub(crate) fn second_passes() {
    PASSED.set(PASSED.get() + Duration::from_secs(1));
}

/// A clock that stands still, but for what passes for one thread or is let pass for all.
struct Clock(ManualEnv);

impl Env for Clock {
    fn now(&self) -> Instant {
        self.0.now() + PASSED.get()
    }

    fn wall(&self) -> SystemTime {
        self.0.wall()
    }

    fn random(&self) -> u64 {
        self.0.random()
    }

    fn fill(&self, out: &mut [u8]) {
        self.0.fill(out);
    }
}

/// What the library has warned of.
static WARNINGS: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Warnings;

#[derive(Default)]
struct Line(String);

impl tracing::field::Visit for Line {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn Debug) {
        let _ = write!(self.0, " {field}={value:?}");
    }
}

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() == tracing::Level::WARN
    }

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        WARNINGS.lock().expect("not poisoned").push(line.0);
    }

    // There are no spans.
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::Id {
        tracing::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::Id, _: &tracing::Id) {}
    fn enter(&self, _: &tracing::Id) {}
    fn exit(&self, _: &tracing::Id) {}
}

fn listen_for_warnings() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing::subscriber::set_global_default(Warnings).expect("there is no other");
    });
}

fn warnings_with(parts: &[&str]) -> usize {
    let all = WARNINGS.lock().expect("not poisoned");
    let fits = |line: &&String| parts.iter().all(|part| line.contains(part));
    all.iter().filter(fits).count()
}

/// A server on such a clock, which reports handlers that take longer than half a second.
fn timed_server() -> (Arc<Clock>, Server) {
    listen_for_warnings();
    let config = Config {
        dispatch_warn_after: Duration::from_millis(500),
        ..config()
    };
    let clock = Arc::new(Clock(ManualEnv::new(1)));
    let server = server_with(Arc::<Clock>::clone(&clock), config, |b| b);
    (clock, server)
}

fn check_slow(kind: u16, text: &str) {
    let (_, server) = timed_server();
    let client = client(&server);
    let id = server.accepted().id();
    client.send(Message::new(FAST));
    client.send(Message::new(NORMAL));
    client.send(Message::new(kind));
    eventually("it is counted", || {
        server.messenger.stats().slow_handlers == 1
    });
    let connection = format!("connection=Connection({id} ");
    let kind = format!("message_type={kind}");
    eventually("it is reported", || {
        warnings_with(&[text, &connection, &kind, "took=1s"]) == 1
    });
    client.send(Message::new(NORMAL));
    eventually("it goes on", || {
        server.calls().contains(&Call::Normal(id, 127, 4))
    });
    assert_eq!(server.messenger.stats().slow_handlers, 1);
    client.end();
    server.end();
}

#[test]
fn a_slow_handler_on_the_dispatch_thread_is_reported() {
    check_slow(SLOW, "a handler took long");
}

#[test]
fn a_slow_handler_on_a_worker_is_reported() {
    check_slow(SLOW_FAST, "handlers took long on a worker");
}

#[test]
fn a_handler_that_does_not_return_is_reported_while_it_runs() {
    let (clock, server) = timed_server();
    let client = client(&server);
    let id = server.accepted().id();
    server.plug(&client);
    assert_eq!(server.messenger.stats().slow_handlers, 0);
    clock.0.advance(Duration::from_secs(1));
    // Whatever arrives at the messenger makes a worker look.
    client.send(Message::new(FAST));
    let (id, kind) = (format!("connection={id} "), format!("message_type={PLUG}"));
    let running = ["a handler has not returned", &id, &kind, "running=1s"];
    eventually("it is reported", || warnings_with(&running) == 1);
    // The time may have passed in the middle of what a worker did, too.
    let known = server.messenger.stats().slow_handlers;
    assert!((1..=2).contains(&known), "{known}");
    server.unplug();
    eventually("it has returned", || {
        warnings_with(&["a handler took long", &kind, "took=1s"]) == 1
    });
    assert_eq!(
        server.messenger.stats().slow_handlers,
        known,
        "it is one call"
    );
    client.end();
    server.end();
}
