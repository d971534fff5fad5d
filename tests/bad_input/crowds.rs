//! Many peers, much input: what it costs, and that those who behave do not pay.

use async_messenger::message::Message;
use async_messenger::{Builder, Policy};

use crate::acceptor::client_side;
use crate::bed::{Bed, ROLES, Role, in_child, resident};
use crate::of_a_script;
use crate::peers::{Seen, config, eventually};
use crate::scripted::*;
use crate::vectors::Rng;

/// What a thousand peers may cost that hold their connections and send nothing that counts: their
/// sockets' objects and timers, and what the allocator keeps to itself.
const GROWTH_MAX: usize = 16 << 20;
const CROWD: usize = 1000;
/// Descriptors for both ends of so many connections.
const DESCRIPTORS: u32 = 4096;

fn random(rng: &mut Rng, len_max: usize) -> Vec<u8> {
    let len = 1 + rng.below(len_max);
    (0..len).map(|_| rng.below(256) as u8).collect()
}

#[test]
fn a_port_scan_is_reported_and_costs_nothing() {
    let bed = Bed::new(Role::Acceptor, |b| b);
    for _ in 0..200 {
        drop(Wire::connect(&bed.subject.addrs));
    }
    bed.bystander_echoes();
    for _ in 0..200 {
        let error = bed.subject.inbox.accept_failed();
        assert!(error.is_retryable(), "{error}");
    }
    assert_eq!(bed.stats().handshakes_failed, 200);
    bed.finish();
}

#[test]
fn random_bytes_are_a_failed_handshake() {
    let seed = 0x5eed_0001;
    println!("seed {seed:#x}");
    let mut rng = Rng(seed);
    let bed = Bed::new(Role::Acceptor, |b| b);
    for _ in 0..300 {
        let mut wire = Wire::connect(&bed.subject.addrs);
        let seen = wire.seen();
        wire.try_send(&random(&mut rng, 2000));
        wire.finish();
        wire.end();
        assert_eq!(bed.subject.inbox.accept_failed().peer(), Some(seen));
    }
    bed.finish();
}

/// A connection with a conversation that is changed in a few places, or random from some place on.
#[test]
fn a_conversation_that_is_damaged_at_random_ends_and_hurts_nobody() {
    let seed = 0x5eed_0002;
    println!("seed {seed:#x}");
    let mut rng = Rng(seed);
    let bed = Bed::new(Role::Acceptor, |b| b);
    for round in 0..600 {
        let mut bytes = client_side(1);
        (1..4).for_each(|seq| bytes.extend(Frame::new(seq).bytes()));
        bytes.extend([tag::KEEPALIVE, tag::ACK, 1, 0, 0, 0, 0, 0, 0, 0]);
        if round % 3 == 0 {
            bytes.truncate(client_side(1).len());
            bytes.extend(random(&mut rng, 500));
        } else {
            rng.mutate(&mut bytes);
        }
        let mut wire = Wire::connect(&bed.subject.addrs);
        wire.try_send(&bytes);
        wire.finish();
        wire.end();
        if round % 50 == 0 {
            bed.bystander_echoes();
        }
    }
    bed.finish();
}

#[test]
fn a_server_that_answers_at_random_hurts_nobody() {
    let seed = 0x5eed_0003;
    println!("seed {seed:#x}");
    let mut rng = Rng(seed);
    let mut bed = Bed::new(Role::Connector, |b| b);
    for round in 0..400 {
        // The last one may come back, if the random bits made the session a lossless one.
        bed.move_listener();
        let connection = bed.connect();
        let mut wire = bed.listener().accept();
        let mut bytes = bed.listener().hello(&wire);
        bytes.extend([Reply::default().bytes(), vec![0; SEQ_LEN]].concat());
        (1..4).for_each(|seq| bytes.extend(Frame::new(seq).bytes()));
        match round % 3 {
            0 => bytes = random(&mut rng, 500),
            _ => rng.mutate(&mut bytes),
        }
        wire.try_send(&bytes);
        wire.finish();
        wire.end();
        connection.mark_down();
        if round % 50 == 0 {
            bed.bystander_echoes();
        }
    }
    bed.finish();
}

#[test]
fn a_flood_of_keepalives_from_a_peer_that_does_not_read_is_bounded() {
    for role in ROLES {
        let mut bed = Bed::new(role, |b| b);
        let (mut wire, _) = bed.open();
        let before = resident();
        // Far more answers than the buffers of both ends hold.
        let rounds = 15_u32;
        let each = 100_000_u32;
        for round in 0..rounds {
            let keepalives = (0..each).flat_map(|i| {
                let stamp = round * each + i + 1;
                [&[tag::KEEPALIVE2][..], &stamp.to_le_bytes(), &[0; 4]].concat()
            });
            wire.send(&keepalives.collect::<Vec<u8>>());
        }
        wire.send(&Frame::new(1).bytes());
        bed.subject
            .inbox
            .find("message behind the flood", of_a_script);
        bed.bystander_echoes();
        let grown = resident().saturating_sub(before);
        assert!(grown < GROWTH_MAX, "{role:?}: {grown} bytes more");
        // The answers are in order, and the newest is among them.
        let mut last = 0;
        while last < rounds * each {
            match wire.take(1)[0] {
                tag::KEEPALIVE2_ACK => {
                    let stamp = word(&wire.take(8), 0);
                    assert!(stamp > last, "{stamp} behind {last}");
                    last = stamp;
                }
                tag::MSG => drop(wire.take_message_body()),
                other => panic!("tag {other}"),
            }
        }
        drop(wire);
        bed.subject.inbox.reset();
        bed.finish();
    }
}

/// An acceptor whose bystander is served while a crowd is there, and what it costs.
fn check_crowd(play: fn(&mut Wire)) {
    let mut bed = Bed::new(Role::Acceptor, unthrottled);
    // What the process needs once is not counted.
    let (mut wire, _) = bed.open();
    play(&mut wire);
    drop(wire);
    let before = resident();
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        let (mut wire, _) = bed.open();
        play(&mut wire);
        // The bystander uses the buffers that the crowd's input comes through.
        bed.bystander_sends(256 << 10);
        crowd.push(wire);
    }
    bed.bystander_echoes();
    let grown = resident().saturating_sub(before);
    println!("{CROWD} peers cost {grown} bytes");
    eventually("the crowd is there", || bed.connections() == CROWD + 1);
    drop(crowd);
    bed.finish();
    assert!(grown < GROWTH_MAX, "{CROWD} peers cost {grown} bytes");
}

/// No limit on what is on its way to dispatchers, so that none of the crowd waits for another.
fn unthrottled(b: Builder) -> Builder {
    let mut config = config();
    config.dispatch_throttle_bytes = 0;
    b.config(config)
}

fn announce(lens: [u32; 3]) -> Vec<u8> {
    let lens = lens.map(Some);
    [
        vec![tag::MSG],
        Frame {
            lens,
            ..Frame::new(1)
        }
        .header(),
    ]
    .concat()
}

#[test]
fn a_crowd_that_announces_much_and_sends_nothing_costs_no_memory() {
    if in_child(
        "crowds::a_crowd_that_announces_much_and_sends_nothing_costs_no_memory",
        DESCRIPTORS,
    ) {
        check_crowd(|wire| wire.send(&announce([64 << 20, 16 << 20, 256 << 20])));
    }
}

#[test]
fn a_crowd_that_announces_much_data_and_sends_a_little_costs_little() {
    if in_child(
        "crowds::a_crowd_that_announces_much_data_and_sends_a_little_costs_little",
        DESCRIPTORS,
    ) {
        check_crowd(|wire| {
            wire.send(&[announce([0, 0, 256 << 20]), vec![1; 100]].concat());
        });
    }
}

#[test]
fn a_crowd_that_stops_in_the_middle_of_a_header_costs_little() {
    if in_child(
        "crowds::a_crowd_that_stops_in_the_middle_of_a_header_costs_little",
        DESCRIPTORS,
    ) {
        check_crowd(|wire| wire.send(&announce([1, 0, 0])[..20]));
    }
}

#[test]
fn a_crowd_that_stops_in_the_middle_of_a_small_message_costs_little() {
    if in_child(
        "crowds::a_crowd_that_stops_in_the_middle_of_a_small_message_costs_little",
        DESCRIPTORS,
    ) {
        check_crowd(|wire| {
            wire.send(&[announce([100, 0, 0]), vec![1; 50]].concat());
        });
    }
}

#[test]
fn more_connections_than_allowed_are_closed_at_once_and_counted() {
    let mut config = config();
    config.connections_max = 3;
    let mut bed = Bed::new(Role::Acceptor, |b| {
        b.config(config).default_policy(Policy::stateless_server(0))
    });
    let (first, _) = bed.open();
    let (second, _) = bed.open();
    for refused in 1..20 {
        assert_eq!(
            Wire::connect(&bed.subject.addrs).end(),
            b"",
            "not even greeted"
        );
        eventually("it is counted", || bed.stats().refused == refused);
    }
    bed.bystander_echoes();
    drop(first);
    eventually("there is a place again", || bed.connections() == 2);
    let (mut third, _) = bed.open();
    third.send(&Frame::new(1).bytes());
    bed.subject.inbox.find("message", of_a_script);
    drop((second, third));
    assert_eq!(bed.stats().handshakes_failed, 0);
    bed.finish();
}

/// A message that is read into pieces of the receive buffer, and is dropped at once.
#[test]
fn what_nobody_keeps_is_not_kept() {
    let mut bed = Bed::new(Role::Acceptor, unthrottled);
    let (mut wire, _) = bed.open();
    let before = resident();
    let big = Frame {
        parts: [Vec::new(), Vec::new(), vec![3; 1 << 20]],
        kind: 43,
        ..Frame::new(1)
    };
    for seq in 1..200 {
        wire.send(&Frame { seq, ..big.clone() }.bytes());
        let of = bed.subject.inbox.find("message", |seen| match seen {
            Seen::Message(_, message) if message.kind() == 43 => Some(message),
            _ => None,
        });
        assert_eq!(Message::size(&of), 1 << 20);
        wire.take_message();
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < GROWTH_MAX, "{grown} bytes more");
    drop(wire);
    bed.finish();
}
