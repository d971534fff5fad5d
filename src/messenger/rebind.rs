//! Moving a messenger to other ports, as another instance (session §3).

use std::sync::Arc;

use super::{Messenger, Phase, marked_down};
use crate::error::Error;
use crate::wire::AddrVec;
use crate::worker::Cmd;

/// What the nonce grows by, so that peers take the messenger for another one.
const NONCE_STEP: u32 = 1_000_000;

impl Messenger {
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
