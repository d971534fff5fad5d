//! Ends of messengers: from inside, in the middle of everything, and what begins again.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::Instant;

use async_messenger::inject::{Intercept, Intercepted, Interceptor, Step};
use async_messenger::message::Message;
use async_messenger::wire::{AddrVec, EntityType};
use async_messenger::{
    Connection, ConnectionEvent, ErrorKind, Messenger, Policy, SendError, Workers,
};

use crate::bed::{alone, descriptors};
use crate::peers::{DEADLINE, Seen, config, eventually, localhost};
use crate::scripted::{
    Connect, Frame, Listener, REPLY_LEN, SEQ_LEN, SERVER_HELLO_LEN, Wire, client_hello,
    open_client, reply,
};
use crate::{Setting, Stage, echo, keep};

fn echoing(messenger: &Messenger, connection: &Connection, message: Message) -> Option<Message> {
    let _ = messenger;
    echo(connection, &message);
    None
}

fn check_from_inside(fast: bool) {
    let server = Setting::server(fast).start(|messenger, _, message| {
        let error = messenger.wait().expect_err("it would wait for itself");
        assert_eq!(error.kind(), ErrorKind::Misuse);
        assert!(error.to_string().contains("wait for itself"), "{error}");
        messenger.shutdown();
        let again = messenger.wait().expect_err("still");
        assert_eq!(again.kind(), ErrorKind::Misuse);
        assert_eq!(
            messenger.start().expect_err("not yet").kind(),
            ErrorKind::Misuse
        );
        Some(message)
    });
    let mut wire = open_client(&server.addrs, 1);
    wire.send(&Frame::new(1).bytes());
    wire.end();
    server.messenger.wait().expect("ends in time");
    assert_eq!(server.inbox.message().1.head().seq, 1);
    let error = server.inbox.reset();
    assert_eq!(error.kind(), ErrorKind::MarkedDown);
    assert!(
        error.to_string().contains("the messenger was shut down"),
        "{error}"
    );
    assert!(error.peer().is_some());
    assert_eq!(server.messenger.stats().panics, 0);
    server.end();
}

#[test]
fn a_fast_handler_may_shut_its_messenger_down_but_not_wait() {
    let _alone = alone();
    check_from_inside(true);
}

#[test]
fn a_handler_may_shut_its_messenger_down_but_not_wait() {
    let _alone = alone();
    check_from_inside(false);
}

/// Clients that send without a pause while one side is shut down.
fn check_in_flight(server_ends: bool, fast: bool) {
    let server = Setting::server(fast).start(echoing);
    let clients: Vec<Stage> = (0..3).map(|_| Setting::client().start(keep)).collect();
    let connections: Vec<Connection> = clients.iter().map(|c| c.connect(&server)).collect();
    let sent = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for connection in &connections {
            scope.spawn(|| {
                let deadline = Instant::now() + DEADLINE;
                loop {
                    let message = Message::new(1).with_data(vec![1; 4 << 10]);
                    match connection.send(message) {
                        Ok(()) => drop(sent.fetch_add(1, Ordering::SeqCst)),
                        Err(SendError::Full(_)) => std::thread::yield_now(),
                        Err(SendError::Closed(_)) => return,
                        Err(other) => panic!("{other}"),
                    }
                    assert!(Instant::now() < deadline, "the connection never ends");
                }
            });
        }
        // One that is still connecting would go on trying.
        eventually("traffic flows", || {
            connections.iter().all(Connection::is_connected)
                && sent.load(Ordering::SeqCst) > 500
                && server.messenger.stats().received > 300
        });
        if server_ends {
            server.messenger.shutdown();
            server.messenger.wait().expect("ends in time");
        } else {
            clients
                .iter()
                .for_each(|client| client.messenger.shutdown());
            clients
                .iter()
                .for_each(|client| client.messenger.wait().expect("ends in time"));
        }
    });
    for (client, connection) in clients.iter().zip(&connections) {
        let kind = client.inbox.reset().kind();
        let expected = if server_ends {
            ErrorKind::Disconnected
        } else {
            ErrorKind::MarkedDown
        };
        assert_eq!(kind, expected);
        assert!(connection.is_closed());
    }
    eventually("the server lets go", || server.connections() == 0);
    let stats = server.messenger.stats();
    assert_eq!(stats.panics, 0);
    clients.into_iter().for_each(Stage::end);
    server.end();
}

#[test]
fn a_server_can_be_shut_down_while_messages_fly() {
    let _alone = alone();
    check_in_flight(true, true);
    check_in_flight(true, false);
}

#[test]
fn clients_can_be_shut_down_while_messages_fly() {
    let _alone = alone();
    check_in_flight(false, true);
    check_in_flight(false, false);
}

#[test]
fn whoever_is_being_accepted_while_a_messenger_ends_is_let_go() {
    let _alone = alone();
    for round in 0..40 {
        let before = descriptors();
        let server = Setting::server(true).start(echoing);
        let target = server.addrs.0[0].sock.expect("an address that was bound");
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let deadline = Instant::now() + DEADLINE;
                while !done.load(Ordering::SeqCst) && Instant::now() < deadline {
                    // Refused as soon as nobody listens.
                    if let Ok(socket) = std::net::TcpStream::connect(target) {
                        drop(socket);
                    }
                }
            });
            eventually("they knock", || {
                server.messenger.stats().handshakes_failed > round % 7
            });
            server.messenger.shutdown();
            server.messenger.wait().expect("ends in time");
            done.store(true, Ordering::SeqCst);
        });
        // One that was on its way between two workers is dropped when it gets there.
        eventually("all connections end", || server.connections() == 0);
        drop(server);
        eventually("descriptors are given back", || descriptors() <= before);
    }
}

#[test]
fn whoever_is_still_silent_when_a_messenger_ends_is_let_go() {
    let _alone = alone();
    for round in 0..40 {
        let server = Setting::server(true).start(echoing);
        // Some are accepted by the one worker and handed to the other while it ends.
        let wires: Vec<Wire> = (0..20).map(|_| Wire::connect(&server.addrs)).collect();
        if round % 2 == 0 {
            eventually("some are in", || server.connections() > round / 4);
        }
        server.messenger.shutdown();
        server.messenger.wait().expect("ends in time");
        eventually("all connections end", || server.connections() == 0);
        wires.into_iter().for_each(|wire| drop(wire.end()));
    }
}

/// Holds up one worker, once it is told to, until it is let go.
struct Hold {
    armed: AtomicBool,
    held: Mutex<Sender<()>>,
    go: Mutex<Receiver<()>>,
}

impl Hold {
    fn new() -> (Arc<Self>, Receiver<()>, Sender<()>) {
        let ((held, is_held), (let_go, go)) = (channel(), channel());
        let hold = Self {
            armed: AtomicBool::new(false),
            held: Mutex::new(held),
            go: Mutex::new(go),
        };
        (Arc::new(hold), is_held, let_go)
    }

    fn arm(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }

    fn stop_here(&self) {
        if self.armed.swap(false, Ordering::SeqCst) {
            // Both ends are gone if the test has failed.
            let _ = self.held.lock().expect("not poisoned").send(());
            let _ = self.go.lock().expect("not poisoned").recv_timeout(DEADLINE);
        }
    }
}

/// Those who say who they are.
impl Interceptor for Hold {
    fn step(&self, _: &Intercepted<'_>, step: Step) -> Intercept {
        if step == Step::BannerReadAccepting {
            self.stop_here();
        }
        Intercept::Continue
    }
}

/// Is accepted, and says who it is.
fn knock(to: &AddrVec, nonce: u32) -> Wire {
    let mut wire = Wire::connect(to);
    wire.take(SERVER_HELLO_LEN);
    wire.send(&client_hello(nonce));
    wire
}

/// Asks for a new session, for the n-th time.
fn ask(wire: &mut Wire, global_seq: u32) {
    let connect = Connect {
        global_seq,
        ..Connect::default()
    };
    wire.send(&connect.bytes());
}

/// Opens a session without loss, and sends the first message on it.
fn open_session(to: &AddrVec, nonce: u32) -> Wire {
    let mut wire = knock(to, nonce);
    ask(&mut wire, 1);
    let opened = wire.take(REPLY_LEN + SEQ_LEN);
    assert_eq!((opened[0], opened[25]), (reply::SEQ, 0), "open, not lossy");
    wire.send(&[0; SEQ_LEN]);
    wire.send(&Frame::new(1).bytes());
    wire
}

/// One worker hands a link to the worker of its session, which has been told before to let go of
/// everything.
#[test]
fn whoever_is_on_the_way_to_a_session_when_a_messenger_ends_is_let_go() {
    let _alone = alone();
    let (asking, is_asking, go_on) = Hold::new();
    let (handling, is_handling, return_now) = Hold::new();
    let threads: Arc<Mutex<Vec<ThreadId>>> = Arc::default();
    let (hold, seen) = (Arc::clone(&handling), Arc::clone(&threads));
    let server = Setting::server(true)
        .change(|b| b.default_policy(Policy::stateful_server(0)))
        .change(|b| b.interceptor(Arc::<Hold>::clone(&asking)))
        .start(move |_, _, message| {
            let thread = std::thread::current().id();
            seen.lock().expect("not poisoned").push(thread);
            hold.stop_here();
            Some(message)
        });
    // They are spread over the workers.
    let mut first = open_session(&server.addrs, 1);
    server.inbox.message();
    let mut others = Vec::new();
    let is_elsewhere = |threads: &[ThreadId]| threads.iter().any(|t| *t != threads[0]);
    while !is_elsewhere(&threads.lock().expect("not poisoned")) {
        others.push(open_session(&server.addrs, 2 + others.len() as u32));
        server.inbox.message();
    }
    let elsewhere = 1 + others.len() as u32;
    let mut asking_again: Vec<Wire> = (0..8).map(|_| knock(&server.addrs, 1)).collect();

    handling.arm();
    first.send(&Frame::new(2).bytes());
    is_handling.recv_timeout(DEADLINE).expect("it is handled");
    asking.arm();
    // Some of them are at the worker that is held up.
    let wires = asking_again.iter_mut().zip(2..);
    wires.for_each(|(wire, global_seq)| ask(wire, global_seq));
    is_asking.recv_timeout(DEADLINE).expect("one asks");
    server.messenger.shutdown();
    go_on.send(()).expect("it waits");
    // This worker has handed the link over before it hears of the shutdown.
    server.inbox.find("reset", |seen| match seen {
        Seen::Event(of, ConnectionEvent::Reset { .. }) => {
            (of.peer_addr().nonce == elsewhere).then_some(())
        }
        _ => None,
    });
    return_now.send(()).expect("it waits");
    server.messenger.wait().expect("ends in time");
    // Not because of their peers.
    eventually("all connections end", || server.connections() == 0);
    drop((first, others, asking_again));
}

#[test]
fn no_connection_outlives_the_messenger_that_made_it() {
    let _alone = alone();
    let listener = Listener::new();
    let target = AddrVec(vec![listener.addr()]);
    for round in 0..100 {
        let Stage {
            messenger, inbox, ..
        } = Setting::client().start(keep);
        let made = AtomicU64::new(0);
        let connections = std::thread::scope(|scope| {
            let connecting = scope.spawn(|| {
                let mut connections = Vec::new();
                let deadline = Instant::now() + DEADLINE;
                while let Ok(connection) = messenger.connect(EntityType::OSD, &target) {
                    // The next one is another one.
                    connections.last().map(Connection::mark_down);
                    connections.push(connection);
                    made.fetch_add(1, Ordering::SeqCst);
                    assert!(Instant::now() < deadline, "the messenger never ends");
                }
                connections
            });
            eventually("it connects", || made.load(Ordering::SeqCst) > round % 5);
            messenger.shutdown();
            messenger.wait().expect("ends in time");
            connecting.join().expect("does not panic")
        });
        eventually("all of them are closed", || {
            connections.iter().all(Connection::is_closed)
        });
        drop(inbox);
    }
}

#[test]
fn a_messenger_that_was_shut_down_can_be_started_again() {
    let _alone = alone();
    let server = Setting::server(false).start(echoing);
    let client = Setting::client().start(keep);
    let mut addrs = server.addrs.clone();
    let mut old: Vec<Connection> = Vec::new();
    for tid in 0..5 {
        let connection = client
            .messenger
            .connect(EntityType::OSD, &addrs)
            .expect("started");
        client.check_echo(&connection, tid);
        let loopback = server.messenger.loopback().expect("started");
        old.extend([connection, loopback]);
        for ending in [&server, &client] {
            ending.messenger.shutdown();
            ending.messenger.wait().expect("ends in time");
            let error = ending
                .messenger
                .connect(EntityType::OSD, &addrs)
                .expect_err("ended");
            assert_eq!(error.kind(), ErrorKind::Misuse);
        }
        assert!(
            old.iter().all(Connection::is_closed),
            "they do not come back to life"
        );
        client.inbox.find("reset", |seen| match seen {
            Seen::Event(_, ConnectionEvent::Reset { .. }) => Some(()),
            _ => None,
        });
        addrs = server.messenger.bind(&localhost()).expect("a free port");
        server.messenger.start().expect("starts again");
        client.messenger.start().expect("starts again");
    }
    client.end();
    server.end();
}

#[test]
fn a_messenger_goes_on_when_another_one_on_its_workers_ends() {
    let _alone = alone();
    let workers = Workers::start(&config()).expect("workers");
    let stay = Setting::server(true)
        .change(|b| b.workers(&workers))
        .start(echoing);
    let client = Setting::client()
        .change(|b| b.workers(&workers))
        .start(keep);
    let connection = client.connect(&stay);
    for round in 0..20 {
        let fast = round % 2 == 0;
        let ends = Setting::server(fast)
            .change(|b| b.workers(&workers))
            .start(echoing);
        let mut wire = open_client(&ends.addrs, 1);
        wire.send(&Frame::new(1).bytes());
        wire.take_message();
        // On its way while the other one ends.
        for tid in 0..50 {
            connection
                .send(Message::new(1).with_tid(tid))
                .expect("room");
        }
        ends.messenger.shutdown();
        for tid in 0..50 {
            assert_eq!(client.inbox.message().1.tid(), tid);
        }
        ends.messenger.wait().expect("ends in time");
        wire.end();
    }
    assert!(connection.is_connected());
    assert_eq!(stay.messenger.stats().faults, 0);
    client.end();
    stay.end();
}
