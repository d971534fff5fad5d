//! One stream of a session, or of a peer that has none yet: reading, the writing of the handshake,
//! and what the open phase brings. What is said in a handshake is for `handshake.rs`.
//!
//! Belongs to a worker and is only touched by its thread. What is read goes to a sans-I/O protocol
//! object; what happens is reported to the worker as an [`Outcome`] or an error, and the worker
//! decides by policy what becomes of it.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use event_driver::sock::Space;
use event_driver::{Interest, Source, Token};

use super::Connection;
use super::codec::Reading;
use super::handshake::{self, Claim, Handshake, Numbers, Opened, Verdict};
use super::staging::{Staging, Tail};
use crate::error::{Error, ErrorKind};
use crate::event::{EventCenter, Handle};
use crate::inject::{DelayLine, Step, Who};
use crate::messenger::{Pass, Shared};
use crate::net::{ReadHalf, Stream, WriteHalf};
use crate::processor::AcceptSlot;
use crate::proto::v1::{Refusal, State, Terms};
use crate::proto::{self, Decoded, Gate, Incoming, Phase, Toll};
use crate::stats::Counters;
use crate::throttle::{Permit, Throttle, Ticket};
use crate::wire::{AddrType, AddrVec, EntityAddr};
use crate::worker::Cmd;

/// The slowest peer, in bytes per second, that gets a long message through in time.
const RECEIVE_RATE_MIN: u64 = 64 << 10;
/// Bytes read from one link in a turn before others get their turn.
const RECEIVE_BUDGET: usize = 1 << 20;

pub(crate) struct Link {
    /// The registration with the event center.
    pub(crate) token: Token,
    /// What is registered.
    pub(crate) source: Source,
    shared: Arc<Shared>,
    reader: Box<dyn ReadHalf>,
    /// Until the handshake is done; then the session has it.
    writer: Option<Box<dyn WriteHalf>>,
    /// Handshake bytes that the socket did not take yet.
    unsent: BytesMut,
    /// Input that is not a complete thing yet.
    tail: Tail,
    stage: Stage,
    pub(crate) numbers: Numbers,
    /// The number up to which the peer was told that its messages have arrived.
    told: u64,
    tolls: Tolls,
    /// When the message that is being read has to be complete.
    deadline: Option<Instant>,
    /// The peer has sent or acknowledged a message on it.
    pub(crate) was_of_use: bool,
    /// When the socket last had something to read, or room again.
    active: Instant,
    /// The peer has said what it wants, and may say so again.
    claimed: bool,
    /// Received messages that are late, if that is injected.
    pub(crate) delayed: Option<Box<DelayLine>>,
    /// Where the socket of a peer that has connected is.
    pub(crate) seen: EntityAddr,
    /// Until there is a session to have it.
    pub(crate) place: Option<AcceptSlot>,
}

enum Stage {
    Connecting,
    Handshake(Handshake),
    /// The handshake is done, and what comes next has failed.
    Spent(Phase),
    Open(Reading),
}

/// What the worker has to do.
pub(crate) enum Outcome {
    /// The connecting side's handshake is done.
    Connected(Opened),
    /// A peer wants in: [`Link::answer`] it.
    Claim(Claim),
    /// The accepting side's handshake is done.
    Accepted(Opened),
    /// The peer lost its session: what is queued for it is void. With v2 the session has another
    /// name from now on.
    ResetSession { client_cookie: u64 },
    /// The socket has no more to give, and is re-armed.
    Drained,
    /// A throttle is full: nothing is read until a permit comes.
    Parked,
    /// The budget is used up.
    Again,
    /// The connection was marked down on this side.
    Closed,
}

/// What a link needs of its worker.
pub(crate) struct Cx<'a> {
    pub(crate) center: &'a mut EventCenter<Cmd>,
    pub(crate) staging: &'a mut Staging,
    /// The link's entry in the worker's table.
    pub(crate) slot: Token,
    pub(crate) post: &'a Handle<Cmd>,
}

impl Link {
    pub(crate) fn connecting(
        shared: &Arc<Shared>,
        stream: Stream,
        token: Token,
        numbers: Numbers,
    ) -> Self {
        let mut link = Self::new(shared, stream, token, Stage::Connecting, None);
        link.numbers = numbers;
        link
    }

    pub(crate) fn accepted(
        shared: &Arc<Shared>,
        stream: Stream,
        token: Token,
        handshake: Handshake,
        (seen, place): (EntityAddr, AcceptSlot),
    ) -> Self {
        let stage = Stage::Handshake(handshake);
        let mut link = Self::new(shared, stream, token, stage, Some(place));
        link.seen = seen;
        link
    }

    fn new(
        shared: &Arc<Shared>,
        stream: Stream,
        token: Token,
        stage: Stage,
        place: Option<AcceptSlot>,
    ) -> Self {
        Self {
            token,
            source: stream.source,
            shared: Arc::clone(shared),
            reader: stream.reader,
            writer: Some(stream.writer),
            unsent: BytesMut::new(),
            tail: Tail::default(),
            stage,
            numbers: Numbers::default(),
            told: 0,
            tolls: Tolls::default(),
            deadline: None,
            was_of_use: false,
            active: shared.env.now(),
            claimed: false,
            delayed: None,
            seen: EntityAddr::default(),
            place,
        }
    }

    /// Where in the protocol it is.
    pub(crate) fn state(&self) -> Phase {
        match &self.stage {
            Stage::Connecting => State::StartConnect.into(),
            Stage::Handshake(handshake) => handshake.phase(),
            Stage::Spent(phase) => *phase,
            Stage::Open(reading) => reading.phase(),
        }
    }

    /// Whether the transport is still connecting, so that a failure says nothing of the peer.
    pub(crate) fn is_connecting(&self) -> bool {
        matches!(self.stage, Stage::Connecting)
    }

    pub(crate) fn is_accepting(&self) -> bool {
        matches!(&self.stage, Stage::Handshake(handshake) if handshake.is_accepting())
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open(_))
    }

    /// Whether a throttle holds it up.
    pub(crate) fn is_parked(&self) -> bool {
        self.tolls.ticket.is_some()
    }

    /// Whether its peer has not said before what it wants; asked once for each claim.
    pub(crate) fn is_first_claim(&mut self) -> bool {
        !std::mem::replace(&mut self.claimed, true)
    }

    /// Closes the socket, whoever holds its halves.
    pub(crate) fn close(mut self) {
        #[cfg(feature = "sim")]
        crate::sim::plant::broken(&mut self.tolls.held);
        if let Some(writer) = &mut self.writer {
            writer.shutdown();
        }
    }

    /// The accepting side speaks first.
    pub(crate) fn greet(&mut self) -> Result<(), Error> {
        if let Stage::Handshake(handshake) = &mut self.stage {
            handshake.greet(&mut self.unsent);
        }
        self.write_handshake()
    }

    /// The socket has room, or its connect has ended.
    pub(crate) fn on_writable(
        &mut self,
        cx: &mut Cx<'_>,
        connection: Option<&Connection>,
    ) -> Result<(), Error> {
        if self.is_connecting() && !self.finish_connect(connection)? {
            return rearm(cx, self.token, Interest::WRITE);
        }
        self.write_handshake()?;
        if self.unsent.is_empty() {
            Ok(())
        } else {
            rearm(cx, self.token, Interest::WRITE)
        }
    }

    fn finish_connect(&mut self, connection: Option<&Connection>) -> Result<bool, Error> {
        let (Some(writer), Some(connection)) = (&mut self.writer, connection) else {
            return Ok(false);
        };
        if !writer
            .finish_connect()
            .map_err(|e| Error::io(ErrorKind::Unreachable, e))?
        {
            return Ok(false);
        }
        if !self.shared.config.learn_addr_from_peer {
            let at = writer.local_addr().map_err(disconnected)?;
            let at = SocketAddr::new(at.ip(), 0);
            self.shared
                .learn_addr(EntityAddr::new(AddrType::Any, at, 0));
        }
        let injector = &self.shared.injector;
        let who = Who::Connecting(Some(connection));
        injector.step(Step::StartConnecting, who)?;
        injector.step(Step::SendBannerConnecting, who)?;
        let mut cx = handshake::Cx {
            shared: &self.shared,
            numbers: &mut self.numbers,
            connection: Some(connection),
            seen: self.seen,
            out: &mut self.unsent,
        };
        self.stage = Stage::Handshake(Handshake::connect(connection, &mut cx)?);
        Ok(true)
    }

    fn write_handshake(&mut self) -> Result<(), Error> {
        let Some(writer) = &mut self.writer else {
            return Ok(());
        };
        if !self.unsent.is_empty() && self.shared.injector.breaks_link() {
            writer.shutdown();
        }
        while !self.unsent.is_empty() {
            match writer.write(&[IoSlice::new(&self.unsent)]) {
                Ok(n) => self.unsent.advance(n),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(disconnected(e)),
            }
        }
        Ok(())
    }

    /// Reads and handles what the socket has. `hup`: the peer has closed its side, so read to the
    /// end even if a read comes back short.
    pub(crate) fn receive(
        &mut self,
        cx: &mut Cx<'_>,
        connection: Option<&Connection>,
        hup: bool,
    ) -> Result<Outcome, Error> {
        self.active = cx.center.now();
        self.shared.look_after_dispatch(self.active);
        let mut buf = cx.staging.begin(&mut self.tail);
        let outcome = self.receive_into(&mut buf, cx, connection, hup);
        cx.staging.end(buf, &mut self.tail);
        self.watch_message(cx.center.now());
        self.acknowledge(connection);
        outcome
    }

    /// Has one acknowledgement sent for all that has arrived, with what is sent at the end of the
    /// turn anyway.
    fn acknowledge(&mut self, connection: Option<&Connection>) {
        let Some(connection) = connection else { return };
        if self.told < self.numbers.in_seq && self.is_open() {
            self.told = self.numbers.in_seq;
            if !connection.0.is_lossy() {
                connection.0.acknowledge(self.told);
            }
        }
    }

    /// Notes when a message that has begun must have ended.
    fn watch_message(&mut self, now: Instant) {
        let in_message = match &self.stage {
            Stage::Open(reading) => reading.in_message(),
            _ => None,
        };
        match in_message {
            None => self.deadline = None,
            Some(size) => {
                let allowance = Duration::from_secs(size / RECEIVE_RATE_MIN);
                let limit = self.shared.config.message_timeout + allowance;
                self.deadline.get_or_insert_with(|| now + limit);
            }
        }
    }

    /// When an open link is to be looked at again: the message that is being read has to be
    /// complete then, or the link has been idle for too long.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        [self.deadline, self.idle_at()].into_iter().flatten().min()
    }

    /// When the link will have been idle for too long; never, if that is switched off.
    fn idle_at(&self) -> Option<Instant> {
        let limit = self.shared.config.connection_idle_timeout;
        (!limit.is_zero()).then(|| self.active.checked_add(limit))?
    }

    /// What is too late by now, if anything is.
    pub(crate) fn overdue(&self, now: Instant) -> Option<&'static str> {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            return Some("a message did not arrive in time (message_timeout)");
        }
        // A parked link is not idle: this side does not read.
        let idle = !self.is_parked() && self.idle_at().is_some_and(|at| at <= now);
        idle.then_some("nothing was sent or received for too long (connection_idle_timeout)")
    }

    /// The socket had room again.
    pub(crate) fn touch(&mut self, now: Instant) {
        self.active = now;
    }

    fn receive_into(
        &mut self,
        buf: &mut BytesMut,
        cx: &mut Cx<'_>,
        connection: Option<&Connection>,
        hup: bool,
    ) -> Result<Outcome, Error> {
        let mut budget = RECEIVE_BUDGET;
        loop {
            if let Some(outcome) = self.handle(buf, cx, connection)? {
                return Ok(outcome);
            }
            if budget == 0 {
                return Ok(Outcome::Again);
            }
            cx.staging.make_room(buf);
            if self.shared.injector.breaks_link() {
                self.cut(connection);
            }
            let (asked, read) = self.read(buf);
            match read {
                Ok(0) => return Err(self.end_of_stream()),
                Ok(n) if n < asked && !hup => {
                    // Not drained for good until what came is handled: a reset may be next.
                    if let Some(outcome) = self.handle(buf, cx, connection)? {
                        return Ok(outcome);
                    }
                    rearm(cx, self.token, Interest::READ)?;
                    return Ok(Outcome::Drained);
                }
                Ok(n) => budget = budget.saturating_sub(n),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    rearm(cx, self.token, Interest::READ)?;
                    return Ok(Outcome::Drained);
                }
                Err(e) => return Err(disconnected(e)),
            }
        }
    }

    /// Breaks the link from below: what comes next learns of it.
    fn cut(&mut self, connection: Option<&Connection>) {
        match (&mut self.writer, connection) {
            (Some(writer), _) => writer.shutdown(),
            (None, Some(connection)) => connection.0.cut(),
            (None, None) => {}
        }
    }

    /// One read: to where a large part lands, if there is one, and behind it into `buf`. Returns
    /// how much was asked for too.
    fn read(&mut self, buf: &mut BytesMut) -> (usize, io::Result<usize>) {
        let limit = buf.capacity() - buf.len();
        let landing = match &mut self.stage {
            Stage::Open(reading) => reading.landing(),
            _ => None,
        };
        match landing {
            Some(landing) => {
                let asked = landing.wanted + limit;
                let first = Space {
                    buf: landing.buf,
                    limit: landing.wanted,
                };
                (asked, self.reader.read(&mut [first, Space { buf, limit }]))
            }
            None => (limit, self.reader.read(&mut [Space { buf, limit }])),
        }
    }

    fn end_of_stream(&self) -> Error {
        let text = if self.is_open() {
            "the peer closed the connection"
        } else {
            "the peer closed the connection during the handshake; its log says why"
        };
        Error::text(ErrorKind::Disconnected, text)
    }

    /// Feeds the protocol with `buf`. `None`: it needs more.
    fn handle(
        &mut self,
        buf: &mut BytesMut,
        cx: &mut Cx<'_>,
        connection: Option<&Connection>,
    ) -> Result<Option<Outcome>, Error> {
        match &mut self.stage {
            Stage::Connecting | Stage::Spent(_) => Ok(None),
            Stage::Handshake(_) => self.shake_hands(buf, cx, connection),
            Stage::Open(_) => match connection {
                Some(connection) => self.handle_open(buf, cx, connection),
                None => Ok(Some(Outcome::Closed)),
            },
        }
    }

    fn shake_hands(
        &mut self,
        buf: &mut BytesMut,
        cx: &mut Cx<'_>,
        connection: Option<&Connection>,
    ) -> Result<Option<Outcome>, Error> {
        let Stage::Handshake(handshake) = &mut self.stage else {
            return Ok(None);
        };
        let mut needs = handshake::Cx {
            shared: &self.shared,
            numbers: &mut self.numbers,
            connection,
            seen: self.seen,
            out: &mut self.unsent,
        };
        match handshake.advance(buf, &mut needs) {
            Ok(None) => self.flush_handshake(cx),
            Ok(Some(outcome)) => Ok(Some(match outcome {
                handshake::Outcome::Connected(opened) => Outcome::Connected(opened),
                handshake::Outcome::Claim(claim) => Outcome::Claim(claim),
                handshake::Outcome::Accepted(opened) => Outcome::Accepted(opened),
                handshake::Outcome::ResetSession { client_cookie } => {
                    Outcome::ResetSession { client_cookie }
                }
            })),
            Err(error) => Err(error),
        }
    }

    /// The own addresses as the peer knows them.
    pub(crate) fn own_addrs(&self) -> AddrVec {
        let at = self.writer.as_ref().map(|writer| writer.local_addr());
        self.shared.addrs_at(at.and_then(Result::ok))
    }

    /// Looks at what a peer shows beside its claim, in v1. `Err`: what it is told.
    pub(crate) fn authorize(
        &mut self,
        claim: &proto::v1::Claim,
        terms: &Terms,
    ) -> Result<(), Refusal> {
        match &mut self.stage {
            Stage::Handshake(handshake) => handshake.authorize(&self.shared, claim, terms),
            _ => Ok(()),
        }
    }

    /// Answers a [`Claim`](Outcome::Claim). With `Some` the session is open already.
    pub(crate) fn answer(&mut self, verdict: Verdict) -> Result<Option<Opened>, Error> {
        let Stage::Handshake(handshake) = &mut self.stage else {
            return Ok(None);
        };
        let opened = handshake.answer(verdict, &mut self.unsent)?;
        self.write_handshake()?;
        Ok(opened)
    }

    fn flush_handshake(&mut self, cx: &mut Cx<'_>) -> Result<Option<Outcome>, Error> {
        self.write_handshake()?;
        if !self.unsent.is_empty() {
            rearm(cx, self.token, Interest::WRITE)?;
        }
        Ok(None)
    }

    /// The handshake is done: from here on the session writes. False if it was closed meanwhile.
    pub(crate) fn open(&mut self, connection: &Connection, opened: &Opened) -> Result<bool, Error> {
        let spent = Stage::Spent(self.state());
        let Stage::Handshake(handshake) = std::mem::replace(&mut self.stage, spent) else {
            return Ok(false);
        };
        let (reading, writing) = handshake.into_open(&self.shared, opened)?;
        let Some(writer) = self.writer.take() else {
            return Ok(false);
        };
        self.stage = Stage::Open(reading);
        let unsent = std::mem::take(&mut self.unsent);
        opened.note(&mut self.numbers);
        self.told = self.numbers.in_seq;
        self.delayed = self.shared.injector.delay_line(connection.peer_type());
        Ok(connection.0.open(opened, writing, writer, &unsent))
    }

    fn handle_open(
        &mut self,
        buf: &mut BytesMut,
        cx: &mut Cx<'_>,
        connection: &Connection,
    ) -> Result<Option<Outcome>, Error> {
        let Stage::Open(reading) = &mut self.stage else {
            return Ok(None);
        };
        let (link, slot, post) = (self.token, cx.slot, cx.post);
        let mut received = Received {
            stats: &self.shared.stats,
            messages: 0,
            bytes: 0,
        };
        let mut pass = Pass::new(connection);
        let mut spare = [None, None];
        loop {
            let tolls = &mut self.tolls;
            let mut gate = TollGate {
                tolls,
                spare: &mut spare,
                connection,
                slot,
                link,
                post,
            };
            let incoming = match reading.decode(buf, &mut gate) {
                Err(error) => return Err(Error::proto(error)),
                Ok(Decoded::NeedMore) => return Ok(None),
                Ok(Decoded::Throttled) => {
                    cx.center.disarm(link, Interest::READ).map_err(system)?;
                    self.shared.stats.throttled.fetch_add(1, Ordering::Relaxed);
                    connection.0.set_throttled(Some(cx.center.now()));
                    return Ok(Some(Outcome::Parked));
                }
                Ok(Decoded::Incoming(incoming)) => incoming,
            };
            match incoming {
                Incoming::Message(mut message) => {
                    let injector = &self.shared.injector;
                    injector.step(Step::MessageReceived, Who::Open(connection, self.claimed))?;
                    injector.step(Step::MessageDecoded, Who::Open(connection, self.claimed))?;
                    self.deadline = None;
                    self.was_of_use = true;
                    received.messages += 1;
                    received.bytes += message.size();
                    let (held, mut in_dispatch) = self.tolls.take();
                    if message.head().seq <= self.numbers.in_seq {
                        self.shared.stats.duplicates.fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                    if connection.is_closed() {
                        // By another thread: whoever has marked it down hears no more of it.
                        return Ok(Some(Outcome::Closed));
                    }
                    self.numbers.in_seq = message.head().seq;
                    if self.shared.injector.swallows(connection.peer_type()) {
                        continue;
                    }
                    message.hold(held);
                    if let Some(line) = &mut self.delayed {
                        line.hold(cx.center, slot.to_u64(), connection, (message, in_dispatch));
                        continue;
                    }
                    pass.deliver(message, &mut in_dispatch)?;
                    spare = in_dispatch;
                    if connection.is_closed() {
                        return Ok(Some(Outcome::Closed));
                    }
                }
                Incoming::Keepalive2(stamp) => {
                    connection.0.keepalive_came(stamp);
                    connection.answer_keepalive(stamp);
                }
                Incoming::Keepalive2Ack(stamp) => connection.0.keepalive_acked(stamp),
                Incoming::Ack(seq) => {
                    self.was_of_use = true;
                    connection.0.acked(seq);
                }
                Incoming::Keepalive => connection.0.keepalive_came(self.shared.stamp()),
                Incoming::Close => {
                    let text = "the peer took leave (tag CLOSE)";
                    return Err(Error::text(ErrorKind::Disconnected, text));
                }
            }
        }
    }

    /// A permit that this link was waiting for. False: it belongs to an earlier link.
    pub(crate) fn granted(&mut self, link: Token, toll: usize, permit: Permit) -> bool {
        let mine = link == self.token;
        if mine {
            self.tolls.ticket = None;
            self.tolls.held[toll] = Some(permit);
        }
        mine
    }
}

/// Counts what a pass receives, and adds it to the messenger's counters at its end.
struct Received<'a> {
    stats: &'a Counters,
    messages: u64,
    bytes: u64,
}

impl Drop for Received<'_> {
    fn drop(&mut self) {
        if self.messages > 0 {
            let add = |counter: &AtomicU64, n| counter.fetch_add(n, Ordering::Relaxed);
            add(&self.stats.received, self.messages);
            add(&self.stats.received_bytes, self.bytes);
        }
    }
}

/// The shares of throttles that the message which is being read has taken.
#[derive(Default)]
struct Tolls {
    /// Messages and bytes of the policy, messages and bytes of the dispatch throttle.
    held: [Option<Permit>; 4],
    ticket: Option<Ticket>,
}

impl Tolls {
    fn take(&mut self) -> ([Option<Permit>; 2], [Option<Permit>; 2]) {
        let [messages, bytes, dispatch_messages, dispatch_bytes] = std::mem::take(&mut self.held);
        ([messages, bytes], [dispatch_messages, dispatch_bytes])
    }
}

struct TollGate<'a> {
    tolls: &'a mut Tolls,
    /// What the last message of this pass had of the dispatch throttle, if it is dispatched already:
    /// for the next one, as taking and giving back costs more than all else that is done here.
    spare: &'a mut [Option<Permit>; 2],
    connection: &'a Connection,
    slot: Token,
    link: Token,
    post: &'a Handle<Cmd>,
}

impl TollGate<'_> {
    fn pay(&mut self, toll: usize, throttle: Option<&Arc<Throttle>>, units: u64) -> bool {
        let Some(throttle) = throttle else {
            return true;
        };
        if self.tolls.held[toll].is_some() || units == 0 {
            return true;
        }
        if self.tolls.ticket.is_some() {
            return false;
        }
        let spare = toll.checked_sub(2).and_then(|i| self.spare[i].take());
        if let Some(mut permit) = spare
            && permit.reuse(units)
        {
            self.tolls.held[toll] = Some(permit);
            return true;
        }
        let (slot, link, post) = (self.slot, self.link, self.post.clone());
        let grant = move |permit| {
            // If the worker is gone the permit comes back in the error, and is given back.
            drop(post.submit(Cmd::Granted {
                slot,
                link,
                toll,
                permit,
            }));
        };
        match throttle.take_or_park(units, grant) {
            Ok(permit) => self.tolls.held[toll] = Some(permit),
            Err(ticket) => self.tolls.ticket = Some(ticket),
        }
        self.tolls.held[toll].is_some()
    }
}

impl Gate for TollGate<'_> {
    fn aborted(&mut self) {
        drop(self.tolls.take());
    }

    fn grown(&mut self, by: u64) {
        let [_, bytes, _, dispatch_bytes] = &mut self.tolls.held;
        let held = [bytes, dispatch_bytes].into_iter().flatten();
        held.for_each(|permit| permit.grow(by));
    }

    fn admit(&mut self, toll: Toll, size: u64) -> bool {
        let session = &self.connection.0;
        match toll {
            Toll::Messages => self.pay(0, session.policy.throttle_messages.as_ref(), 1),
            Toll::Bytes => self.pay(1, session.policy.throttle_bytes.as_ref(), size),
            Toll::Dispatch => {
                let shared = &session.shared;
                self.pay(2, Some(&shared.dispatch_messages), 1)
                    && self.pay(3, Some(&shared.dispatch_bytes), size)
            }
        }
    }
}

fn rearm(cx: &mut Cx<'_>, token: Token, interest: Interest) -> Result<(), Error> {
    cx.center.rearm(token, interest).map_err(system)
}

fn system(error: io::Error) -> Error {
    Error::io(ErrorKind::System, error)
}

fn disconnected(error: io::Error) -> Error {
    Error::io(ErrorKind::Disconnected, error)
}
