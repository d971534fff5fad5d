//! Two messengers without sockets and threads, to be stepped by hand.
//!
//! The handshakes and `arbitrate` are the library's own. What the worker does with them needs
//! sockets, so it is modelled here, method by method under the worker's names: `claimed`,
//! `arbitrated`, `replace`, `let_in`, `opened`, `fault`. Both sessions are at home on one worker;
//! nobody is lossy. Time passes only when nothing else can happen, except for one early timer if a
//! start allows it. A socket that is cut loses what is on its way and then ends on both sides, each
//! of which notices when it is stepped.

use std::collections::BTreeMap;

use async_messenger::proto::v1::{
    AcceptorEvent, AcceptorParams, Claim, ConnectorEvent, ConnectorParams, Opened, Refusal,
    ReplyTag, State, Terms, Verdict, none_authorizer,
};
use async_messenger::proto::{Attempt, Decision, Existing, Stage, arbitrate};
use async_messenger::wire::features::SUPPORTED;
use async_messenger::wire::{AuthName, EntityAddr, EntityName, EntityType};
use bytes::BytesMut;

use super::session::{Frame, Gate, Session};
use super::wire::{End, Event, Life, LinkId, Wire};

/// How often a takeover whose link has ended may get in the way before the end is noticed; how
/// often a timer may be overtaken by that of the other side; and how often two attempts may raise
/// the incarnation above each other before links deliver in the order of sending.
const PATIENCE: u8 = 3;

/// What of a policy matters here.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Rules {
    pub(crate) server: bool,
    pub(crate) standby: bool,
    pub(crate) resetcheck: bool,
}

/// Something that can happen next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// The application of a side sends its message.
    Send(usize),
    /// The connect of a link has ended well.
    Connected(LinkId),
    /// The other side accepts it.
    Accept(LinkId),
    /// A side reads all there is on a link, or its end.
    Deliver(LinkId, usize),
    /// A back-off is over.
    Timer(usize),
    /// A link breaks.
    Cut(LinkId),
}

#[derive(Clone, Hash, Debug)]
pub(crate) struct Side {
    pub(crate) rules: Rules,
    pub(crate) addr: EntityAddr,
    pub(crate) global_seq: u32,
    pub(crate) attempts: u32,
    pub(crate) ends: BTreeMap<LinkId, End>,
    pub(crate) session: Option<Session>,
    /// Sent by the application when its step comes, or when the peer has connected.
    pub(crate) to_send: Option<u8>,
    /// It does not connect by itself.
    pub(crate) answers: bool,
    pub(crate) delivered: Vec<u8>,
    /// Lost by a reset that the application was told of.
    pub(crate) void: Vec<u8>,
    pub(crate) waits: u32,
}

#[derive(Clone, Hash, Debug)]
pub(crate) struct World {
    pub(crate) sides: [Side; 2],
    pub(crate) wires: BTreeMap<LinkId, Wire>,
    /// What is due, in the order of sending.
    pub(crate) due: Vec<(LinkId, usize)>,
    /// How many links may break from here on.
    pub(crate) cuts: u8,
    /// How many timers may be early from here on.
    pub(crate) early: u8,
}

impl Side {
    pub(crate) fn new(rules: Rules, nonce: u32) -> Self {
        Self {
            rules,
            addr: format!("v1:127.0.0.1:6800/{nonce}").parse().expect("valid"),
            global_seq: 0,
            attempts: 0,
            ends: BTreeMap::new(),
            session: None,
            to_send: None,
            answers: false,
            delivered: Vec::new(),
            void: Vec::new(),
            waits: 0,
        }
    }

    fn next_global_seq(&mut self, above: u32) -> u32 {
        self.global_seq = self.global_seq.max(above) + 1;
        self.global_seq
    }

    pub(crate) fn session(&mut self) -> &mut Session {
        self.session.as_mut().expect("there is a session")
    }

    /// `Peer::existing`.
    fn existing(&self) -> Option<Existing> {
        let session = self.session.as_ref()?;
        let open = session
            .link
            .is_some_and(|id| self.ends.get(&id).is_some_and(|end| end.open));
        let stage = if session.replacing {
            Stage::Replacing
        } else if open {
            Stage::Open
        } else if session.link.is_none() && !session.timer {
            Stage::Standby
        } else {
            Stage::Attempting
        };
        Some(Existing {
            stage,
            lossy: false,
            server: self.rules.server,
            connect_seq: session.connect_seq,
            peer_global_seq: session.peer_global_seq,
        })
    }
}

impl World {
    /// What can happen.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for me in 0..2 {
            let side = &self.sides[me];
            let may_send = side.session.is_some() || !side.answers;
            steps.extend(side.to_send.filter(|_| may_send).map(|_| Step::Send(me)));
            let hurry = self.sides[me].session.as_ref().and_then(|session| {
                let id = session.link.filter(|_| session.turned_down >= PATIENCE)?;
                self.wires[&id].fin[me].then_some(id)
            });
            if let Some(id) = hurry {
                steps.push(Step::Deliver(id, me));
                continue;
            }
            for (&id, wire) in &self.wires {
                match wire.life[me] {
                    Life::Pending if id.0 == me => steps.push(Step::Connected(id)),
                    Life::Pending => steps.push(Step::Accept(id)),
                    _ if wire.is_due(me) => steps.push(Step::Deliver(id, me)),
                    _ => {}
                }
            }
        }
        let in_order = self.sides.iter().any(|side| {
            let session = side.session.as_ref();
            session.is_some_and(|session| session.leaps >= PATIENCE)
        });
        if let Some(&(id, me)) = self.due.first().filter(|_| in_order) {
            steps = vec![Step::Deliver(id, me)];
        }
        let overtaken = |me: usize| {
            let session = self.sides[me].session.as_ref();
            session.filter(|session| session.timer).map(|s| s.overtaken)
        };
        let timers = [0, 1].into_iter().filter(|&me| {
            let other = overtaken(1 - me).unwrap_or(0);
            overtaken(me).is_some() && other < PATIENCE
        });
        if steps.is_empty() || self.early > 0 {
            steps.extend(timers.map(Step::Timer));
        }
        if self.cuts > 0 {
            let up = |wire: &Wire| !wire.cut && wire.life != [Life::Pending; 2];
            let both = |wire: &Wire| !wire.life.contains(&Life::Gone);
            let links = self.wires.iter().filter(|(_, wire)| up(wire) && both(wire));
            steps.extend(links.map(|(&id, _)| Step::Cut(id)));
        }
        steps
    }

    pub(crate) fn apply(&mut self, step: Step) {
        self.handle(step);
        let is_due = |&(id, me): &(LinkId, usize)| {
            let wire = self.wires.get(&id);
            wire.is_some_and(|wire| wire.is_due(me))
        };
        self.due.retain(is_due);
        for &id in self.wires.keys() {
            for key in [(id, 0), (id, 1)] {
                if is_due(&key) && !self.due.contains(&key) {
                    self.due.push(key);
                }
            }
        }
    }

    fn handle(&mut self, step: Step) {
        match step {
            Step::Send(me) => self.send(me),
            Step::Connected(id) => self.connected(id),
            Step::Accept(id) => self.accept(id),
            Step::Deliver(id, me) => {
                self.due.retain(|due| *due != (id, me));
                self.deliver(id, me);
            }
            Step::Timer(me) => {
                let only = self
                    .steps()
                    .iter()
                    .all(|s| matches!(s, Step::Timer(_) | Step::Cut(_)));
                self.early -= u8::from(!only);
                let session = self.sides[me].session();
                (session.timer, session.overtaken) = (false, 0);
                if let Some(other) = &mut self.sides[1 - me].session {
                    other.overtaken += u8::from(other.timer);
                }
                self.connect(me);
            }
            Step::Cut(id) => {
                self.cuts -= 1;
                let wire = self.wires.get_mut(&id).expect("a link");
                wire.flight = [vec![], vec![]];
                (wire.fin, wire.cut) = ([true; 2], true);
            }
        }
    }

    /// `Connection::send`; the first one makes the session.
    fn send(&mut self, me: usize) {
        let Some(name) = self.sides[me].to_send.take() else {
            return;
        };
        let rules = self.sides[me].rules;
        let fresh = self.sides[me].session.is_none();
        let session = self.sides[me].session.get_or_insert_with(Session::new);
        session.queue.push_back(name);
        if fresh || session.gate == Gate::Standby && !rules.server {
            session.gate = Gate::Down;
            self.connect(me);
        } else {
            self.flush(me);
        }
    }

    pub(crate) fn connect(&mut self, me: usize) {
        assert!(!self.sides[me].rules.server, "a server does not connect");
        let side = &mut self.sides[me];
        let id = (me, side.attempts);
        side.attempts += 1;
        side.session().link = Some(id);
        self.wires.insert(id, Wire::new());
    }

    fn connected(&mut self, id: LinkId) {
        let me = id.0;
        let peer_addr = self.sides[1 - me].addr;
        let side = &mut self.sides[me];
        let global_seq = side.next_global_seq(0);
        let session = side.session();
        let params = ConnectorParams {
            name: EntityName::osd(me as i64),
            peer_addr,
            features: SUPPORTED,
            required: 0,
            protocol_version: 10,
            authorizer: Some(none_authorizer(&AuthName::new(EntityType::OSD, "1"), 0)),
            lossy: false,
            global_seq,
            connect_seq: session.connect_seq,
            in_seq: session.in_seq,
            addr: side.addr,
        };
        self.begin(id, me, |out| End::connector(params, out));
    }

    fn accept(&mut self, id: LinkId) {
        let me = 1 - id.0;
        let params = AcceptorParams {
            addr: self.sides[me].addr,
            peer_seen: ([127, 0, 0, 1], 40_000).into(),
        };
        self.begin(id, me, |out| End::acceptor(params, out));
    }

    fn begin(&mut self, id: LinkId, me: usize, make: impl FnOnce(&mut BytesMut) -> End) {
        self.wires.get_mut(&id).expect("a link").life[me] = Life::Live;
        let mut out = BytesMut::new();
        let end = make(&mut out);
        self.sides[me].ends.insert(id, end);
        self.write(id, me, &out);
    }

    fn write(&mut self, id: LinkId, me: usize, bytes: &[u8]) {
        let wire = self.wires.get_mut(&id).expect("a link");
        if wire.life[1 - me] != Life::Gone && !wire.cut {
            wire.flight[1 - me].extend(bytes);
        }
    }

    fn close(&mut self, id: LinkId, me: usize) {
        self.sides[me].ends.remove(&id);
        let wire = self.wires.get_mut(&id).expect("a link");
        wire.life[me] = Life::Gone;
        wire.flight[me].clear();
        wire.fin[1 - me] = true;
        if wire.life[1 - me] == Life::Gone {
            self.wires.remove(&id);
        }
    }

    fn deliver(&mut self, id: LinkId, me: usize) {
        let wire = self.wires.get_mut(&id).expect("a link");
        let bytes = std::mem::take(&mut wire.flight[me]);
        if bytes.is_empty() {
            return self.fault(id, me);
        }
        let end = self.sides[me].ends.get_mut(&id).expect("a live end");
        end.rx.extend(bytes);
        self.receive(id, me);
        self.flush(me);
    }

    /// Uses what was received. The link may have a new owner, or be gone, afterwards.
    fn receive(&mut self, id: LinkId, me: usize) {
        loop {
            let Some(end) = self.sides[me].ends.get_mut(&id) else {
                return;
            };
            if end.open {
                let frames = Frame::decode(&std::mem::take(&mut end.rx));
                let side = &mut self.sides[me];
                let session = side.session.as_mut().expect("there is a session");
                let names = frames
                    .into_iter()
                    .filter_map(|frame| session.receive(frame));
                side.delivered.extend(names);
                return;
            }
            let mut out = BytesMut::new();
            let result = end.input(&mut out);
            self.write(id, me, &out);
            match result {
                Err(_) => return self.fault(id, me),
                Ok(None) => return,
                Ok(Some(Event::Connector(ConnectorEvent::Wait))) => {
                    self.sides[me].waits += 1;
                    return self.fault(id, me);
                }
                Ok(Some(Event::Connector(event))) => self.on_connector(id, me, event),
                Ok(Some(Event::Acceptor(AcceptorEvent::Claim(claim)))) => {
                    self.claimed(id, me, &claim);
                }
                Ok(Some(Event::Acceptor(AcceptorEvent::Ready(opened)))) => {
                    self.opened(id, me, &opened);
                }
            }
        }
    }

    /// `Link::handle_connector`.
    fn on_connector(&mut self, id: LinkId, me: usize, event: ConnectorEvent) {
        let side = &mut self.sides[me];
        assert_eq!(side.session().link, Some(id), "a connector of nobody");
        let last = side.ends[&id].global_seq();
        let global_seq = match event {
            ConnectorEvent::RetryGlobal { peer_global_seq } => {
                side.next_global_seq(peer_global_seq)
            }
            ConnectorEvent::RetrySession { connect_seq } => {
                let session = side.session();
                session.connect_seq = connect_seq;
                session.leaps += 1;
                last
            }
            ConnectorEvent::ResetSession => {
                self.reset_session(me);
                last
            }
            ConnectorEvent::Ready(opened) => return self.opened(id, me, &opened),
            ConnectorEvent::Learned(_)
            | ConnectorEvent::Wait
            | ConnectorEvent::Challenge(_)
            | ConnectorEvent::Proof(_) => {
                panic!("{event:?} does not come here")
            }
        };
        let mut out = BytesMut::new();
        let end = self.sides[me].ends.get_mut(&id).expect("a live end");
        end.retry(global_seq, &mut out);
        self.write(id, me, &out);
    }

    fn reset_session(&mut self, me: usize) {
        let side = &mut self.sides[me];
        let void = side.session().reset();
        side.void.extend(void);
    }

    fn claimed(&mut self, id: LinkId, me: usize, claim: &Claim) {
        assert_eq!(claim.peer_addr, self.sides[1 - me].addr);
        let session = self.sides[me].session.as_ref();
        if session.is_some_and(|session| session.link == Some(id)) {
            self.let_in(id, me, claim);
        } else {
            self.arbitrated(id, me, claim);
        }
    }

    fn arbitrated(&mut self, id: LinkId, me: usize, claim: &Claim) {
        let existing = self.sides[me].existing();
        let attempt = Attempt {
            global_seq: claim.global_seq,
            connect_seq: claim.connect_seq,
            resetcheck: self.sides[me].rules.resetcheck,
            peer_first: claim.peer_addr < self.sides[me].addr,
        };
        let terms = Terms {
            protocol_version: 10,
            supported: SUPPORTED,
            required: 0,
            require_authorizer: true,
            monitor: false,
        };
        let mut refusal = Refusal::new(ReplyTag::ResetSession, claim, &terms);
        match arbitrate(existing.as_ref(), &attempt) {
            Decision::Open => {
                let mut session = Session::new();
                session.link = Some(id);
                session.queue.extend(self.sides[me].to_send.take());
                self.sides[me].session = Some(session);
                return self.let_in(id, me, claim);
            }
            Decision::Replace {
                global_seq,
                peer_reset,
                reset,
            } => {
                refusal.tag = ReplyTag::RetryGlobal;
                refusal.global_seq = global_seq;
                self.replace(id, me, peer_reset, reset);
            }
            Decision::RetryGlobal(global_seq) => {
                refusal.tag = ReplyTag::RetryGlobal;
                refusal.global_seq = global_seq;
                let session = self.sides[me].session();
                session.turned_down += u8::from(session.replacing);
            }
            Decision::RetrySession(connect_seq) => {
                refusal.tag = ReplyTag::RetrySession;
                refusal.connect_seq = connect_seq;
            }
            Decision::Wait => {
                refusal.tag = ReplyTag::Wait;
                self.sides[me].session().keepalive = true;
            }
            Decision::ResetSession => self.start_over(me),
            Decision::Supersede => panic!("nobody is lossy"),
        }
        self.answer(id, me, Verdict::Refuse(refusal));
    }

    /// The own attempt may be answered for the session that the peer is told to forget.
    fn start_over(&mut self, me: usize) {
        let session = self.sides[me].session.as_ref();
        if session.is_some_and(|session| session.link.is_some()) {
            self.hang_up(me);
            self.connect(me);
        }
    }

    /// The link gets to belong to the session; the one that it had ends.
    fn replace(&mut self, id: LinkId, me: usize, peer_reset: bool, reset: bool) {
        self.hang_up(me);
        self.sides[me].session().peer_reset |= peer_reset;
        if reset {
            self.reset_session(me);
        }
        let session = self.sides[me].session();
        session.replacing = true;
        session.link = Some(id);
    }

    fn let_in(&mut self, id: LinkId, me: usize, claim: &Claim) {
        let side = &mut self.sides[me];
        let global_seq = side.next_global_seq(0);
        let session = side.session();
        let reset = session.peer_reset;
        if reset {
            session.in_seq = 0;
        }
        session.connect_seq = claim.connect_seq + 1;
        session.peer_global_seq = claim.global_seq;
        let in_seq = session.in_seq;
        let verdict = Verdict::Open {
            features: SUPPORTED,
            global_seq,
            lossy: false,
            in_seq,
            reset,
            protocol_version: 10,
        };
        self.answer(id, me, verdict);
        self.sides[me].session().replacing = false;
    }

    fn answer(&mut self, id: LinkId, me: usize, verdict: Verdict) {
        let mut out = BytesMut::new();
        let end = self.sides[me].ends.get_mut(&id).expect("a live end");
        let event = end.answer(verdict, &mut out);
        self.write(id, me, &out);
        if let Some(AcceptorEvent::Ready(opened)) = event {
            self.opened(id, me, &opened);
        }
    }

    fn opened(&mut self, id: LinkId, me: usize, opened: &Opened) {
        let side = &mut self.sides[me];
        side.ends.get_mut(&id).expect("a live end").open = true;
        let session = side.session();
        assert_eq!(session.link, Some(id), "a link of nobody opens");
        session.connect_seq = opened.connect_seq;
        session.peer_global_seq = opened.global_seq;
        session.was_ready = true;
        (session.replacing, session.peer_reset) = (false, false);
        (session.turned_down, session.leaps) = (0, 0);
        session.open(opened);
        self.flush(me);
    }

    fn flush(&mut self, me: usize) {
        let Some(session) = &mut self.sides[me].session else {
            return;
        };
        if let (bytes, Some(id)) = (session.flush(), session.link) {
            self.write(id, me, &bytes);
        }
    }

    /// `Peer::hang_up`.
    fn hang_up(&mut self, me: usize) {
        let session = self.sides[me].session();
        (session.timer, session.overtaken) = (false, 0);
        session.drop_link();
        if let Some(id) = session.link.take() {
            self.close(id, me);
        }
    }

    fn fault(&mut self, id: LinkId, me: usize) {
        let state = self.sides[me].ends[&id].state();
        let session = self.sides[me].session.as_ref();
        if session.is_none_or(|session| session.link != Some(id)) {
            return self.close(id, me);
        }
        self.hang_up(me);
        let rules = self.sides[me].rules;
        let session = self.sides[me].session();
        (session.replacing, session.peer_reset, session.turned_down) = (false, false, 0);
        let told_to_wait = state == State::Wait;
        let rests = rules.server || rules.standby && !told_to_wait;
        if rests && session.stand_by(rules.server) {
            return;
        }
        if state < State::StartAccept || told_to_wait {
            (session.timer, session.overtaken) = (true, 0);
        } else {
            session.connect_seq += 1;
            self.connect(me);
        }
    }
}
