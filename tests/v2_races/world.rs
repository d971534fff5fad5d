//! A model of two messengers that want one session: what msgr2 §9.4, §12 and §13 say about numbers,
//! cookies and queues, around the library's decisions. Frames are whole, and what comes before the
//! session (banner, HELLO, authentication) decides nothing and is left out.

use std::collections::BTreeMap;

use async_messenger::proto::v2::{Attempt, Decision, Existing, Stage, arbitrate};

/// The most requests on one link; the library takes more, to the same end. Two sides in lockstep can
/// tell each other to retry with ever larger numbers; this and a timer end it.
const ASKED_MAX: u32 = 4;

/// The side that connects, and which of its attempts that is.
pub(crate) type LinkId = (usize, u64);

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Frame {
    Ident {
        global: u64,
        cookie: u64,
    },
    Reconnect {
        global: u64,
        cookie: u64,
        connect_seq: u64,
        msg_seq: u64,
    },
    Opened {
        global: u64,
        cookie: u64,
    },
    Resumed {
        msg_seq: u64,
    },
    Reset {
        full: bool,
    },
    Retry(u64),
    RetryGlobal(u64),
    Wait,
    Message {
        seq: u64,
        name: u8,
    },
    Ack(u64),
    /// The end of the stream.
    Fin,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Gate {
    Standby,
    /// Connects, or is about to.
    Attempting,
    Open,
}

/// What one side has of the session.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Session {
    pub(crate) gate: Gate,
    pub(crate) link: Option<LinkId>,
    /// Waits before the next attempt.
    pub(crate) timer: bool,
    client_cookie: u64,
    server_cookie: u64,
    pub(crate) connect_seq: u64,
    peer_global: u64,
    in_seq: u64,
    out_seq: u64,
    /// Requests on the own link.
    asked: u32,
    pub(crate) queue: Vec<u8>,
    pub(crate) sent: Vec<(u64, u8)>,
}

#[derive(Clone, Hash, Debug)]
pub(crate) struct Side {
    pub(crate) session: Option<Session>,
    global: u64,
    cookies: u64,
    /// What it will want to send.
    pub(crate) to_send: Vec<u8>,
    pub(crate) delivered: Vec<u8>,
    /// What was given up by a reset.
    pub(crate) void: Vec<u8>,
    pub(crate) resetcheck: bool,
    pub(crate) waits: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    Send(usize),
    Connect(usize),
    Deliver(LinkId, usize),
    Cut(LinkId),
}

/// Both sides and what is on its way. Side 0 has the smaller address.
#[derive(Clone, Hash, Debug)]
pub(crate) struct World {
    pub(crate) sides: [Side; 2],
    /// By link; index: the side that it goes to.
    pub(crate) links: BTreeMap<LinkId, [Vec<Frame>; 2]>,
    /// How many links may still break, and how many timers fire before they have to.
    pub(crate) cuts: u8,
    pub(crate) early: u8,
}

impl Session {
    fn new(client_cookie: u64) -> Self {
        Self {
            gate: Gate::Attempting,
            link: None,
            timer: false,
            client_cookie,
            server_cookie: 0,
            connect_seq: 0,
            peer_global: 0,
            in_seq: 0,
            out_seq: 0,
            asked: 0,
            queue: Vec::new(),
            sent: Vec::new(),
        }
    }

    fn existing(&self) -> Existing {
        Existing {
            stage: match self.gate {
                Gate::Open => Stage::Open,
                Gate::Standby => Stage::Standby,
                Gate::Attempting => Stage::Attempting,
            },
            lossy: false,
            server: false,
            client_cookie: self.client_cookie,
            server_cookie: self.server_cookie,
            connect_seq: self.connect_seq,
            peer_global_seq: self.peer_global,
        }
    }

    /// What was not acknowledged goes before all else.
    fn requeue(&mut self) {
        self.out_seq -= self.sent.len() as u64;
        let names = self.sent.drain(..).map(|(_, name)| name);
        self.queue = names.chain(std::mem::take(&mut self.queue)).collect();
    }

    fn acked(&mut self, seq: u64) {
        self.sent.retain(|(sent, _)| *sent > seq);
    }

    /// The peer has got so far; called behind `requeue`, with as many as were sent.
    fn resume(&mut self, msg_seq: u64) {
        let known = msg_seq.saturating_sub(self.out_seq) as usize;
        self.queue.drain(..known.min(self.queue.len()));
        self.out_seq = self.out_seq.max(msg_seq);
        (self.gate, self.timer) = (Gate::Open, false);
    }

    /// A new session with what is queued.
    fn begin(&mut self, server_cookie: u64, requeued: bool) {
        self.server_cookie = server_cookie;
        (self.connect_seq, self.in_seq) = (0, 0);
        if !requeued {
            self.out_seq = 0;
        }
        (self.gate, self.timer) = (Gate::Open, false);
    }
}

impl Side {
    pub(crate) fn new(to_send: Vec<u8>, resetcheck: bool) -> Self {
        Self {
            session: None,
            global: 0,
            cookies: 0,
            to_send,
            delivered: Vec::new(),
            void: Vec::new(),
            resetcheck,
            waits: 0,
        }
    }

    /// A number that nobody else has.
    fn cookie(&mut self, me: usize) -> u64 {
        self.cookies += 1;
        self.cookies * 2 + me as u64
    }

    pub(crate) fn session(&mut self) -> &mut Session {
        self.session.as_mut().expect("a session")
    }
}

impl World {
    pub(crate) fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (me, side) in self.sides.iter().enumerate() {
            if !side.to_send.is_empty() {
                steps.push(Step::Send(me));
            }
            let idle = |s: &&Session| s.gate == Gate::Attempting && s.link.is_none();
            if side.session.as_ref().filter(idle).is_some_and(|s| !s.timer) {
                steps.push(Step::Connect(me));
            }
        }
        for (id, ways) in &self.links {
            let due = (0..2).filter(|to| !ways[*to].is_empty());
            steps.extend(due.map(|to| Step::Deliver(*id, to)));
        }
        if steps.is_empty() || self.early > 0 {
            let waits = |side: &Side| side.session.as_ref().is_some_and(|s| s.timer);
            let due = (0..2).filter(|me| waits(&self.sides[*me]));
            steps.extend(due.map(Step::Connect));
        }
        if self.cuts > 0 {
            steps.extend(self.links.keys().map(|id| Step::Cut(*id)));
        }
        steps
    }

    pub(crate) fn apply(&mut self, step: Step) {
        match step {
            Step::Send(me) => self.send(me),
            Step::Connect(me) => {
                let timed = std::mem::take(&mut self.sides[me].session().timer);
                if timed {
                    self.early = self.early.saturating_sub(1);
                }
                self.sides[me].global += 1;
                let id = (me, self.sides[me].global);
                self.links.insert(id, [vec![], vec![]]);
                self.sides[me].session().link = Some(id);
                self.sides[me].session().asked = 0;
                self.ask(me);
            }
            Step::Cut(id) => {
                self.cuts -= 1;
                self.links.insert(id, [vec![Frame::Fin], vec![Frame::Fin]]);
            }
            Step::Deliver(id, to) => {
                let ways = self.links.get_mut(&id).expect("it is there");
                let frame = ways[to].remove(0);
                self.handle(id, to, frame);
            }
        }
    }

    fn send(&mut self, me: usize) {
        let name = self.sides[me].to_send.remove(0);
        if self.sides[me].session.is_none() {
            let cookie = self.sides[me].cookie(me);
            self.sides[me].session = Some(Session::new(cookie));
        }
        let session = self.sides[me].session();
        session.queue.push(name);
        if session.gate == Gate::Standby {
            session.gate = Gate::Attempting;
            session.connect_seq += u64::from(session.server_cookie != 0);
        }
        self.flush(me);
    }

    fn flush(&mut self, me: usize) {
        let session = self.sides[me].session();
        let (Gate::Open, Some(id)) = (session.gate, session.link) else {
            return;
        };
        let mut frames = Vec::new();
        for name in std::mem::take(&mut session.queue) {
            session.out_seq += 1;
            let seq = session.out_seq;
            session.sent.push((seq, name));
            frames.push(Frame::Message { seq, name });
        }
        for frame in frames {
            self.put(id, 1 - me, frame);
        }
    }

    /// Puts a frame on its way, unless the link has ended there.
    fn put(&mut self, id: LinkId, to: usize, frame: Frame) {
        if let Some(ways) = self.links.get_mut(&id)
            && ways[to].last() != Some(&Frame::Fin)
        {
            ways[to].push(frame);
        }
    }

    /// A side lets go of a link; the other hears of it behind all that is on its way.
    fn close(&mut self, id: LinkId, me: usize) {
        self.put(id, 1 - me, Frame::Fin);
        if let Some(ways) = self.links.get_mut(&id) {
            ways[me].clear();
            if ways.iter().all(Vec::is_empty) {
                self.links.remove(&id);
            }
        }
    }

    fn ask(&mut self, me: usize) {
        let global = self.sides[me].global;
        let session = self.sides[me].session();
        let Some(id) = session.link else { return };
        session.asked += 1;
        if session.asked > ASKED_MAX {
            self.close(id, me);
            return self.fault(me, false);
        }
        let cookie = session.client_cookie;
        let frame = if session.server_cookie == 0 {
            Frame::Ident { global, cookie }
        } else {
            assert!(session.connect_seq > 0, "a server cookie and no reconnect");
            Frame::Reconnect {
                global,
                cookie,
                connect_seq: session.connect_seq,
                msg_seq: session.in_seq,
            }
        };
        self.put(id, 1 - me, frame);
    }

    fn handle(&mut self, id: LinkId, me: usize, frame: Frame) {
        let mine = self.sides[me].session.as_ref().and_then(|s| s.link) == Some(id);
        match frame {
            Frame::Ident { global, cookie } => self.claimed(id, me, (global, cookie), None),
            Frame::Reconnect {
                global,
                cookie,
                connect_seq,
                msg_seq,
            } => {
                self.claimed(id, me, (global, cookie), Some((connect_seq, msg_seq)));
            }
            Frame::Fin => {
                if let Some(ways) = self.links.get_mut(&id) {
                    ways[me].clear();
                    ways[1 - me].retain(|f| *f == Frame::Fin);
                    if ways.iter().all(Vec::is_empty) {
                        self.links.remove(&id);
                    }
                }
                if mine {
                    self.fault(me, false);
                }
            }
            _ if !mine => {}
            Frame::Wait => {
                self.sides[me].waits += 1;
                self.close(id, me);
                self.fault(me, true);
            }
            Frame::Message { seq, name } => {
                let side = &mut self.sides[me];
                if seq > side.session().in_seq {
                    side.session().in_seq = seq;
                    side.delivered.push(name);
                }
                let ack = side.session().in_seq;
                self.put(id, 1 - me, Frame::Ack(ack));
            }
            Frame::Ack(seq) => self.sides[me].session().acked(seq),
            answer => self.answered(me, answer),
        }
    }

    /// The connecting side has got an answer (msgr2 §9.3, §9.4).
    fn answered(&mut self, me: usize, answer: Frame) {
        match answer {
            Frame::Opened { global, cookie } => {
                let session = self.sides[me].session();
                session.peer_global = global;
                let requeued = !session.queue.is_empty();
                session.begin(cookie, requeued && session.out_seq > 0);
                return self.flush(me);
            }
            Frame::Resumed { msg_seq } => {
                self.sides[me].session().resume(msg_seq);
                return self.flush(me);
            }
            Frame::Reset { full } => {
                if full {
                    self.reset(me);
                    let cookie = self.sides[me].cookie(me);
                    self.sides[me].session().client_cookie = cookie;
                }
                let session = self.sides[me].session();
                (session.server_cookie, session.connect_seq, session.in_seq) = (0, 0, 0);
            }
            Frame::Retry(connect_seq) => self.sides[me].session().connect_seq = connect_seq + 1,
            Frame::RetryGlobal(global) => {
                let side = &mut self.sides[me];
                side.global = side.global.max(global) + 1;
            }
            other => panic!("{other:?} is no answer"),
        }
        self.ask(me);
    }

    fn reset(&mut self, me: usize) {
        let side = &mut self.sides[me];
        side.session().requeue();
        let lost = std::mem::take(&mut side.session().queue);
        side.void.extend(lost);
        let session = side.session();
        (session.out_seq, session.in_seq, session.peer_global) = (0, 0, 0);
    }

    /// The accepting side is asked (msgr2 §12).
    fn claimed(
        &mut self,
        id: LinkId,
        me: usize,
        (global_seq, client_cookie): (u64, u64),
        resume: Option<(u64, u64)>,
    ) {
        let side = &mut self.sides[me];
        let attempt = Attempt {
            global_seq,
            client_cookie,
            connect_seq: resume.map(|(connect_seq, _)| connect_seq),
            resetcheck: side.resetcheck,
            peer: (1 - me).cmp(&me),
        };
        let existing = side.session.as_ref().map(Session::existing);
        let answer = match arbitrate(existing.as_ref(), &attempt) {
            Decision::Open => {
                side.session = Some(Session::new(client_cookie));
                self.take_over(id, me, &attempt, None)
            }
            Decision::TakeOver { reset } => {
                if reset {
                    self.reset(me);
                }
                self.take_over(id, me, &attempt, None)
            }
            Decision::Resume => self.take_over(id, me, &attempt, resume),
            Decision::Stale => return self.close(id, me),
            Decision::Reset { full } => Frame::Reset { full },
            Decision::RetrySession(connect_seq) => Frame::Retry(connect_seq),
            Decision::RetryGlobal(global) => Frame::RetryGlobal(global),
            Decision::Wait => {
                // So that the own attempt goes on.
                let session = side.session();
                session.timer = false;
                if session.gate == Gate::Standby {
                    session.gate = Gate::Attempting;
                    session.connect_seq += u64::from(session.server_cookie != 0);
                }
                Frame::Wait
            }
            Decision::Supersede => panic!("nothing is lossy"),
        };
        self.put(id, 1 - me, answer);
        if self.sides[me].session.as_ref().and_then(|s| s.link) == Some(id) {
            self.flush(me);
        }
    }

    /// The session takes the link (msgr2 §12.3); the answer.
    fn take_over(
        &mut self,
        id: LinkId,
        me: usize,
        attempt: &Attempt,
        resume: Option<(u64, u64)>,
    ) -> Frame {
        if let Some(old) = self.sides[me].session().link.take() {
            self.close(old, me);
        }
        let cookie = self.sides[me].cookie(me);
        // A new number, so that the own attempts from before are stale from here on.
        self.sides[me].global += u64::from(resume.is_none());
        let global = self.sides[me].global;
        let session = self.sides[me].session();
        session.requeue();
        session.link = Some(id);
        session.peer_global = attempt.global_seq;
        if let Some((connect_seq, msg_seq)) = resume {
            session.connect_seq = connect_seq;
            session.resume(msg_seq);
            let msg_seq = session.in_seq;
            return Frame::Resumed { msg_seq };
        }
        session.client_cookie = attempt.client_cookie;
        let requeued = !session.queue.is_empty();
        session.begin(cookie, requeued && session.out_seq > 0);
        Frame::Opened { global, cookie }
    }

    /// The session's link is lost (msgr2 §13).
    fn fault(&mut self, me: usize, waited: bool) {
        let session = self.sides[me].session();
        session.link = None;
        session.requeue();
        let was_open = session.gate == Gate::Open;
        if session.queue.is_empty() && !waited {
            session.gate = Gate::Standby;
            return;
        }
        session.gate = Gate::Attempting;
        session.timer = !was_open;
        session.connect_seq += u64::from(session.server_cookie != 0);
    }
}
