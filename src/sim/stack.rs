//! The transport of one simulated node.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};

use event_driver::sock::{SocketOptions, Space};
use event_driver::{EventDriver, Source};

use super::driver::{SimDriver, Watches};
use super::net::{Wire, net};
use crate::net::{Listener, ReadHalf, Stack, Stream, WriteHalf};

/// How a node sees the network.
pub(super) struct SimStack {
    wire: Wire,
    node: usize,
    ip: IpAddr,
    edge: bool,
}

impl SimStack {
    pub(super) fn new(wire: &Wire, node: usize, ip: IpAddr, edge: bool) -> Self {
        let wire = Wire::clone(wire);
        Self {
            wire,
            node,
            ip,
            edge,
        }
    }
}

impl Stack for SimStack {
    fn driver(&self) -> io::Result<Box<dyn EventDriver>> {
        let mut net = net(&self.wire);
        let at = net.watches.len();
        net.watches.push(Watches::new(self.edge));
        Ok(Box::new(SimDriver::new(&self.wire, at)))
    }

    fn listen(&self, addr: SocketAddr, _: &SocketOptions) -> io::Result<Box<dyn Listener>> {
        if addr.ip() != self.ip {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        let id = net(&self.wire).listen(self.node, addr)?;
        let wire = Wire::clone(&self.wire);
        Ok(Box::new(SimListener { wire, id }))
    }

    fn connect(
        &self,
        addr: SocketAddr,
        from: Option<IpAddr>,
        _: &SocketOptions,
    ) -> io::Result<Stream> {
        if from.is_some_and(|from| from != self.ip) {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        let from = SocketAddr::new(self.ip, 0);
        let id = net(&self.wire).connect(self.node, from, addr);
        Ok(stream(&self.wire, id, from))
    }
}

fn stream(wire: &Wire, id: u64, local: SocketAddr) -> Stream {
    let half = || Half {
        wire: Wire::clone(wire),
        id,
        local,
    };
    Stream {
        source: Source::Virtual(id),
        reader: Box::new(half()),
        writer: Box::new(half()),
    }
}

struct SimListener {
    wire: Wire,
    id: u64,
}

impl Listener for SimListener {
    fn source(&self) -> Source {
        Source::Virtual(self.id)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        net(&self.wire).local_addr(self.id)
    }

    fn accept(&mut self) -> io::Result<(Stream, SocketAddr)> {
        let (id, peer) = net(&self.wire).accept(self.id)?;
        Ok((stream(&self.wire, id, self.local_addr()?), peer))
    }

    fn refuse_one(&mut self, _: &io::Error) -> io::Result<bool> {
        Ok(false)
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        net(&self.wire).unlisten(self.id);
    }
}

struct Half {
    wire: Wire,
    id: u64,
    /// Of a connecting end without its port.
    local: SocketAddr,
}

impl ReadHalf for Half {
    fn read(&mut self, spaces: &mut [Space<'_>]) -> io::Result<usize> {
        net(&self.wire).read(self.id, spaces)
    }
}

impl WriteHalf for Half {
    fn finish_connect(&mut self) -> io::Result<bool> {
        net(&self.wire).is_connected(self.id)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        net(&self.wire).write(self.id, slices)
    }

    fn shutdown(&mut self) {
        net(&self.wire).shutdown(self.id);
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        net(&self.wire).drop_half(self.id);
    }
}
