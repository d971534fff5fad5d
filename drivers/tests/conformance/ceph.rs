//! What Ceph's own suite asks of an event driver, with the numbers of its cases.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use event_driver::{DriverKind, Interest};

use crate::support::{READ, Rig, WRITE, lift_descriptor_limit, pair, shared, token};

/// 19: one event for each write, also if nothing was read; none once it is deregistered.
pub fn pipe(kind: DriverKind) {
    let mut rig = Rig::new(kind);
    let (reader, mut writer) = crate::support::pipe();
    rig.add(&reader, 0, Interest::READ);
    assert!(rig.wait(Duration::from_micros(1)).is_empty());
    writer.write_all(b"x").unwrap();
    assert_eq!(rig.one(0), READ);
    rig.rearm(0, Interest::READ);
    writer.write_all(b"x").unwrap();
    assert_eq!(rig.one(0), READ);
    rig.driver.delete(token(0)).unwrap();
    writer.write_all(b"x").unwrap();
    rig.quiet();
}

/// 20: a client and a server; each wait has exactly the event that is due, with exact masks.
pub fn socket(kind: DriverKind) {
    const ROUNDS: usize = 31;
    let mut rig = Rig::new(kind);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let watched = shared(listener.try_clone().unwrap());
    rig.add(&watched, 0, Interest::READ);
    rig.quiet();
    let client = thread::spawn(move || {
        let mut stream = TcpStream::connect(addr).unwrap();
        for _ in 0..ROUNDS {
            stream.write_all(b"banner\0").unwrap();
            stream.read_exact(&mut [0; 6]).unwrap();
        }
    });
    assert_eq!(rig.one(0), READ);
    let (mut stream, _) = listener.accept().unwrap();
    rig.rearm(0, Interest::READ);
    rig.add(&shared(stream.try_clone().unwrap()), 1, Interest::READ);
    let mut rounds = 0;
    loop {
        assert!(rig.one(1).contains(READ));
        let mut buf = [0; 64];
        match stream.read(&mut buf).unwrap() {
            0 => break,
            n => assert_eq!(&buf[..n], b"banner\0"),
        }
        rounds += 1;
        // What came was all there was to come, so only the new direction is due.
        rig.rearm(1, Interest::BOTH);
        assert_eq!(rig.one(1), WRITE);
        rig.driver.disarm(token(1), Interest::WRITE).unwrap();
        stream.write_all(b"banner").unwrap();
    }
    assert_eq!(rounds, ROUNDS);
    client.join().unwrap();
}

/// 21: more sources than anybody has announced.
pub fn expansion(kind: DriverKind) {
    const SOCKETS: u32 = 300;
    lift_descriptor_limit();
    let mut rig = Rig::new(kind);
    let pairs: Vec<_> = (0..SOCKETS).map(|_| pair()).collect();
    for _ in 0..2 {
        for (slot, (_, _, watched)) in (0..).zip(&pairs) {
            rig.add(watched, slot, Interest::READ);
        }
        rig.quiet();
        for slot in 0..SOCKETS {
            rig.driver.delete(token(slot)).unwrap();
        }
    }
}
