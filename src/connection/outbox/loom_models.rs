//! The outbox in every order of its steps.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test --release --lib loom_
//! ```
//!
//! The code that runs is the outbox itself; its surroundings are modelled ([`World`]). The home
//! worker is the main thread of a model: it takes a turn or two while the others run, and when they
//! are done as many as it needs. A model ends with [`World::settle`], which says what must hold
//! then.
//!
//! The number of preemptions is not bounded: loom leaves out only orders that make no difference.
//! The bugs in [`planted`] are made on purpose, one step split in two each; a model has to find
//! them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use loom::sync::Mutex;
use loom::thread;

use super::{Next, Outbox};
use crate::connection::queue::Gate;
use crate::error::SendError;

mod planted;
mod world;

use planted::Plant;
use world::{FRAME, Home, PLENTY, World, message};

/// Runs a model in all orders, and says how many there were.
fn check(name: &str, model: impl Fn() + Send + Sync + 'static) {
    let orders = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&orders);
    loom::model(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        model();
    });
    println!("{name}: {} orders", orders.load(Ordering::Relaxed));
}

/// Two senders write themselves, up to a budget; the home worker goes on.
fn two_senders(plant: Option<Plant>) {
    let world = World::new(1, plant);
    let mut home = Home::default();
    world.open(&mut home);
    let senders = [world.sender(0, 2), world.sender(1, 2)];
    world.turn(&mut home);
    world.turn(&mut home);
    senders
        .into_iter()
        .for_each(|s| s.join().expect("no panic"));
    world.settle(&mut home, &[2, 2]);
    world.assert_one_flusher_at_a_time();
}

#[test]
fn loom_two_senders_and_the_home_worker() {
    check("two senders", || two_senders(None));
}

#[test]
#[should_panic(expected = "of sender")]
fn loom_finds_a_gate_that_is_opened_too_late() {
    check("planted", || two_senders(Some(Plant::IdleTooLate)));
}

/// The home worker hears of room in a socket that was not full: a driver's event is a hint.
#[test]
fn loom_hint_while_somebody_sends() {
    check("hint", || {
        let world = World::new(1, None);
        let mut home = Home::default();
        let senders = [world.sender(0, 2), world.sender(1, 1)];
        world.writable(&mut home);
        world.open(&mut home);
        world.writable(&mut home);
        senders
            .into_iter()
            .for_each(|s| s.join().expect("no panic"));
        world.settle(&mut home, &[2, 1]);
        world.assert_one_flusher_at_a_time();
    });
}

#[test]
fn loom_senders_while_the_link_opens() {
    check("opening", || {
        let world = World::new(1, None);
        let mut home = Home::default();
        let senders = [world.sender(0, 2), world.sender(1, 1)];
        world.open(&mut home);
        senders
            .into_iter()
            .for_each(|s| s.join().expect("no panic"));
        world.settle(&mut home, &[2, 1]);
        world.assert_one_flusher_at_a_time();
    });
}

/// The socket is full in the middle of the first message; the peer reads some more, then all.
#[test]
fn loom_full_socket() {
    check("full socket", || {
        let world = World::new(PLENTY, None);
        let mut home = Home::default();
        world.open(&mut home);
        world.peer.lock().expect("no panic yet").room = FRAME / 2;
        let sender = world.sender(0, 2);
        let reader = {
            let peer = Arc::clone(&world.peer);
            thread::spawn(move || {
                peer.lock().expect("no panic yet").room += FRAME;
                peer.lock().expect("no panic yet").room = PLENTY;
            })
        };
        world.turn(&mut home);
        world.turn(&mut home);
        sender.join().expect("no panic");
        reader.join().expect("no panic");
        world.settle(&mut home, &[2]);
        world.assert_one_flusher_at_a_time();
    });
}

/// The gate is blocked already when others send, and the home worker learns of the room.
#[test]
fn loom_unblock_against_senders() {
    check("unblock", || {
        let world = World::new(PLENTY, None);
        let mut home = Home::default();
        world.open(&mut home);
        world.peer.lock().expect("no panic yet").room = FRAME / 2;
        world.send(0).expect("room in the queue");
        world.turn(&mut home);
        assert_eq!(world.outbox.queue().gate, Gate::Blocked);
        let senders = [world.sender(1, 2), world.sender(2, 1)];
        world.peer.lock().expect("no panic yet").room = PLENTY;
        world.turn(&mut home);
        senders
            .into_iter()
            .for_each(|s| s.join().expect("no panic"));
        world.settle(&mut home, &[1, 2, 1]);
        let refused = world.peer.lock().expect("no panic yet").refused;
        assert_eq!(refused, 2, "the first sender, and the home worker");
        world.assert_one_flusher_at_a_time();
    });
}

/// The home worker drops the link in the middle of a message that another thread writes, and opens
/// the next one.
fn dropped_link(plant: Option<Plant>) {
    let world = World::new(1, plant);
    let mut home = Home::default();
    world.open(&mut home);
    world.peer.lock().expect("no panic yet").at_once = FRAME / 2;
    let sender = world.sender(0, 3);
    world.turn(&mut home);
    world.drop_link(&mut home);
    world.open(&mut home);
    sender.join().expect("no panic");
    world.settle(&mut home, &[3]);
}

#[test]
fn loom_link_dropped_and_opened_again() {
    check("dropped link", || dropped_link(None));
}

#[test]
#[should_panic(expected = "flushing without a link")]
fn loom_finds_a_link_dropped_in_two_steps() {
    check("planted", || dropped_link(Some(Plant::DroppedInTwoSteps)));
}

/// The link breaks from below: a sender's write fails, and the home worker meets the same error, or
/// the end of the stream.
#[test]
fn loom_link_broken_from_below() {
    check("broken link", || {
        let world = World::new(PLENTY, None);
        let mut home = Home::default();
        world.open(&mut home);
        let sender = world.sender(0, 2);
        let breaker = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.outbox.cut())
        };
        world.turn(&mut home);
        sender.join().expect("no panic");
        breaker.join().expect("no panic");
        if world.is_gone() {
            world.drop_link(&mut home);
            world.open(&mut home);
        }
        world.settle(&mut home, &[2]);
    });
}

#[test]
fn loom_link_dropped_between_two_senders() {
    check("dropped link, two senders", || {
        let world = World::new(PLENTY, None);
        let mut home = Home::default();
        world.open(&mut home);
        let senders = [world.sender(0, 1), world.sender(1, 1)];
        world.drop_link(&mut home);
        world.open(&mut home);
        senders
            .into_iter()
            .for_each(|s| s.join().expect("no panic"));
        world.settle(&mut home, &[1, 1]);
    });
}

/// Acknowledgements come while a sender adds to what they are about, and while the link goes: more
/// than can happen, for both are read by the home worker.
#[test]
fn loom_acks_against_a_dropped_link() {
    check("acks", || {
        let world = World::new(PLENTY, None);
        let mut home = Home::default();
        world.open(&mut home);
        world.send(0).expect("room in the queue");
        let sender = world.sender(1, 2);
        let acks = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                let seq = world.peer.lock().expect("no panic yet").in_seq();
                world.outbox.acked(seq);
                seq
            })
        };
        world.drop_link(&mut home);
        world.open(&mut home);
        sender.join().expect("no panic");
        let acked = acks.join().expect("no panic");
        world.settle(&mut home, &[1, 2]);
        let in_seq = world.peer.lock().expect("no panic yet").in_seq();
        assert!(acked <= in_seq && world.outbox.unacked() as u64 <= in_seq);
        world.outbox.acked(in_seq);
        assert_eq!(world.outbox.unacked(), 0);
    });
}

/// What two senders, two that close and a home worker make of each other: each message comes back,
/// is counted, or has gone to the link.
fn closed(room: usize, plant: Option<Plant>) {
    let world = World::new(PLENTY, plant);
    let mut home = Home::default();
    world.open(&mut home);
    world.peer.lock().expect("no panic yet").room = room;
    let sender = {
        let world = Arc::clone(&world);
        thread::spawn(move || {
            let results = [world.send(0), world.send(1)];
            assert!(results[1].is_err() || results[0].is_ok(), "open again");
            results.iter().filter(|result| result.is_ok()).count()
        })
    };
    let other = {
        let world = Arc::clone(&world);
        thread::spawn(move || world.close())
    };
    world.turn(&mut home);
    let mine = world.close();
    let taken = sender.join().expect("no panic");
    let counts = [mine, other.join().expect("no panic")];
    // Before the home worker voids what the socket did not take.
    let (linked, encoded) = (home.linked, world.outbox.tx().sent.len());
    while world.turn(&mut home) {}
    assert_eq!(counts.iter().flatten().count(), 1, "closed once");
    let unsent: usize = counts.into_iter().flatten().sum();
    if room == PLENTY {
        assert_eq!(
            world.peer.lock().expect("no panic yet").got.len() + unsent,
            taken
        );
    } else if linked {
        assert_eq!(encoded + unsent, taken);
    }
    assert_closed(&world);
}

fn assert_closed(world: &World) {
    let refused = matches!(world.send(2), Err(SendError::Closed(_)));
    assert!(refused && world.outbox.queue().is_empty(), "closed");
    assert!(world.outbox.is_closed() && !world.outbox.is_connected());
    assert!(world.outbox.tx().link.is_none());
}

#[test]
fn loom_close_against_send() {
    check("close", || closed(PLENTY, None));
}

#[test]
fn loom_close_of_a_full_socket() {
    check("close, full socket", || closed(FRAME / 2, None));
}

#[test]
#[should_panic(expected = "closed")]
fn loom_finds_a_gate_that_is_blocked_blindly() {
    check("planted", || closed(0, Some(Plant::BlockedBlindly)));
}

#[test]
fn loom_close_against_open() {
    check("close against open", || {
        let world = World::new(PLENTY, None);
        let mut home = Home::default();
        world.send(0).expect("not closed yet");
        let closer = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.close())
        };
        world.open(&mut home);
        let unsent = closer.join().expect("no panic").expect("closed once");
        assert!(!world.outbox.is_connected(), "closed for whoever looks");
        while world.turn(&mut home) {}
        let got = world.peer.lock().expect("no panic yet").got.len();
        assert_eq!(got + unsent, 1, "sent or counted");
        assert_closed(&world);
    });
}

/// A session without a link decides that it needs none, while somebody sends.
fn standing_by(plant: Option<Plant>) {
    let world = World::new(PLENTY, plant);
    let mut home = Home::default();
    let senders = [world.sender(0, 1), world.sender(1, 1)];
    if !world.stand_by() {
        world.open(&mut home);
    }
    world.turn(&mut home);
    senders
        .into_iter()
        .for_each(|s| s.join().expect("no panic"));
    world.settle(&mut home, &[1, 1]);
    assert_eq!(world.connects.load(Ordering::Relaxed), 1, "connects");
    assert!(world.asked.load(Ordering::Relaxed) <= 1, "told once");
}

#[test]
fn loom_stand_by_against_senders() {
    check("standby", || standing_by(None));
}

#[test]
#[should_panic(expected = "of sender")]
fn loom_finds_a_standby_that_looks_first() {
    check("planted", || standing_by(Some(Plant::StoodByInTwoSteps)));
}

/// The peer connects while this side stands by, and somebody sends.
#[test]
fn loom_peer_wakes_a_session_that_stands_by() {
    check("woken", || {
        let world = World::new(PLENTY, None);
        let mut home = Home::default();
        let senders = [world.sender(0, 1), world.sender(1, 1)];
        world.stand_by();
        world.outbox.wake();
        world.open(&mut home);
        senders
            .into_iter()
            .for_each(|s| s.join().expect("no panic"));
        world.settle(&mut home, &[1, 1]);
    });
}

struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Tasks that find the queue full are told when it has room.
#[test]
fn loom_tasks_that_wait_for_room() {
    check("waiting", || {
        let world = World::limited(1, PLENTY, None);
        let mut home = Home::default();
        world.send(0).expect("room for one");
        let waiter = |tid| {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                let woken = Arc::new(Woken(AtomicUsize::new(0)));
                let waker = Waker::from(Arc::clone(&woken));
                let sent = world.send_or_wait(tid, Some(&waker));
                (matches!(sent, Err(SendError::Full(_))), woken)
            })
        };
        let waiters = [waiter(10), waiter(20)];
        world.open(&mut home);
        let waiters = waiters.map(|waiter| waiter.join().expect("no panic"));
        while world.turn(&mut home) {}
        for (tid, (full, woken)) in [10, 20].into_iter().zip(waiters) {
            assert_eq!(woken.0.load(Ordering::Relaxed), usize::from(full), "told");
            if full {
                world.send(tid).expect("room now");
            }
        }
        world.settle(&mut home, &[1, 1, 1]);
    });
}

/// The loop-back connection: the home worker pops what two threads send.
#[test]
fn loom_loop_back() {
    check("loop-back", || {
        let outbox = Arc::new(Outbox::local((1 << 20, 100), false));
        let told = Arc::new(Mutex::new(0));
        let sender = |sender: u64| {
            let (outbox, told) = (Arc::clone(&outbox), Arc::clone(&told));
            thread::spawn(move || {
                for tid in [sender * 10, sender * 10 + 1] {
                    let next = outbox.push(message(tid), None, None).expect("room");
                    if next == Next::Flush {
                        *told.lock().expect("no panic yet") += 1;
                    }
                }
            })
        };
        let senders = [sender(0), sender(1)];
        let mut got = Vec::new();
        let mut turn = || {
            let told = std::mem::take(&mut *told.lock().expect("no panic yet"));
            assert!(told <= 1, "told once for all that waits");
            if told == 1 {
                got.extend(std::iter::from_fn(|| outbox.pop()).map(|m| m.tid()));
            }
        };
        turn();
        turn();
        senders
            .into_iter()
            .for_each(|s| s.join().expect("no panic"));
        turn();
        for sender in 0..2 {
            let of_it: Vec<u64> = got
                .iter()
                .copied()
                .filter(|tid| tid / 10 == sender)
                .collect();
            assert_eq!(of_it, [sender * 10, sender * 10 + 1], "of sender {sender}");
        }
        assert_eq!(outbox.queue().gate, Gate::Idle);
    });
}
