//! Messengers talking to each other over real sockets, on the driver that `EVENT_DRIVER` names.

#[path = "common/peers.rs"]
mod peers;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_messenger::message::{Message, Registry, UnknownTypes, priority};
use async_messenger::throttle::Throttle;
use async_messenger::wire::{EntityName, EntityType};
use async_messenger::{
    Connection, ConnectionEvent, Dispatcher, ErrorKind, Handled, Messenger, Policy, Ready,
    SendError, Workers,
};
use peers::{
    DEADLINE, Recorder, Seen, builder, client, config, eventually, localhost, plain_client,
    plain_server, server,
};

fn check_echo(fast: bool) {
    let server = server(fast, |b| b);
    let client = client(fast, |b| b);
    let connection = client.connect(&server);
    let sizes = [
        (0, 0, 0),
        (1, 0, 0),
        (0, 1, 0),
        (0, 0, 1),
        (100, 7, 4096),
        (40_000, 0, 900_000),
    ];
    for (tid, (front, middle, data)) in sizes.into_iter().enumerate() {
        let message = Message::new(42)
            .with_tid(tid as u64)
            .with_front(vec![1; front])
            .with_middle(vec![2; middle])
            .with_data(vec![3; data]);
        connection.send(message).expect("room");
    }
    for (tid, (front, middle, data)) in sizes.into_iter().enumerate() {
        let (from, reply) = client.inbox.message();
        assert_eq!(from, connection);
        assert_eq!(reply.tid(), tid as u64, "order is kept");
        assert_eq!(reply.src(), EntityName::osd(0));
        assert_eq!(reply.head().priority, priority::DEFAULT);
        assert_eq!(reply.front().to_bytes(), vec![1; front]);
        assert_eq!(reply.middle().to_bytes(), vec![2; middle]);
        assert_eq!(reply.data().to_bytes(), vec![3; data]);
    }
    assert!(connection.is_connected());
    assert_ne!(connection.features(), 0);
    client.end();
    server.end();
}

#[test]
fn echo_by_normal_dispatch() {
    check_echo(false);
}

#[test]
fn echo_by_fast_dispatch() {
    check_echo(true);
}

#[test]
fn both_sides_learn_that_a_connection_is_ready_before_its_first_message() {
    let server = server(true, |b| b);
    let client = client(true, |b| b);
    let connection = client.connect(&server);
    connection.send(Message::new(42)).expect("room");
    for (inbox, expected) in [
        (&server.inbox, Ready::Accepted),
        (&client.inbox, Ready::Connected),
    ] {
        let (mut fast, mut queued) = (false, false);
        while !(fast && queued) {
            inbox.find("event", |seen| match seen {
                Seen::Fast(_, ready) => {
                    assert_eq!(ready, expected);
                    fast = true;
                    Some(())
                }
                Seen::Event(_, ConnectionEvent::Ready(ready)) => {
                    assert_eq!(ready, expected);
                    queued = true;
                    Some(())
                }
                Seen::Message(..) => {
                    assert!(fast, "a message came before the worker told");
                    Some(())
                }
                _ => None,
            });
        }
    }
    let stats = (server.messenger.stats(), client.messenger.stats());
    assert_eq!((stats.0.accepted, stats.1.connected), (1, 1));
}

#[test]
fn the_peers_know_each_other() {
    let server = server(true, |b| b.nonce(7));
    let client = client(true, |b| b.nonce(8));
    assert_eq!(server.addrs.0[0].nonce, 7);
    let connection = client.connect(&server);
    connection.send(Message::new(42)).expect("room");
    let (accepted, message) = server.inbox.message();
    assert_eq!(accepted.peer_type(), EntityType::CLIENT);
    assert_eq!(message.src(), EntityName::client(-1));
    assert_eq!(connection.peer_type(), EntityType::OSD);
    assert_eq!(connection.peer_addr(), server.addrs.0[0]);
    // The client did not bind: it has learned its ip, announces port 0, and its nonce.
    let own = client.messenger.addrs().front();
    assert_eq!((own.port(), own.nonce), (0, 8));
    assert_eq!(own.ip().expect("learned").to_string(), "127.0.0.1");
    assert_eq!(accepted.peer_addr().nonce, 8);
    assert_eq!(accepted.peer_addr().ip(), own.ip());
}

#[test]
fn a_connection_is_shared_until_it_ends() {
    let server = server(true, |b| b);
    let client = client(true, |b| b);
    let first = client.connect(&server);
    assert_eq!(client.connect(&server), first);
    first.send(Message::new(42)).expect("room");
    client.inbox.message();
    first.mark_down();
    assert!(first.is_closed() && !first.is_connected());
    assert!(matches!(first.send(Message::new(42)), Err(SendError::Closed(m)) if m.kind() == 42));
    let second = client.connect(&server);
    assert_ne!(second, first);
    second.send(Message::new(42)).expect("room");
    assert_eq!(client.inbox.message().0, second);
    // The server sees the end of the first one, and nobody is told of what they did themselves.
    assert_eq!(server.inbox.reset().kind(), ErrorKind::Disconnected);
}

#[test]
fn a_message_to_the_own_address_does_not_leave_the_process() {
    let messenger = Messenger::builder(EntityName::osd(3))
        .config(config())
        .build()
        .expect("made");
    let addrs = messenger.bind(&localhost()).expect("a free port");
    let (recorder, inbox) = Recorder::new(false, false);
    messenger
        .add_dispatcher_tail(recorder)
        .expect("not started");
    messenger.start().expect("starts");
    let own = messenger
        .connect(EntityType::OSD, &addrs)
        .expect("loop-back");
    assert!(own.is_loopback() && own.is_connected());
    assert_eq!(own, messenger.loopback().expect("started"));
    for tid in 0..1000 {
        own.send(Message::new(42).with_tid(tid)).expect("room");
    }
    for tid in 0..1000 {
        let (from, message) = inbox.message();
        assert_eq!(
            (from, message.tid(), message.src()),
            (own.clone(), tid, EntityName::osd(3))
        );
    }
    assert_eq!(messenger.stats().accepted, 0);
}

#[test]
fn priorities_overtake_in_the_send_queue() {
    let server = server(true, |b| b);
    let client = client(true, |b| b);
    let connection = client.connect(&server);
    // Nothing is sent before the handshake is done, so all of these meet in the queue.
    let order = [
        (1, priority::LOW),
        (2, priority::DEFAULT),
        (3, priority::HIGHEST),
        (4, 0),
    ];
    for (tid, priority) in order {
        connection
            .send(Message::new(42).with_tid(tid).with_priority(priority))
            .expect("room");
    }
    if connection.is_connected() {
        return; // The handshake was faster than four sends; there is nothing to see then.
    }
    let tids: Vec<u64> = (0..4).map(|_| server.inbox.message().1.tid()).collect();
    assert_eq!(tids, [3, 2, 4, 1]);
}

/// Takes only messages of one type.
struct Picky(u16, Arc<Recorder>);

impl Dispatcher for Picky {
    fn dispatch(&self, connection: &Connection, message: Message) -> Handled {
        if message.kind() == self.0 {
            return self.1.dispatch(connection, message);
        }
        Handled::No(message)
    }
}

#[test]
fn dispatchers_are_asked_from_head_to_tail_and_what_nobody_takes_is_counted() {
    let messenger = Messenger::builder(EntityName::osd(1))
        .config(config())
        .build()
        .expect("made");
    let (first, first_inbox) = Recorder::new(false, false);
    let (second, second_inbox) = Recorder::new(false, false);
    messenger
        .add_dispatcher_tail(Arc::new(Picky(2, second)))
        .expect("not started");
    messenger
        .add_dispatcher_head(Arc::new(Picky(1, first)))
        .expect("not started");
    messenger.start().expect("starts");
    let late = messenger.add_dispatcher_tail(Arc::new(Picky(3, Recorder::new(false, false).0)));
    assert_eq!(late.expect_err("too late").kind(), ErrorKind::Misuse);
    let own = messenger.loopback().expect("started");
    for kind in [1, 2, 3] {
        own.send(Message::new(kind)).expect("room");
    }
    assert_eq!(first_inbox.message().1.kind(), 1);
    assert_eq!(second_inbox.message().1.kind(), 2);
    eventually("the third is counted", || messenger.stats().unhandled == 1);
}

#[test]
fn an_unknown_type_is_delivered_or_faults_as_the_registry_says() {
    let server = server(true, |b| {
        let mut registry = Registry::default();
        registry.unknown_types(UnknownTypes::Fault);
        b.registry(registry)
    });
    let client = client(true, |b| b);
    client
        .connect(&server)
        .send(Message::new(4242))
        .expect("room");
    let error = server.inbox.reset();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(error.to_string().contains("4242"), "{error}");
}

#[test]
fn misuse_is_told() {
    let kind = |result: Result<(), async_messenger::Error>| result.expect_err("refused").kind();
    let messenger = Messenger::builder(EntityName::osd(0))
        .config(config())
        .default_policy(Policy::stateless_server(0))
        .build()
        .expect("made");
    let to = "v1:127.0.0.1:1".parse().expect("an address");
    let connect = |to| messenger.connect(EntityType::MON, to).map(drop);
    assert_eq!(kind(connect(&to)), ErrorKind::Misuse, "not started");
    messenger.start().expect("starts");
    assert_eq!(kind(messenger.start()), ErrorKind::Misuse, "started twice");
    assert_eq!(
        kind(connect(&to)),
        ErrorKind::Misuse,
        "a server does not connect"
    );
    let none = "-".parse().expect("an address");
    assert_eq!(kind(connect(&none)), ErrorKind::Misuse, "no address");
    assert_eq!(
        kind(messenger.bind(&none).map(drop)),
        ErrorKind::Misuse,
        "no address"
    );
    assert_eq!(
        kind(messenger.bind(&Default::default()).map(drop)),
        ErrorKind::Misuse
    );
}

#[test]
fn a_port_that_is_taken_is_a_bind_error_and_a_range_finds_a_free_one() {
    let server = server(true, |b| b);
    let other = Messenger::builder(EntityName::osd(1))
        .config(config())
        .build()
        .expect("made");
    let error = other.bind(&server.addrs).expect_err("taken");
    assert_eq!(error.kind(), ErrorKind::Bind);
    assert!(
        error
            .to_string()
            .contains(&server.addrs.0[0].port().to_string()),
        "{error}"
    );

    let mut config = config();
    let taken = server.addrs.0[0].port();
    (config.bind_port_min, config.bind_port_max) = (taken, taken.saturating_add(200));
    let ranged = Messenger::builder(EntityName::osd(2))
        .config(config)
        .build()
        .expect("made");
    let bound = ranged.bind(&localhost()).expect("one of 200 is free");
    assert!(bound.0[0].port() > taken);
}

#[test]
fn ipv6_works_where_the_system_has_it() {
    let server = builder(EntityName::osd(0))
        .default_policy(Policy::stateless_server(0))
        .build()
        .expect("made");
    let mut any = localhost();
    any.0[0].sock = Some("[::1]:0".parse().expect("an address"));
    let addrs = match server.bind(&any) {
        Ok(addrs) => addrs,
        Err(error) => {
            eprintln!("skipped: no IPv6 on this machine: {error}");
            return;
        }
    };
    let (recorder, inbox) = Recorder::new(false, true);
    server.add_dispatcher_tail(recorder).expect("not started");
    server.start().expect("starts");
    let client = client(true, |b| b);
    let connection = client
        .messenger
        .connect(EntityType::OSD, &addrs)
        .expect("a connection");
    connection.send(Message::new(42)).expect("room");
    assert!(inbox.message().0.peer_addr().ip().expect("known").is_ipv6());
}

#[test]
fn keepalives_are_answered() {
    let server = server(true, |b| b);
    let client = client(true, |b| b);
    let connection = client.connect(&server);
    assert_eq!(connection.last_keepalive_ack(), None);
    connection.send_keepalive();
    eventually("the answer", || connection.last_keepalive_ack().is_some());
    let sent = connection.last_keepalive_ack().expect("just seen");
    assert!(sent.elapsed().expect("in the past") < DEADLINE);
}

#[test]
fn messengers_share_workers() {
    let workers = Workers::start(&config()).expect("start");
    let server = server(true, |b| b.workers(&workers));
    let clients: Vec<_> = (0..4)
        .map(|_| client(true, |b| b.workers(&workers)))
        .collect();
    for client in &clients {
        client
            .connect(&server)
            .send(Message::new(42))
            .expect("room");
        client.inbox.message();
    }
    let (ended, left) = clients.split_at(1);
    ended[0].messenger.shutdown();
    ended[0].messenger.wait().expect("ends");
    left[0]
        .connect(&server)
        .send(Message::new(42))
        .expect("room");
    left[0].inbox.message();
}

#[test]
fn a_policy_throttle_holds_messages_back_until_others_are_dropped() {
    let messages = Throttle::new("policy messages", 2);
    let policy = {
        let messages = Arc::clone(&messages);
        Policy::stateless_server(0).with_throttles(None, Some(messages))
    };
    let server = server(true, |b| b.default_policy(policy));
    let client = client(true, |b| b);
    let connection = client.connect(&server);
    for tid in 0..5 {
        connection
            .send(Message::new(42).with_tid(tid))
            .expect("room");
    }
    let mut held = vec![server.inbox.message().1, server.inbox.message().1];
    eventually("the third waits", || messages.waiting() == 1);
    assert_eq!(server.recorder.messages.load(Ordering::SeqCst), 2);
    for tid in 0..5 {
        let message = held.remove(0);
        assert_eq!(message.tid(), tid);
        drop(message);
        if tid < 3 {
            held.push(server.inbox.message().1);
        }
    }
    assert_eq!((messages.current(), messages.waiting()), (0, 0));
    assert!(server.messenger.stats().throttled >= 1);
}

#[test]
fn many_threads_send_on_one_connection_and_nothing_is_lost() {
    const THREADS: u64 = 4;
    const EACH: u64 = 5_000;
    let server = server(true, |b| b);
    let client = client(true, |b| b);
    let connection = client.connect(&server);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let connection = connection.clone();
            scope.spawn(move || {
                for i in 0..EACH {
                    let tid = thread << 32 | i;
                    let size = (i % 50) as usize * 100;
                    let mut message = Message::new(42).with_tid(tid).with_data(vec![1; size]);
                    while let Err(error) = connection.send(message) {
                        message = error.into_message();
                        std::thread::yield_now();
                    }
                }
            });
        }
    });
    let mut next = [0; THREADS as usize];
    for _ in 0..THREADS * EACH {
        let (_, reply) = client.inbox.message();
        let (thread, i) = ((reply.tid() >> 32) as usize, reply.tid() & 0xffff_ffff);
        assert_eq!(i, next[thread], "order of thread {thread}");
        assert_eq!(reply.size(), (i % 50) * 100);
        next[thread] += 1;
    }
    client.end();
    server.end();
}

/// Opens a connection by hand and returns it behind its handshake.
fn raw_client(server: &peers::Peer) -> std::net::TcpStream {
    use std::io::{Read, Write};
    let at = server.addrs.0[0].sock.expect("bound");
    let mut wire = std::net::TcpStream::connect(at).expect("connects");
    wire.set_read_timeout(Some(DEADLINE)).expect("supported");
    wire.read_exact(&mut [0; 281]).expect("greeted");
    let mut hello = b"ceph v027".to_vec();
    hello.extend_from_slice(&[0; 136]);
    // A client of protocol 24 with the authorizer of the method none (msgr1 §4, §7).
    let authorizer = [&[1, 8, 0, 0, 0, 1, 0, 0, 0, b'x'][..], &[0; 8]].concat();
    hello.extend_from_slice(&async_messenger::wire::features::SUPPORTED.to_le_bytes());
    for word in [8u32, 1, 0, 24, 1, authorizer.len() as u32] {
        hello.extend_from_slice(&word.to_le_bytes());
    }
    hello.push(1);
    hello.extend_from_slice(&authorizer);
    wire.write_all(&hello).expect("taken");
    let mut reply = [0; 34];
    wire.read_exact(&mut reply).expect("answered");
    assert_eq!(reply[0], 13, "SEQ");
    wire.write_all(&[0; 8]).expect("taken");
    wire
}

/// The tag and header of a message with that much data.
fn header(seq: u64, data_len: u32) -> Vec<u8> {
    use async_messenger::wire::{MsgHead, MsgHeader};
    let head = MsgHead {
        seq,
        kind: 42,
        ..MsgHead::default()
    };
    let header = MsgHeader {
        head,
        data_len,
        ..MsgHeader::default()
    };
    [&[7][..], &header.encode(true)].concat()
}

#[test]
fn a_peer_that_stalls_in_a_message_does_not_hold_the_others_up_for_long() {
    use std::io::Write;
    let server = plain_server(true, |b| {
        b.config(async_messenger::Config {
            dispatch_throttle_bytes: 1024,
            message_timeout: std::time::Duration::from_millis(200),
            ..config()
        })
    });
    let mut staller = raw_client(&server);
    staller.write_all(&header(1, 2048)).expect("taken");
    eventually("the staller has its share", || {
        server.messenger.stats().dispatch_bytes == 2048
    });
    let client = plain_client(true);
    let connection = client.connect(&server);
    connection
        .send(Message::new(42).with_data(vec![1; 1000]))
        .expect("room");
    client.inbox.message();
    let error = server.inbox.reset();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(error.to_string().contains("message_timeout"), "{error}");
    client.end();
    assert_eq!(server.messenger.stats().dispatch_bytes, 0);
}

#[test]
fn a_slow_dispatcher_bounds_the_loop_back_connection() {
    struct Slow(std::sync::Mutex<std::sync::mpsc::Receiver<()>>);
    impl Dispatcher for Slow {
        fn dispatch(&self, _: &Connection, _: Message) -> Handled {
            let _ = self.0.lock().expect("not poisoned").recv_timeout(DEADLINE);
            Handled::Yes
        }
    }
    let config = async_messenger::Config {
        dispatch_throttle_messages: 10,
        send_queue_messages: 20,
        ..config()
    };
    let messenger = Messenger::builder(EntityName::osd(1))
        .config(config)
        .build()
        .expect("made");
    let (go, gate) = std::sync::mpsc::channel();
    messenger
        .add_dispatcher_tail(Arc::new(Slow(std::sync::Mutex::new(gate))))
        .expect("not started");
    messenger.start().expect("starts");
    let own = messenger.loopback().expect("started");
    let mut taken = 0;
    let full = loop {
        match own.send(Message::new(1)) {
            Ok(()) => taken += 1,
            Err(error) => {
                // What the worker has not fetched yet still counts, so let it settle.
                if messenger.stats().dispatch_messages == 10 && own.queued() == 20 {
                    break error;
                }
                std::thread::yield_now();
            }
        }
        assert!(taken <= 32, "unbounded");
    };
    assert!(matches!(full, SendError::Full(_)));
    (0..taken).for_each(|_| go.send(()).expect("waited for"));
    eventually("all are delivered", || {
        messenger.stats().dispatch_messages == 0 && own.queued() == 0
    });
}

/// Runs a future on this thread.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut cx = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    let start = std::time::Instant::now();
    loop {
        if let std::task::Poll::Ready(done) = future.as_mut().poll(&mut cx) {
            return done;
        }
        assert!(start.elapsed() < DEADLINE, "never woken");
        std::thread::park_timeout(DEADLINE);
    }
}

#[test]
fn send_wait_waits_for_room() {
    let server = server(true, |b| b);
    let config = async_messenger::Config {
        send_queue_messages: 4,
        ..config()
    };
    let client = client(true, |b| b.config(config));
    let connection = client.connect(&server);
    for tid in 0..1000 {
        let message = Message::new(42).with_tid(tid).with_data(vec![1; 10_000]);
        block_on(connection.send_wait(message)).expect("queued in the end");
    }
    for tid in 0..1000 {
        assert_eq!(client.inbox.message().1.tid(), tid);
    }
    connection.mark_down();
    let late = block_on(connection.send_wait(Message::new(42)));
    assert!(matches!(late, Err(SendError::Closed(_))));
}

#[test]
fn anonymous_connections_are_apart() {
    let server = server(true, |b| b);
    let client = client(true, |b| b);
    let shared = client.connect(&server);
    let connect = || {
        client
            .messenger
            .connect_anonymous(EntityType::OSD, &server.addrs)
    };
    let (a, b) = (connect().expect("one"), connect().expect("another"));
    assert!(a != b && a != shared && b != shared);
    assert_eq!(client.connect(&server), shared);
    for connection in [&a, &b, &shared, &a] {
        connection.send(Message::new(42)).expect("room");
        assert_eq!(client.inbox.message().0, *connection);
    }
    a.mark_down();
    assert!(a.is_closed() && !b.is_closed() && !shared.is_closed());
}

#[test]
fn an_idle_connection_ends() {
    let server = server(true, |b| b);
    let config = async_messenger::Config {
        connection_idle_timeout: std::time::Duration::from_millis(100),
        ..config()
    };
    let client = client(true, |b| b.config(config));
    let connection = client.connect(&server);
    connection.send(Message::new(42)).expect("room");
    let error = client.inbox.reset();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(
        error.to_string().contains("connection_idle_timeout"),
        "{error}"
    );
}

#[test]
fn marking_all_down_resets_every_connection_and_the_messenger_goes_on() {
    let server = server(true, |b| b);
    let clients: Vec<_> = (0..3).map(|_| client(true, |b| b)).collect();
    for client in &clients {
        client
            .connect(&server)
            .send(Message::new(42))
            .expect("room");
        client.inbox.message();
    }
    server.messenger.mark_down_all();
    for client in &clients {
        assert_eq!(server.inbox.reset().kind(), ErrorKind::MarkedDown);
        assert_eq!(client.inbox.reset().kind(), ErrorKind::Disconnected);
    }
    clients[0]
        .connect(&server)
        .send(Message::new(42))
        .expect("room");
    clients[0].inbox.message();
    clients[0].messenger.mark_down(&server.addrs);
    assert_eq!(clients[0].inbox.reset().kind(), ErrorKind::MarkedDown);
}
