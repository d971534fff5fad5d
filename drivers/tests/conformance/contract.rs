//! The lines of the contract that are about sources.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::sync::Arc;

use event_driver::sock::{self, SocketOptions};
use event_driver::{
    DriverKind, EVENTS_PER_WAIT, EventDriver, Interest, Readiness, SLOTS_MAX, Source, Token,
};

use crate::support::{
    BOTH, MOMENT, READ, Rig, WRITE, drain, duplicate, fill, lift_descriptor_limit, pair, pipe,
    reset_on_close, shared, tcp_pair, token,
};

pub fn ready_on_add(kind: DriverKind) {
    for (interest, ready) in [
        (Interest::READ, READ),
        (Interest::WRITE, WRITE),
        (Interest::BOTH, BOTH),
    ] {
        let mut rig = Rig::new(kind);
        let (mut ours, _theirs, watched) = pair();
        ours.write_all(b"early").unwrap();
        rig.add(&watched, 7, interest);
        assert_eq!(rig.one(7), ready);
    }
    let mut rig = Rig::new(kind);
    let (_ours, _theirs, watched) = pair();
    rig.add(&watched, 7, Interest::NONE);
    rig.quiet();
    rig.rearm(7, Interest::WRITE);
    assert_eq!(rig.one(7), WRITE);
}

/// One byte comes; it is told of, as slot 0, and read.
fn hears(rig: &mut Rig, mut ours: impl Write, theirs: impl Read) {
    ours.write_all(b"x").unwrap();
    assert_eq!(rig.one(0), READ);
    assert_eq!(drain(theirs), 1);
}

pub fn ready_on_rearm(kind: DriverKind) {
    let mut rig = Rig::new(kind);
    let (mut ours, theirs, watched) = pair();
    rig.add(&watched, 0, Interest::READ);
    for _ in 0..3 {
        hears(&mut rig, &mut ours, &theirs);
        // Activity between the transfer that would block and the call, and after it.
        ours.write_all(b"y").unwrap();
        rig.rearm(0, Interest::READ);
        assert_eq!(rig.one(0), READ);
        assert_eq!(drain(&theirs), 1);
        rig.rearm(0, Interest::READ);
        rig.quiet();
    }
    // A direction the source was not added for.
    rig.rearm(0, Interest::WRITE);
    assert_eq!(rig.until(0, WRITE), WRITE);
    fill(&theirs);
    rig.rearm(0, Interest::WRITE);
    rig.quiet();
    drain(&ours);
    rig.until(0, WRITE);
}

pub fn interest_only(kind: DriverKind) {
    let (mut ours, _theirs, watched) = pair();
    let mut rig = Rig::new(kind);
    rig.add(&watched, 0, Interest::READ);
    rig.quiet();
    ours.write_all(b"x").unwrap();
    assert_eq!(rig.one(0), READ);
    drop(rig);

    let mut rig = Rig::new(kind);
    rig.add(&watched, 0, Interest::WRITE);
    assert_eq!(rig.one(0), WRITE);
    ours.write_all(b"x").unwrap();
    let events = rig.wait(MOMENT);
    assert!(
        events.iter().all(|event| event.ready == WRITE),
        "{events:?}"
    );
}

pub fn keeps_armed(kind: DriverKind) {
    let mut rig = Rig::new(kind);
    let keeps = matches!(kind.name(), "epoll" | "kqueue");
    assert_eq!(rig.driver.keeps_armed(), keeps);
    let (mut ours, theirs, watched) = pair();
    rig.add(&watched, 0, Interest::READ);
    for _ in 0..3 {
        hears(&mut rig, &mut ours, &theirs);
        // Whoever does not promise it has to be asked.
        if !keeps {
            rig.rearm(0, Interest::READ);
        }
    }
    // A direction that joins them stays too, and those beside it.
    rig.rearm(0, Interest::WRITE);
    assert_eq!(rig.until(0, WRITE), WRITE);
    for _ in 0..3 {
        fill(&theirs);
        if !keeps {
            rig.rearm(0, Interest::WRITE);
        }
        rig.settle();
        drain(&ours);
        rig.until(0, WRITE);
    }
    ours.write_all(b"y").unwrap();
    rig.until(0, READ);
}

pub fn disarm(kind: DriverKind) {
    let mut rig = Rig::new(kind);
    let (mut ours, theirs, watched) = pair();
    ours.write_all(b"x").unwrap();
    rig.add(&watched, 0, Interest::BOTH);
    // Pending already, and both at once.
    rig.driver.disarm(token(0), Interest::BOTH).unwrap();
    rig.quiet();
    rig.rearm(0, Interest::WRITE);
    assert_eq!(rig.one(0), WRITE);
    // Happening meanwhile.
    rig.driver.disarm(token(0), Interest::WRITE).unwrap();
    assert_eq!(drain(&theirs), 1);
    ours.write_all(b"y").unwrap();
    rig.quiet();
    rig.rearm(0, Interest::READ);
    assert_eq!(rig.one(0), READ);
    // Again, also after it was delivered; and what is disarmed may be disarmed.
    for _ in 0..2 {
        rig.driver.disarm(token(0), Interest::READ).unwrap();
    }
    ours.write_all(b"z").unwrap();
    rig.quiet();
    rig.rearm(0, Interest::BOTH);
    assert_eq!(rig.until(0, BOTH), BOTH);
}

pub fn spurious(kind: DriverKind) {
    let mut rig = Rig::new(kind);
    let (mut ours, theirs, watched) = pair();
    rig.add(&watched, 0, Interest::READ);
    for _ in 0..3 {
        ours.write_all(b"x").unwrap();
        assert_eq!(rig.one(0), READ);
        ours.write_all(b"y").unwrap();
        // Reported again or not: a handler that tries loses nothing, and finds no more than is.
        let again = rig.wait(MOMENT).len();
        assert!(again <= 1);
        rig.settle();
        assert_eq!(drain(&theirs), 2);
        assert_eq!(drain(&theirs), 0);
        rig.rearm(0, Interest::READ);
        rig.quiet();
    }
}

pub fn merged(kind: DriverKind) {
    let mut rig = Rig::new(kind);
    let pairs: Vec<_> = (0..50).map(|_| pair()).collect();
    for (slot, (ours, _, watched)) in (0..).zip(&pairs) {
        (&mut &*ours).write_all(b"x").unwrap();
        rig.add(watched, slot, Interest::BOTH);
    }
    let events = rig.wait(MOMENT);
    assert_eq!(events.len(), pairs.len());
    assert!(events.iter().all(|event| event.ready == BOTH), "{events:?}");
    // Again, when one direction was re-armed before the other.
    for slot in (0..50).rev() {
        rig.driver.disarm(token(slot), Interest::BOTH).unwrap();
        rig.rearm(slot, Interest::WRITE);
    }
    for slot in 0..50 {
        rig.rearm(slot, Interest::READ);
    }
    let events = rig.wait(MOMENT);
    assert_eq!(events.len(), pairs.len());
    assert!(events.iter().all(|event| event.ready == BOTH), "{events:?}");
}

pub fn hup_reads(kind: DriverKind) {
    for both_halves in [false, true] {
        let mut rig = Rig::new(kind);
        let (mut ours, mut theirs, watched) = pair();
        rig.add(&watched, 0, Interest::READ);
        ours.write_all(b"bye").unwrap();
        ours.shutdown(if both_halves {
            Shutdown::Both
        } else {
            Shutdown::Write
        })
        .unwrap();
        let mut ready = rig.one(0);
        let mut buf = [0; 8];
        // The transfer is short, yet there will be no other event of its own accord.
        assert_eq!(theirs.read(&mut buf).unwrap(), 3);
        if !ready.contains(Readiness::HUP) {
            // Not every facility tells; then the end is readable like data.
            rig.rearm(0, Interest::READ);
            ready = rig.one(0);
        }
        assert!(ready.contains(READ));
        assert_eq!(theirs.read(&mut buf).unwrap(), 0);
    }
    // Without data, a pipe's end is a mere hang-up to some facilities.
    let mut rig = Rig::new(kind);
    let (reader, writer) = pipe();
    rig.add(&reader, 0, Interest::READ);
    drop(writer);
    assert!(rig.one(0).contains(READ));
    rig.settle();
}

pub fn err_both(kind: DriverKind) {
    const FAILED: Readiness = Readiness::ERR.with(BOTH);
    for interest in [Interest::READ, Interest::WRITE, Interest::BOTH] {
        let mut rig = Rig::new(kind);
        let (client, server) = tcp_pair();
        let mut server_reads = server.try_clone().unwrap();
        rig.add(&shared(server), 0, interest);
        reset_on_close(&client);
        drop(client);
        rig.until(0, FAILED);
        rig.settle();
        let read = server_reads.read(&mut [0; 8]);
        // Wine makes an end of a reset.
        let ended = cfg!(windows) && read.as_ref().is_ok_and(|n| *n == 0);
        assert!(
            read.is_err() || ended,
            "the error is the owner's to fetch: {read:?}"
        );
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let refused = Arc::new(sock::connect(addr, None, &SocketOptions::default()).unwrap());
    let mut rig = Rig::new(kind);
    rig.add(&refused, 0, Interest::WRITE);
    assert!(rig.until(0, FAILED).contains(FAILED));
    let error = sock::connect_finished(sock::borrow(&refused)).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
}

pub fn add_twice(kind: DriverKind) {
    let mut rig = Rig::new(kind);
    let (mut ours, _theirs, first) = pair();
    let (mut other, _other_end, second) = pair();
    rig.add(&first, 3, Interest::READ);
    let later = Token {
        generation: 2,
        ..token(3)
    };
    for (fd, token) in [
        (&first, token(3)),
        (&second, token(3)),
        (&second, later),
        (&first, token(4)),
    ] {
        let error = rig.try_add(fd, token, Interest::BOTH).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists, "{token:?}");
    }
    // Nothing of it has taken place.
    other.write_all(b"x").unwrap();
    rig.quiet();
    ours.write_all(b"x").unwrap();
    assert_eq!(rig.one(3), READ);
    rig.add(&second, 4, Interest::READ);
    rig.until(4, READ);
}

pub fn unknown(kind: DriverKind) {
    fn refused(driver: &mut dyn EventDriver, token: Token) {
        for result in [
            driver.rearm(token, Interest::READ),
            driver.disarm(token, Interest::READ),
            driver.delete(token),
        ] {
            assert_eq!(
                result.unwrap_err().kind(),
                std::io::ErrorKind::NotFound,
                "{token:?}"
            );
        }
    }
    let mut rig = Rig::new(kind);
    let (_ours, _theirs, watched) = pair();
    refused(&mut *rig.driver, token(0));
    refused(
        &mut *rig.driver,
        Token {
            slot: u32::MAX,
            generation: u32::MAX,
        },
    );
    rig.add(&watched, 5, Interest::READ);
    refused(&mut *rig.driver, token(4));
    refused(
        &mut *rig.driver,
        Token {
            generation: 0,
            ..token(5)
        },
    );
    refused(
        &mut *rig.driver,
        Token {
            generation: 2,
            ..token(5)
        },
    );
    rig.driver.delete(token(5)).unwrap();
    refused(&mut *rig.driver, token(5));
}

pub fn owns_fd(kind: DriverKind) {
    let mut rig = Rig::new(kind);
    let (mut ours, theirs, watched) = pair();
    drop(theirs);
    rig.add(&watched, 0, Interest::READ);
    let weak = Arc::downgrade(&watched);
    drop(watched);
    assert!(weak.strong_count() > 0, "the driver keeps it open");
    ours.write_all(b"x").unwrap();
    assert_eq!(rig.one(0), READ);
    rig.rearm(0, Interest::READ);
    // An event that is pending when its token is deleted.
    ours.write_all(b"y").unwrap();
    rig.driver.delete(token(0)).unwrap();
    rig.quiet();
    assert_eq!(weak.strong_count(), 0, "no longer");
    assert!(ours.write_all(b"z").is_err());
}

pub fn bad_source(kind: DriverKind) {
    let mut rig = Rig::new(kind);
    let error = rig
        .driver
        .add(Source::Virtual(1), token(0), Interest::READ)
        .unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);

    let (_ours, _theirs, watched) = pair();
    let beyond = Token {
        slot: SLOTS_MAX,
        generation: 1,
    };
    let error = rig.try_add(&watched, beyond, Interest::READ).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    // Slot and descriptor are as free as before.
    rig.add(&watched, 0, Interest::WRITE);
    assert_eq!(rig.one(0), WRITE);
}

pub fn bounded(kind: DriverKind) {
    const SOURCES: usize = EVENTS_PER_WAIT + EVENTS_PER_WAIT / 2;
    lift_descriptor_limit();
    let mut rig = Rig::new(kind);
    let mut pipes: Vec<_> = (0..16).map(|_| pipe()).collect();
    for (_, writer) in &mut pipes {
        writer.write_all(b"x").unwrap();
    }
    for (slot, (reader, _)) in (0..).zip(pipes.iter().cycle().take(SOURCES)) {
        rig.add(&duplicate(reader), slot, Interest::READ);
    }
    let mut seen = vec![false; SOURCES];
    for _ in 0..4 {
        // `wait` checks the bound. The sources stay readable, and the first are re-armed at once.
        for event in rig.wait(MOMENT).to_vec() {
            seen[event.token.slot as usize] = true;
            rig.driver.rearm(event.token, Interest::READ).unwrap();
        }
    }
    let passed_over = seen.iter().filter(|seen| !**seen).count();
    assert_eq!(passed_over, 0, "never reported, of {SOURCES}");
}
