//! The transport seam: where byte streams come from.
//!
//! A [`Stack`] makes listeners and streams, and the event driver that understands their sources.
//! Connections above it know only these traits, so a transport can be added without touching them.
//! All calls are non-blocking.

mod tcp;
#[cfg(unix)]
mod unix;

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};

use event_driver::{EventDriver, Source};

pub use event_driver::sock::{SocketOptions, Space};
pub use tcp::TcpStack;
#[cfg(unix)]
pub use unix::UnixStack;

/// A transport.
pub trait Stack: Send + Sync {
    /// A new driver for a worker, one that can watch this transport's sources.
    ///
    /// # Errors
    /// What the system says, or that the backend was not compiled in.
    fn driver(&self) -> io::Result<Box<dyn EventDriver>>;

    /// Listens on an address; port 0 lets the system choose.
    ///
    /// # Errors
    /// What the system says, `AddrInUse` for example.
    fn listen(&self, addr: SocketAddr, options: &SocketOptions) -> io::Result<Box<dyn Listener>>;

    /// Begins to connect, from a certain ip of this host if one is given.
    ///
    /// # Errors
    /// What the system says at once, for example that the ip is not one of this host; a refusal may
    /// also come from [`finish_connect`](WriteHalf::finish_connect).
    fn connect(
        &self,
        addr: SocketAddr,
        from: Option<IpAddr>,
        options: &SocketOptions,
    ) -> io::Result<Stream>;
}

/// A listening socket.
pub trait Listener: Send {
    /// What an event driver has to watch.
    fn source(&self) -> Source;

    /// The address that was bound, with the port that was chosen.
    ///
    /// # Errors
    /// What the system says.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// The next connection and where it comes from.
    ///
    /// # Errors
    /// `WouldBlock` if none waits; otherwise what the system says.
    fn accept(&mut self) -> io::Result<(Stream, SocketAddr)>;

    /// What to do about an error of [`accept`](Self::accept). If the process has no descriptor
    /// left: accepts one connection with a descriptor kept in reserve and closes it, so that the
    /// peer learns of it and the listener does not stay ready for ever. False: that was not the
    /// reason, or nobody waited.
    ///
    /// # Errors
    /// What the system says.
    fn refuse_one(&mut self, error: &io::Error) -> io::Result<bool>;
}

/// A byte stream, its two directions separate.
pub struct Stream {
    /// What an event driver has to watch.
    pub source: Source,
    /// For whoever receives.
    pub reader: Box<dyn ReadHalf>,
    /// For whoever sends.
    pub writer: Box<dyn WriteHalf>,
}

/// The receiving direction.
pub trait ReadHalf: Send {
    /// Reads once into the given spaces, in their order. 0 is the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock` if nothing is there; otherwise what the system says.
    fn read(&mut self, spaces: &mut [Space<'_>]) -> io::Result<usize>;
}

/// The sending direction.
pub trait WriteHalf: Send {
    /// Whether the connect has succeeded; false while it is in progress.
    ///
    /// # Errors
    /// Why it failed.
    fn finish_connect(&mut self) -> io::Result<bool>;

    /// The address of this end, once it is connected.
    ///
    /// # Errors
    /// What the system says.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// Writes once, gathering. May write less than all.
    ///
    /// # Errors
    /// `WouldBlock` if there is no room; otherwise what the system says.
    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Ends both directions at once, so that the peer and whoever reads here learn of it.
    fn shutdown(&mut self);
}
