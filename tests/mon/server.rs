//! Monitors for tests: our own messenger that answers as it is told, and keeps what it was asked.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_messenger::auth::{AuthCx, SessionServer};
use async_messenger::event::{Env as _, SystemEnv};
use async_messenger::message::{Message, Payload};
use async_messenger::messages::{
    Fsid, MAuth, MAuthReply, MConfig, MMonCommand, MMonCommandAck, MMonGetMap, MMonGetVersion,
    MMonGetVersionReply, MMonMap, MMonSubscribe, MPing, MonInfo, MonMap, Subscription,
};
use async_messenger::wire::{AddrVec, EntityName, MsgHead, msgtype};
use async_messenger::{Authority, Config, Connection, Dispatcher, Handled, Messenger, Policy};

use super::peers::{DEADLINE, config, localhost, msgr};

/// What a monitor does with a command, in the order of arrival; `Answer` behind the end of the
/// list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Act {
    Answer,
    /// Twice, the second time with other data.
    AnswerTwice,
    /// First with the tid of another one.
    AnswerOther,
    /// Not before it is released, on the connection on which it was asked.
    Hold,
    HangUp,
    /// Stops to read and to write until it is released.
    Freeze,
    /// Sends a monmap that makes no sense.
    Babble,
}

/// What a monitor has been asked.
#[derive(Debug)]
pub(crate) enum Asked {
    Auth(MAuth),
    Subscribe(BTreeMap<String, Subscription>),
    Command(u64, MMonCommand),
    Other,
}

pub(crate) struct Mon {
    pub(crate) messenger: Messenger,
    pub(crate) addrs: AddrVec,
    pub(crate) script: Arc<Script>,
    asked: Receiver<Asked>,
}

pub(crate) struct Script {
    state: Mutex<State>,
    asked: Mutex<Sender<Asked>>,
    frozen: Mutex<Receiver<()>>,
    thaw: Mutex<Sender<()>>,
    authority: Authority,
}

#[derive(Default)]
struct State {
    acts: VecDeque<Act>,
    held: Vec<(Connection, u64)>,
    logins: HashMap<u64, SessionServer>,
    map: MonMap,
    /// The epoch of the osdmap that subscribers get.
    osdmap: u32,
    /// Answers to MAuth, in place of real ones.
    auth: VecDeque<Option<i32>>,
}

pub(crate) const FSID: Fsid = Fsid([7; 16]);

impl Mon {
    pub(crate) fn start(authority: Authority, acts: &[Act]) -> Self {
        let messenger = Messenger::builder(EntityName::mon(0))
            .config(Config {
                workers: 1,
                ..config()
            })
            .nonce(0)
            .require_authorizer(false)
            .authority(authority.clone())
            .default_policy(Policy::stateless_server(0))
            .build()
            .expect("a messenger");
        let addrs = messenger.bind(&localhost()).expect("a free port");
        let (tell, asked) = channel();
        let (thaw, frozen) = channel();
        let state = State {
            acts: acts.iter().copied().collect(),
            osdmap: 5,
            map: MonMap {
                fsid: FSID,
                epoch: 1,
                mons: vec![MonInfo {
                    name: "a".into(),
                    addrs: addrs.clone(),
                    ..MonInfo::default()
                }],
                ..MonMap::default()
            },
            ..State::default()
        };
        let script = Arc::new(Script {
            state: Mutex::new(state),
            asked: Mutex::new(tell),
            frozen: Mutex::new(frozen),
            thaw: Mutex::new(thaw),
            authority,
        });
        let dispatcher = Arc::<Script>::clone(&script);
        messenger
            .add_dispatcher_tail(dispatcher)
            .expect("not started");
        messenger.start().expect("starts");
        Self {
            messenger,
            addrs,
            script,
            asked,
        }
    }

    /// Answers all that it was asked and has held back, in the order of asking.
    pub(crate) fn release(&self) -> usize {
        let held = std::mem::take(&mut self.script.lock().held);
        for (connection, tid) in &held {
            self.script.answer(connection, *tid, "late");
        }
        held.len()
    }

    /// Ends a [`Act::Freeze`], or the next one at once.
    pub(crate) fn thaw(&self) {
        let _ = self.script.thaw.lock().expect("no panic").send(());
    }

    pub(crate) fn edit_map(&self, f: impl FnOnce(&mut MonMap)) {
        f(&mut self.script.lock().map);
    }

    /// What it does with the next commands.
    pub(crate) fn script_acts(&self, acts: &[Act]) {
        self.script.lock().acts = acts.iter().copied().collect();
    }

    pub(crate) fn set_osdmap(&self, epoch: u32) {
        self.script.lock().osdmap = epoch;
    }

    /// Answers the next MAuths by these results; by none at all where there is none. In v1 only:
    /// in v2 the handshake does it.
    pub(crate) fn answer_auth(&self, results: &[Option<i32>]) {
        self.script.lock().auth = results.iter().copied().collect();
    }

    /// The next thing asked that `pick` wants.
    pub(crate) fn asked<T>(&self, mut pick: impl FnMut(Asked) -> Option<T>) -> T {
        loop {
            let asked = self.asked.recv_timeout(DEADLINE).expect("it is asked");
            if let Some(found) = pick(asked) {
                return found;
            }
        }
    }

    pub(crate) fn command(&self) -> (u64, MMonCommand) {
        self.asked(|asked| match asked {
            Asked::Command(tid, command) => Some((tid, command)),
            _ => None,
        })
    }

    pub(crate) fn subscription(&self) -> BTreeMap<String, Subscription> {
        self.asked(|asked| match asked {
            Asked::Subscribe(what) => Some(what),
            _ => None,
        })
    }

    pub(crate) fn auth(&self) -> MAuth {
        self.asked(|asked| match asked {
            Asked::Auth(auth) => Some(auth),
            _ => None,
        })
    }

    /// Whether nothing that `pick` wants has been asked up to now.
    pub(crate) fn was_not_asked(&self, pick: impl Fn(&Asked) -> bool) -> bool {
        !self.asked.try_iter().any(|asked| pick(&asked))
    }

    pub(crate) fn end(self) {
        self.thaw();
        self.messenger.shutdown();
        self.messenger.wait().expect("ends in time");
    }
}

impl Script {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, asked: Asked) {
        let _ = self.asked.lock().expect("no panic").send(asked);
    }

    fn answer(&self, connection: &Connection, tid: u64, data: &str) {
        let ack = MMonCommandAck {
            status: "done".into(),
            output: data.to_owned().into(),
            ..MMonCommandAck::default()
        };
        reply(connection, tid, &ack);
    }

    fn command(&self, connection: &Connection, tid: u64, command: MMonCommand) {
        let act = {
            let mut state = self.lock();
            let act = state.acts.pop_front().unwrap_or(Act::Answer);
            if act == Act::Hold {
                state.held.push((connection.clone(), tid));
            }
            act
        };
        self.tell(Asked::Command(tid, command.clone()));
        let words = command.command.concat();
        match act {
            Act::Answer if command.fsid != FSID => {
                let ack = MMonCommandAck {
                    result: -1,
                    status: "wrong fsid".into(),
                    ..MMonCommandAck::default()
                };
                reply(connection, tid, &ack);
            }
            Act::Answer => self.answer(connection, tid, &words),
            Act::AnswerTwice => {
                self.answer(connection, tid, &words);
                self.answer(connection, tid, "again");
            }
            Act::AnswerOther => {
                self.answer(connection, tid + 1000, "for somebody else");
                self.answer(connection, tid, &words);
            }
            Act::Hold => {}
            Act::HangUp => connection.mark_down(),
            Act::Freeze => {
                let frozen = self.frozen.lock().expect("no panic");
                let _ = frozen.recv_timeout(DEADLINE);
            }
            Act::Babble => reply(
                connection,
                tid,
                &MMonMap {
                    monmap: vec![1, 2, 3].into(),
                },
            ),
        }
    }

    fn authenticate(&self, connection: &Connection, auth: &MAuth) {
        self.tell(Asked::Auth(auth.clone()));
        let mut state = self.lock();
        if let Some(result) = state.auth.pop_front() {
            if let Some(result) = result {
                let payload = MAuthReply {
                    result,
                    protocol: auth.protocol,
                    text: "not today".into(),
                    ..MAuthReply::default()
                };
                reply(connection, 0, &payload);
            }
            return;
        }
        let since = SystemEnv.wall().duration_since(SystemTime::UNIX_EPOCH);
        let mut random = |out: &mut [u8]| out.fill_with(|| SystemEnv.random() as u8);
        let mut cx = AuthCx {
            now: since.expect("after 1970").into(),
            random: &mut random,
        };
        let new = || match connection.authenticated() {
            // The handshake has done it, and only renewals come.
            Some(who) if msgr().is_v2() => self.authority.session_after(&who),
            _ => self.authority.session(),
        };
        let login = state.logins.entry(connection.id()).or_insert_with(new);
        let answer = login.handle(&mut cx, auth.protocol, &auth.payload);
        let is_first = answer.who.is_some();
        let payload = MAuthReply {
            protocol: answer.protocol,
            result: answer.result,
            global_id: answer.global_id,
            payload: answer.payload.into(),
            text: String::new(),
        };
        reply(connection, 0, &payload);
        if is_first {
            let map = MMonMap::new(&state.map, connection.features());
            reply(connection, 0, &map);
        }
    }

    fn subscribe(&self, connection: &Connection, tid: u64, message: &Message) {
        let asked: MMonSubscribe = message.decode().expect("a subscription");
        let (map, epoch) = {
            let state = self.lock();
            (state.map.clone(), state.osdmap)
        };
        for (what, item) in &asked.what {
            match what.as_str() {
                "monmap" if item.start <= u64::from(map.epoch) => {
                    reply(connection, tid, &MMonMap::new(&map, connection.features()));
                }
                "config" => reply(connection, tid, &MConfig::default()),
                "osdmap" if item.start <= u64::from(epoch) => {
                    let mut front = FSID.0.to_vec();
                    front.extend(0_u32.to_le_bytes());
                    front.extend(1_u32.to_le_bytes());
                    front.extend(epoch.to_le_bytes());
                    front.extend([2, 0, 0, 0, 0xaa, 0xbb]);
                    let message = Message::new(msgtype::OSD_MAP).with_front(front);
                    connection.send(message).expect("room");
                }
                _ => {}
            }
        }
        self.tell(Asked::Subscribe(asked.what));
    }
}

fn reply(connection: &Connection, tid: u64, payload: &impl Payload) {
    let message = Message::from_payload(payload, connection.features()).with_tid(tid);
    // The client may be gone.
    let _ = connection.send(message);
}

/// By fast dispatch, so that a freeze holds up all of its connections.
impl Dispatcher for Script {
    fn can_fast_dispatch(&self, _: &MsgHead) -> bool {
        true
    }

    fn fast_dispatch(&self, connection: &Connection, message: Message) {
        let tid = message.tid();
        match message.kind() {
            MPing::KIND => reply(
                connection,
                tid,
                &MPing {
                    text: Some("well".into()),
                },
            ),
            MAuth::KIND => self.authenticate(connection, &message.decode().expect("an auth")),
            MMonSubscribe::KIND => self.subscribe(connection, tid, &message),
            MMonGetMap::KIND => {
                let map = self.lock().map.clone();
                reply(connection, tid, &MMonMap::new(&map, connection.features()));
            }
            MMonGetVersion::KIND => {
                let question: MMonGetVersion = message.decode().expect("a question");
                let versions = MMonGetVersionReply {
                    handle: question.handle,
                    version: 9,
                    oldest_version: 2,
                };
                reply(connection, tid, &versions);
            }
            MMonCommand::KIND => {
                let command = message.decode().expect("a command");
                self.command(connection, tid, command);
            }
            _ => self.tell(Asked::Other),
        }
    }

    fn dispatch(&self, _: &Connection, message: Message) -> Handled {
        Handled::No(message)
    }
}
