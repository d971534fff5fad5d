//! What happens to a stream at its ends: connecting, writing, reading, closing, breaking.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;

use bytes::{Buf, Bytes};
use event_driver::sock::Space;

use super::{End, Event, MS, Net};
use crate::sim::trace::Happened;

impl Net {
    pub(in crate::sim) fn connect(
        &mut self,
        node: usize,
        mut from: SocketAddr,
        to: SocketAddr,
    ) -> u64 {
        let id = self.id();
        from.set_port(30_000 + (id % 30_000) as u16);
        let end = self.end(node, 0, from);
        self.ends.insert(id, end);
        let delay = self.latency();
        self.schedule(self.now + delay, Event::Syn { end: id, to });
        self.note(&Happened::Connect(id, node as u64));
        id
    }

    fn end(&mut self, node: usize, peer: u64, addr: SocketAddr) -> End {
        // By magnitude, so that handshakes are cut as often as long messages.
        let cut_after = self
            .chance
            .hits(self.faults.cuts)
            .then(|| self.chance.magnitude(300_000));
        End {
            peer,
            addr,
            node,
            connecting: true,
            inbox: VecDeque::new(),
            fin: false,
            error: None,
            shut: false,
            halves: 2,
            cut: false,
            cut_after,
            sent: 0,
            in_flight: 0,
            last_arrival: 0,
            news: [1, 1],
            starved: false,
        }
    }

    pub(super) fn syn(&mut self, end: u64, to: SocketAddr) {
        let Some(addr) = self.ends.get(&end).map(|end| end.addr) else {
            return;
        };
        let delay = self.latency();
        let refused = self.chance.hits(self.faults.refusals);
        let listener = self.listener_at(to).filter(|_| !refused);
        let Some(listener) = listener else {
            return self.schedule(self.now + delay, Event::Refused { end });
        };
        let node = self.listeners[&listener].node;
        let id = self.id();
        let mut accepted = self.end(node, end, addr);
        accepted.connecting = false;
        self.ends.insert(id, accepted);
        if let Some(connecting) = self.ends.get_mut(&end) {
            connecting.peer = id;
        }
        if let Some(listening) = self.listeners.get_mut(&listener) {
            listening.backlog.push_back(id);
            listening.news += 1;
        }
        self.schedule(self.now + delay, Event::Established { end });
        if self.chance.hits(self.faults.cuts / 2) {
            let after = self.chance.magnitude(2_000 * MS);
            self.schedule(self.now + after, Event::Cut { end });
        }
    }

    /// Whether a stream stands.
    pub(in crate::sim) fn is_connected(&self, end: u64) -> io::Result<bool> {
        let end = self.ends.get(&end).ok_or(ErrorKind::NotConnected)?;
        match end.error {
            Some(kind) => Err(kind.into()),
            None => Ok(!end.connecting),
        }
    }

    pub(in crate::sim) fn write(&mut self, id: u64, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let window = match self.faults.window {
            0 => 256 << 10,
            window => window,
        };
        let short = self.chance.hits(self.faults.short);
        let end = self.ends.get_mut(&id).ok_or(ErrorKind::BrokenPipe)?;
        if let Some(kind) = end.error {
            return Err(kind.into());
        }
        if end.shut {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        let mut n = total.min(window.saturating_sub(end.in_flight));
        if n == 0 || end.connecting {
            end.starved = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        if short {
            n = 1 + self.chance.below(n as u64) as usize;
        }
        if n < total {
            end.starved = true;
            if end.in_flight + n < window {
                // Nothing has to be read for more room, so nobody else would report it.
                let after = self.chance.below(MS);
                let nudge = Event::Nudge {
                    end: id,
                    direction: 1,
                };
                self.schedule(self.now + after, nudge);
            }
        }
        let mut bytes = Vec::with_capacity(n);
        for slice in slices {
            let take = slice.len().min(n - bytes.len());
            bytes.extend_from_slice(&slice[..take]);
        }
        self.note(&Happened::Write(id, n));
        self.transmit(id, bytes.into());
        Ok(n)
    }

    fn transmit(&mut self, id: u64, mut bytes: Bytes) {
        let Some(end) = self.ends.get_mut(&id) else {
            return;
        };
        end.in_flight += bytes.len();
        let before = end.sent;
        end.sent += bytes.len() as u64;
        if end.cut {
            return;
        }
        let cut = end.cut_after.filter(|after| *after < end.sent);
        if let Some(after) = cut {
            bytes.truncate(after.saturating_sub(before) as usize);
        }
        while !bytes.is_empty() {
            let len = match self.chance.below(4) {
                0 => 1 + self.chance.below(bytes.len() as u64) as usize,
                _ => bytes.len(),
            };
            let part = bytes.split_to(len);
            let delay = self.latency();
            let now = self.now;
            let Some(end) = self.ends.get_mut(&id) else {
                return;
            };
            end.last_arrival = end.last_arrival.max(now + delay);
            let (at, to) = (end.last_arrival, end.peer);
            let data = Event::Data {
                from: id,
                to,
                bytes: part,
            };
            self.schedule(at, data);
        }
        if cut.is_some() {
            self.cut(id);
        }
    }

    pub(in crate::sim) fn read(&mut self, id: u64, spaces: &mut [Space<'_>]) -> io::Result<usize> {
        let short = self.chance.hits(self.faults.short);
        let end = self.ends.get_mut(&id).ok_or(ErrorKind::NotConnected)?;
        let mut limit = usize::MAX;
        if short && let Some(first) = end.inbox.front() {
            limit = 1 + self.chance.below(first.len() as u64) as usize;
        }
        let mut total = 0;
        for space in spaces {
            let mut room = (space.buf.capacity() - space.buf.len()).min(space.limit);
            while room > 0
                && limit > total
                && let Some(first) = end.inbox.front_mut()
            {
                let n = first.len().min(room).min(limit - total);
                space.buf.extend_from_slice(&first[..n]);
                first.advance(n);
                if first.is_empty() {
                    end.inbox.pop_front();
                }
                room -= n;
                total += n;
            }
        }
        if total > 0 {
            self.was_read(id, total);
            return Ok(total);
        }
        match end.error {
            Some(kind) => Err(kind.into()),
            None if end.fin || end.shut => Ok(0),
            None => Err(ErrorKind::WouldBlock.into()),
        }
    }

    fn was_read(&mut self, id: u64, n: usize) {
        self.note(&Happened::Read(id, n));
        let peer = self.ends[&id].peer;
        if let Some(peer) = self.ends.get_mut(&peer) {
            peer.in_flight = peer.in_flight.saturating_sub(n);
            if std::mem::take(&mut peer.starved) {
                peer.news[1] += 1;
            }
        }
        if !self.ends[&id].inbox.is_empty() {
            // It was a short read, and what is left is as good as new.
            let after = self.chance.below(MS);
            let nudge = Event::Nudge {
                end: id,
                direction: 0,
            };
            self.schedule(self.now + after, nudge);
        }
    }

    /// Both directions end.
    pub(in crate::sim) fn shutdown(&mut self, id: u64) {
        let Some(end) = self.ends.get_mut(&id) else {
            return;
        };
        if std::mem::replace(&mut end.shut, true) || end.error.is_some() {
            return;
        }
        end.news = end.news.map(|news| news + 1);
        self.send_fin(id);
    }

    /// One of the two halves is gone; with the last one the stream is closed.
    pub(in crate::sim) fn drop_half(&mut self, id: u64) {
        let Some(end) = self.ends.get_mut(&id) else {
            return;
        };
        end.halves -= 1;
        if end.halves > 0 {
            return;
        }
        self.note(&Happened::Close(id));
        let end = &self.ends[&id];
        if !end.shut && end.error.is_none() {
            if end.inbox.is_empty() {
                self.send_fin(id);
            } else {
                self.reset_peer_of(id);
            }
        }
        self.ends.remove(&id);
    }

    fn send_fin(&mut self, id: u64) {
        let delay = self.latency();
        let now = self.now;
        if let Some(end) = self.ends.get_mut(&id)
            && !end.cut
        {
            end.last_arrival = end.last_arrival.max(now + delay);
            let (at, to) = (end.last_arrival, end.peer);
            self.schedule(at, Event::Fin { to });
        }
    }

    pub(super) fn reset_peer_of(&mut self, id: u64) {
        let delay = self.latency();
        if let Some(end) = self.ends.get(&id)
            && !end.cut
        {
            let to = end.peer;
            self.schedule(self.now + delay, Event::Reset { to });
        }
    }

    /// Breaks a stream. What is on its way may arrive; the ends learn of it each in its time.
    pub(super) fn cut(&mut self, id: u64) {
        let Some(peer) = self.ends.get(&id).map(|end| end.peer) else {
            return;
        };
        self.note(&Happened::Cut(id));
        for end in [id, peer] {
            let late = if self.chance.hits(100) {
                8_000 * MS
            } else {
                200 * MS
            };
            let mut at = self.now + self.chance.magnitude(late);
            let fin = self.chance.hits(300);
            let Some(known) = self.ends.get_mut(&end) else {
                continue;
            };
            if std::mem::replace(&mut known.cut, true) {
                continue;
            }
            if fin {
                // Behind what is on its way already.
                let other = self.ends.get(if end == id { &peer } else { &id });
                at = at.max(other.map_or(0, |other| other.last_arrival));
            }
            let told = if fin {
                Event::Fin { to: end }
            } else {
                Event::Reset { to: end }
            };
            self.schedule(at, told);
        }
    }

    /// Every stream and listener of a node is gone, and nobody is told: its power failed. Who waits
    /// for room learns of it by a probe.
    pub(in crate::sim) fn vanish(&mut self, node: usize) {
        self.listeners.retain(|_, listener| listener.node != node);
        self.ends.retain(|_, end| end.node != node);
        let lost = |end: &End| end.in_flight > 0 && !self.ends.contains_key(&end.peer);
        let waiting = self.ends.iter().filter(|(_, end)| lost(end));
        let waiting: Vec<u64> = waiting.map(|(id, _)| *id).collect();
        for to in waiting {
            let after = self.chance.magnitude(10_000 * MS);
            self.schedule(self.now + after, Event::Reset { to });
        }
    }
}
