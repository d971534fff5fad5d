//! TCP over the kernel's sockets.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use event_driver::sock::{self, Socket, SocketOptions, Space, SpareFd, borrow};
use event_driver::{DriverKind, EventDriver, Source};

use super::{Listener, ReadHalf, Stack, Stream, WriteHalf};

/// TCP, with any of the drivers that watch sockets.
#[derive(Clone, Copy, Debug)]
pub struct TcpStack {
    driver: DriverKind,
    strict: bool,
}

impl TcpStack {
    /// TCP on one kind of driver; where the system refuses it, on another one, and the log says so
    /// ([`DriverKind::open_or_fallback`]).
    #[must_use]
    pub fn new(driver: DriverKind) -> Self {
        let strict = false;
        Self { driver, strict }
    }

    /// Whether it is this kind of driver or none: what the system refuses is an error then.
    #[must_use]
    pub fn strict(self, strict: bool) -> Self {
        Self { strict, ..self }
    }
}

impl Stack for TcpStack {
    fn driver(&self) -> io::Result<Box<dyn EventDriver>> {
        if self.strict {
            self.driver.open()
        } else {
            self.driver.open_or_fallback()
        }
    }

    fn listen(&self, addr: SocketAddr, options: &SocketOptions) -> io::Result<Box<dyn Listener>> {
        let fd = Arc::new(sock::listen(addr, options)?);
        Ok(Box::new(TcpListener {
            fd,
            options: options.clone(),
            spare: SpareFd::new()?,
        }))
    }

    fn connect(
        &self,
        addr: SocketAddr,
        from: Option<IpAddr>,
        options: &SocketOptions,
    ) -> io::Result<Stream> {
        let from = from.map(|ip| SocketAddr::new(ip, 0));
        sock::connect(addr, from, options).map(stream)
    }
}

fn stream(fd: Socket) -> Stream {
    let fd = Arc::new(fd);
    Stream {
        source: sock::source(&fd),
        reader: Box::new(TcpHalf(Arc::clone(&fd))),
        writer: Box::new(TcpHalf(fd)),
    }
}

struct TcpListener {
    fd: Arc<Socket>,
    options: SocketOptions,
    spare: SpareFd,
}

impl Listener for TcpListener {
    fn source(&self) -> Source {
        sock::source(&self.fd)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        sock::local_addr(borrow(&self.fd))
    }

    fn accept(&mut self) -> io::Result<(Stream, SocketAddr)> {
        let (fd, peer) = sock::accept(borrow(&self.fd), &self.options)?;
        Ok((stream(fd), peer))
    }

    fn refuse_one(&mut self, error: &io::Error) -> io::Result<bool> {
        Ok(sock::is_out_of_descriptors(error) && self.spare.refuse_one(borrow(&self.fd))?)
    }
}

struct TcpHalf(Arc<Socket>);

impl ReadHalf for TcpHalf {
    fn read(&mut self, spaces: &mut [Space<'_>]) -> io::Result<usize> {
        sock::read_vectored(borrow(&self.0), spaces)
    }
}

impl WriteHalf for TcpHalf {
    fn finish_connect(&mut self) -> io::Result<bool> {
        sock::connect_finished(borrow(&self.0))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        sock::local_addr(borrow(&self.0))
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        sock::write_vectored(borrow(&self.0), slices)
    }

    fn shutdown(&mut self) {
        // It fails only if the connection is gone already.
        let _ = sock::shutdown(borrow(&self.0));
    }
}
