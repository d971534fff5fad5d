//! `msgr serve --mon`: a monitor's least answers, enough for `ceph ping`, `ceph -s` and librados.
//!
//! What it knows of clients is their keyring; its monmap is itself, and it has no other map.

use std::sync::Arc;

use async_messenger::auth::cephx::ServiceSecrets;
use async_messenger::auth::{KeyType, Method, Mode, Offers, Site};
use async_messenger::message::{Message, Payload, priority};
use async_messenger::messages::{
    Fsid, MAuth, MConfig, MMonCommand, MMonCommandAck, MMonGetMap, MMonGetVersion,
    MMonGetVersionReply, MMonMap, MMonSubscribe, MPing, MonInfo, MonMap,
};
use async_messenger::mon::LogIns;
use async_messenger::wire::{AddrVec, DecodeError, EntityName, EntityType};
use async_messenger::{
    Authority, Connection, ConnectionEvent, Dispatcher, Handled, Messenger, Policy,
};

use crate::args::{Global, ServeArgs};
use crate::failure::{Exit, Failure};
use crate::json::{quoted, string_member};
use crate::who;

/// Errno of Linux: the argument is invalid.
const EINVAL: i32 = -22;
/// The release that the stand-in says it is of; clients do not care.
const PACIFIC: u8 = 16;
/// What a cluster of that release says that all its monitors can do. By that clients expect their
/// configuration from the monitors.
const PERSISTENT: u64 = 0xff;

/// Serves until the process is ended.
pub(crate) fn run(global: &Global, args: &ServeArgs) -> Result<(), Failure> {
    let messenger = Messenger::builder(EntityName::mon(0))
        .config(global.config()?)
        // Monitors are known by ip and port alone.
        .nonce(0)
        .require_authorizer(false)
        .authority(authority(args)?)
        .default_policy(Policy::stateless_server(0))
        .build()?;
    let addrs = messenger.bind(&args.addr.0)?;
    let monitor = Monitor::new(&args.name, addrs.clone())?;
    messenger.add_dispatcher_tail(Arc::new(monitor))?;
    messenger.start()?;
    crate::print(match &addrs.0[..] {
        [only] => format!("listening on {only}"),
        _ => format!("listening on {addrs}"),
    })?;
    Ok(messenger.wait()?)
}

/// Whom to let in: those in the keyring, or everybody.
fn authority(args: &ServeArgs) -> Result<Authority, Failure> {
    let usage = |what: &str, cure: &str| Err(Failure::new(Exit::Usage, what, cure));
    let by_keys = args.keyring.is_some();
    let method = args
        .auth
        .unwrap_or(if by_keys { Method::CEPHX } else { Method::NONE });
    match (method, &args.keyring) {
        (Method::NONE, _) if args.mode == Some(Mode::SECURE) => usage(
            "--mode secure: there are no keys to encrypt with",
            "give --auth cephx and --keyring FILE, too",
        ),
        (Method::NONE, _) => Ok(Authority::none(EntityType::MON)),
        (_, None) => usage(
            "--auth cephx: it is not known whom to let in",
            "give a keyring by --keyring FILE",
        ),
        (_, Some(path)) => {
            let mut site = Site::new(EntityType::MON, who::read_keyring(path)?);
            let both = [Mode::SECURE, Mode::CRC];
            let modes = args.mode.as_ref().map_or(&both[..], std::slice::from_ref);
            site.offers = Offers::uniform(&[method], modes);
            if let Some(ttl) = args.ticket_ttl {
                site.secrets = ServiceSecrets::new(KeyType::Aes, ttl, ttl);
            }
            Ok(Authority::new(site))
        }
    }
}

/// A monitor alone in its cluster.
struct Monitor {
    name: String,
    map: MonMap,
    log_ins: LogIns,
}

impl Dispatcher for Monitor {
    fn dispatch(&self, connection: &Connection, message: Message) -> Handled {
        let reply = Reply {
            connection,
            log_ins: &self.log_ins,
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
                self.log_ins.forget(connection);
                Handled::Yes
            }
        }
    }

    fn event(&self, connection: &Connection, event: &ConnectionEvent) {
        if let ConnectionEvent::Reset { .. } = event {
            self.log_ins.forget(connection);
        }
    }
}

/// Sends answers to one message.
struct Reply<'a> {
    connection: &'a Connection,
    log_ins: &'a LogIns,
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
            self.log_ins.forget(self.connection);
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
            persistent_features: PERSISTENT,
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
            log_ins: LogIns::new(),
        })
    }

    /// Answers a message; false if it is of a type that is not answered here.
    fn answer(&self, message: &Message, reply: &Reply<'_>) -> Result<bool, DecodeError> {
        // Who has not logged in may ask how it is, and no more.
        let is_for_all = matches!(message.kind(), MPing::KIND | MAuth::KIND);
        if !is_for_all && !self.log_ins.is_open(reply.connection) {
            return Ok(true);
        }
        match message.kind() {
            MPing::KIND => reply.send(&MPing {
                text: Some(self.ping()),
            }),
            MAuth::KIND => self.authenticate(&message.decode()?, reply),
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

    /// A step of a log-in, or a renewal.
    fn authenticate(&self, auth: &MAuth, reply: &Reply<'_>) {
        let (answer, who) = self.log_ins.answer(reply.connection, auth);
        reply.send(&answer);
        if who.is_some() {
            self.send_map(reply);
        }
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
