//! Clocks that jump, and tickets that have expired: who notices, what is said of it, and how a
//! client gets on.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use async_messenger::auth::{AuthCx, Keyring, Method, Offers, Site};
use async_messenger::event::{Env, SystemEnv};
use async_messenger::message::{Message, Payload};
use async_messenger::messages::{
    MAuth, MConfig, MMonCommand, MMonCommandAck, MMonMap, MMonSubscribe, MonInfo, MonMap,
};
use async_messenger::mon::{Client, Command, LogIns, Settings};
use async_messenger::net::TcpStack;
use async_messenger::proto::v2::State;
use async_messenger::wire::{AddrVec, EntityName, EntityType};
use async_messenger::{
    Authority, Builder, Connection, ConnectionEvent, Credentials, Dispatcher, Error, ErrorKind,
    Handled, Messenger, Policy, Workers,
};

use super::peers::{DEADLINE, Inbox, Recorder, Seen, config, driver, eventually};
use super::rules::{ANY, admin, assert_told, keyring};
use super::{KEY, log};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const YEAR: i64 = 366 * 24 * HOUR;

/// A calendar that somebody sets; what measures time goes on.
#[derive(Debug, Default)]
struct Clock(AtomicI64);

impl Clock {
    fn jump(&self, secs: i64) {
        self.0.fetch_add(secs, Ordering::SeqCst);
    }
}

impl Env for Clock {
    fn now(&self) -> Instant {
        SystemEnv.now()
    }
    fn wall(&self) -> SystemTime {
        let ahead = self.0.load(Ordering::SeqCst);
        let by = Duration::from_secs(ahead.unsigned_abs());
        let now = SystemEnv.wall();
        if ahead < 0 { now - by } else { now + by }
    }
    fn random(&self) -> u64 {
        SystemEnv.random()
    }
    fn fill(&self, out: &mut [u8]) {
        SystemEnv.fill(out);
    }
}

/// A messenger with a calendar of its own.
fn builder(name: EntityName, clock: &Arc<Clock>) -> Builder {
    log::keep();
    let config = config();
    let stack = Arc::new(TcpStack::new(driver()).strict(true));
    let env = Arc::<Clock>::clone(clock);
    let workers = Workers::start_on(&config, stack, env).expect("workers");
    Messenger::builder(name).config(config).workers(&workers)
}

fn bound(messenger: &Messenger, at: &str) -> AddrVec {
    let addrs = at.parse().expect("an address");
    messenger.bind(&addrs).expect("a free port")
}

/// As much of a monitor as our client needs.
struct Mon {
    messenger: Messenger,
    addrs: AddrVec,
    authority: Authority,
    clock: Arc<Clock>,
}

struct Answers {
    log_ins: LogIns,
    map: MonMap,
}

impl Mon {
    fn start(at: &str) -> Self {
        let mut site = Site::new(EntityType::MON, keyring(KEY));
        site.offers = Offers::uniform(&[Method::CEPHX], &ANY);
        let authority = Authority::new(site);
        let clock = Arc::<Clock>::default();
        let messenger = builder(EntityName::mon(0), &clock)
            .nonce(0)
            .require_authorizer(false)
            .authority(authority.clone())
            .default_policy(Policy::stateless_server(0))
            .build()
            .expect("a messenger");
        let addrs = bound(&messenger, at);
        let monitor = MonInfo {
            name: "a".into(),
            addrs: addrs.clone(),
            ..MonInfo::default()
        };
        let map = MonMap {
            epoch: 1,
            mons: vec![monitor],
            ..MonMap::default()
        };
        let log_ins = LogIns::new();
        let added = messenger.add_dispatcher_tail(Arc::new(Answers { log_ins, map }));
        added.expect("not started");
        messenger.start().expect("starts");
        Self {
            messenger,
            addrs,
            authority,
            clock,
        }
    }
}

impl Dispatcher for Answers {
    fn dispatch(&self, from: &Connection, message: Message) -> Handled {
        let send = |message: Message| drop(from.send(message));
        let map = || Message::from_payload(&MMonMap::new(&self.map, from.features()), 0);
        match message.kind() {
            MAuth::KIND => {
                let auth = message.decode().expect("an auth");
                let (reply, who) = self.log_ins.answer(from, &auth);
                send(Message::from_payload(&reply, from.features()));
                if who.is_some() {
                    send(map());
                }
            }
            _ if !self.log_ins.is_open(from) => {}
            MMonSubscribe::KIND => {
                send(map());
                send(Message::from_payload(&MConfig::default(), 0));
            }
            MMonCommand::KIND => {
                let done = Message::from_payload(&MMonCommandAck::default(), 0);
                send(done.with_tid(message.tid()));
            }
            _ => {}
        }
        Handled::Yes
    }

    fn event(&self, of: &Connection, event: &ConnectionEvent) {
        if let ConnectionEvent::Reset { .. } = event {
            self.log_ins.forget(of);
        }
    }
}

/// An OSD that knows the monitor's secrets of this moment.
fn osd(mon: &Mon) -> (Messenger, Inbox, AddrVec, Authority) {
    let mut site = Site::new(EntityType::OSD, Keyring::new());
    site.offers = Offers::uniform(&[Method::CEPHX], &ANY);
    let authority = Authority::new(site);
    authority.set_secrets(mon.authority.edit(|site| site.secrets.clone()));
    let osd = builder(EntityName::osd(0), &mon.clock)
        .authority(authority.clone())
        .default_policy(Policy::stateless_server(0))
        .build()
        .expect("a messenger");
    let addrs = bound(&osd, "v2:127.0.0.1:0");
    let (recorder, inbox) = Recorder::new(true, false);
    osd.add_dispatcher_tail(recorder).expect("not started");
    osd.start().expect("starts");
    (osd, inbox, addrs, authority)
}

struct Asker {
    client: Client,
    messenger: Arc<Messenger>,
    credentials: Credentials,
    inbox: Inbox,
    clock: Arc<Clock>,
}

impl Asker {
    fn start(mon: &Mon) -> Self {
        let credentials = Credentials::from_keyring(&keyring(KEY), admin()).expect("a key");
        // The monitor has secrets for these, so nothing is asked for in vain.
        let credentials = credentials.services(&[EntityType::MON, EntityType::OSD]);
        let clock = Arc::<Clock>::default();
        let messenger = builder(EntityName::client(-1), &clock)
            .credentials(credentials.clone())
            .build()
            .expect("a messenger");
        let messenger = Arc::new(messenger);
        let settings = Settings {
            // The calendar is looked at each time.
            keepalive_interval: Duration::from_millis(20),
            backoff: Duration::from_millis(5),
            backoff_max: Duration::from_millis(50),
            ..Settings::new(vec![mon.addrs.clone()])
        };
        let client = Client::new(&messenger, settings).expect("a client");
        let (recorder, inbox) = Recorder::new(false, false);
        messenger
            .add_dispatcher_tail(recorder)
            .expect("not started");
        messenger.start().expect("starts");
        client.session(DEADLINE).wait().expect("a session");
        Self {
            client,
            messenger,
            credentials,
            inbox,
            clock,
        }
    }

    /// When the ticket of a kind of daemon ends.
    fn expires(&self, kind: EntityType) -> Duration {
        let tickets = self.credentials.tickets();
        let ticket = tickets.get(kind).expect("a ticket");
        ticket.expires()
    }

    fn wait_for_ticket(&self, kind: EntityType, beyond: Duration) {
        eventually("a new ticket", || {
            let tickets = self.credentials.tickets();
            let ticket = tickets.get(kind);
            ticket.is_some_and(|ticket| ticket.expires() > beyond)
        });
    }

    fn ask(&self) {
        let answer = self.client.command(Command::new("{}"), DEADLINE).wait();
        assert_eq!(answer.expect("an answer").result, 0);
    }

    /// Connects to an OSD; `Err` if it is not let in.
    fn try_osd(&self, addrs: &AddrVec) -> Result<(), Error> {
        let to = self.messenger.connect(EntityType::OSD, addrs);
        let to = to.expect("started");
        let outcome = self.inbox.find("outcome", |seen| match seen {
            Seen::Event(of, ConnectionEvent::Ready(_)) if of == to => Some(Ok(())),
            Seen::Event(of, ConnectionEvent::Refused(error)) if of == to => Some(Err(error)),
            Seen::Event(of, ConnectionEvent::Reset { error, .. }) if of == to => Some(Err(error)),
            _ => None,
        });
        to.mark_down();
        outcome
    }

    fn end(self, mon: Mon) {
        drop(self.client);
        self.messenger.shutdown();
        self.messenger.wait().expect("ends in time");
        mon.messenger.shutdown();
        mon.messenger.wait().expect("ends in time");
        log::assert_no_key(&log::text(), &[KEY]);
    }
}

const VERSIONS: [&str; 2] = ["v1:127.0.0.1:0", "v2:127.0.0.1:0"];

/// The client's clock goes ahead, far ahead, and back: tickets that are over by it are renewed, on
/// the session that it has.
#[test]
fn a_clients_clock_that_jumps() {
    for at in VERSIONS {
        let mon = Mon::start(at);
        let asker = Asker::start(&mon);
        let (osd, _, addrs, _) = osd(&mon);
        asker.try_osd(&addrs).expect("it has a ticket");
        for secs in [50 * MINUTE, 2 * HOUR, 71 * HOUR, 100 * HOUR, YEAR] {
            let before = asker.expires(EntityType::OSD);
            asker.clock.jump(secs);
            asker.wait_for_ticket(EntityType::OSD, before);
            asker.try_osd(&addrs).expect("it has a new ticket");
            asker.ask();
        }
        // A ticket from the future says nothing of when it ends.
        let before = asker.expires(EntityType::OSD);
        asker.clock.jump(-2 * YEAR);
        eventually("a new ticket", || asker.expires(EntityType::OSD) < before);
        asker.try_osd(&addrs).expect("it has a new ticket");
        asker.ask();
        assert_eq!(asker.client.sessions(), 1, "{at}");
        osd.shutdown();
        asker.end(mon);
    }
}

/// A ticket that is over by the client's own clock is not shown; one whose secret the OSD has
/// forgotten is refused. Both are told with peer, phase and reason.
#[test]
fn an_expired_ticket() {
    let mon = Mon::start(VERSIONS[1]);
    let asker = Asker::start(&mon);
    let (osd, inbox, addrs, authority) = osd(&mon);
    asker.try_osd(&addrs).expect("it has a ticket");
    // No session, so that nothing is renewed.
    mon.messenger.shutdown();
    asker.clock.jump(2 * HOUR);
    let error = asker.try_osd(&addrs).expect_err("its ticket is over");
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    let words = ["no valid ticket for osd"];
    assert_told(&error, Some(addrs.front()), State::HelloConnecting, &words);
    asker.clock.jump(-2 * HOUR);
    asker.try_osd(&addrs).expect("it has not been thrown away");

    // As the monitor's would be after that time.
    let secrets = mon.authority.edit(|site| {
        for hours in 1..=3 {
            let now = mon.clock.wall() + Duration::from_secs(hours * 3600);
            let since = now.duration_since(SystemTime::UNIX_EPOCH);
            site.secrets.rotate(&mut AuthCx {
                now: since.expect("after 1970").into(),
                random: &mut |out: &mut [u8]| mon.clock.fill(out),
            });
        }
        site.secrets.clone()
    });
    authority.set_secrets(secrets);
    let error = asker.try_osd(&addrs).expect_err("its secret is gone");
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    let words = ["permission denied"];
    assert_told(&error, Some(addrs.front()), State::AuthConnecting, &words);
    // The client hangs up; the reason is in the OSD's log alone.
    inbox.accept_failed();
    let log = log::text();
    let why = |line: &&str| line.contains("of osd, which is not known here");
    let line = log.lines().find(why).expect("the log says why");
    assert!(line.contains("peer=v2:127.0.0.1:"), "{line}");
    assert!(line.contains("phase=AUTH_ACCEPTING"), "{line}");
    osd.shutdown();
    asker.end(mon);
}

/// The monitor's clock goes ahead by a year: it has forgotten all secrets, and takes nobody for who
/// he was. The client begins anew. Then it goes back, and new clients are let in as before.
#[test]
fn a_monitors_clock_that_jumps() {
    for at in VERSIONS {
        let mon = Mon::start(at);
        let asker = Asker::start(&mon);
        let number = asker.credentials.tickets().global_id;
        mon.clock.jump(YEAR);
        asker.ask();
        // Over by its own clock, too; the monitor does not take the old one for a renewal.
        let before = asker.expires(EntityType::AUTH);
        asker.clock.jump(100 * HOUR);
        asker.wait_for_ticket(EntityType::AUTH, before);
        asker.ask();
        assert_eq!(asker.client.sessions(), 2, "{at}");
        assert_ne!(asker.credentials.tickets().global_id, number, "{at}");
        let (osd, _, addrs, _) = osd(&mon);
        asker.try_osd(&addrs).expect("it has a new ticket");
        let log = log::text();
        let why = "shows no ticket that it was its own";
        assert!(log.contains(why), "{at}: the log says why");

        mon.clock.jump(-2 * YEAR);
        asker.ask();
        let other = Asker::start(&mon);
        other.try_osd(&addrs).expect("it has a ticket");
        drop(other);
        osd.shutdown();
        asker.end(mon);
    }
}
