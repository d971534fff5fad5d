//! Tickets and secrets over time, with clocks that stand still, run ahead and go back.

use std::time::Duration;

use async_messenger::auth::KeyType;
use async_messenger::auth::cephx::{SECRETS_MAX, ServiceSecrets, Ticket, TicketBlob, Tickets};
use async_messenger::wire::{EntityType, Timespec};

use crate::kit::{Dice, HOUR, NOW, at, key, later, secret};

fn ticket(service: EntityType, now: Timespec, secs: u64) -> Ticket {
    let key = key(KeyType::Aes, 1, 0);
    Ticket::new(
        service,
        TicketBlob::default(),
        key,
        now,
        Duration::from_secs(secs),
    )
}

#[test]
fn when_tickets_are_due() {
    let mut held = Tickets::default();
    assert_eq!(held.next_due(), None);
    assert_eq!(held.due(36, NOW), 36);
    held.insert(ticket(EntityType::OSD, NOW, 1000));
    held.insert(ticket(EntityType::AUTH, NOW, 4000));
    assert_eq!(held.due(36, NOW), 0);
    assert_eq!(held.due(36, later(749)), 0);
    assert_eq!(held.due(36, later(750)), 4);
    assert_eq!(held.due(36, later(3000)), 36);
    assert_eq!(held.next_due(), Some(Duration::from_secs(1_700_000_750)));
    assert!(held.valid(EntityType::OSD, later(999)).is_some());
    assert!(held.valid(EntityType::OSD, later(1000)).is_none());
    assert!(held.get(EntityType::OSD).is_some());
    // A new one replaces the old one.
    held.insert(ticket(EntityType::OSD, later(750), 1000));
    assert_eq!(held.due(4, later(1000)), 0);
    // The clock goes back to before it came: it can be used, and a new one is wanted.
    assert!(held.valid(EntityType::OSD, NOW).is_some());
    assert_eq!(held.due(4, NOW), 4);
    held.expire_all();
    assert_eq!(held.due(36, later(751)), 36);
    assert!(held.valid(EntityType::AUTH, later(751)).is_none());
    assert!(held.valid(EntityType::AUTH, Timespec::default()).is_none());
}

#[test]
fn lifetimes_at_the_ends_of_time() {
    let none = ticket(EntityType::OSD, NOW, 0);
    assert!(!none.is_valid(NOW) && none.is_due(NOW));
    let end = Timespec {
        secs: u32::MAX,
        nanos: u32::MAX,
    };
    let long = Ticket::new(
        EntityType::OSD,
        TicketBlob::default(),
        key(KeyType::Aes, 1, 0),
        end,
        Duration::MAX,
    );
    assert!(long.is_valid(end) && !long.is_due(end));
    assert!(long.is_due(Timespec::default()));
}

fn fresh() -> ServiceSecrets {
    ServiceSecrets::new(
        KeyType::Aes,
        Duration::from_secs(72 * 3600),
        Duration::from_secs(3600),
    )
}

fn ids(secrets: &ServiceSecrets) -> Vec<u64> {
    secrets
        .of(EntityType::OSD)
        .iter()
        .map(|secret| secret.id)
        .collect()
}

#[test]
fn secrets_rotate() {
    let dice = &mut Dice::new(1);
    let mut secrets = fresh();
    assert!(secrets.current(EntityType::OSD).is_none());
    at(dice, NOW, |cx| secrets.rotate(cx));
    assert_eq!(ids(&secrets), [1, 2, 3]);
    assert_eq!(secrets.current(EntityType::OSD).unwrap().id, 2);
    assert_eq!(
        secrets.current(EntityType::OSD).unwrap().expires,
        later(HOUR)
    );
    let before = secrets.clone();
    at(dice, later(HOUR - 1), |cx| secrets.rotate(cx));
    assert_eq!(secrets, before);
    at(dice, later(HOUR), |cx| secrets.rotate(cx));
    assert_eq!(ids(&secrets), [2, 3, 4]);
    // What was to come is current now, unchanged.
    assert_eq!(
        secrets.current(EntityType::OSD),
        before.find(EntityType::OSD, 3)
    );
    // That of the monitors lives longer.
    assert_eq!(secrets.of(EntityType::AUTH), before.of(EntityType::AUTH));
    assert_eq!(secrets.of(EntityType::CLIENT), []);
}

#[test]
fn secrets_when_the_clock_jumps() {
    let dice = &mut Dice::new(2);
    let mut secrets = fresh();
    at(dice, NOW, |cx| secrets.rotate(cx));
    let before = secrets.clone();
    // Back: nothing changes until it has caught up.
    at(dice, Timespec::default(), |cx| secrets.rotate(cx));
    assert_eq!(secrets, before);
    // Far ahead: as if the time had passed, with few steps.
    let now = later(1000 * HOUR);
    at(dice, now, |cx| secrets.rotate(cx));
    let ahead = secrets.of(EntityType::OSD);
    assert_eq!(ahead.len(), SECRETS_MAX);
    assert!(secrets.current(EntityType::OSD).unwrap().expires > now);
    assert!(
        before
            .of(EntityType::OSD)
            .iter()
            .take(2)
            .all(|old| !ahead.contains(old))
    );
    // The end of time.
    let end = Timespec {
        secs: u32::MAX,
        nanos: u32::MAX,
    };
    for _ in 0..3 {
        at(dice, end, |cx| secrets.rotate(cx));
        assert_eq!(secrets.of(EntityType::OSD).len(), SECRETS_MAX);
    }
    // A lifetime of nothing ends, too.
    let mut secrets = ServiceSecrets::new(KeyType::Aes, Duration::ZERO, Duration::ZERO);
    at(dice, NOW, |cx| secrets.rotate(cx));
    assert_eq!(secrets.of(EntityType::OSD).len(), SECRETS_MAX);
}

#[test]
fn secrets_of_a_daemon_are_not_made_there() {
    let mut secrets = ServiceSecrets::fixed();
    at(&mut Dice::new(3), NOW, |cx| secrets.rotate(cx));
    assert!(secrets.current(EntityType::OSD).is_none());
    let all = (1..=5)
        .map(|id| secret(id, key(KeyType::Aes, id as u8, 0)))
        .collect();
    secrets.set(EntityType::OSD, all);
    assert_eq!(ids(&secrets), [3, 4, 5]);
    assert_eq!(secrets.current(EntityType::OSD).unwrap().id, 4);
    assert!(secrets.find(EntityType::OSD, 2).is_none());
    assert!(secrets.find(EntityType::MDS, 4).is_none());
}
