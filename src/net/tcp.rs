//! TCP over the kernel's sockets.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use event_driver::sock::{self, SocketOptions, Space, SpareFd};
use event_driver::{DriverKind, EventDriver, Source};

use super::{Listener, ReadHalf, Stack, Stream, WriteHalf};

/// TCP, with any of the drivers that watch file descriptors.
#[derive(Clone, Copy, Debug)]
pub struct TcpStack {
    driver: DriverKind,
}

impl TcpStack {
    /// TCP on one kind of driver.
    #[must_use]
    pub fn new(driver: DriverKind) -> Self {
        Self { driver }
    }
}

impl Stack for TcpStack {
    fn driver(&self) -> io::Result<Box<dyn EventDriver>> {
        self.driver.open()
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

fn stream(fd: OwnedFd) -> Stream {
    let fd = Arc::new(fd);
    Stream {
        source: Source::Fd(Arc::clone(&fd)),
        reader: Box::new(TcpHalf(Arc::clone(&fd))),
        writer: Box::new(TcpHalf(fd)),
    }
}

struct TcpListener {
    fd: Arc<OwnedFd>,
    options: SocketOptions,
    spare: SpareFd,
}

impl Listener for TcpListener {
    fn source(&self) -> Source {
        Source::Fd(Arc::clone(&self.fd))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        sock::local_addr(self.fd.as_fd())
    }

    fn accept(&mut self) -> io::Result<(Stream, SocketAddr)> {
        let (fd, peer) = sock::accept(self.fd.as_fd(), &self.options)?;
        Ok((stream(fd), peer))
    }

    fn refuse_one(&mut self, error: &io::Error) -> io::Result<bool> {
        Ok(sock::is_out_of_descriptors(error) && self.spare.refuse_one(self.fd.as_fd())?)
    }
}

struct TcpHalf(Arc<OwnedFd>);

impl ReadHalf for TcpHalf {
    fn read(&mut self, spaces: &mut [Space<'_>]) -> io::Result<usize> {
        sock::read_vectored(self.0.as_fd(), spaces)
    }
}

impl WriteHalf for TcpHalf {
    fn finish_connect(&mut self) -> io::Result<bool> {
        sock::connect_finished(self.0.as_fd())
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        sock::local_addr(self.0.as_fd())
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        sock::write_vectored(self.0.as_fd(), slices)
    }

    fn shutdown(&mut self) {
        // It fails only if the connection is gone already.
        let _ = sock::shutdown(self.0.as_fd());
    }
}
