//! Faults made on purpose, and a hook into the steps of a connection: for tests.
//!
//! [`Inject`] says what happens by chance: links that break, writes that find no room, messages that
//! are late or vanish, workers that pause where a race is likely. All chances of a
//! messenger come from one generator, whose seed is logged, and told by
//! [`Messenger::inject_seed`](crate::Messenger::inject_seed).
//!
//! An [`Interceptor`] is asked at numbered [`Step`]s, on both sides of a connection, and may hold
//! the step up, or fail it. Whatever is not switched on costs one branch.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::config::Inject;
use crate::connection::{Claim, Connection};
use crate::error::{Error, ErrorKind};
use crate::event::{Env, EventCenter, ManualEnv, TimerId};
use crate::message::Message;
use crate::throttle::Permit;
use crate::wire::{EntityAddr, EntityType};

/// Where a connection is asked about; the numbers are those of Ceph's own tests (session §15).
/// What has another name in version 2 of the protocol has it in brackets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
#[repr(u8)]
pub enum Step {
    /// The transport has connected.
    StartConnecting = 1,
    /// The transport has accepted.
    StartAccepting = 2,
    /// Before the connecting side sends its banner.
    SendBannerConnecting = 3,
    /// Before the accepting side sends its banner.
    SendBannerAccepting = 4,
    /// The connecting side has read the peer's banner and addresses.
    BannerReadConnecting = 5,
    /// The accepting side has read the peer's banner, address and first connect struct.
    BannerReadAccepting = 6,
    /// Before the connecting side begins to show who it is. Only in v2.
    SendAuthRequest = 9,
    /// The connecting side has shown who it is; before it is told. Only in v2.
    SendAuthDone = 10,
    /// Before a connect struct is sent for a new session (client_ident).
    SendConnect = 11,
    /// Before READY or SEQ is sent for a new session (server_ident).
    SendAccept = 12,
    /// Before a connect struct is sent for a session that goes on (session_reconnect).
    SendReconnect = 13,
    /// Before SEQ is sent for a session that goes on (reconnect_ok).
    SendReconnectOk = 14,
    /// The handshake is done; nothing was sent or received yet.
    Ready = 15,
    /// A message was received, and not looked at yet.
    MessageReceived = 16,
    /// Its sequence number is checked next.
    MessageDecoded = 17,
    /// Before RETRY_GLOBAL is sent: the attempt is stale, or takes over a session.
    SendRetryGlobal = 18,
}

/// What is to become of a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Intercept {
    /// Goes on.
    Continue,
    /// Ends as if the link had broken here; the policy says what follows.
    Fail,
    /// Ends the connection, whatever its policy, with a
    /// [`Reset`](crate::ConnectionEvent::Reset) event.
    Stop,
}

/// Who is at a [`Step`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Intercepted<'a> {
    /// The connection, once there is one: from the beginning on the connecting side, from
    /// [`SendAccept`](Step::SendAccept) on the accepting one.
    pub connection: Option<&'a Connection>,
    /// The peer's address; where its socket is until the peer has said more.
    pub peer_addr: EntityAddr,
    /// What the peer is, as far as it is known.
    pub peer_type: Option<EntityType>,
    /// Whether the peer connected to this side.
    pub accepting: bool,
}

/// Decides on the steps of a messenger's connections;
/// see [`Builder::interceptor`](crate::Builder::interceptor).
///
/// It is called on the connection's worker and may block it, until a test decides for example.
/// Everything else that lives on that worker waits too, so give a messenger that is intercepted
/// workers of its own, and more of them than it has connections and listeners. A panic counts as
/// [`Fail`](Intercept::Fail).
pub trait Interceptor: Send + Sync {
    /// Decides on one step.
    fn step(&self, at: &Intercepted<'_>, step: Step) -> Intercept;
}

/// What a messenger injects.
pub(crate) struct Injector {
    inject: Inject,
    seed: u64,
    /// Only its random numbers are used.
    dice: ManualEnv,
    network_congestion: AtomicU32,
    interceptor: Option<Arc<dyn Interceptor>>,
}

impl Injector {
    pub(crate) fn new(
        inject: &Inject,
        env: &dyn Env,
        interceptor: Option<Arc<dyn Interceptor>>,
    ) -> Self {
        let seed = inject.seed.unwrap_or_else(|| env.random());
        let off = Inject {
            seed: inject.seed,
            ..Inject::default()
        };
        if *inject != off {
            tracing::info!(seed, ?inject, "faults are injected");
        }
        Self {
            seed,
            dice: ManualEnv::new(seed),
            network_congestion: AtomicU32::new(inject.network_congestion),
            interceptor,
            inject: inject.clone(),
        }
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    pub(crate) fn set_network_congestion(&self, n: u32) {
        self.network_congestion.store(n, Ordering::Relaxed);
    }

    fn one_in(&self, n: u32) -> bool {
        n != 0 && self.dice.random().is_multiple_of(u64::from(n))
    }

    /// A number in [0, 1).
    fn fraction(&self) -> f64 {
        // 53 bits: as many as a float keeps.
        (self.dice.random() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Whether the read or write that comes next breaks its link.
    pub(crate) fn breaks_link(&self) -> bool {
        self.one_in(self.inject.socket_failures)
    }

    /// Whether the pass of writing that comes next finds no room.
    pub(crate) fn is_congested(&self) -> bool {
        let n = self.network_congestion.load(Ordering::Relaxed);
        n > 1 && !self.one_in(n)
    }

    /// Waits, where a race is likely.
    pub(crate) fn delay(&self) {
        if !self.inject.internal_delays.is_zero() {
            // Holding the thread up is what this is for.
            std::thread::sleep(self.inject.internal_delays);
        }
    }

    /// Waits now and then, before the own address is learned.
    pub(crate) fn delay_learning(&self) {
        if !self.inject.internal_delays.is_zero() && self.breaks_link() {
            self.delay();
        }
    }

    /// Waits now and then, before an event is told.
    pub(crate) fn delay_event(&self) {
        if !self.inject.internal_delays.is_zero() && self.is_late() {
            self.delay();
        }
    }

    fn is_late(&self) -> bool {
        self.inject.delay_probability > 0.0 && self.fraction() < self.inject.delay_probability
    }

    /// How long the message that comes next waits in its delay line.
    pub(crate) fn lateness(&self) -> Duration {
        if self.is_late() {
            self.inject.delay_max.mul_f64(self.fraction())
        } else {
            Duration::ZERO
        }
    }

    /// Whether messages to and from such peers vanish.
    pub(crate) fn swallows(&self, peer_type: EntityType) -> bool {
        let Inject {
            blackhole_osd,
            blackhole_mon,
            blackhole_mds,
            blackhole_mgr,
            blackhole_client,
            ..
        } = self.inject;
        match peer_type {
            EntityType::OSD => blackhole_osd,
            EntityType::MON => blackhole_mon,
            EntityType::MDS => blackhole_mds,
            EntityType::MGR => blackhole_mgr,
            EntityType::CLIENT => blackhole_client,
            _ => false,
        }
    }

    /// The delay line for a connection that is ready, if those of such peers have one.
    pub(crate) fn delay_line(&self, peer_type: EntityType) -> Option<Box<DelayLine>> {
        let listed = self.inject.delay_type.contains(&peer_type);
        listed.then(Box::default)
    }

    /// Asks about a step. `Err`: the link breaks here.
    pub(crate) fn step(&self, step: Step, who: Who<'_>) -> Result<(), Error> {
        match &self.interceptor {
            None => Ok(()),
            Some(interceptor) => ask(interceptor, step, who),
        }
    }
}

/// Who is at a step.
#[derive(Clone, Copy)]
pub(crate) enum Who<'a> {
    /// This side has connected.
    Connecting(Option<&'a Connection>),
    /// The peer has connected.
    Accepting(Option<&'a Connection>, EntityAddr, Option<EntityType>),
    /// One of both, on an open link, and whether it is the latter.
    Open(&'a Connection, bool),
}

impl<'a> Who<'a> {
    /// The peer that claims something, and the connection that it is about, if there is one.
    pub(crate) fn of_claim(connection: Option<&'a Connection>, claim: &Claim) -> Self {
        Self::Accepting(connection, claim.peer_addr(), Some(claim.peer_type()))
    }
}

fn ask(interceptor: &Arc<dyn Interceptor>, step: Step, who: Who<'_>) -> Result<(), Error> {
    let (connection, peer_addr, peer_type, accepting) = match who {
        Who::Connecting(connection) => (connection, EntityAddr::default(), None, false),
        Who::Accepting(connection, addr, kind) => (connection, addr, kind, true),
        Who::Open(connection, accepting) => {
            (Some(connection), EntityAddr::default(), None, accepting)
        }
    };
    let at = Intercepted {
        connection,
        peer_addr: connection.map_or(peer_addr, Connection::peer_addr),
        peer_type: connection.map(Connection::peer_type).or(peer_type),
        accepting,
    };
    let decision = catch_unwind(AssertUnwindSafe(|| interceptor.step(&at, step)));
    let error = |kind| Error::text(kind, format!("an interceptor ended it at step {step:?}"));
    match decision.unwrap_or(Intercept::Fail) {
        Intercept::Continue => Ok(()),
        Intercept::Fail => Err(error(ErrorKind::Disconnected)),
        Intercept::Stop => {
            if let Some(connection) = connection {
                connection.reset(error(ErrorKind::MarkedDown));
            }
            Err(error(ErrorKind::MarkedDown))
        }
    }
}

impl fmt::Debug for Injector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Injector")
            .field("seed", &self.seed)
            .field("inject", &self.inject)
            .field("intercepts", &self.interceptor.is_some())
            .finish_non_exhaustive()
    }
}

/// A message with its shares of the dispatch throttles.
type Held = (Message, [Option<Permit>; 2]);

/// Received messages of one link that are late, in their order.
///
/// Each has a timer, and whichever timer fires lets the oldest message go, so that the order stays.
#[derive(Default)]
pub(crate) struct DelayLine {
    messages: VecDeque<Held>,
    timers: Vec<TimerId>,
}

impl DelayLine {
    /// Holds a message back, as long as its messenger says.
    pub(crate) fn hold<X>(
        &mut self,
        center: &mut EventCenter<X>,
        tag: u64,
        connection: &Connection,
        held: Held,
    ) {
        let at = center.now() + connection.0.shared.injector.lateness();
        self.timers.push(center.set_timer(at, tag));
        self.messages.push_back(held);
    }

    /// The message to deliver now, if the timer is one of this line.
    pub(crate) fn release(&mut self, timer: TimerId) -> Option<Held> {
        let at = self.timers.iter().position(|mine| *mine == timer)?;
        self.timers.swap_remove(at);
        self.messages.pop_front()
    }

    /// Lets all messages go at once.
    pub(crate) fn flush<X>(&mut self, center: &mut EventCenter<X>) -> VecDeque<Held> {
        for timer in self.timers.drain(..) {
            center.cancel_timer(timer);
        }
        std::mem::take(&mut self.messages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn injector(inject: &Inject) -> Injector {
        Injector::new(inject, &ManualEnv::new(7), None)
    }

    #[test]
    fn nothing_happens_by_default() {
        let injector = injector(&Inject::default());
        for _ in 0..1000 {
            assert!(!injector.breaks_link() && !injector.is_congested());
            assert_eq!(injector.lateness(), Duration::ZERO);
        }
        assert!(injector.delay_line(EntityType::OSD).is_none());
    }

    #[test]
    fn chances_are_those_that_were_asked_for() {
        let injector = injector(&Inject {
            socket_failures: 30,
            network_congestion: 100,
            delay_type: vec![EntityType::OSD],
            delay_probability: 0.5,
            delay_max: Duration::from_secs(2),
            seed: Some(1),
            ..Inject::default()
        });
        assert_eq!(injector.seed(), 1);
        let count = |what: &dyn Fn() -> bool| (0..100_000).filter(|_| what()).count();
        let broken = count(&|| injector.breaks_link());
        assert!((3_000..3_700).contains(&broken), "{broken}");
        let congested = count(&|| injector.is_congested());
        assert!((98_800..99_200).contains(&congested), "{congested}");
        let late = count(&|| injector.lateness() > Duration::ZERO);
        assert!((49_000..51_000).contains(&late), "{late}");
        assert!((0..1000).all(|_| injector.lateness() < Duration::from_secs(2)));
        injector.set_network_congestion(0);
        assert!(!injector.is_congested());
        assert!(injector.delay_line(EntityType::OSD).is_some());
        assert!(injector.delay_line(EntityType::MON).is_none());
    }

    #[test]
    fn a_seed_gives_the_same_run_again() {
        let run = |seed| {
            let injector = injector(&Inject {
                socket_failures: 3,
                seed: Some(seed),
                ..Inject::default()
            });
            (0..100).map(|_| injector.breaks_link()).collect::<Vec<_>>()
        };
        assert_eq!(run(5), run(5));
        assert_ne!(run(5), run(6));
    }
}
