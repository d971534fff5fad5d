//! TCP with a meter: how often the transport and the driver are called, where the bytes of a
//! payload come from and go to. And with a switch each to send nowhere, and to read a recording.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each program that uses it needs a part"
)]

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_messenger::net::{Listener, ReadHalf, SocketOptions, Space, Stack, Stream, WriteHalf};
use async_messenger::{Event, EventDriver, Interest, Source, Token, Waker};
use bytes::{Buf, Bytes};

/// How many reads back is known where their bytes went.
const READS_KEPT: usize = 64;

/// What goes through one stack.
#[derive(Default)]
pub struct Meter {
    pub reads: AtomicU64,
    pub writes: AtomicU64,
    pub waits: AtomicU64,
    pub wakes: AtomicU64,
    /// Bytes that were written straight from the memory that is watched.
    pub by_reference: AtomicU64,
    watched: (AtomicUsize, AtomicUsize),
    landed: Mutex<VecDeque<Range<usize>>>,
    /// Whether what is written is dropped.
    pub discards: AtomicBool,
    recording: Mutex<Bytes>,
}

impl Meter {
    /// System calls so far: all others are made when a connection comes or goes.
    pub fn calls(&self) -> u64 {
        let counters = [&self.reads, &self.writes, &self.waits, &self.wakes];
        counters.iter().map(|counter| counter.load(Relaxed)).sum()
    }

    /// Counts in [`by_reference`](Self::by_reference) what is written from this memory.
    pub fn watch(&self, payload: &Bytes) {
        let range = payload.as_ptr_range();
        self.watched.0.store(range.start as usize, Relaxed);
        self.watched.1.store(range.end as usize, Relaxed);
    }

    /// Has the next reads of a stack give this, before what the socket has.
    pub fn replay(&self, recording: Bytes) {
        *self.recording() = recording;
    }

    /// Whether all these bytes lie where reads have put them.
    pub fn has_landed(&self, bytes: &[u8]) -> bool {
        let range = bytes.as_ptr_range();
        let (mut at, end) = (range.start as usize, range.end as usize);
        let landed = self.landed();
        while at < end {
            let Some(read) = landed.iter().rev().find(|read| read.contains(&at)) else {
                return false;
            };
            at = read.end;
        }
        true
    }

    fn landed(&self) -> MutexGuard<'_, VecDeque<Range<usize>>> {
        self.landed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recording(&self) -> MutexGuard<'_, Bytes> {
        self.recording
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn note_write(&self, slices: &[IoSlice<'_>], mut written: usize) {
        self.writes.fetch_add(1, Relaxed);
        let watched = self.watched.0.load(Relaxed)..self.watched.1.load(Relaxed);
        for slice in slices {
            let len = slice.len().min(written);
            if watched.contains(&(slice.as_ptr() as usize)) {
                self.by_reference.fetch_add(len as u64, Relaxed);
            }
            written -= len;
        }
    }
}

/// A stack, counted. Clones have the same meter.
#[derive(Clone)]
pub struct Counted<S> {
    inner: S,
    pub meter: Arc<Meter>,
}

impl<S> Counted<S> {
    pub fn new(inner: S) -> Self {
        let meter = Meter {
            landed: Mutex::new(VecDeque::with_capacity(READS_KEPT)),
            ..Meter::default()
        };
        Self {
            inner,
            meter: Arc::new(meter),
        }
    }
}

fn counted(stream: Stream, meter: &Arc<Meter>) -> Stream {
    let meter = || Arc::clone(meter);
    Stream {
        source: stream.source,
        reader: Box::new(Counted {
            inner: stream.reader,
            meter: meter(),
        }),
        writer: Box::new(Counted {
            inner: stream.writer,
            meter: meter(),
        }),
    }
}

impl<S: Stack> Stack for Counted<S> {
    fn driver(&self) -> io::Result<Box<dyn EventDriver>> {
        let inner = self.inner.driver()?;
        let meter = Arc::clone(&self.meter);
        Ok(Box::new(Counted { inner, meter }))
    }

    fn listen(&self, addr: SocketAddr, options: &SocketOptions) -> io::Result<Box<dyn Listener>> {
        let inner = self.inner.listen(addr, options)?;
        let meter = Arc::clone(&self.meter);
        Ok(Box::new(Counted { inner, meter }))
    }

    fn connect(
        &self,
        addr: SocketAddr,
        from: Option<IpAddr>,
        options: &SocketOptions,
    ) -> io::Result<Stream> {
        let stream = self.inner.connect(addr, from, options)?;
        Ok(counted(stream, &self.meter))
    }
}

impl Listener for Counted<Box<dyn Listener>> {
    fn source(&self) -> Source {
        self.inner.source()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn accept(&mut self) -> io::Result<(Stream, SocketAddr)> {
        let (stream, peer) = self.inner.accept()?;
        Ok((counted(stream, &self.meter), peer))
    }

    fn refuse_one(&mut self, error: &io::Error) -> io::Result<bool> {
        self.inner.refuse_one(error)
    }
}

impl ReadHalf for Counted<Box<dyn ReadHalf>> {
    fn read(&mut self, spaces: &mut [Space<'_>]) -> io::Result<usize> {
        self.meter.reads.fetch_add(1, Relaxed);
        let mut recording = self.meter.recording();
        if !recording.is_empty() {
            let mut total = 0;
            for space in spaces {
                let room = space.limit.min(space.buf.capacity() - space.buf.len());
                let len = room.min(recording.len());
                space.buf.extend_from_slice(&recording[..len]);
                recording.advance(len);
                total += len;
            }
            return Ok(total);
        }
        drop(recording);
        let read = self.inner.read(spaces)?;
        let mut rest = read;
        let mut landed = self.meter.landed();
        // A read fills its spaces in their order, up to their limits.
        for space in spaces {
            let len = rest.min(space.limit);
            let end = space.buf.as_ptr_range().end as usize;
            if landed.len() == READS_KEPT {
                landed.pop_front();
            }
            landed.push_back(end - len..end);
            rest -= len;
        }
        Ok(read)
    }
}

impl WriteHalf for Counted<Box<dyn WriteHalf>> {
    fn finish_connect(&mut self) -> io::Result<bool> {
        self.inner.finish_connect()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.meter.discards.load(Relaxed) {
            self.meter.writes.fetch_add(1, Relaxed);
            return Ok(slices.iter().map(|slice| slice.len()).sum());
        }
        let written = self.inner.write(slices);
        self.meter
            .note_write(slices, *written.as_ref().unwrap_or(&0));
        written
    }

    fn shutdown(&mut self) {
        self.inner.shutdown();
    }
}

impl EventDriver for Counted<Box<dyn EventDriver>> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn add(&mut self, source: Source, token: Token, interest: Interest) -> io::Result<()> {
        self.inner.add(source, token, interest)
    }

    fn rearm(&mut self, token: Token, interest: Interest) -> io::Result<()> {
        self.inner.rearm(token, interest)
    }

    fn keeps_armed(&self) -> bool {
        self.inner.keeps_armed()
    }

    fn disarm(&mut self, token: Token, interest: Interest) -> io::Result<()> {
        self.inner.disarm(token, interest)
    }

    fn delete(&mut self, token: Token) -> io::Result<()> {
        self.inner.delete(token)
    }

    fn wait(&mut self, out: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        self.meter.waits.fetch_add(1, Relaxed);
        self.inner.wait(out, timeout)
    }

    fn waker(&self) -> Waker {
        let (inner, meter) = (self.inner.waker(), Arc::clone(&self.meter));
        Waker::new(move || {
            meter.wakes.fetch_add(1, Relaxed);
            inner.wake();
        })
    }
}
