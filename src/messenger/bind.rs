//! Where a messenger listens and connects from, and moving it to other ports, as another instance
//! (session §3). Runs on the caller's thread.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{Messenger, Phase, marked_down};
use crate::error::{Error, ErrorKind};
use crate::net::Listener;
use crate::wire::{AddrType, AddrVec, EntityAddr};
use crate::worker::Cmd;

/// What the nonce grows by, so that peers take the messenger for another one.
const NONCE_STEP: u32 = 1_000_000;

impl Messenger {
    /// Listens on addresses and announces them: `v1:` and `v2:`, which say what is spoken there.
    /// With several, the order is that in which peers are to prefer them.
    ///
    /// Port 0 means the first free one of [`Config::bind_port_min`](crate::Config) to
    /// `bind_port_max`, or any if both are 0. What fails is tried again `bind_retry_count` times
    /// in all. Returns the addresses with the ports that were bound and this messenger's nonce.
    ///
    /// # Errors
    /// If there is no address, one is of another type, or one cannot be bound; none is bound then.
    pub fn bind(&self, addrs: &AddrVec) -> Result<AddrVec, Error> {
        if addrs.0.is_empty() {
            return Err(Error::misuse("there is no address to bind"));
        }
        self.bind_avoiding(addrs, &[])
    }

    /// Has the connections of a messenger that listens nowhere come from the ip of this address,
    /// which is announced as its own; the port does not matter. For hosts with several networks.
    ///
    /// Only [`Config::bind_before_connect`](crate::Config) makes this have an effect, so that a
    /// daemon can call it always, as Ceph's do. Returns whether it had.
    ///
    /// # Errors
    /// If the messenger is started or bound already, or the address has no ip.
    pub fn client_bind(&self, addr: EntityAddr) -> Result<bool, Error> {
        if !self.shared.config.bind_before_connect {
            return Ok(false);
        }
        let life = self.life();
        if !matches!(life.phase, Phase::New) || !life.listeners.is_empty() {
            let text = "client_bind() comes before start(), and not beside bind()";
            return Err(Error::misuse(text));
        }
        let Some(mut sock) = addr.sock.filter(|sock| !sock.ip().is_unspecified()) else {
            return Err(Error::misuse(format!("{addr} has no ip to connect from")));
        };
        sock.set_port(0);
        let own = EntityAddr {
            kind: AddrType::Any,
            nonce: self.shared.nonce(),
            sock: Some(sock),
        };
        self.shared.announce(&AddrVec(vec![own]));
        Ok(true)
    }

    fn bind_avoiding(&self, addrs: &AddrVec, avoid: &[u16]) -> Result<AddrVec, Error> {
        let mut bound = Vec::new();
        for addr in &addrs.0 {
            bound.push(self.bind_one(*addr, avoid)?);
        }
        let own = AddrVec(bound.iter().map(|(_, addr)| *addr).collect());
        self.shared.announce(&own);
        let mut life = self.life();
        match life.phase {
            Phase::Started => self.serve(bound),
            _ => life.listeners.extend(bound),
        }
        Ok(own)
    }

    fn bind_one(
        &self,
        addr: EntityAddr,
        avoid: &[u16],
    ) -> Result<(Box<dyn Listener>, EntityAddr), Error> {
        let kind = match addr.kind {
            AddrType::Msgr2 => AddrType::Msgr2,
            AddrType::Legacy | AddrType::Any => AddrType::Legacy,
            AddrType::None | AddrType::Cidr => AddrType::None,
        };
        let Some(wanted) = addr.sock.filter(|_| kind != AddrType::None) else {
            let text = format!("cannot bind {addr}: only v1:IP:PORT and v2:IP:PORT can be served");
            return Err(Error::misuse(text));
        };
        let config = &self.shared.config;
        let mut attempt = 1;
        loop {
            let error = match self.listen(wanted, avoid) {
                Ok((listener, at)) => {
                    let nonce = self.shared.nonce();
                    let own = EntityAddr {
                        kind,
                        nonce,
                        sock: Some(at),
                    };
                    return Ok((listener, own));
                }
                Err(error) => error,
            };
            if attempt >= config.bind_retry_count {
                return Err(Error::io(ErrorKind::Bind, error).at(addr, None));
            }
            tracing::warn!(%addr, %error, attempt, retry_in = ?config.bind_retry_delay, "bind");
            std::thread::sleep(config.bind_retry_delay);
            attempt += 1;
        }
    }

    /// One attempt: the port that is asked for, or the first free one of the range that is not to
    /// be avoided.
    fn listen(
        &self,
        wanted: SocketAddr,
        avoid: &[u16],
    ) -> std::io::Result<(Box<dyn Listener>, SocketAddr)> {
        let config = &self.shared.config;
        let (min, max) = match wanted.port() {
            0 => (config.bind_port_min, config.bind_port_max),
            port => (port, port),
        };
        let mut port = min;
        // Kept until the end, so that the system does not choose them again.
        let mut avoided = Vec::new();
        loop {
            let mut addr = wanted;
            addr.set_port(port);
            match self.workers.stack().listen(addr, &config.socket) {
                Ok(listener) => {
                    let at = listener.local_addr()?;
                    if !avoid.contains(&at.port()) {
                        return Ok((listener, at));
                    }
                    if port != 0 && port >= max {
                        return Err(std::io::ErrorKind::AddrInUse.into());
                    }
                    avoided.push(listener);
                    port += u16::from(port != 0);
                }
                Err(error) if port >= max => return Err(error),
                Err(_) => port += 1,
            }
        }
    }

    pub(super) fn serve(&self, listeners: Vec<(Box<dyn Listener>, EntityAddr)>) {
        for (listener, addr) in listeners {
            let cmd = Cmd::Listen(Arc::clone(&self.shared), listener, addr);
            self.workers.least_loaded().post(cmd);
        }
    }

    /// Stops listening, ends every connection with a
    /// [`Reset`](crate::ConnectionEvent::Reset) event, and listens on the same ips again: on ports
    /// that are neither the current ones nor among those given, and with another nonce. For a
    /// daemon that others took for dead. Returns the new addresses.
    ///
    /// # Errors
    /// If the messenger is not started or not bound, or no port can be bound; it listens nowhere
    /// then.
    pub fn rebind(&self, avoid_ports: &[u16]) -> Result<AddrVec, Error> {
        if !matches!(self.life().phase, Phase::Started) {
            return Err(Error::misuse("the messenger is not started"));
        }
        let mut addrs = self.addrs();
        let mut avoid = avoid_ports.to_vec();
        for addr in &mut addrs.0 {
            if let Some(sock) = &mut addr.sock
                && sock.port() != 0
            {
                avoid.push(sock.port());
                sock.set_port(0);
            } else {
                return Err(Error::misuse("the messenger is not bound"));
            }
        }
        // Before the connections end, so that no peer comes back to the old ports.
        self.workers
            .post_to_all(|| Cmd::StopListening(Arc::clone(&self.shared)));
        self.shared.change_nonce(NONCE_STEP);
        self.workers
            .post_to_all(|| Cmd::MarkAllDown(Arc::clone(&self.shared), marked_down()));
        self.bind_avoiding(&addrs, &avoid)
    }
}
