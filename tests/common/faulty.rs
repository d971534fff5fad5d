//! TCP whose links break: by chance, from a seed, or on command.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of it"
)]

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use async_messenger::event::{Env, ManualEnv};
use async_messenger::net::{Listener, ReadHalf, Stack, Stream, TcpStack, WriteHalf};
use async_messenger::{DriverKind, EventDriver, Source};
use event_driver::sock::{SocketOptions, Space};

/// When links break.
pub struct Faults {
    /// One of that many reads and writes breaks its link; 0: none.
    pub one_in: AtomicU32,
    /// How many have been broken.
    pub broken: AtomicU64,
    /// Bytes that went to sockets.
    pub written: AtomicU64,
    random: ManualEnv,
}

impl Faults {
    pub fn new(seed: u64, one_in: u32) -> Arc<Self> {
        println!("seed {seed}");
        Arc::new(Self {
            one_in: AtomicU32::new(one_in),
            broken: AtomicU64::new(0),
            written: AtomicU64::new(0),
            random: ManualEnv::new(seed),
        })
    }

    fn strike(&self) -> bool {
        let one_in = u64::from(self.one_in.load(Ordering::Relaxed));
        let hit = one_in != 0 && self.random.random().is_multiple_of(one_in);
        self.broken.fetch_add(u64::from(hit), Ordering::Relaxed);
        hit
    }

    fn is_short(&self) -> bool {
        self.one_in.load(Ordering::Relaxed) != 0 && self.random.random().is_multiple_of(8)
    }
}

pub struct FaultyStack {
    pub inner: TcpStack,
    pub faults: Arc<Faults>,
}

impl FaultyStack {
    pub fn new(driver: DriverKind, faults: &Arc<Faults>) -> Arc<Self> {
        Arc::new(Self {
            inner: TcpStack::new(driver),
            faults: Arc::clone(faults),
        })
    }
}

impl Stack for FaultyStack {
    fn driver(&self) -> io::Result<Box<dyn EventDriver>> {
        self.inner.driver()
    }

    fn listen(&self, addr: SocketAddr, options: &SocketOptions) -> io::Result<Box<dyn Listener>> {
        let inner = self.inner.listen(addr, options)?;
        let faults = Arc::clone(&self.faults);
        Ok(Box::new(FaultyListener { inner, faults }))
    }

    fn connect(
        &self,
        addr: SocketAddr,
        from: Option<IpAddr>,
        options: &SocketOptions,
    ) -> io::Result<Stream> {
        Ok(faulty(
            self.inner.connect(addr, from, options)?,
            &self.faults,
        ))
    }
}

struct FaultyListener {
    inner: Box<dyn Listener>,
    faults: Arc<Faults>,
}

impl Listener for FaultyListener {
    fn source(&self) -> Source {
        self.inner.source()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn accept(&mut self) -> io::Result<(Stream, SocketAddr)> {
        let (stream, peer) = self.inner.accept()?;
        Ok((faulty(stream, &self.faults), peer))
    }

    fn refuse_one(&mut self, error: &io::Error) -> io::Result<bool> {
        self.inner.refuse_one(error)
    }
}

fn faulty(stream: Stream, faults: &Arc<Faults>) -> Stream {
    Stream {
        source: stream.source,
        reader: Box::new(FaultyReader(stream.reader, Arc::clone(faults))),
        writer: Box::new(FaultyWriter(stream.writer, Arc::clone(faults))),
    }
}

struct FaultyReader(Box<dyn ReadHalf>, Arc<Faults>);

impl ReadHalf for FaultyReader {
    fn read(&mut self, spaces: &mut [Space<'_>]) -> io::Result<usize> {
        if self.1.strike() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        self.0.read(spaces)
    }
}

struct FaultyWriter(Box<dyn WriteHalf>, Arc<Faults>);

impl WriteHalf for FaultyWriter {
    fn finish_connect(&mut self) -> io::Result<bool> {
        self.0.finish_connect()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.1.strike() {
            self.0.shutdown();
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        // Short writes are legal, and cut messages where nobody expects it.
        let first = slices.iter().find(|slice| !slice.is_empty());
        let written = match first {
            Some(first) if self.1.is_short() => self
                .0
                .write(&[IoSlice::new(&first[..first.len().div_ceil(2)])]),
            _ => self.0.write(slices),
        }?;
        self.1.written.fetch_add(written as u64, Ordering::Relaxed);
        Ok(written)
    }

    fn shutdown(&mut self) {
        self.0.shutdown();
    }
}
