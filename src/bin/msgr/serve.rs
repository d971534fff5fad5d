//! `msgr serve --mon`: a monitor's least answers, enough for `ceph ping` and `ceph -s`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_messenger::message::{Message, Payload, priority};
use async_messenger::messages::{
    AUTH_NONE, Fsid, MAuth, MAuthReply, MConfig, MMonCommand, MMonCommandAck, MMonGetMap,
    MMonGetVersion, MMonGetVersionReply, MMonMap, MMonSubscribe, MPing, MonInfo, MonMap,
};
use async_messenger::wire::{AddrVec, DecodeError, EntityName};
use async_messenger::{Connection, Dispatcher, Handled, Messenger, Policy};

use crate::args::{Global, ServeArgs};
use crate::failure::{Exit, Failure};
use crate::json::{quoted, string_member};

/// Errno of Linux: the argument is invalid.
const EINVAL: i32 = -22;
/// Errno of Linux: not supported.
const EOPNOTSUPP: i32 = -95;
/// The release that the stand-in says it is of; clients do not care.
const PACIFIC: u8 = 16;

/// Serves until the process is ended.
pub(crate) fn run(global: &Global, args: &ServeArgs) -> Result<(), Failure> {
    if args.addr.is_blank_ip() {
        let what = format!(
            "{}: clients insist on the ip that the monmap names",
            args.addr
        );
        return Err(Failure::new(Exit::Usage, what, "give an ip of this host"));
    }
    let messenger = Messenger::builder(EntityName::mon(0))
        .config(global.config()?)
        // Monitors are known by ip and port alone.
        .nonce(0)
        .require_authorizer(false)
        .default_policy(Policy::stateless_server(0))
        .build()?;
    let addrs = messenger.bind(&args.addr.into())?;
    let monitor = Monitor::new(&args.name, addrs.clone())?;
    messenger.add_dispatcher_tail(Arc::new(monitor))?;
    messenger.start()?;
    crate::print(format!("listening on {}", addrs.front()))?;
    Ok(messenger.wait()?)
}

/// A monitor alone in its cluster.
struct Monitor {
    name: String,
    map: MonMap,
    /// The number that the next client gets.
    next_client: AtomicU64,
}

impl Dispatcher for Monitor {
    fn dispatch(&self, connection: &Connection, message: Message) -> Handled {
        let reply = Reply {
            connection,
            tid: message.tid(),
        };
        match self.answer(&message, &reply) {
            Ok(true) => Handled::Yes,
            Ok(false) => Handled::No(message),
            Err(error) => {
                eprintln!(
                    "msgr: {}: {error}; the connection is closed",
                    connection.peer_addr()
                );
                connection.mark_down();
                Handled::Yes
            }
        }
    }
}

/// Sends answers to one message.
struct Reply<'a> {
    connection: &'a Connection,
    tid: u64,
}

impl Reply<'_> {
    fn send(&self, payload: &impl Payload) {
        let message = Message::from_payload(payload, self.connection.features())
            .with_tid(self.tid)
            .with_priority(priority::HIGH);
        if self.connection.send(message).is_err() {
            // It is gone, or asks and asks and reads no answers.
            self.connection.mark_down();
        }
    }
}

impl Monitor {
    fn new(name: &str, addrs: AddrVec) -> Result<Self, Failure> {
        let mut fsid = [0; Fsid::LEN];
        getrandom::fill(&mut fsid).map_err(|error| {
            let what = format!("cannot make up a cluster id: {error}");
            Failure::new(
                Exit::Refused,
                what,
                "give the process access to random numbers",
            )
        })?;
        // What marks a random UUID.
        fsid[6] = fsid[6] & 0x0f | 0x40;
        fsid[8] = fsid[8] & 0x3f | 0x80;
        let map = MonMap {
            fsid: Fsid(fsid),
            epoch: 1,
            mons: vec![MonInfo {
                name: name.into(),
                addrs,
                ..MonInfo::default()
            }],
            min_mon_release: PACIFIC,
            strategy: 1,
            ..MonMap::default()
        };
        Ok(Self {
            name: name.into(),
            map,
            next_client: AtomicU64::new(4100),
        })
    }

    /// Answers a message; false if it is of a type that is not answered here.
    fn answer(&self, message: &Message, reply: &Reply<'_>) -> Result<bool, DecodeError> {
        match message.kind() {
            MPing::KIND => reply.send(&MPing {
                text: Some(self.ping()),
            }),
            MAuth::KIND => self.authenticate(&message.decode()?, reply)?,
            MMonGetMap::KIND => self.send_map(reply),
            MMonSubscribe::KIND => {
                let subscribe: MMonSubscribe = message.decode()?;
                for what in subscribe.what.keys() {
                    match what.as_str() {
                        "config" => reply.send(&MConfig::default()),
                        "monmap" => self.send_map(reply),
                        // There is no other map; clients wait for none.
                        _ => {}
                    }
                }
            }
            MMonGetVersion::KIND => {
                let question: MMonGetVersion = message.decode()?;
                reply.send(&MMonGetVersionReply {
                    handle: question.handle,
                    version: 1,
                    oldest_version: 1,
                });
            }
            MMonCommand::KIND => self.command(message.decode()?, reply),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn send_map(&self, reply: &Reply<'_>) {
        reply.send(&MMonMap::new(&self.map, reply.connection.features()));
    }

    /// Believes everybody who offers the method none.
    fn authenticate(&self, auth: &MAuth, reply: &Reply<'_>) -> Result<(), DecodeError> {
        let offer = auth.offer()?;
        if !offer.is_some_and(|offer| offer.methods.contains(&AUTH_NONE)) {
            reply.send(&MAuthReply {
                result: EOPNOTSUPP,
                text: "only the method none is known here".into(),
                ..MAuthReply::default()
            });
            return Ok(());
        }
        reply.send(&MAuthReply {
            protocol: AUTH_NONE,
            global_id: self.next_client.fetch_add(1, Ordering::Relaxed),
            ..MAuthReply::default()
        });
        self.send_map(reply);
        Ok(())
    }

    fn command(&self, asked: MMonCommand, reply: &Reply<'_>) {
        let text = asked.command.concat();
        let is_json = string_member(&text, "format").is_some_and(|f| f.starts_with("json"));
        let (result, status, output) = match string_member(&text, "prefix").as_deref() {
            Some("get_command_descriptions") => (0, "", DESCRIPTIONS.to_owned()),
            Some("status") if is_json => (0, "", self.status_as_json()),
            Some("status") => (0, "", self.status_as_text()),
            _ => (EINVAL, "command not known", String::new()),
        };
        reply.send(&MMonCommandAck {
            result,
            status: status.into(),
            command: asked.command,
            output: output.into(),
            ..MMonCommandAck::default()
        });
    }

    fn ping(&self) -> String {
        let (name, fsid) = (quoted(&self.name), self.map.fsid);
        format!(
            r#"{{
  "health": {{"status": "HEALTH_OK"}},
  "mon_status": {{
    "name": {name},
    "rank": 0,
    "state": "leader",
    "quorum": [0],
    "monmap": {{"epoch": 1, "fsid": "{fsid}"}}
  }}
}}
"#
        )
    }

    fn status_as_json(&self) -> String {
        let (name, fsid) = (quoted(&self.name), self.map.fsid);
        format!(
            r#"{{
  "fsid": "{fsid}",
  "health": {{"status": "HEALTH_OK", "checks": {{}}, "mutes": []}},
  "election_epoch": 1,
  "quorum": [0],
  "quorum_names": [{name}],
  "monmap": {{"epoch": 1, "num_mons": 1}}
}}
"#
        )
    }

    fn status_as_text(&self) -> String {
        let Self { name, map, .. } = self;
        format!(
            "  cluster:\n    id:     {}\n    health: HEALTH_OK\n\n  services:\n    mon: 1 daemons, \
             quorum {name} (msgr serve)\n\n",
            map.fsid
        )
    }
}

/// The commands there are, as the real `ceph` wants to know before it sends any.
const DESCRIPTIONS: &str = r#"{
  "cmd000": {"sig": ["status"], "help": "show cluster status",
             "module": "mon", "perm": "r", "flags": 0},
  "cmd001": {"sig": ["get_command_descriptions"], "help": "list commands",
             "module": "mon", "perm": "r", "flags": 0}
}
"#;
