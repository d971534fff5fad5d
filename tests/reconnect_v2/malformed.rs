//! Frames that are none (msgr2 §16): the error names the peer, the state and what was wrong.

use async_messenger::proto::v2::{Control, tag};
use async_messenger::wire::crc32c;

use super::script::{
    BANNER, Home, SIGNATURE, bytes, done, frame, header2, hello, literal, message, none,
};
use super::*;

/// Changes a byte of a preamble, and makes its sum right again.
fn preamble(mut frame: Vec<u8>, at: usize, byte: u8) -> Vec<u8> {
    frame[at] = byte;
    let crc = crc32c(0, &frame[..28]);
    frame[28..32].copy_from_slice(&crc.to_le_bytes());
    frame
}

fn changed(mut frame: Vec<u8>, at: usize) -> Vec<u8> {
    frame[at] ^= 1;
    frame
}

/// A message with something in each segment; it ends in `late_status` and three sums.
fn whole() -> Vec<u8> {
    let parts: [&[u8]; 4] = [&header2(1, 0), b"front", b"mid", b"the data"];
    frame(tag::MESSAGE, parts)
}

/// What is wrong in every state, and what is said of it.
fn anywhere() -> Vec<(Vec<u8>, &'static str)> {
    let ack = literal::ACK_5.to_vec();
    vec![
        (changed(ack.clone(), 28), "corrupt frame preamble"),
        (preamble(ack.clone(), 1, 0), "0 segments"),
        (preamble(ack.clone(), 1, 5), "5 segments"),
        (preamble(ack.clone(), 1, 2), "last segment, of 2, is empty"),
        (changed(ack.clone(), 33), "corrupt control frame"),
        (
            preamble(ack.clone(), 0, 99),
            "there is no frame with tag 99",
        ),
        (preamble(ack.clone(), 0, 0), "there is no frame with tag 0"),
        (preamble(ack, 5, 1), "exceeds a limit: control frame"),
    ]
}

fn in_open() -> Vec<(Vec<u8>, &'static str)> {
    let all = whole();
    let len = all.len();
    let mut cases = anywhere();
    // Header, its sum, front, middle, data, late status, sums.
    cases.extend([
        (changed(all.clone(), 33), "corrupt message header"),
        (changed(all.clone(), 32 + 45), "corrupt front segment"),
        (changed(all.clone(), 32 + 50), "corrupt middle segment"),
        (changed(all.clone(), len - 14), "corrupt data segment"),
        (
            preamble(all.clone(), 17, 0xff),
            "exceeds a limit: middle segment",
        ),
    ]);
    let mut late = all.clone();
    late[len - 13] = 0x0f;
    cases.push((late, "late status is 0x0f"));
    for short in 0..41 {
        let header = &header2(1, 0)[..short];
        cases.push((
            frame(tag::MESSAGE, [header, b"front", &[], &[]]),
            "message header",
        ));
    }
    for early in [
        hello(Home::new(1).addr()),
        none(),
        done(),
        SIGNATURE,
        Home::new(1).grant(5),
        Control::SessionReset { full: true },
        Control::Wait,
    ] {
        cases.push((bytes(&early), "does not belong"));
    }
    cases.push((frame(tag::ACK, [&[1; 7], &[], &[], &[]]), "ACK"));
    cases.push((
        frame(tag::KEEPALIVE2, [&[1; 7], &[], &[], &[]]),
        "KEEPALIVE2",
    ));
    cases
}

/// A client of a lossy server, whose end is told with its reason.
fn open(subject: &Subject, home: &Home) -> Line {
    let mut line = Line::knock(&subject.addrs);
    line.say(&home.ident(&subject.addrs, 1, 0));
    assert!(matches!(line.hear(), Control::ServerIdent(_)));
    line
}

#[test]
fn an_open_connection_ends_by_each() {
    let subject = Subject::new(Policy::stateless_server(0));
    let home = Home::new(7);
    for (bad, text) in in_open() {
        let mut line = open(&subject, &home);
        line.try_send(&bad);
        let error = subject.inbox.reset();
        let said = error.to_string();
        assert!(said.contains(text), "{said}: not {text}");
        assert_eq!(error.peer(), Some(home.addr()), "{said}");
        assert!(error.phase().is_some(), "{said}");
        assert_eq!(line.end(), b"", "{text}");
    }
    // And nobody else.
    open(&subject, &home).check_nothing_pending();
    let seen = subject.messenger.stats();
    assert_eq!((seen.received, seen.panics), (0, 0));
    subject.messenger.shutdown();
    subject.messenger.wait().expect("ends in time");
}

/// What is odd and allowed.
#[test]
fn an_open_connection_survives_what_is_ignored() {
    let subject = Subject::new(Policy::stateless_server(0));
    let home = Home::new(7);
    let mut line = open(&subject, &home);
    // The reserved byte, unknown flags, an alignment of 0, bytes behind the last field.
    let ack = literal::ACK_5.to_vec();
    line.send(&preamble(ack.clone(), 27, 0xff));
    line.send(&preamble(ack.clone(), 26, 0xf0));
    line.send(&preamble(ack, 6, 0));
    let longer = [&5_u64.to_le_bytes()[..], b"and more"].concat();
    line.send(&frame(tag::ACK, [&longer, &[], &[], &[]]));
    // Of several segments the last one counts.
    let five = 5_u64.to_le_bytes();
    line.send(&frame(tag::ACK, [&[0; 3], &five, &[], &[]]));
    line.check_nothing_pending();
    let mut header = header2(1, 0);
    header.extend([0xaa; 100]);
    let front = 1_u64.to_le_bytes();
    line.send(&frame(tag::MESSAGE, [&header, &front, &[], &[]]));
    assert_eq!(subject.inbox.message().1.head().seq, 1);
    // The high half of the late status.
    let mut late = message(2, 0);
    let at = late.len() - 13;
    late[at] = 0xee;
    line.send(&late);
    assert_eq!(subject.inbox.message().1.head().seq, 2);
    drop(line);
    subject.inbox.reset();
    subject.end();
}

/// Before each step of the script's handshake, something else.
#[test]
fn a_stranger_is_refused_by_each() {
    let subject = Subject::new(Policy::lossless_peer(0));
    let home = Home::new(7);
    let wish = |target: &AddrVec| home.ident(target, 1, 5);
    let names = [
        "HELLO_ACCEPTING",
        "AUTH_ACCEPTING",
        "AUTH_ACCEPTING_SIGN",
        "SESSION_ACCEPTING",
    ];
    let elsewhere: AddrVec = Home::new(7).addr().into();
    for (step, name) in names.iter().enumerate() {
        let mut cases = anywhere();
        cases.push((message(1, 0), "a message before the session is open"));
        cases.push((literal::ACK_5.to_vec(), "ACK does not belong"));
        cases.push((literal::WAIT.to_vec(), "WAIT does not belong"));
        match step {
            0 => cases.push((bytes(&wish(&subject.addrs)), "CLIENT_IDENT does not belong")),
            1 => cases.push((bytes(&SIGNATURE), "AUTH_SIGNATURE does not belong")),
            2 => cases.push((bytes(&Control::AuthSignature([1; 32])), "signature")),
            _ => cases.push((bytes(&wish(&elsewhere)), "it means to reach")),
        }
        for (bad, text) in cases {
            let mut line = Line::connect(&subject.addrs);
            let seen = line.seen();
            line.send(BANNER);
            if step >= 1 {
                line.say(&hello(subject.addrs.0[0]));
            }
            if step >= 2 {
                line.say(&none());
            }
            if step >= 3 {
                line.say(&SIGNATURE);
            }
            line.try_send(&bad);
            let error = subject.inbox.accept_failed();
            let said = error.to_string();
            assert!(said.contains(text), "{said}: not {text}");
            assert!(said.contains(&format!("in {name}: ")), "{said}");
            assert_eq!(error.peer(), Some(seen), "{said}");
            line.end();
        }
    }
    subject.end();
}

#[test]
fn a_stranger_with_another_banner_is_refused_and_named() {
    let subject = Subject::new(Policy::lossless_peer(0));
    for (banner, text) in [
        (&b"ceph v027"[..], "speaks msgr1"),
        (b"GET / HTTP/1.1\r\n", "HTTP"),
        (b"ceph v2\n\x0f\0", "15 bytes"),
        (
            b"ceph v2\n\x10\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x80",
            "requires",
        ),
    ] {
        let mut line = Line::connect(&subject.addrs);
        line.try_send(banner);
        let error = subject.inbox.accept_failed().to_string();
        assert!(error.contains(text), "{error}: not {text}");
        assert!(error.contains("in BANNER_ACCEPTING: "), "{error}");
        line.end();
    }
    subject.end();
}
