//! The age limit of messages that wait to be sent: heartbeats say nothing when they are late. On the
//! driver that `EVENT_DRIVER` names, with a clock that the tests let pass.

#[path = "common/peers.rs"]
mod peers;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use async_messenger::event::ManualEnv;
use async_messenger::message::Message;
use async_messenger::net::TcpStack;
use async_messenger::wire::{AddrType, AddrVec, EntityAddr, EntityName, EntityType};
use async_messenger::{Config, Connection, Messenger, Policy, SendError, Workers};
use peers::{config, driver};

const LIMIT: Duration = Duration::from_secs(1);

/// A client of a server that takes connections and never says a word, so that everything waits.
struct Bed {
    env: Arc<ManualEnv>,
    client: Messenger,
    connection: Connection,
    _mute: TcpListener,
}

fn bed(config: Config, policy: Policy) -> Bed {
    let mute = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let env = Arc::new(ManualEnv::new(1));
    let stack = Arc::new(TcpStack::new(driver()));
    let workers = Workers::start_on(&config, stack, Arc::<ManualEnv>::clone(&env));
    let client = Messenger::builder(EntityName::client(1))
        .config(config)
        .workers(&workers.expect("start"))
        .default_policy(policy)
        .build()
        .expect("made");
    client.start().expect("starts");
    let at = mute.local_addr().expect("bound");
    let to = AddrVec(vec![EntityAddr::new(AddrType::Legacy, at, 0)]);
    let connection = client.connect(EntityType::OSD, &to).expect("begins");
    Bed {
        env,
        client,
        connection,
        _mute: mute,
    }
}

fn aging() -> Policy {
    Policy::lossless_client(0).with_send_age_max(LIMIT)
}

#[test]
fn what_waits_too_long_is_dropped_and_counted() {
    let bed = bed(config(), aging());
    let send = || bed.connection.send(Message::new(42)).expect("room");
    send();
    bed.env.advance(LIMIT);
    send();
    assert_eq!(bed.connection.queued(), 2, "the first is just young enough");
    bed.env.advance(LIMIT / 2);
    send();
    assert_eq!(bed.connection.queued(), 2);
    assert_eq!(bed.client.stats().expired, 1);
}

#[test]
fn what_is_too_old_makes_room_for_what_is_new() {
    let config = Config {
        send_queue_messages: 1,
        ..config()
    };
    let bed = bed(config, aging());
    bed.connection.send(Message::new(42)).expect("room");
    let full = bed.connection.send(Message::new(42)).expect_err("no room");
    assert!(matches!(full, SendError::Full(_)), "{full}");
    bed.env.advance(2 * LIMIT);
    bed.connection
        .send(full.into_message())
        .expect("room again");
    assert_eq!(
        (bed.connection.queued(), bed.client.stats().expired),
        (1, 1)
    );
}

#[test]
fn without_a_limit_everything_waits() {
    let bed = bed(config(), Policy::lossless_client(0));
    for _ in 0..3 {
        bed.connection.send(Message::new(42)).expect("room");
        bed.env.advance(Duration::from_secs(3600));
    }
    assert_eq!(
        (bed.connection.queued(), bed.client.stats().expired),
        (3, 0)
    );
}
