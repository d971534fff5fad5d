//! Unix-domain sockets below messengers, on every driver that is compiled in.
#![cfg(unix)]

#[path = "common/peers.rs"]
mod peers;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_messenger::event::SystemEnv;
use async_messenger::message::Message;
use async_messenger::net::{SocketOptions, Stack, UnixStack};
use async_messenger::wire::{AddrVec, EntityName, EntityType};
use async_messenger::{Config, DriverKind, Messenger, Policy, Workers};

use peers::{Recorder, client, config, driver, server};

/// A directory of one test, short as socket paths have to be.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!(
            "am-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir(&dir).expect("a new directory");
        Self(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn workers(config: &Config, stack: &UnixStack) -> Arc<Workers> {
    let stack = Arc::new(stack.clone());
    Workers::start_on(config, stack, Arc::new(SystemEnv)).expect("starts")
}

#[test]
fn messengers_meet_in_a_directory_on_every_driver() {
    for kind in DriverKind::compiled() {
        if let Err(e) = kind.open() {
            println!("skipped: {kind}: {e}");
            continue;
        }
        let dir = Dir::new();
        let config = Config {
            driver: *kind,
            ..config()
        };
        let stack = UnixStack::new(&dir.0, *kind).strict(true);
        let workers = workers(&config, &stack);
        assert_eq!(workers.driver_name(), kind.name());
        let server = server(true, |b| b.config(config.clone()).workers(&workers));
        let client = client(false, |b| b.config(config.clone()).workers(&workers));
        let files = || std::fs::read_dir(&dir.0).expect("is there").count();
        assert_eq!(files(), 1);

        let connection = client.connect(&server);
        let large = vec![0x5a; 3 << 20];
        for tid in 0..100 {
            let data = if tid % 10 == 0 { large.clone() } else { vec![] };
            let message = Message::new(1)
                .with_tid(tid)
                .with_front("in a file")
                .with_data(data);
            connection.send(message).expect("room");
        }
        for tid in 0..100 {
            let (_, echo) = client.inbox.message();
            assert_eq!(echo.tid(), tid);
            assert_eq!(echo.front().to_bytes(), "in a file");
            let size = if tid % 10 == 0 { large.len() } else { 0 };
            assert_eq!(echo.data().len(), size);
        }
        server.end();
        assert_eq!(client.inbox.reset().peer(), Some(connection.peer_addr()));
        client.end();
        assert_eq!(files(), 0, "nothing is left behind");
    }
}

#[test]
fn a_peer_that_is_not_there_yet_is_waited_for() {
    let dir = Dir::new();
    let config = config();
    let workers = workers(&config, &UnixStack::new(&dir.0, driver()));
    let client = client(false, |b| b.config(config.clone()).workers(&workers));
    let later: AddrVec = "v1:127.0.0.1:6789/7".parse().expect("an address");
    let connection = client.messenger.connect(EntityType::OSD, &later);
    let connection = connection.expect("begins");
    connection.send(Message::new(1).with_tid(9)).expect("room");
    let (recorder, _inbox) = Recorder::new(true, true);
    let server = Messenger::builder(EntityName::osd(0))
        .config(config.clone())
        .nonce(7)
        .workers(&workers)
        .default_policy(Policy::stateless_server(0))
        .build()
        .expect("a messenger");
    server.bind(&later).expect("its own directory's port");
    server.add_dispatcher_tail(recorder).expect("not started");
    server.start().expect("starts");
    assert_eq!(client.inbox.message().1.tid(), 9);
    client.end();
    server.shutdown();
    server.wait().expect("ends in time");
}

#[test]
fn an_address_is_one_file_and_taken_once() {
    let dir = Dir::new();
    let stack = UnixStack::new(&dir.0, driver());
    let options = SocketOptions::default();
    let at = addr("127.0.0.1:6789");
    let path = stack.path(at);
    assert_eq!(path, dir.0.join("127.0.0.1-6789.sock"));

    let first = stack.listen(at, &options).expect("free");
    assert_eq!(first.local_addr().expect("bound"), at);
    let taken = stack.listen(at, &options).map(drop).expect_err("taken");
    assert_eq!(taken.kind(), ErrorKind::AddrInUse);
    let others = ["[::1]:6789", "127.0.0.1:6790", "127.0.0.2:6789"];
    let others: Vec<_> = others
        .map(|other| stack.listen(addr(other), &options).expect("free"))
        .into_iter()
        .collect();
    drop(others);
    assert!(path.exists());
    drop(first);
    assert!(!path.exists());

    // One that has died has left its file, and nobody behind it.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("free"));
    assert!(path.exists());
    let refused = stack
        .connect(at, None, &options)
        .map(drop)
        .expect_err("nobody");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    drop(stack.listen(at, &options).expect("taken over"));
    // What is no socket is not taken away.
    std::fs::write(&path, "a file").expect("written");
    let taken = stack.listen(at, &options).map(drop).expect_err("a file");
    assert_eq!(taken.kind(), ErrorKind::AddrInUse);
    assert!(path.exists());
}

#[test]
fn the_system_chooses_a_port_and_wildcards_are_refused() {
    let dir = Dir::new();
    let stack = UnixStack::new(&dir.0, driver());
    let options = SocketOptions::default();
    let any = addr("127.0.0.1:0");
    let listeners = [(); 3].map(|()| stack.listen(any, &options).expect("a free one"));
    let mut ports: Vec<u16> = listeners
        .iter()
        .map(|listener| listener.local_addr().expect("bound").port())
        .collect();
    ports.dedup();
    assert_eq!(ports.len(), 3);
    let wild = stack.listen(addr("0.0.0.0:0"), &options).map(drop);
    assert!(wild.expect_err("refused").to_string().contains("name it"));
    let long = UnixStack::new(dir.0.join("x".repeat(200)), driver());
    let long = long.listen(any, &options).map(drop).expect_err("too long");
    assert!(long.to_string().contains("shorter directory"), "{long}");
}
