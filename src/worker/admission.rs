//! Peers that want in: which session they get, and when it is open (msgr1 §7, §11 to §13; msgr2 §9,
//! §12). What the protocols' rules say of a claim is in `rules.rs`; here it is done.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use event_driver::{Interest, Token};

use super::peer::Peer;
use super::rules::{self, Ruling};
use super::{Cmd, Entry, Nascent, WorkerState, deregister};
use crate::connection::{Claim, Connection, Link, Numbers, Opened, Party, Session, Verdict};
use crate::error::{Error, ErrorKind};
use crate::event::EventCenter;
use crate::inject::{Step, Who};
use crate::messenger::Ready;

impl WorkerState {
    /// A peer wants in. `Some`: it is in (msgr1 §7, §11, §12; msgr2 §9.2, §12).
    pub(super) fn claimed(
        &mut self,
        center: &mut EventCenter<Cmd>,
        slot: Token,
        claim: Claim,
    ) -> Result<Option<Opened>, Error> {
        let Some(peer) = self.peer(slot) else {
            return Ok(None);
        };
        let shared = Arc::clone(&peer.shared);
        let policy = shared.policy(claim.peer_type());
        if let Some(verdict) = peer.vet(&claim, policy)? {
            tracing::debug!(peer = %claim.peer_addr(), ?verdict, "refused");
            return self.answer(slot, verdict);
        }
        let goes_on = matches!(&claim, Claim::V2(claim) if claim.connect_seq().is_some());
        if peer.connection.is_some() || (policy.is_anonymous() && !goes_on) {
            return self.let_in(slot, &claim);
        }
        let Some(session) = shared.lookup(&claim.peer_addrs()) else {
            return self.arbitrated(center, slot, &claim, None);
        };
        shared.injector.delay();
        if session.home.id == self.me.id {
            return self.arbitrated(center, slot, &claim, Some(&session));
        }
        if let Some(link) = self.take_link(center, slot) {
            let nascent = Nascent {
                link,
                shared,
                claim,
            };
            session.home.post(Cmd::Adopt(Box::new(nascent)));
        }
        Ok(None)
    }

    /// Takes in a link whose peer has a session here, and goes on with its handshake.
    pub(super) fn adopt_nascent(&mut self, center: &mut EventCenter<Cmd>, nascent: Nascent) {
        let Nascent {
            link,
            shared,
            claim,
        } = nascent;
        if shared.is_stopped() {
            // This worker may have let go of everything already.
            return link.close();
        }
        let slot = self.insert(Entry::Peer(Peer::new(&shared, claim.peer_addr(), None)));
        let result = self.give_link(center, slot, link).and_then(|()| {
            match self.claimed(center, slot, claim)? {
                Some(opened) => self.opened(center, slot, &opened, Ready::Accepted),
                None => Ok(()),
            }
        });
        self.settle(center, slot, result);
    }

    /// Applies the rules for a peer that may have a session at home here.
    pub(super) fn arbitrated(
        &mut self,
        center: &mut EventCenter<Cmd>,
        slot: Token,
        claim: &Claim,
        session: Option<&Arc<Session>>,
    ) -> Result<Option<Opened>, Error> {
        let Some(peer) = self.peer(slot) else {
            return Ok(None);
        };
        let shared = Arc::clone(&peer.shared);
        let home = session.and_then(|session| session.slot.get().copied());
        let old = home.and_then(|home| match self.entries.get(home) {
            Some(Entry::Peer(old)) if old.connection.is_some() => Some(old),
            _ => None,
        });
        let ruling = match claim {
            Claim::V1(claim) => rules::v1(&shared, old, claim),
            Claim::V2(claim) => rules::v2(&shared, old, claim),
        };
        let old = session.map(|session| Connection(Arc::clone(session)));
        if ruling.is_retry_global() {
            let who = Who::of_claim(old.as_ref(), claim);
            shared.injector.step(Step::SendRetryGlobal, who)?;
        }
        match (ruling, home) {
            (Ruling::LetIn, _) => self.let_in(slot, claim),
            (Ruling::Supersede, Some(home)) => {
                let text = "the peer has opened a new connection";
                let error = Error::text(ErrorKind::Disconnected, text);
                self.end(center, home, error);
                self.let_in(slot, claim)
            }
            (Ruling::TakeOver { resets, verdict }, Some(home)) => {
                self.replace(center, slot, home, resets)?;
                match verdict {
                    Some(verdict) => self.answer(home, verdict),
                    None => {
                        // The link is the session's by now, and so is what becomes of it.
                        let opened = self.let_in(home, claim);
                        let result = opened.and_then(|opened| match opened {
                            Some(opened) => self.opened(center, home, &opened, Ready::Accepted),
                            None => Ok(()),
                        });
                        self.settle(center, home, result);
                        Ok(None)
                    }
                }
            }
            (Ruling::Wait(verdict), _) => {
                // So that the own attempt goes on, whatever becomes of this one.
                if let Some(connection) = old {
                    connection.send_keepalive();
                }
                self.answer(slot, verdict)
            }
            (Ruling::StartOver(verdict), home) => {
                if let Some(home) = home {
                    self.start_over(center, home);
                }
                self.answer(slot, verdict)
            }
            (Ruling::Refuse(verdict), _) => self.answer(slot, verdict),
            (Ruling::Stale | Ruling::Supersede | Ruling::TakeOver { .. }, _) => {
                let text = "the peer has made a newer attempt in the meantime";
                Err(Error::text(ErrorKind::Disconnected, text))
            }
        }
    }

    /// The peer is told to forget a session that this side never heard to be open. If it was let in
    /// by that session, the answer to the own attempt may still be on its way, and must not count.
    fn start_over(&mut self, center: &mut EventCenter<Cmd>, home: Token) {
        let Some(peer) = self.peer(home) else { return };
        let is_own = |link: &Link| !link.is_open() && !link.is_accepting();
        if peer.link.as_ref().is_some_and(is_own) {
            peer.hang_up(center);
            self.connect(center, home);
        }
    }

    /// The session at `home` takes over the link at `slot` (msgr1 §12).
    pub(super) fn replace(
        &mut self,
        center: &mut EventCenter<Cmd>,
        slot: Token,
        home: Token,
        (peer_reset, reset): (bool, bool),
    ) -> Result<(), Error> {
        let Some(link) = self.take_link(center, slot) else {
            return Ok(());
        };
        let Some(old) = self.peer(home) else {
            link.close();
            return Ok(());
        };
        old.shared.injector.delay();
        if reset {
            old.discard_delayed(center);
        }
        old.hang_up(center);
        if let Some(connection) = &old.connection {
            connection.0.wake();
        }
        // Of a session that was never open nothing is lost, and then SEQ is safer than READY: it makes
        // this side wait until the peer knows that it was let in.
        old.peer_reset |= peer_reset && old.was_ready;
        if reset {
            old.reset_session();
        }
        old.replacing = true;
        let numbers = old.numbers;
        self.give_link(center, home, link)?;
        *self
            .peer(home)
            .map(Peer::numbers_mut)
            .unwrap_or(&mut Numbers::default()) = numbers;
        Ok(())
    }

    /// Takes a link out of its entry, which is forgotten.
    pub(super) fn take_link(&mut self, center: &mut EventCenter<Cmd>, slot: Token) -> Option<Link> {
        let link = self.peer(slot)?.link.take()?;
        deregister(center, link.token);
        self.remove(center, slot);
        Some(link)
    }

    /// Puts a link into an entry, with a new deadline for its handshake.
    pub(super) fn give_link(
        &mut self,
        center: &mut EventCenter<Cmd>,
        slot: Token,
        mut link: Link,
    ) -> Result<(), Error> {
        let system = |e: io::Error| Error::io(ErrorKind::System, e);
        let source = link.source.clone();
        link.token = center
            .register(source, Interest::BOTH, slot.to_u64())
            .map_err(system)?;
        let Some(peer) = self.peer(slot) else {
            return Ok(());
        };
        peer.link = Some(link);
        let deadline = center.now() + peer.shared.config.ready_timeout;
        peer.timer = Some(center.set_timer(deadline, slot.to_u64()));
        Ok(())
    }

    /// Opens the session of a peer: the one that its link belongs to, or a new one.
    pub(super) fn let_in(&mut self, slot: Token, claim: &Claim) -> Result<Option<Opened>, Error> {
        let me = self.me.clone();
        let Some(peer) = self.peer(slot) else {
            return Ok(None);
        };
        let shared = Arc::clone(&peer.shared);
        let policy = shared.policy(claim.peer_type());
        if peer.connection.is_none() {
            let who = Party {
                kind: claim.peer_type(),
                addr: claim.peer_addr(),
                addrs: claim.peer_addrs(),
                version: claim.version(),
            };
            peer.addr = who.addr;
            let session = Session::new(&shared, who, policy.clone(), me, false);
            let fresh = session.slot.set(slot).is_ok();
            debug_assert!(fresh, "the session is new");
            let registered = policy.is_anonymous() || shared.register(&session);
            shared.injector.delay();
            if !registered {
                let text = "another connection of the same peer was quicker";
                return Err(Error::text(ErrorKind::Disconnected, text));
            }
            if let Some(place) = peer.link.as_mut().and_then(|link| link.place.take()) {
                *session.place() = Some(Arc::new(place));
            }
            peer.connection = Some(Connection(session));
        }
        let (verdict, step) = match claim {
            Claim::V1(claim) => peer.open_v1(claim, policy),
            Claim::V2(claim) => peer.open_v2(claim, policy)?,
        };
        let who = Who::of_claim(peer.connection.as_ref(), claim);
        shared.injector.step(step, who)?;
        let opened = self.answer(slot, verdict)?;
        // From here on the rules look at its numbers (msgr1 §13).
        if let Some(peer) = self.peer(slot) {
            peer.replacing = false;
        }
        Ok(opened)
    }

    pub(super) fn answer(
        &mut self,
        slot: Token,
        verdict: Verdict,
    ) -> Result<Option<Opened>, Error> {
        let Some(peer) = self.peer(slot) else {
            return Ok(None);
        };
        match &mut peer.link {
            Some(link) => link
                .answer(verdict)
                .inspect_err(|_| peer.shared.injector.delay()),
            None => Ok(None),
        }
    }

    /// The handshake is done.
    pub(super) fn opened(
        &mut self,
        center: &mut EventCenter<Cmd>,
        slot: Token,
        opened: &Opened,
        ready: Ready,
    ) -> Result<(), Error> {
        let Some(peer) = self.peer(slot) else {
            return Ok(());
        };
        let (Some(link), Some(connection)) = (&mut peer.link, peer.connection.clone()) else {
            return Ok(());
        };
        #[cfg(feature = "sim")]
        let opened = &{
            let takeover = ready == Ready::Accepted && peer.was_ready;
            crate::sim::plant::opened(opened, takeover)
        };
        if !link.open(&connection, opened)? {
            self.remove(center, slot);
            return Ok(());
        }
        if let Some(timer) = peer.timer.take() {
            center.cancel_timer(timer);
        }
        peer.watch(center, slot);
        peer.backoff = Duration::ZERO;
        (peer.was_ready, peer.replacing, peer.peer_reset) = (true, false, false);
        let shared = Arc::clone(&peer.shared);
        tracing::debug!(peer = ?connection, ?ready, "ready");
        shared.ready(&connection, ready)?;
        let who = Who::Open(&connection, ready == Ready::Accepted);
        shared.injector.step(Step::Ready, who)?;
        self.send(center, slot, &connection.0)
    }
}
