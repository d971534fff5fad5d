//! This side: an OSD's cluster messenger, which sends commands and pings to the real one and
//! counts what comes back.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_messenger::event::SystemEnv;
use async_messenger::inject::{Intercept, Intercepted, Interceptor, Step};
use async_messenger::message::Message;
use async_messenger::messages::{Fsid, MPing};
use async_messenger::wire::{AddrVec, EntityName, EntityType, MsgHead};
use async_messenger::{
    Config, Connection, ConnectionEvent, Dispatcher, Messenger, Policy, Ready, Workers,
};

use super::frames;
use super::node::{Kind, Node};
use super::peers::{DEADLINE, config, driver, eventually};
use super::talk::Talk;
use super::tap::{TapStack, Wire};

const MCOMMAND: u16 = 97;
const MCOMMAND_REPLY: u16 = 98;

/// What the OSD has said to this side.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// Answers, which is also the number of the one that comes next.
    pub(crate) answers: u64,
    pub(crate) ready: u64,
    /// Why the last attempt to connect failed.
    pub(crate) refused: Option<String>,
    pub(crate) remote_resets: u64,
    /// Messages of this side to itself.
    pub(crate) own_pings: u64,
    /// Why peers that connected were not let in, and how often.
    pub(crate) not_accepted: BTreeMap<String, usize>,
    wrong: Option<String>,
}

#[derive(Default)]
pub(crate) struct Ear {
    heard: Mutex<Heard>,
    changed: Condvar,
}

impl Ear {
    pub(crate) fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, note: impl FnOnce(&mut Heard)) {
        note(&mut self.heard());
        self.changed.notify_all();
    }

    #[track_caller]
    pub(crate) fn wait(&self, what: &str, mut holds: impl FnMut(&Heard) -> bool) {
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

    fn accept_failed(&self, error: &async_messenger::Error) {
        // Without the port, which is another one each time.
        let text = error.to_string();
        let why = text.split_once(' ').map_or("", |(_, why)| why).to_owned();
        self.note(|heard| *heard.not_accepted.entry(why).or_default() += 1);
    }
}

/// Counts how often each step was reached, on the connecting (false) and the accepting side. It is
/// all that can be told of a link that is encrypted.
#[derive(Default)]
pub(crate) struct Steps(Mutex<BTreeMap<(Step, bool), usize>>);

impl Steps {
    pub(crate) fn count(&self, step: Step, accepting: bool) -> usize {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&(step, accepting)).copied().unwrap_or(0)
    }
}

impl Interceptor for Steps {
    fn step(&self, at: &Intercepted<'_>, step: Step) -> Intercept {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *all.entry((step, at.accepting)).or_default() += 1;
        Intercept::Continue
    }
}

pub(crate) struct Osd {
    pub(crate) messenger: Messenger,
    pub(crate) connection: Connection,
    pub(crate) ear: Arc<Ear>,
    pub(crate) wire: Arc<Wire>,
    pub(crate) steps: Arc<Steps>,
    kind: Kind,
    fsid: Fsid,
    pub(crate) asked: u64,
}

impl Osd {
    /// On any port.
    pub(crate) fn new(node: &Node, number: i64, nonce: u32, workers: usize) -> Self {
        let any_port = || node.kind.any_port();
        Self::at(node, (number, nonce), workers, any_port)
    }

    /// At an address that is told at the last moment, so that nobody else takes it meanwhile.
    pub(crate) fn at(
        node: &Node,
        (number, nonce): (i64, u32),
        workers: usize,
        place: impl FnOnce() -> AddrVec,
    ) -> Self {
        let wire = Arc::<Wire>::default();
        let steps = Arc::<Steps>::default();
        let config = Config {
            workers,
            ready_timeout: Duration::from_secs(5),
            ..config()
        };
        let stack = TapStack::new(driver(), &wire);
        let workers = Workers::start_on(&config, stack, Arc::new(SystemEnv)).expect("start");
        let builder = Messenger::builder(EntityName::osd(number))
            .config(config)
            .workers(&workers)
            .nonce(nonce)
            .cluster_protocol(10)
            .interceptor(Arc::<Steps>::clone(&steps))
            .default_policy(Policy::stateless_server(0))
            .policy(EntityType::OSD, Policy::lossless_peer(0));
        let messenger = node.identify(builder, number).build();
        let messenger = messenger.expect("a messenger");
        messenger.bind(&place()).expect("a free port");
        let ear = Arc::<Ear>::default();
        messenger
            .add_dispatcher_tail(Arc::<Ear>::clone(&ear))
            .expect("not started");
        messenger.start().expect("starts");
        let connection = connect(&messenger, node);
        Self {
            messenger,
            connection,
            ear,
            wire,
            steps,
            kind: node.kind,
            fsid: node.cluster.fsid().parse().expect("an fsid"),
            asked: 0,
        }
    }

    /// Goes on with a new session.
    pub(crate) fn connect(&mut self, node: &Node) {
        self.connection = connect(&self.messenger, node);
    }

    fn send(&self, message: Message) {
        self.connection.send(message).expect("there is room");
    }

    /// Sends a ping and commands.
    pub(crate) fn ask(&mut self, commands: u64) {
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

    pub(crate) fn all_is_answered(&self) {
        self.ear
            .wait("all answers", |heard| heard.answers == self.asked);
        eventually("every message is acknowledged", || {
            (self.connection.queued(), self.connection.unacked()) == (0, 0)
        });
    }

    /// What was said on each link; `None` if that is a secret.
    pub(crate) fn talks(&self) -> Option<Vec<Talk>> {
        let read = match self.kind {
            Kind::V1 => Talk::plain,
            Kind::V2 => frames::read,
            Kind::V2Secure => return None,
        };
        let recorded = self.wire.recorded();
        let talks = recorded.iter().map(|(dialed, bytes)| read(*dialed, bytes));
        Some(talks.collect())
    }

    pub(crate) fn end(self) {
        self.messenger.shutdown();
        self.messenger.wait().expect("ends in time");
    }
}

fn connect(messenger: &Messenger, node: &Node) -> Connection {
    let to = node.cluster_addr(0).into();
    messenger
        .connect(EntityType::OSD, &to)
        .expect("a connection")
}
