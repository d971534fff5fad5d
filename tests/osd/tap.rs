//! TCP that is listened in on, and cut on command.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_messenger::net::{Listener, ReadHalf, Stack, Stream, TcpStack, WriteHalf};
use async_messenger::{DriverKind, EventDriver, Source};
use event_driver::sock::{SocketOptions, Space};

/// How a link ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    /// Both directions are shut down; what is on its way still arrives.
    Between,
    /// The same, and this side hears nothing any more: answers and acknowledgements are lost.
    Deaf,
    /// The next write stops after so many bytes, in the middle of a message.
    InWrite(usize),
    /// The next write succeeds, and what it wrote never arrives.
    Lost,
}

/// Every link that there has been, in the order of their beginning.
#[derive(Default)]
pub(crate) struct Wire(Mutex<Vec<Arc<Link>>>);

/// One TCP connection.
pub(crate) struct Link {
    /// This side connected.
    pub(crate) dialed: bool,
    writer: Mutex<Box<dyn WriteHalf>>,
    cut: Mutex<Option<Cut>>,
    sent: Mutex<Vec<u8>>,
    received: Mutex<Vec<u8>>,
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wire {
    /// What has gone over each link, as `[sent, received]`.
    pub(crate) fn recorded(&self) -> Vec<(bool, [Vec<u8>; 2])> {
        let links = lock(&self.0);
        let bytes = |link: &Arc<Link>| [lock(&link.sent).clone(), lock(&link.received).clone()];
        links
            .iter()
            .map(|link| (link.dialed, bytes(link)))
            .collect()
    }

    /// Cuts every link that is not cut yet.
    pub(crate) fn cut(&self, how: Cut) {
        for link in lock(&self.0).iter() {
            let mut cut = lock(&link.cut);
            if cut.is_none() {
                *cut = Some(how);
                if matches!(how, Cut::Between | Cut::Deaf) {
                    lock(&link.writer).shutdown();
                }
            }
        }
    }

    fn tap(self: &Arc<Self>, stream: Stream, dialed: bool) -> Stream {
        let link = Arc::new(Link {
            dialed,
            writer: Mutex::new(stream.writer),
            cut: Mutex::default(),
            sent: Mutex::default(),
            received: Mutex::default(),
        });
        lock(&self.0).push(Arc::clone(&link));
        Stream {
            source: stream.source,
            reader: Box::new(TapReader(stream.reader, Arc::clone(&link))),
            writer: Box::new(TapWriter(link)),
        }
    }
}

pub(crate) struct TapStack {
    inner: TcpStack,
    wire: Arc<Wire>,
}

impl TapStack {
    pub(crate) fn new(driver: DriverKind, wire: &Arc<Wire>) -> Arc<Self> {
        Arc::new(Self {
            inner: TcpStack::new(driver),
            wire: Arc::clone(wire),
        })
    }
}

impl Stack for TapStack {
    fn driver(&self) -> io::Result<Box<dyn EventDriver>> {
        self.inner.driver()
    }

    fn listen(&self, addr: SocketAddr, options: &SocketOptions) -> io::Result<Box<dyn Listener>> {
        let inner = self.inner.listen(addr, options)?;
        let wire = Arc::clone(&self.wire);
        Ok(Box::new(TapListener { inner, wire }))
    }

    fn connect(
        &self,
        addr: SocketAddr,
        from: Option<IpAddr>,
        options: &SocketOptions,
    ) -> io::Result<Stream> {
        Ok(self
            .wire
            .tap(self.inner.connect(addr, from, options)?, true))
    }
}

struct TapListener {
    inner: Box<dyn Listener>,
    wire: Arc<Wire>,
}

impl Listener for TapListener {
    fn source(&self) -> Source {
        self.inner.source()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn accept(&mut self) -> io::Result<(Stream, SocketAddr)> {
        let (stream, peer) = self.inner.accept()?;
        Ok((self.wire.tap(stream, false), peer))
    }

    fn refuse_one(&mut self, error: &io::Error) -> io::Result<bool> {
        self.inner.refuse_one(error)
    }
}

struct TapReader(Box<dyn ReadHalf>, Arc<Link>);

impl ReadHalf for TapReader {
    fn read(&mut self, spaces: &mut [Space<'_>]) -> io::Result<usize> {
        if matches!(*lock(&self.1.cut), Some(Cut::Deaf)) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let before: Vec<usize> = spaces.iter().map(|space| space.buf.len()).collect();
        let n = self.0.read(spaces)?;
        let mut received = lock(&self.1.received);
        for (space, before) in spaces.iter().zip(before) {
            received.extend_from_slice(&space.buf[before..]);
        }
        Ok(n)
    }
}

struct TapWriter(Arc<Link>);

impl WriteHalf for TapWriter {
    fn finish_connect(&mut self) -> io::Result<bool> {
        lock(&self.0.writer).finish_connect()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        lock(&self.0.writer).local_addr()
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
        let cut = *lock(&self.0.cut);
        let mut writer = lock(&self.0.writer);
        let n = match cut {
            Some(Cut::Lost) => {
                writer.shutdown();
                lock(&self.0.sent).extend_from_slice(&bytes);
                return Ok(bytes.len());
            }
            Some(Cut::InWrite(limit)) => {
                let limit = limit.min(bytes.len());
                writer.write(&[IoSlice::new(&bytes[..limit])])?
            }
            _ => writer.write(&[IoSlice::new(&bytes)])?,
        };
        lock(&self.0.sent).extend_from_slice(&bytes[..n]);
        if cut.is_some() {
            writer.shutdown();
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(n)
    }

    fn shutdown(&mut self) {
        lock(&self.0.writer).shutdown();
    }
}
