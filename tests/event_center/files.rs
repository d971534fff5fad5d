//! Sources in the event center: what is told when, and who gets a turn.

use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use async_messenger::event::{EventCenter, Turn};
use async_messenger::{Interest, Readiness, Source, Token};

use crate::{DEADLINE, Script, Seen, center, step, stepped};

fn watch(center: &mut EventCenter<u64>, tag: u64) -> (PipeReader, PipeWriter, Token) {
    let (reader, writer) = pipe().expect("a pipe");
    let fd: OwnedFd = reader.try_clone().expect("a copy").into();
    let token = center
        .register(Source::Fd(Arc::new(fd)), Interest::READ, tag)
        .expect("added");
    (reader, writer, token)
}

#[test]
fn file_time_and_external_events_come_in_this_order() {
    let (mut center, env) = stepped();
    let (_reader, mut writer, _) = watch(&mut center, 7);
    writer.write_all(b"x").expect("room");
    center.set_timer(center.now() + Duration::from_secs(1), 8);
    center.handle().submit(9).expect("open");
    env.advance(Duration::from_secs(1));
    let mut script = Script::silent();
    let turn = step(&mut center, &mut script);
    assert_eq!(
        turn,
        Turn {
            file_events: 1,
            time_events: 1,
            external_events: 1
        }
    );
    let order = [
        Seen::File(7, Readiness::READ),
        Seen::Time(8),
        Seen::External(9),
        Seen::End,
    ];
    assert_eq!(script.seen, order);
}

#[test]
fn a_source_that_always_has_more_does_not_starve_the_others() {
    let (mut center, _env) = stepped();
    let (_busy_reader, mut busy, busy_token) = watch(&mut center, 1);
    let (_reader, mut other, _) = watch(&mut center, 2);
    busy.write_all(b"x").expect("room");
    let mut script = Script::new(move |center, seen| {
        if matches!(seen, Seen::File(1, _)) {
            center.again(busy_token, Readiness::READ);
        }
    });
    for _ in 0..3 {
        assert_eq!(step(&mut center, &mut script).file_events, 1);
    }
    other.write_all(b"x").expect("room");
    center.handle().submit(3).expect("open");
    script.take();
    step(&mut center, &mut script);
    let seen = script.take();
    for tag in [1, 2] {
        assert!(
            seen.iter()
                .any(|s| matches!(s, Seen::File(t, _) if *t == tag)),
            "{seen:?}"
        );
    }
    assert!(seen.contains(&Seen::External(3)));
}

#[test]
fn a_source_gets_one_event_a_turn_even_if_it_was_put_off_and_is_ready_too() {
    let (mut center, _env) = stepped();
    let (_reader, mut writer, token) = watch(&mut center, 1);
    writer.write_all(b"x").expect("room");
    let mut script = Script::new(move |center, seen| {
        if matches!(seen, Seen::File(..)) {
            center.again(token, Readiness::READ);
            center.rearm(token, Interest::READ).expect("registered");
        }
    });
    for turn in 0..100 {
        writer.write_all(b"x").expect("room");
        assert_eq!(step(&mut center, &mut script).file_events, 1, "turn {turn}");
    }
}

#[test]
fn a_turn_with_work_put_off_does_not_wait() {
    let mut center = center();
    let (_reader, mut writer, token) = watch(&mut center, 1);
    writer.write_all(b"x").expect("room");
    let mut left = 3;
    let mut script = Script::new(move |center, seen| {
        if matches!(seen, Seen::File(..)) && left > 0 {
            left -= 1;
            center.again(token, Readiness::READ);
        }
    });
    for _ in 0..4 {
        let turn = center.turn(Some(DEADLINE), &mut script).expect("turns");
        assert_eq!(turn.file_events, 1);
    }
}

#[test]
fn a_source_that_a_handler_removed_gets_no_event_in_the_same_turn() {
    let (mut center, _env) = stepped();
    let mut ends = Vec::new();
    for tag in 0..2 {
        let (reader, mut writer, token) = watch(&mut center, tag);
        writer.write_all(b"x").expect("room");
        ends.push((reader, writer, token));
    }
    let tokens = [ends[0].2, ends[1].2];
    let mut script = Script::new(move |center, seen| {
        if let Seen::File(tag, _) = seen {
            center
                .deregister(tokens[1 - tag as usize])
                .expect("registered");
        }
    });
    assert_eq!(step(&mut center, &mut script).file_events, 1);
    assert_eq!(center.sources(), 1);
    assert!(step(&mut center, &mut script).file_events <= 1);
}

#[test]
fn a_token_of_an_earlier_source_is_unknown() {
    let (mut center, _env) = stepped();
    let (_reader, _writer, old) = watch(&mut center, 1);
    center.deregister(old).expect("registered");
    let (mut reader, mut writer, new) = watch(&mut center, 2);
    assert_eq!((old.slot, old == new), (new.slot, false));
    for result in [
        center.deregister(old),
        center.rearm(old, Interest::READ),
        center.disarm(old, Interest::READ),
    ] {
        assert_eq!(
            result.expect_err("stale").kind(),
            std::io::ErrorKind::NotFound
        );
    }
    writer.write_all(b"x").expect("room");
    center.again(old, Readiness::READ);
    let mut script = Script::silent();
    step(&mut center, &mut script);
    assert_eq!(script.take(), [Seen::File(2, Readiness::READ)]);
    reader.read_exact(&mut [0]).expect("one byte");
}

#[test]
fn a_direction_is_silent_from_its_disarming_until_it_is_armed_again() {
    let (mut center, _env) = stepped();
    let (mut reader, mut writer, token) = watch(&mut center, 1);
    let mut script = Script::silent();
    for _ in 0..3 {
        writer.write_all(b"x").expect("room");
        center.turn(Some(DEADLINE), &mut script).expect("turns");
        assert_eq!(script.take(), [Seen::File(1, Readiness::READ)]);
        reader.read_exact(&mut [0]).expect("one byte");
        center.rearm(token, Interest::READ).expect("registered");

        center.disarm(token, Interest::READ).expect("registered");
        writer.write_all(b"y").expect("room");
        assert!(step(&mut center, &mut script).is_empty());
        center.rearm(token, Interest::READ).expect("registered");
        center.turn(Some(DEADLINE), &mut script).expect("turns");
        assert_eq!(script.take(), [Seen::File(1, Readiness::READ)]);
        reader.read_exact(&mut [0]).expect("one byte");
        center.rearm(token, Interest::READ).expect("registered");
    }
}
