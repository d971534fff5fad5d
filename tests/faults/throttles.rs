//! Full throttles: the connection waits, its peer feels it, and nothing is lost.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_messenger::message::Message;
use async_messenger::throttle::Throttle;
use async_messenger::{Config, Connection, Policy, SendError};

use crate::bed::{alone, cpu_time_over};
use crate::peers::{DEADLINE, config, eventually};
use crate::scripted::{Frame, open_client};
use crate::{Setting, Stage, keep};

const SIZE: usize = 64 << 10;
/// How many messages each of the throttles here lets pass.
const ROOM: u64 = 4;
/// Of processor time, over half a second in which everything waits.
const CPU_MAX: Duration = Duration::from_millis(100);

/// A client whose queue is soon full.
fn client() -> Stage {
    let mut small = config();
    small.send_queue_messages = 50;
    Setting::client().change(|b| b.config(small)).start(keep)
}

/// Sends until the peer is held up at a throttle, and the queue is full, and the socket and the
/// peer's buffers with it.
fn fill(server: &Stage, connection: &Connection) -> u64 {
    let mut sent = 0;
    let mut full_since: Option<Instant> = None;
    let is_held_up = || server.messenger.stats().throttled >= 1;
    // A queue that stays full from then on is full for good: its socket takes nothing.
    while full_since.is_none_or(|since| since.elapsed() < Duration::from_millis(100)) {
        let message = Message::new(42)
            .with_tid(sent)
            .with_data(vec![sent as u8; SIZE]);
        match connection.send(message) {
            Ok(()) => (sent, full_since) = (sent + 1, None),
            Err(SendError::Full(back)) => {
                assert_eq!(back.tid(), sent, "it comes back as it was");
                if is_held_up() {
                    full_since.get_or_insert_with(Instant::now);
                }
                std::thread::yield_now();
            }
            Err(other) => panic!("{other}"),
        }
    }
    sent
}

/// The peer waits without a cost, and then gets everything in order.
fn check_released(server: &Stage, connection: &Connection, next: impl Fn() -> Message) {
    let sent = fill(server, connection);
    assert!(sent > 50 + ROOM, "{sent}");
    assert!(server.messenger.stats().throttled >= 1);
    assert!(
        server.messenger.stats().received <= ROOM + 1,
        "what is held back is not read"
    );
    let used = cpu_time_over(Duration::from_millis(500));
    assert!(
        used < CPU_MAX,
        "{used:?} of processor time while everything waits"
    );
    for tid in 0..sent {
        let message = next();
        assert_eq!(message.tid(), tid, "in order, nothing lost");
        let data = message.data().to_bytes();
        assert!(data.len() == SIZE && data.iter().all(|byte| *byte == tid as u8));
    }
    eventually("the queue is empty", || connection.queued() == 0);
    eventually("all are counted", || {
        server.messenger.stats().received == sent
    });
    let stats = server.messenger.stats();
    assert_eq!(
        (stats.received, stats.panics, stats.faults),
        (sent, 0, 0),
        "{stats:?}"
    );
}

/// A throttle of the policy, whose units come back when the messages are dropped.
fn check_policy(throttle: &Arc<Throttle>, with: impl FnOnce(Policy, Arc<Throttle>) -> Policy) {
    let policy = with(Policy::stateless_server(0), Arc::clone(throttle));
    let server = Setting::server(true)
        .change(|b| b.default_policy(policy))
        .start(keep);
    let client = client();
    let connection = client.connect(&server);
    check_released(&server, &connection, || server.inbox.message().1);
    eventually("units come back", || {
        throttle.current() == 0 && throttle.waiting() == 0
    });
    client.end();
    server.end();
}

#[test]
fn a_policy_that_bounds_messages_holds_the_sender_back() {
    let _alone = alone();
    let throttle = Throttle::new("messages", ROOM);
    check_policy(&throttle, |policy, t| policy.with_throttles(None, Some(t)));
}

#[test]
fn a_policy_that_bounds_bytes_holds_the_sender_back() {
    let _alone = alone();
    let throttle = Throttle::new("bytes", ROOM * SIZE as u64);
    check_policy(&throttle, |policy, t| policy.with_throttles(Some(t), None));
}

#[test]
fn a_policy_that_bounds_both_holds_the_sender_back() {
    let _alone = alone();
    let bytes = Throttle::new("bytes", ROOM * SIZE as u64);
    let messages = Throttle::new("messages", ROOM);
    let of_bytes = Arc::clone(&bytes);
    check_policy(&messages, |policy, t| {
        policy.with_throttles(Some(of_bytes), Some(t))
    });
    assert_eq!((bytes.current(), bytes.waiting()), (0, 0));
}

/// A handler that says when it has a message, and goes on whenever it is told to.
fn on_demand(setting: Setting) -> (Stage, Sender<()>, Receiver<()>) {
    let (go, wait): (Sender<()>, Receiver<()>) = channel();
    let (begin, begun) = channel();
    let ends = Mutex::new((begin, wait));
    let stage = setting.start(move |_, _, message| {
        let (begin, wait) = &*ends.lock().expect("not poisoned");
        // Both end when the test does.
        let _ = begin.send(());
        let _ = wait.recv();
        Some(message)
    });
    (stage, go, begun)
}

fn check_dispatch(limit: impl FnOnce(&mut Config)) {
    let mut tight = config();
    limit(&mut tight);
    let (server, go, _) = on_demand(Setting::server(false).change(|b| b.config(tight)));
    let client = client();
    let connection = client.connect(&server);
    check_released(&server, &connection, || {
        go.send(()).expect("the handler waits");
        server.inbox.message().1
    });
    eventually("units come back", || {
        let stats = server.messenger.stats();
        (
            stats.dispatch_bytes,
            stats.dispatch_messages,
            stats.dispatch_queue,
        ) == (0, 0, 0)
    });
    drop(go);
    client.end();
    server.end();
}

#[test]
fn a_slow_handler_holds_the_sender_back_by_messages() {
    let _alone = alone();
    check_dispatch(|config| config.dispatch_throttle_messages = ROOM);
}

#[test]
fn a_slow_handler_holds_the_sender_back_by_bytes() {
    let _alone = alone();
    check_dispatch(|config| config.dispatch_throttle_bytes = ROOM * SIZE as u64);
}

#[test]
fn peers_that_die_while_they_are_held_back_cost_nothing_and_leave_nothing() {
    let _alone = alone();
    let throttle = Throttle::new("messages", 1);
    let policy = Policy::stateless_server(0).with_throttles(None, Some(Arc::clone(&throttle)));
    let server = Setting::server(true)
        .change(|b| b.default_policy(policy))
        .start(keep);
    let mut wires = Vec::new();
    for nonce in 0..20 {
        let mut wire = open_client(&server.addrs, nonce);
        // The second of the first connection waits, and all of the others.
        wire.send(&[Frame::new(1).bytes(), Frame::new(2).bytes()].concat());
        eventually("it is held back", || {
            throttle.waiting() == nonce as usize + 1
        });
        wires.push(wire);
    }
    let held = server.inbox.message().1;
    assert_eq!(throttle.current(), 1);
    // Some take leave in order, the others are reset.
    for (i, mut wire) in wires.into_iter().enumerate() {
        if i % 2 == 0 {
            wire.finish();
        }
    }
    let used = cpu_time_over(Duration::from_millis(500));
    assert!(
        used < CPU_MAX,
        "{used:?} of processor time for peers that are gone"
    );
    drop(held);
    let (mut messages, mut resets) = (0, 0);
    while resets < 20 {
        server.inbox.find("message or reset", |seen| match seen {
            crate::Seen::Message(..) => {
                messages += 1;
                Some(())
            }
            crate::Seen::Event(_, async_messenger::ConnectionEvent::Reset { .. }) => {
                resets += 1;
                Some(())
            }
            _ => None,
        });
    }
    assert!(
        messages >= 10,
        "{messages}: what arrived in order before the end is delivered"
    );
    eventually("units come back", || {
        throttle.current() == 0 && throttle.waiting() == 0
    });
    server.end();
}

#[test]
fn who_is_held_back_can_be_marked_down() {
    let _alone = alone();
    let throttle = Throttle::new("messages", 1);
    let policy = Policy::stateless_server(0).with_throttles(None, Some(Arc::clone(&throttle)));
    let server = Setting::server(true)
        .change(|b| b.default_policy(policy))
        .start(keep);
    let mut wire = open_client(&server.addrs, 1);
    wire.send(&[Frame::new(1).bytes(), Frame::new(2).bytes()].concat());
    let (connection, held) = server.inbox.message();
    eventually("it is held back", || throttle.waiting() == 1);
    connection.mark_down();
    drop(connection);
    wire.end();
    eventually("nobody waits", || throttle.waiting() == 0);
    let mut other = open_client(&server.addrs, 2);
    other.send(&Frame::new(7).bytes());
    eventually("the next one waits", || throttle.waiting() == 1);
    drop(held);
    assert_eq!(server.inbox.message().1.head().seq, 7);
    drop(other);
    server.inbox.reset();
    eventually("units come back", || throttle.current() == 0);
    server.end();
}

/// The payload of a [`Frame`], and what comes before it.
const FRAME_SIZE: u64 = 16;
const FRAME_HEAD: usize = 54;

/// A policy with both throttles, by messages and by bytes, with room for a few frames.
fn both() -> ([Arc<Throttle>; 2], Policy) {
    let messages = Throttle::new("messages", ROOM);
    let bytes = Throttle::new("bytes", ROOM * FRAME_SIZE);
    let throttles = [Arc::clone(&messages), Arc::clone(&bytes)];
    let policy = Policy::stateless_server(0).with_throttles(Some(bytes), Some(messages));
    (throttles, policy)
}

/// Shares of received messages at all four throttles, those of dispatch last.
fn shares(server: &Stage, [messages, bytes]: &[Arc<Throttle>; 2]) -> [u64; 4] {
    let stats = server.messenger.stats();
    let dispatch = [stats.dispatch_messages, stats.dispatch_bytes];
    [
        messages.current(),
        bytes.current(),
        dispatch[0],
        dispatch[1],
    ]
}

/// The peer dies behind each byte of a message.
#[test]
fn a_fault_in_each_state_of_receiving_gives_the_throttles_back() {
    let _alone = alone();
    let (throttles, policy) = both();
    let server = Setting::server(true)
        .change(|b| b.default_policy(policy))
        .start(keep);
    let frame = Frame::new(1).bytes();
    for cut in 0..frame.len() {
        let mut wire = open_client(&server.addrs, cut as u32);
        wire.send(&frame[..cut]);
        let taken = match cut < FRAME_HEAD {
            true => [0; 4],
            false => [1, FRAME_SIZE, 1, FRAME_SIZE],
        };
        eventually(&format!("all shares are taken behind byte {cut}"), || {
            shares(&server, &throttles) == taken
        });
        wire.finish();
        server.inbox.reset();
        eventually(&format!("all come back that were at byte {cut}"), || {
            shares(&server, &throttles) == [0; 4]
        });
    }
    server.end();
}

/// A connection is ended while it waits at each of the policy's throttles.
#[test]
fn an_end_while_waiting_at_a_throttle_gives_the_others_back() {
    let _alone = alone();
    for full in 0..2 {
        let (throttles, policy) = both();
        let server = Setting::server(true)
            .change(|b| b.default_policy(policy))
            .start(keep);
        let mut wire = open_client(&server.addrs, 1);
        let all = throttles[full].max();
        let held = throttles[full].try_take(all).expect("nobody else has any");
        wire.send(&Frame::new(1).bytes());
        eventually("it waits", || throttles[full].waiting() == 1);
        // Messages come before bytes.
        let others = if full == 0 { [all, 0] } else { [1, all] };
        assert_eq!(shares(&server, &throttles)[..2], others);
        server.messenger.mark_down_all();
        wire.end();
        server.inbox.reset();
        eventually("nobody waits", || throttles[full].waiting() == 0);
        drop(held);
        eventually("all come back", || shares(&server, &throttles) == [0; 4]);
        server.end();
    }
}

/// A connection is ended while it waits for the handler of another one.
#[test]
fn an_end_while_waiting_for_dispatch_gives_the_policys_throttles_back() {
    let _alone = alone();
    let (throttles, policy) = both();
    let mut small = config();
    small.dispatch_throttle_bytes = FRAME_SIZE;
    let setting = Setting::server(false).change(|b| b.default_policy(policy).config(small));
    let (server, go, begun) = on_demand(setting);
    let wires = [1, 2].map(|nonce| {
        let mut wire = open_client(&server.addrs, nonce);
        wire.send(&Frame::new(1).bytes());
        let n = u64::from(nonce);
        eventually("the policy's shares are taken", || {
            shares(&server, &throttles)[..2] == [n, n * FRAME_SIZE]
        });
        wire
    });
    eventually("the second one waits", || {
        server.messenger.stats().throttled == 1
    });
    let begun = begun.recv_timeout(DEADLINE);
    begun.expect("the handler has the first one");
    server.messenger.mark_down_all();
    wires.into_iter().for_each(|wire| drop(wire.end()));
    eventually("only the one with the handler is left", || {
        shares(&server, &throttles) == [1, FRAME_SIZE, 1, FRAME_SIZE]
    });
    go.send(()).expect("it waits");
    drop(server.inbox.message());
    eventually("all come back", || shares(&server, &throttles) == [0; 4]);
    server.end();
}
