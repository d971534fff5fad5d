//! Many clients at once, all of whose messages are echoed.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_messenger::event::{Env, ManualEnv};
use async_messenger::net::{Listener, Stack, Stream, TcpStack};
use async_messenger::{Interest, Token};
use bytes::{Buf, BytesMut};

use super::{Bench, DEADLINE, End, LISTENER, listen, options, read, stack, write};

/// Workers, each with a listener.
const WORKERS: usize = 3;
/// Clients at a time, per worker.
const CLIENTS: usize = 16;
/// Messages of one client that are not answered yet.
const DEPTH: usize = 16;
/// Messages of all clients.
const MESSAGES: usize = 10_000;
/// Messages are made of pieces of so many bytes.
const PIECE: usize = 128;

/// What the workers share.
struct Stress {
    /// Messages that no client has taken on yet.
    budget: AtomicUsize,
    /// Messages that have come back.
    echoed: AtomicUsize,
    clients: AtomicUsize,
    random: ManualEnv,
}

impl Stress {
    /// A number from `min` to `max`.
    fn random(&self, min: usize, max: usize) -> usize {
        min + self.random.random() as usize % (max - min + 1)
    }

    /// What one client has to send; `None` if there is nothing left.
    fn take(&self) -> Option<usize> {
        let wanted = self.random(100, 1000);
        let order = Ordering::SeqCst;
        let taken = self.budget.fetch_update(order, order, |left| {
            (left > 0).then(|| left.saturating_sub(wanted))
        });
        Some(taken.ok()?.min(wanted))
    }

    /// Up to 1024 bytes in pieces.
    fn message(&self) -> Vec<u8> {
        let pieces = self.random(1, 1024 / PIECE);
        let piece = |_| [self.random.random() as u8; PIECE];
        (0..pieces).flat_map(piece).collect()
    }
}

/// A connection of the stress test: sends what is pending, with interest in room only while there
/// is none.
struct Pipe {
    end: End,
    pending: BytesMut,
    /// Of a client: messages to send, and those that are on their way.
    left: usize,
    expected: VecDeque<Vec<u8>>,
    /// Bytes of the first of these that have come back.
    back: usize,
    connected: bool,
    client: bool,
}

impl Pipe {
    /// Does what can be done now. False: it is at its end.
    fn run(&mut self, bench: &mut Bench, stress: &Stress) -> bool {
        if !self.connected {
            if !self.end.stream.writer.finish_connect().expect("connects") {
                self.rearm(bench, Interest::WRITE);
                return true;
            }
            self.connected = true;
        }
        loop {
            self.fill(stress);
            self.flush(bench);
            match read(&mut self.end.stream, 64 << 10) {
                Ok(got) if got.is_empty() => {
                    assert!(!self.client && self.pending.is_empty(), "an early end");
                    return false;
                }
                Ok(got) => self.take(&got, stress),
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    self.rearm(bench, Interest::READ);
                    return true;
                }
            }
            if self.client && self.left == 0 && self.expected.is_empty() {
                self.end.stream.writer.shutdown();
                stress.clients.fetch_sub(1, Ordering::SeqCst);
                return false;
            }
        }
    }

    fn rearm(&self, bench: &mut Bench, interest: Interest) {
        let rearmed = bench.center.rearm(self.end.token, interest);
        rearmed.expect("registered");
    }

    fn fill(&mut self, stress: &Stress) {
        while self.left > 0 && self.expected.len() < DEPTH {
            self.left -= 1;
            let message = stress.message();
            self.pending.extend_from_slice(&message);
            self.expected.push_back(message);
        }
    }

    fn flush(&mut self, bench: &mut Bench) {
        while !self.pending.is_empty() {
            match write(&mut self.end.stream, &self.pending) {
                Ok(sent) => self.pending.advance(sent),
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    return self.rearm(bench, Interest::WRITE);
                }
            }
        }
    }

    /// A server sends it back; a client compares.
    fn take(&mut self, mut got: &[u8], stress: &Stress) {
        if !self.client {
            return self.pending.extend_from_slice(got);
        }
        while !got.is_empty() {
            let expected = &self.expected.front().expect("something is on its way")[self.back..];
            let (now, rest) = got.split_at(got.len().min(expected.len()));
            assert_eq!(now, &expected[..now.len()], "another echo");
            got = rest;
            self.back += now.len();
            if now.len() == expected.len() {
                self.back = 0;
                self.expected.pop_front();
                stress.echoed.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
}

/// One worker: serves whoever connects to its listener, and runs clients of the next one's.
struct StressWorker {
    bench: Bench,
    stack: TcpStack,
    listener: Box<dyn Listener>,
    listening: Token,
    next: SocketAddr,
    pipes: BTreeMap<u64, Pipe>,
    tags: u64,
}

impl StressWorker {
    fn add(&mut self, stream: Stream, left: usize) {
        self.tags += 1;
        let end = End::new(&mut self.bench, stream, self.tags);
        let client = left > 0;
        let pipe = Pipe {
            end,
            pending: BytesMut::new(),
            left,
            expected: VecDeque::new(),
            back: 0,
            connected: !client,
            client,
        };
        self.pipes.insert(self.tags, pipe);
    }

    fn start_clients(&mut self, stress: &Stress) {
        let running = |pipes: &BTreeMap<u64, Pipe>| pipes.values().filter(|p| p.client).count();
        while running(&self.pipes) < CLIENTS {
            // Counted first, so that nobody takes the end for reached.
            stress.clients.fetch_add(1, Ordering::SeqCst);
            let Some(left) = stress.take() else {
                stress.clients.fetch_sub(1, Ordering::SeqCst);
                return;
            };
            let stream = self.stack.connect(self.next, None, &options());
            self.add(stream.expect("begins to connect"), left);
        }
    }

    fn accept(&mut self) {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => self.add(stream, 0),
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    let rearmed = self.bench.center.rearm(self.listening, Interest::READ);
                    return rearmed.expect("registered");
                }
            }
        }
    }

    fn run(mut self, stress: &Stress) {
        let began = Instant::now();
        loop {
            self.start_clients(stress);
            if self.pipes.is_empty() && stress.clients.load(Ordering::SeqCst) == 0 {
                return;
            }
            assert!(began.elapsed() < 2 * DEADLINE, "{:?}", stress.echoed);
            self.bench.turn(Duration::from_millis(20));
            for tag in std::mem::take(&mut self.bench.ready.0).into_keys() {
                if tag == LISTENER {
                    self.accept();
                } else if let Some(pipe) = self.pipes.get_mut(&tag)
                    && !pipe.run(&mut self.bench, stress)
                {
                    let token = pipe.end.token;
                    self.bench.center.deregister(token).expect("registered");
                    self.pipes.remove(&tag);
                }
            }
        }
    }
}

/// Ten thousand messages, echoed and compared.
#[test]
fn behaviour_28_stress() {
    let stack = stack();
    let stress = Arc::new(Stress {
        budget: AtomicUsize::new(MESSAGES),
        echoed: AtomicUsize::new(0),
        clients: AtomicUsize::new(0),
        random: ManualEnv::new(28),
    });
    let listeners: Vec<_> = (0..WORKERS).map(|_| listen(&stack)).collect();
    let mut next: Vec<SocketAddr> = listeners.iter().map(|(_, addr)| *addr).collect();
    next.rotate_left(1);
    let threads: Vec<_> = listeners
        .into_iter()
        .zip(next)
        .map(|((listener, _), next)| {
            let stress = Arc::clone(&stress);
            std::thread::spawn(move || {
                let mut bench = Bench::new(&stack);
                let listening = bench.watch(listener.source(), Interest::READ, LISTENER);
                let worker = StressWorker {
                    bench,
                    stack,
                    listener,
                    listening,
                    next,
                    pipes: BTreeMap::new(),
                    tags: LISTENER,
                };
                worker.run(&stress);
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("all echoes are right");
    }
    assert_eq!(stress.budget.load(Ordering::SeqCst), 0);
    assert_eq!(stress.echoed.load(Ordering::SeqCst), MESSAGES);
}
