//! Unix-domain sockets: connections within a host, through the files of one directory.
//!
//! Messengers name each other by internet addresses, so this transport gives each address a file:
//! `127.0.0.1:6789` is `127.0.0.1-6789.sock` in the directory that all who want to meet share. Who
//! may connect is a matter of that directory's permissions. No port is taken from the network.
//!
//! A connection's own end has no name: it is told as the address it connected from, or to, with
//! port 0. Above this nobody knows the difference. Used by any thread.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use event_driver::sock::{self, Socket, SocketOptions, Space, SpareFd, borrow, local};
use event_driver::{DriverKind, EventDriver, Source};

use super::{Listener, ReadHalf, Stack, Stream, WriteHalf};

/// Where the search for a free port begins: those that systems give to clients.
const FIRST_FREE: u16 = 49_152;

/// Unix-domain sockets in a directory, with any of the drivers that watch descriptors.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
///
/// use async_messenger::event::SystemEnv;
/// use async_messenger::net::UnixStack;
/// use async_messenger::wire::EntityName;
/// use async_messenger::{Config, DriverKind, Messenger, Workers};
///
/// # let dir = std::env::temp_dir();
/// let config = Config::default();
/// let stack = Arc::new(UnixStack::new(&dir, DriverKind::default_for_target()));
/// let workers = Workers::start_on(&config, stack, Arc::new(SystemEnv))?;
/// let messenger = Messenger::builder(EntityName::client(-1)).workers(&workers).build()?;
/// # drop(messenger);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct UnixStack {
    dir: PathBuf,
    driver: DriverKind,
    strict: bool,
}

impl UnixStack {
    /// Sockets in `dir`, which has to be there, on one kind of driver; where the system refuses it,
    /// on another one ([`DriverKind::open_or_fallback`]).
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, driver: DriverKind) -> Self {
        Self {
            dir: dir.into(),
            driver,
            strict: false,
        }
    }

    /// Whether it is this kind of driver or none: what the system refuses is an error then.
    #[must_use]
    pub fn strict(self, strict: bool) -> Self {
        Self { strict, ..self }
    }

    /// The file of an address.
    #[must_use]
    pub fn path(&self, addr: SocketAddr) -> PathBuf {
        self.dir.join(format!("{}-{}.sock", addr.ip(), addr.port()))
    }

    /// Takes the address, also from one that has died and left its file.
    fn take(&self, addr: SocketAddr, options: &SocketOptions) -> io::Result<Socket> {
        let path = self.path(addr);
        match local::listen(&path, options) {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse && is_left_over(&path, options) => {
                std::fs::remove_file(&path)?;
                local::listen(&path, options)
            }
            other => other,
        }
    }
}

/// Whether it is a socket's file and nobody listens behind it.
fn is_left_over(path: &Path, options: &SocketOptions) -> bool {
    let is_socket = |file: std::fs::Metadata| file.file_type().is_socket();
    if !path.symlink_metadata().is_ok_and(is_socket) {
        return false;
    }
    // A queue that is full has a listener; its refusal has no number of the system's.
    local::connect(path, options).is_err_and(|error| {
        error.kind() == io::ErrorKind::ConnectionRefused && error.raw_os_error().is_some()
    })
}

impl Stack for UnixStack {
    fn driver(&self) -> io::Result<Box<dyn EventDriver>> {
        if self.strict {
            self.driver.open()
        } else {
            self.driver.open_or_fallback()
        }
    }

    fn listen(&self, addr: SocketAddr, options: &SocketOptions) -> io::Result<Box<dyn Listener>> {
        let spare = SpareFd::new()?;
        if addr.ip().is_unspecified() {
            let text =
                "a unix-domain socket listens on one address; name it, 127.0.0.1 for example";
            return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, text));
        }
        let ports = match addr.port() {
            0 => FIRST_FREE..=u16::MAX,
            port => port..=port,
        };
        let mut last = io::ErrorKind::AddrInUse.into();
        for port in ports {
            let addr = SocketAddr::new(addr.ip(), port);
            match self.take(addr, options) {
                Ok(socket) => {
                    return Ok(Box::new(UnixListener {
                        socket: Arc::new(socket),
                        addr,
                        path: self.path(addr),
                        options: options.clone(),
                        spare,
                    }));
                }
                Err(e) if e.kind() == io::ErrorKind::AddrInUse => last = e,
                Err(e) => return Err(e),
            }
        }
        Err(last)
    }

    fn connect(
        &self,
        addr: SocketAddr,
        from: Option<IpAddr>,
        options: &SocketOptions,
    ) -> io::Result<Stream> {
        let socket = match local::connect(&self.path(addr), options) {
            // Without a file nobody listens, which is no more than a refusal.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(io::Error::new(io::ErrorKind::ConnectionRefused, e));
            }
            other => other?,
        };
        let own = SocketAddr::new(from.unwrap_or(addr.ip()), 0);
        Ok(stream(socket, own))
    }
}

fn stream(socket: Socket, own: SocketAddr) -> Stream {
    let socket = Arc::new(socket);
    let half = |socket| UnixHalf { socket, own };
    Stream {
        source: sock::source(&socket),
        reader: Box::new(half(Arc::clone(&socket))),
        writer: Box::new(half(socket)),
    }
}

struct UnixListener {
    socket: Arc<Socket>,
    addr: SocketAddr,
    path: PathBuf,
    options: SocketOptions,
    spare: SpareFd,
}

impl Listener for UnixListener {
    fn source(&self) -> Source {
        sock::source(&self.socket)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.addr)
    }

    fn accept(&mut self) -> io::Result<(Stream, SocketAddr)> {
        let socket = local::accept(borrow(&self.socket), &self.options)?;
        let peer = SocketAddr::new(self.addr.ip(), 0);
        Ok((stream(socket, self.addr), peer))
    }

    fn refuse_one(&mut self, error: &io::Error) -> io::Result<bool> {
        Ok(sock::is_out_of_descriptors(error) && self.spare.refuse_local(borrow(&self.socket))?)
    }
}

impl Drop for UnixListener {
    fn drop(&mut self) {
        // Somebody else may have taken it away.
        let _ = std::fs::remove_file(&self.path);
    }
}

struct UnixHalf {
    socket: Arc<Socket>,
    own: SocketAddr,
}

impl ReadHalf for UnixHalf {
    fn read(&mut self, spaces: &mut [Space<'_>]) -> io::Result<usize> {
        sock::read_vectored(borrow(&self.socket), spaces)
    }
}

impl WriteHalf for UnixHalf {
    fn finish_connect(&mut self) -> io::Result<bool> {
        // Connecting has succeeded at once.
        Ok(true)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.own)
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        sock::write_vectored(borrow(&self.socket), slices)
    }

    fn shutdown(&mut self) {
        // It fails only if the connection is gone already.
        let _ = sock::shutdown(borrow(&self.socket));
    }
}
