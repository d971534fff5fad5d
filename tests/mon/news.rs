//! Subscriptions: what comes, from which version on, and to whom.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use async_messenger::message::Message;
use async_messenger::messages::{MConfig, MMonMap, Subscription};
use async_messenger::mon::Client;
use async_messenger::wire::msgtype;

use super::peers::DEADLINE;
use super::server::Act;
use super::{check, client, settings, trusting};

fn subscribe(client: &Client, what: &str, start: u64, once: bool) -> Receiver<Message> {
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let wanted = Subscription { start, once };
    let deliver = move |message| tell.lock().expect("no panic").send(message).expect("waits");
    client.subscribe(what, wanted, deliver).expect("known");
    told
}

#[test]
fn news_go_on_where_they_were_on_the_next_monitor() {
    let mon = trusting(&[Act::HangUp]);
    let client = client(settings(&[&mon.addrs]));
    let osdmap = subscribe(&client, "osdmap", 0, false);
    let config = subscribe(&client, "config", 0, true);
    let monmap = subscribe(&client, "monmap", 0, false);
    let message = osdmap.recv_timeout(DEADLINE).expect("a map");
    assert_eq!(message.kind(), msgtype::OSD_MAP);
    let message = config.recv_timeout(DEADLINE).expect("a configuration");
    message.decode::<MConfig>().expect("it is one");
    let message = monmap.recv_timeout(DEADLINE).expect("a map");
    message.decode::<MMonMap>().expect("it is one");

    // What was asked at first, and with which versions.
    while mon.subscription().len() < 3 {}
    mon.set_osdmap(6);
    check(&client);
    assert_eq!(client.sessions(), 2);
    let again = mon.subscription();
    assert_eq!(again["osdmap"].start, 6, "the next one");
    assert_eq!(again["monmap"].start, 2);
    assert!(!again.contains_key("config"), "it was for once");
    let message = osdmap.recv_timeout(DEADLINE).expect("the next map");
    assert_eq!(message.kind(), msgtype::OSD_MAP);

    client.have("osdmap", 40);
    client.unsubscribe("monmap");
    let _fsmap = subscribe(&client, "fsmap", 3, false);
    let changed = mon.subscription();
    assert_eq!(changed["osdmap"].start, 41);
    assert_eq!(changed["monmap"].start, 2, "the client's own");
    assert_eq!(changed["fsmap"].start, 3);
    mon.end();
}

#[test]
fn what_there_is_not_cannot_be_subscribed_to() {
    let mon = trusting(&[]);
    let client = client(settings(&[&mon.addrs]));
    let none = Subscription::default();
    let error = client.subscribe("weather", none, |_| {});
    let error = error.expect_err("no such map");
    assert!(error.to_string().contains("osdmap"), "{error}");
    mon.end();
}

/// A handler may ask, and a panic of one costs the session and nothing else.
#[test]
fn who_takes_news_may_ask_and_may_fail() {
    let mon = trusting(&[]);
    let client = Arc::new(client(settings(&[&mon.addrs])));
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let weak = Arc::downgrade(&client);
    let deliver = move |_| {
        if let Some(client) = weak.upgrade() {
            let pending = client.versions("osdmap", DEADLINE);
            tell.lock().expect("no panic").send(pending).expect("waits");
        }
    };
    let all = Subscription::default();
    client.subscribe("osdmap", all, deliver).expect("known");
    let pending = told.recv_timeout(DEADLINE).expect("news");
    assert_eq!(pending.wait().expect("versions").newest, 9);

    let once = Subscription {
        start: 0,
        once: true,
    };
    let panics = |_| panic!("on purpose");
    client.subscribe("config", once, panics).expect("known");
    check(&client);
    mon.end();
}
