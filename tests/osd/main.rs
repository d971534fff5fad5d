//! A real OSD as the peer of a lossless session whose link keeps breaking, on the driver that
//! `EVENT_DRIVER` names.
//!
//! This side is another OSD on the OSD's cluster address. It sends commands, each of which the OSD
//! answers on the same session, and pings, which it only acknowledges. What went over the wire is
//! recorded and checked afterwards by a reader of its own.

#[path = "../common/ceph.rs"]
mod ceph;
#[path = "../common/peers.rs"]
mod peers;
mod talk;
mod tap;

use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_messenger::event::SystemEnv;
use async_messenger::message::{Message, Payload as _};
use async_messenger::messages::{Fsid, MPing};
use async_messenger::wire::{AddrVec, EntityAddr, EntityName, EntityType, MsgHead};
use async_messenger::{
    Config, Connection, ConnectionEvent, Dispatcher, Messenger, Policy, Ready, Workers,
};
use ceph::{Cluster, Options, Server, or_skip};
use peers::{DEADLINE, config, driver, eventually, localhost};
use talk::{READY, REPLIES, RESETSESSION, RETRY_GLOBAL, RETRY_SESSION, SEQ, Talk};
use tap::{Cut, TapStack, Wire};

/// Links that are cut in the middle of traffic.
const CUTS: usize = 100;
/// Links that are cut when nothing is left to say.
const STANDBYS: u64 = 10;
const MCOMMAND: u16 = 97;
const MCOMMAND_REPLY: u16 = 98;

/// What the OSD has said to this side.
#[derive(Debug, Default)]
struct Heard {
    /// Answers, which is also the number of the one that comes next.
    answers: u64,
    ready: u64,
    /// Why the last attempt to connect failed.
    refused: Option<String>,
    remote_resets: u64,
    /// Messages of this side to itself.
    own_pings: u64,
    wrong: Option<String>,
}

#[derive(Default)]
struct Ear {
    heard: Mutex<Heard>,
    changed: Condvar,
}

impl Ear {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, note: impl FnOnce(&mut Heard)) {
        note(&mut self.heard());
        self.changed.notify_all();
    }

    #[track_caller]
    fn wait(&self, what: &str, mut holds: impl FnMut(&Heard) -> bool) {
        let unsettled = |heard: &mut Heard| heard.wrong.is_none() && !holds(heard);
        let (heard, timeout) = self
            .changed
            .wait_timeout_while(self.heard(), DEADLINE, unsettled)
            .unwrap_or_else(PoisonError::into_inner);
        assert_eq!(heard.wrong, None);
        assert!(
            !timeout.timed_out(),
            "not in {DEADLINE:?}: {what}: {heard:?}"
        );
    }
}

impl Dispatcher for Ear {
    fn can_fast_dispatch(&self, _: &MsgHead) -> bool {
        true
    }

    fn fast_dispatch(&self, connection: &Connection, message: Message) {
        self.note(|heard| {
            if connection.is_loopback() {
                heard.own_pings += 1;
                return;
            }
            // -EACCES or 0: whether it obeyed is not what this is about.
            if message.kind() != MCOMMAND_REPLY || message.tid() != heard.answers {
                let text = format!("{message:?} instead of answer {}", heard.answers);
                heard.wrong.get_or_insert(text);
            }
            heard.answers += 1;
        });
    }

    fn fast_event(&self, _: &Connection, _: Ready) {
        self.note(|heard| heard.ready += 1);
    }

    fn event(&self, _: &Connection, event: &ConnectionEvent) {
        self.note(|heard| match event {
            ConnectionEvent::Refused(error) => heard.refused = Some(error.to_string()),
            ConnectionEvent::RemoteReset { .. } => heard.remote_resets += 1,
            ConnectionEvent::Reset { error, .. } => {
                heard
                    .wrong
                    .get_or_insert_with(|| format!("a lossless session ended: {error}"));
            }
            _ => {}
        });
    }
}

/// This side: an OSD's cluster messenger.
struct Osd {
    messenger: Messenger,
    connection: Connection,
    ear: Arc<Ear>,
    wire: Arc<Wire>,
    fsid: Fsid,
    asked: u64,
}

impl Osd {
    fn new(cluster: &Cluster, (number, nonce): (i64, u32), bind: &AddrVec, workers: usize) -> Self {
        let wire = Arc::<Wire>::default();
        let config = Config {
            workers,
            ready_timeout: Duration::from_secs(5),
            ..config()
        };
        let stack = TapStack::new(driver(), &wire);
        let workers = Workers::start_on(&config, stack, Arc::new(SystemEnv)).expect("start");
        let messenger = Messenger::builder(EntityName::osd(number))
            .config(config)
            .workers(&workers)
            .nonce(nonce)
            .cluster_protocol(10)
            .default_policy(Policy::stateless_server(0))
            .policy(EntityType::OSD, Policy::lossless_peer(0))
            .build()
            .expect("a messenger");
        messenger.bind(bind).expect("a free port");
        let ear = Arc::<Ear>::default();
        messenger
            .add_dispatcher_tail(Arc::<Ear>::clone(&ear))
            .expect("not started");
        messenger.start().expect("starts");
        let connection = connect(&messenger, cluster);
        Self {
            messenger,
            connection,
            ear,
            wire,
            fsid: cluster.fsid().parse().expect("an fsid"),
            asked: 0,
        }
    }

    /// Goes on with a new session.
    fn connect(&mut self, cluster: &Cluster) {
        self.connection = connect(&self.messenger, cluster);
    }

    fn send(&self, message: Message) {
        self.connection.send(message).expect("there is room");
    }

    /// Sends a ping and commands.
    fn ask(&mut self, commands: u64) {
        self.send(Message::from_payload(
            &MPing::default(),
            self.connection.features(),
        ));
        for _ in 0..commands {
            let text = br#"{"prefix":"version"}"#;
            let mut front = Vec::new();
            self.fsid.encode(&mut front);
            front.extend(1u32.to_le_bytes());
            front.extend((text.len() as u32).to_le_bytes());
            front.extend(text);
            let command = Message::new(MCOMMAND)
                .with_tid(self.asked)
                .with_front(front);
            self.send(command);
            self.asked += 1;
        }
    }

    fn all_is_answered(&self) {
        self.ear
            .wait("all answers", |heard| heard.answers == self.asked);
        eventually("every message is acknowledged", || {
            (self.connection.queued(), self.connection.unacked()) == (0, 0)
        });
    }

    fn talks(&self) -> Vec<Talk> {
        let recorded = self.wire.recorded();
        recorded
            .iter()
            .map(|(dialed, bytes)| Talk::new(*dialed, bytes))
            .collect()
    }

    fn end(self) {
        self.messenger.shutdown();
        self.messenger.wait().expect("ends in time");
    }
}

fn connect(messenger: &Messenger, cluster: &Cluster) -> Connection {
    let to = cluster_addr(cluster, 0).into();
    messenger
        .connect(EntityType::OSD, &to)
        .expect("a connection")
}

fn cluster_addr(cluster: &Cluster, osd: usize) -> EntityAddr {
    let dump = cluster.ceph_json(&["osd", "dump"]);
    let addr = &dump["osds"].list()[osd]["cluster_addrs"]["addrvec"].list()[0];
    let text = format!("v1:{}/{}", addr["addr"].text(), addr["nonce"].number());
    text.parse().expect("an address")
}

fn assert_alive(cluster: &Cluster) {
    // It answers others, and is the process that it was.
    let said = cluster.ceph(&["tell", "osd.0", "version"]);
    assert!(said.contains("version"), "{said}");
    let pid = cluster.get("OSD_0_PID");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    assert!(status.contains("ceph-osd"), "{status}");
}

/// What has to hold of the numbers of all links of one session. How many links were open.
fn check(talks: &[Talk]) -> usize {
    // What this side has written and read so far, and what the OSD has acknowledged.
    let (mut written, mut read, mut acked) = (0, 0, 0);
    let mut replayed = 0;
    for (i, talk) in talks.iter().enumerate() {
        if talk.replies.contains(&RESETSESSION) || talk.replies.last() == Some(&READY) {
            (written, read, acked) = (0, 0, 0);
        }
        if !talk.is_open() {
            continue;
        }
        let [theirs, ours] = talk.in_seqs.unwrap_or_default();
        let context = || format!("link {i}: {talk:?}");
        assert!(
            (acked..=written).contains(&theirs),
            "{acked} {written} {}",
            context()
        );
        assert_eq!(ours, read, "{}", context());
        replayed += written - theirs;
        for (speech, had) in [(&talk.sent, theirs), (&talk.received, ours)] {
            // Neither what the other side has, nor a gap.
            let expected: Vec<u64> = (had + 1..).take(speech.seqs.len()).collect();
            assert_eq!(speech.seqs, expected, "{}", context());
        }
        let last = |speech: &[u64], before| speech.last().copied().unwrap_or(before);
        written = last(&talk.sent.seqs, theirs);
        read = last(&talk.received.seqs, read);
        acked = last(&talk.received.acks, theirs);
        assert!(acked <= written, "{}", context());
    }
    assert_eq!(acked, written, "the last message is acknowledged");
    let open = talks.iter().filter(|talk| talk.is_open()).count();
    println!("{written} messages sent, {read} received, {replayed} sent again, {open} links open");
    open
}

/// Prints how often each side has given each reply.
fn print_replies(talks: &[Talk]) {
    for (whose, dialed) in [("the OSD", true), ("this side", false)] {
        let of_it: Vec<_> = talks.iter().filter(|talk| talk.dialed == dialed).collect();
        print!("{whose} replied to {} links:", of_it.len());
        for (tag, name) in REPLIES {
            let all = of_it.iter().flat_map(|talk| &talk.replies);
            print!(" {name} {}", all.filter(|reply| **reply == tag).count());
        }
        println!();
    }
}

fn reply_count(talks: &[Talk], tag: u8) -> usize {
    let all = talks.iter().flat_map(|talk| &talk.replies);
    all.filter(|reply| **reply == tag).count()
}

/// A number that makes this side's address sort before the OSD's, or behind it: that decides who
/// wins when both connect at once (encoding §6.5).
fn nonce(first: bool) -> u32 {
    if first { 0x1100 } else { 0x11ff }
}

fn a_hundred_cuts(cluster: &Cluster, number: i64, first: bool) {
    let began = Instant::now();
    let mut osd = Osd::new(cluster, (number, nonce(first)), &localhost(), 2);
    osd.ask(1);
    osd.all_is_answered();
    for round in 0..CUTS {
        // At least one over the link that is cut then.
        let answers = osd.ear.heard().answers + 1 + round as u64 % 7;
        osd.ask(10);
        osd.ear
            .wait("some answers", |heard| heard.answers >= answers);
        let ready = osd.ear.heard().ready;
        osd.wire.cut(match round % 4 {
            0 => Cut::Between,
            1 => Cut::Deaf,
            2 => Cut::Lost,
            _ => Cut::InWrite(round * 7 % 150),
        });
        osd.ask(1);
        osd.ear
            .wait("the session again", |heard| heard.ready > ready);
    }
    osd.all_is_answered();
    let talks = osd.talks();
    println!("osd.{number}, first: {first}, {:.1?}", began.elapsed());
    print_replies(&talks);
    assert!(check(&talks) > CUTS);
    assert_eq!(osd.ear.heard().remote_resets, 0);
    assert_eq!(reply_count(&talks, RESETSESSION), 0);
    assert!(reply_count(&talks, SEQ) > CUTS);
    assert!(reply_count(&talks, RETRY_GLOBAL) > 0);
    assert_eq!(osd.messenger.stats().duplicates, 0);
    osd.end();
}

/// With nothing to say neither side connects, until one has: with the number of the old link, for
/// which the other has to tell it the new one.
fn standbys(cluster: &Cluster, number: i64) {
    let mut osd = Osd::new(cluster, (number, nonce(true)), &localhost(), 1);
    let themselves = osd.messenger.loopback().expect("started");
    osd.ask(1);
    osd.all_is_answered();
    for round in 1..=STANDBYS {
        let noticed = |osd: &Osd| osd.messenger.stats().faults + osd.ear.heard().ready;
        let before = noticed(&osd);
        osd.wire.cut(Cut::Between);
        eventually("the cut is noticed", || noticed(&osd) > before);
        // The one worker gets to this when it is done with the fault.
        themselves
            .send(Message::new(MPing::KIND))
            .expect("there is room");
        osd.ear
            .wait("the own ping", |heard| heard.own_pings == round);
        osd.ask(1);
        osd.all_is_answered();
    }
    let talks = osd.talks();
    println!("osd.{number}, idle when cut");
    print_replies(&talks);
    check(&talks);
    assert!(reply_count(&talks, RETRY_SESSION) > 0);
    osd.end();
}

#[test]
fn an_osd_acknowledges_everything_over_a_hundred_cuts() {
    let options = Options {
        osds: 1,
        ..Options::default()
    };
    let Some(cluster) = or_skip(Cluster::start(&options)) else {
        return;
    };
    for (number, first) in [(7, true), (8, false)] {
        a_hundred_cuts(&cluster, number, first);
        assert_alive(&cluster);
    }
    standbys(&cluster, 9);
    assert_alive(&cluster);
}

#[test]
fn an_osd_that_has_dropped_the_session_resets_it() {
    // Whether osd.1 is up is the test's decision alone.
    let options = Options {
        osds: 2,
        set: &[
            "osd fast fail on connection refused = false",
            "osd heartbeat grace = 3600",
        ],
        ..Options::default()
    };
    let Some(cluster) = or_skip(Cluster::start(&options)) else {
        return;
    };
    // This side takes the place of a member of the cluster: only those does an OSD disown.
    let place = cluster_addr(&cluster, 1);
    cluster.kill_osd(1);
    let mut osd = Osd::new(&cluster, (1, place.nonce), &place.into(), 2);
    osd.ask(5);
    osd.all_is_answered();
    cluster.ceph(&["osd", "down", "1"]);
    eventually("the OSD drops the link", || !osd.connection.is_connected());

    // A ping, which goes with the session.
    osd.ask(0);
    osd.ear.wait("a reset", |heard| heard.remote_resets == 1);
    osd.ask(5);
    osd.all_is_answered();
    let talks = osd.talks();
    print_replies(&talks);
    check(&talks);
    assert_eq!(reply_count(&talks, RESETSESSION), 1);
    assert_alive(&cluster);
    osd.end();
}

#[test]
fn an_osd_that_was_restarted_is_another_one() {
    let options = Options {
        osds: 1,
        ..Options::default()
    };
    let Some(cluster) = or_skip(Cluster::start(&options)) else {
        return;
    };
    let mut osd = Osd::new(&cluster, (7, nonce(true)), &localhost(), 2);
    osd.ask(5);
    osd.all_is_answered();
    let before = cluster_addr(&cluster, 0);
    cluster.kill_osd(0);
    osd.ask(2);
    osd.ear
        .wait("a failure to connect", |heard| heard.refused.is_some());
    // What memstore had is gone; for its cluster this OSD is an old one with a new address.
    let mut restart = Command::new("ceph-osd");
    restart.args(["-f", "-i", "0", "-c", cluster.get("CEPH_CONF")]);
    let _server = Server::spawn(restart);
    let deadline = Instant::now() + DEADLINE;
    while cluster_addr(&cluster, 0) == before {
        assert!(Instant::now() < deadline, "osd.0 does not come back");
    }
    // The session belongs to the process that is gone: nothing is lost, and nothing arrives.
    assert!(!osd.connection.is_connected());
    assert_eq!(osd.connection.queued(), 3);
    println!("the old address: {:?}", osd.ear.heard().refused);
    osd.connection.mark_down();
    osd.connect(&cluster);
    osd.ear.heard().answers = osd.asked;
    osd.ask(5);
    osd.all_is_answered();
    assert_eq!(osd.ear.heard().remote_resets, 0);
    osd.end();
}
