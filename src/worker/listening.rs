//! Processors: listening sockets, and the links that come from them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use event_driver::{Interest, Readiness, Token};

use super::peer::Peer;
use super::pool::least_loaded;
use super::{Cmd, Entry, WorkerState};
use crate::connection::Link;
use crate::error::{Error, ErrorKind};
use crate::event::EventCenter;
use crate::inject::{Step, Who};
use crate::messenger::Shared;
use crate::net::Listener;
use crate::processor::{ACCEPT_RETRY, AcceptEnd, Accepted, Processor};
use crate::wire::EntityAddr;

impl WorkerState {
    pub(super) fn listen(
        &mut self,
        center: &mut EventCenter<Cmd>,
        shared: Arc<Shared>,
        listener: Box<dyn Listener>,
        local: EntityAddr,
    ) {
        if shared.is_stopped() {
            return;
        }
        let source = listener.source();
        let token = Token {
            slot: u32::MAX,
            generation: u32::MAX,
        };
        let processor = Processor {
            shared,
            listener,
            local,
            token,
            retry: None,
        };
        let slot = self.insert(Entry::Processor(processor));
        match center.register(source, Interest::READ, slot.to_u64()) {
            Ok(token) => {
                if let Some(Entry::Processor(processor)) = self.entries.get_mut(slot) {
                    processor.token = token;
                }
            }
            Err(error) => {
                tracing::error!(%local, %error, "cannot watch a listening socket");
                self.me.load.fetch_sub(1, Ordering::Relaxed);
                self.entries.remove(slot);
            }
        }
    }

    pub(super) fn accept(&mut self, center: &mut EventCenter<Cmd>, slot: Token) {
        let Some(Entry::Processor(processor)) = self.entries.get_mut(slot) else {
            return;
        };
        let (pool, me) = (&self.pool, &self.me);
        let mut mine = Vec::new();
        let end = processor.accept(|accepted| {
            let worker = least_loaded(pool);
            if worker.id == me.id {
                mine.push(accepted);
            } else {
                worker.post(Cmd::Accept(Box::new(accepted)));
            }
        });
        let token = processor.token;
        match end {
            AcceptEnd::Drained => {
                if let Err(error) = center.rearm(token, Interest::READ) {
                    tracing::error!(%error, "cannot watch a listening socket");
                }
            }
            AcceptEnd::Budget => center.again(token, Readiness::READ),
            AcceptEnd::Failing => {
                let retry = || center.set_timer(center.now() + ACCEPT_RETRY, slot.to_u64());
                processor.retry.get_or_insert_with(retry);
            }
        }
        for accepted in mine {
            self.adopt(center, accepted);
        }
    }

    /// Takes an accepted connection in and begins its handshake.
    pub(super) fn adopt(&mut self, center: &mut EventCenter<Cmd>, accepted: Accepted) {
        let Accepted {
            shared,
            stream,
            peer: seen,
            local,
            slot: place,
        } = accepted;
        if shared.is_stopped() {
            return;
        }
        let addr = EntityAddr {
            kind: local.kind,
            nonce: 0,
            sock: Some(seen),
        };
        let peer = Peer::new(&shared, addr, None);
        let slot = self.insert(Entry::Peer(peer));
        let token = match center.register(stream.source.clone(), Interest::BOTH, slot.to_u64()) {
            Ok(token) => token,
            Err(error) => return self.fault(center, slot, Error::io(ErrorKind::System, error)),
        };
        let handshake = shared.acceptor(local, seen, stream.writer.local_addr().ok());
        let mut link = Link::accepted(&shared, stream, token, handshake, (addr, place));
        let who = Who::Accepting(None, addr, None);
        let injector = &shared.injector;
        let greeted = injector
            .step(Step::StartAccepting, who)
            .and_then(|()| injector.step(Step::SendBannerAccepting, who))
            .and_then(|()| link.greet());
        let timer = center.set_timer(center.now() + shared.config.ready_timeout, slot.to_u64());
        if let Some(peer) = self.peer(slot) {
            peer.link = Some(link);
            peer.timer = Some(timer);
        }
        self.settle(center, slot, greeted);
    }

    pub(super) fn stop_listening(&mut self, center: &mut EventCenter<Cmd>, shared: &Arc<Shared>) {
        let of_it = |(slot, entry): (Token, &Entry)| match entry {
            Entry::Processor(processor) if Arc::ptr_eq(&processor.shared, shared) => Some(slot),
            _ => None,
        };
        let slots: Vec<Token> = self.entries.iter().filter_map(of_it).collect();
        for slot in slots {
            self.remove(center, slot);
        }
    }
}
