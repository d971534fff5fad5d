//! The monitor client against monitors that are our own messengers and do what a test tells them,
//! on the driver that `EVENT_DRIVER` names.
//!
//! `MSGR` says over which version of the protocol, and in which mode one logs in by cephx.
//! Every wait has a deadline and nothing sleeps; where time has to pass, options make it short.

#[path = "../common/peers.rs"]
mod peers;
mod server;

mod asking;
mod hunting;
mod logins;
mod news;
mod sessions;

use std::sync::Arc;
use std::time::Duration;

use async_messenger::auth::{Keyring, Site};
use async_messenger::mon::{Client, Command, Settings};
use async_messenger::wire::{AddrVec, AuthName, EntityName, EntityType};
use async_messenger::{Authority, Credentials, Messenger};

use peers::{DEADLINE, config, localhost};
use server::{Act, Mon};

/// A monitor that lets everybody in.
fn trusting(acts: &[Act]) -> Mon {
    Mon::start(Authority::none(EntityType::MON), acts)
}

/// A monitor that wants a key from everybody, and knows none.
fn refusing() -> Mon {
    Mon::start(
        Authority::new(Site::new(EntityType::MON, Keyring::new())),
        &[],
    )
}

fn admin() -> AuthName {
    AuthName::new(EntityType::CLIENT, "admin")
}

/// Short times: a test that needs them longer says so.
fn settings(monitors: &[&AddrVec]) -> Settings {
    Settings {
        backoff: Duration::from_millis(5),
        backoff_max: Duration::from_millis(50),
        ..Settings::new(monitors.iter().map(|addrs| (*addrs).clone()).collect())
    }
}

/// A client that has been started and has not done anything.
fn client_as(credentials: Credentials, settings: Settings) -> Client {
    let messenger = Messenger::builder(EntityName::client(-1))
        .config(config())
        .credentials(credentials)
        .build()
        .expect("a messenger");
    let messenger = Arc::new(messenger);
    let client = Client::new(&messenger, settings).expect("sound settings");
    messenger.start().expect("starts");
    client
}

fn client(settings: Settings) -> Client {
    client_as(Credentials::none(admin()), settings)
}

fn status() -> Command {
    Command::new(r#"{"prefix":"status"}"#)
}

/// Has the client run a command, which gives its own text.
#[track_caller]
fn check(client: &Client) {
    let answer = client.command(status(), DEADLINE).wait();
    let answer = answer.expect("an answer");
    assert_eq!((answer.result, &answer.text[..]), (0, "done"));
    assert_eq!(answer.data, r#"{"prefix":"status"}"#);
}

/// An address at which nobody listens, and what keeps it so.
fn deaf() -> ((std::net::TcpListener, std::net::TcpStream), AddrVec) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let far = listener.local_addr().expect("bound");
    let near = std::net::TcpStream::connect(far).expect("it listens");
    let addr = addr_at(near.local_addr().expect("connected"));
    ((listener, near), addr)
}

/// The address of a place, in the version that is tested.
fn addr_at(place: std::net::SocketAddr) -> AddrVec {
    let mut addrs = localhost();
    addrs.0[0].sock = Some(place);
    addrs
}
