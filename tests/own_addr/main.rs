//! What a messenger that listens nowhere takes for its own address, and where its connections come
//! from (session §3). On the driver that `EVENT_DRIVER` names.

#[path = "../common/peers.rs"]
mod peers;
#[path = "../common/scripted.rs"]
mod scripted;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;

use async_messenger::wire::{AddrType, AddrVec, EntityAddr, EntityName, EntityType};
use async_messenger::{Config, ConnectionEvent, Dispatcher, ErrorKind, Messenger};
use peers::{Recorder, config, eventually};
use scripted::{Listener, Wire, addr, take_connect};

const BANNER: &[u8] = b"ceph v027";
const ADDR_LEN: usize = 136;
/// Another ip of the same host; Linux has all of 127.0.0.0/8.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Where the scripted server says that it sees its client.
const ALLEGED: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);

fn client(config: Config) -> Messenger {
    let builder = Messenger::builder(EntityName::client(7)).config(config);
    let messenger = builder.nonce(77).build().expect("a messenger");
    let (recorder, _) = Recorder::new(false, false);
    messenger
        .add_dispatcher_tail(recorder as Arc<dyn Dispatcher>)
        .expect("not started");
    messenger
}

fn at(ip: Ipv4Addr) -> EntityAddr {
    EntityAddr::new(AddrType::Any, SocketAddr::new(IpAddr::V4(ip), 4711), 0)
}

/// Connects, and returns the server's end after it said where it sees the client.
fn connect(messenger: &Messenger, listener: &Listener) -> Wire {
    let to = AddrVec(vec![listener.addr()]);
    let connected = messenger.connect(EntityType::OSD, &to);
    connected.expect("begins to connect");
    let mut wire = listener.accept();
    let mut hello = listener.hello(&wire);
    hello.truncate(BANNER.len() + ADDR_LEN);
    hello.extend(addr(SocketAddrV4::new(ALLEGED, 9), 0));
    wire.send(&hello);
    wire
}

fn announced(wire: &mut Wire) -> Vec<u8> {
    let hello = wire.take(BANNER.len() + ADDR_LEN);
    take_connect(wire);
    hello[BANNER.len()..].to_vec()
}

fn v1(ip: Ipv4Addr) -> Vec<u8> {
    addr(SocketAddrV4::new(ip, 0), 77)
}

#[test]
fn the_ip_is_learned_from_the_first_peer() {
    let (messenger, listener) = (client(config()), Listener::new());
    messenger.start().expect("starts");
    let mut wire = connect(&messenger, &listener);
    assert_eq!(announced(&mut wire), v1(ALLEGED));
    assert_eq!(messenger.addrs().0[0].sock.expect("learned").ip(), ALLEGED);
}

#[test]
fn or_from_the_own_socket() {
    let config = Config {
        learn_addr_from_peer: false,
        ..config()
    };
    let (messenger, listener) = (client(config), Listener::new());
    messenger.start().expect("starts");
    let mut wire = connect(&messenger, &listener);
    assert_eq!(announced(&mut wire), v1(Ipv4Addr::LOCALHOST));
    let own = messenger.addrs().0[0];
    assert_eq!((own.kind, own.port()), (AddrType::Any, 0));
}

#[test]
fn client_bind_makes_connections_come_from_an_ip() {
    let config = Config {
        bind_before_connect: true,
        ..config()
    };
    let (messenger, listener) = (client(config), Listener::new());
    assert!(
        messenger
            .client_bind(at(ELSEWHERE))
            .expect("an ip of this host")
    );
    messenger.start().expect("starts");
    let mut wire = connect(&messenger, &listener);
    assert_eq!(wire.peer().ip(), ELSEWHERE);
    // What the peer sees does not count: the own ip is known.
    assert_eq!(announced(&mut wire), v1(ELSEWHERE));
}

#[test]
fn client_bind_does_nothing_unless_it_is_switched_on() {
    let (messenger, listener) = (client(config()), Listener::new());
    assert!(
        !messenger
            .client_bind(at(ELSEWHERE))
            .expect("nothing to fail")
    );
    messenger.start().expect("starts");
    assert_eq!(
        connect(&messenger, &listener).peer().ip(),
        Ipv4Addr::LOCALHOST
    );
}

#[test]
fn an_ip_of_another_host_is_told_as_what_it_is() {
    let config = Config {
        bind_before_connect: true,
        ..config()
    };
    let (messenger, listener) = (client(config), Listener::new());
    messenger.client_bind(at(ALLEGED)).expect("not tried yet");
    let (recorder, inbox) = Recorder::new(false, false);
    messenger
        .add_dispatcher_tail(recorder)
        .expect("not started");
    messenger.start().expect("starts");
    let to = AddrVec(vec![listener.addr()]);
    messenger.connect(EntityType::OSD, &to).expect("begins");
    let error = inbox.find("a refusal", |seen| match seen {
        peers::Seen::Event(_, ConnectionEvent::Refused(error)) => Some(error),
        _ => None,
    });
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert!(error.to_string().contains("address"), "{error}");
}

#[test]
fn client_bind_comes_first_and_alone() {
    let config = Config {
        bind_before_connect: true,
        ..config()
    };
    let misused = |messenger: &Messenger, ip| {
        let error = messenger.client_bind(at(ip)).expect_err("misuse");
        assert_eq!(error.kind(), ErrorKind::Misuse, "{error}");
    };
    let started = client(config.clone());
    misused(&started, Ipv4Addr::UNSPECIFIED);
    started.start().expect("starts");
    misused(&started, ELSEWHERE);
    let bound = client(config);
    bound.bind(&peers::localhost()).expect("a free port");
    misused(&bound, ELSEWHERE);
    eventually("it is as it was", || bound.addrs().0.len() == 1);
}
