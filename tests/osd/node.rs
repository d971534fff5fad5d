//! A cluster with a real OSD in it, and what another OSD needs to be let in by it: addresses,
//! protocol, keys.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use async_messenger::auth::cephx::{Expiring, ServiceSecrets};
use async_messenger::auth::{AuthCx, Keyring, Method, Mode, Offers, Session, SessionEvent, Site};
use async_messenger::event::{Env as _, SystemEnv};
use async_messenger::message::{Message, Payload as _};
use async_messenger::messages::{MAuth, MAuthReply};
use async_messenger::wire::{AddrVec, AuthName, EntityAddr, EntityName, EntityType};
use async_messenger::{Authority, Builder, Credentials, Messenger};

use super::ceph::{Cluster, Options, Server, or_skip};
use super::peers::{DEADLINE, Inbox, Recorder, Seen, config};

/// What is spoken with the OSD.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// v1, and nobody proves anything.
    V1,
    /// v2 with checksums, and nobody proves anything.
    V2,
    /// v2 encrypted; both sides prove by tickets who they are.
    V2Secure,
}

impl Kind {
    pub(crate) fn any_port(self) -> AddrVec {
        let version = if self == Self::V1 { "v1" } else { "v2" };
        let text = format!("{version}:127.0.0.1:0");
        text.parse().expect("an address")
    }

    fn options(self) -> Options {
        let (auth, msgr, mode) = match self {
            Self::V1 => ("none", "v1", "crc"),
            Self::V2 => ("none", "v2", "crc"),
            Self::V2Secure => ("cephx", "v2", "secure"),
        };
        Options {
            auth,
            msgr,
            mode,
            ..Options::default()
        }
    }
}

/// The long-term key that all OSDs share, by which they believe tickets that no monitor has made
/// (cephx §9). A real cluster has none.
const SHARED: &str = "[osd.]\n\tkey = AQAAEF5fAAAAABAAAAECAwQFBgcICQoLDA0ODw==\n";

/// One cluster at a time: a port that an OSD leaves could else be taken by that of another test.
static ALONE: Mutex<()> = Mutex::new(());

pub(crate) struct Node {
    pub(crate) kind: Kind,
    /// osd.0, if it was started by this and not with the cluster.
    osd: Option<Server>,
    pub(crate) cluster: Cluster,
    _alone: MutexGuard<'static, ()>,
}

impl Node {
    /// A cluster of so many OSDs; `None` where there is no Ceph.
    pub(crate) fn start(kind: Kind, osds: u32, set: &'static [&'static str]) -> Option<Self> {
        let options = Options {
            osds,
            set,
            ..kind.options()
        };
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let cluster = or_skip(Cluster::start(&options))?;
        Some(Self {
            kind,
            osd: None,
            cluster,
            _alone: alone,
        })
    }

    /// Has osd.0 believe in the shared key, which it reads at its start only. With v1 and with
    /// method none there is nothing to believe.
    pub(crate) fn share_key(&mut self) {
        if self.kind != Kind::V2Secure {
            return;
        }
        let conf = Path::new(self.cluster.get("CEPH_CONF"));
        let keyring = conf.with_file_name("osd.0").join("keyring");
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .open(keyring)
            .expect("osd.0 has a keyring");
        file.write_all(SHARED.as_bytes()).expect("there is room");
        self.kill();
        self.restart();
    }

    /// Kills osd.0.
    pub(crate) fn kill(&mut self) {
        if let Some(mut osd) = self.osd.take() {
            osd.end();
        } else {
            self.cluster.kill_osd(0);
        }
    }

    /// Starts osd.0 again, at another address; what memstore had is gone.
    pub(crate) fn restart(&mut self) {
        let before = self.cluster_addr(0);
        let mut osd = Command::new("ceph-osd");
        osd.args(["-f", "-i", "0", "-c", self.cluster.get("CEPH_CONF")]);
        let mut server = Server::spawn(osd);
        let deadline = Instant::now() + DEADLINE;
        while self.cluster_addr(0) == before {
            assert!(Instant::now() < deadline, "osd.0 does not come back");
            assert!(server.is_up(), "osd.0 ends at once: {}", server.end());
        }
        self.osd = Some(server);
    }

    /// Where the map says that an OSD listens to others.
    pub(crate) fn cluster_addr(&self, osd: usize) -> EntityAddr {
        let dump = self.cluster.ceph_json(&["osd", "dump"]);
        let addr = &dump["osds"].list()[osd]["cluster_addrs"]["addrvec"].list()[0];
        let (kind, at) = (addr["type"].text(), addr["addr"].text());
        let text = format!("{kind}:{at}/{}", addr["nonce"].number());
        text.parse().expect("an address")
    }

    /// osd.0 answers others, and is the process that it was.
    pub(crate) fn assert_alive(&mut self) {
        let said = self.cluster.ceph(&["tell", "osd.0", "version"]);
        assert!(said.contains("version"), "{said}");
        if let Some(osd) = &mut self.osd {
            return assert!(osd.is_up());
        }
        let pid = self.cluster.get("OSD_0_PID");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        assert!(status.contains("ceph-osd"), "{status}");
    }

    /// What makes a messenger an OSD that osd.0 lets in, and that lets osd.0 in.
    ///
    /// To osd.0 it shows a ticket of its own making. The one that osd.0 shows was made by the
    /// monitor, and is sealed with a secret that changes from hour to hour and that only OSDs get.
    pub(crate) fn identify(&self, builder: Builder, number: i64) -> Builder {
        if self.kind != Kind::V2Secure {
            return builder;
        }
        let name = AuthName::new(EntityType::OSD, number.to_string());
        let shared = Keyring::parse(SHARED).expect("a keyring");
        let mut site = Site::new(EntityType::OSD, shared.clone());
        site.offers = secure();
        site.secrets = ServiceSecrets::fixed();
        site.secrets.set(EntityType::OSD, self.secrets(&name));
        let credentials = Credentials::none(name)
            .offers(secure())
            .service_keys(shared);
        builder
            .credentials(credentials)
            .authority(Authority::new(site))
    }

    /// The secrets that the monitors share with the OSDs, as a daemon of this name gets them
    /// (cephx §8.3).
    fn secrets(&self, name: &AuthName) -> Vec<Expiring> {
        let who = name.to_string();
        let add = ["auth", "get-or-create", &who];
        let caps = ["mon", "allow profile osd", "osd", "allow *"];
        let keyring = self.cluster.ceph(&[&add[..], &caps].concat());
        let keyring = Keyring::parse(&keyring).expect("a keyring");
        let credentials = Credentials::from_keyring(&keyring, name.clone());
        let credentials = credentials.expect("its key").offers(secure());
        let messenger = Messenger::builder(EntityName::new(EntityType::OSD, -1))
            .config(config())
            .credentials(credentials.clone())
            .build()
            .expect("a messenger");
        let (recorder, inbox) = Recorder::new(false, true);
        messenger
            .add_dispatcher_tail(recorder)
            .expect("not started");
        messenger.start().expect("starts");
        let monitor: AddrVec = self.cluster.mon_v2().parse().expect("an address");
        let connection = messenger.connect(EntityType::MON, &monitor);
        let connection = connection.expect("a connection");
        inbox.find("log-in", |seen| {
            matches!(seen, Seen::Fast(..)).then_some(())
        });
        let who = connection.authenticated().expect("it is open");
        let mut session = credentials.session_after(&who).expect("by cephx");
        let asked = session.fetch_secrets().expect("nothing else is asked");
        let asked = MAuth {
            protocol: asked.protocol,
            payload: asked.payload.into(),
            ..MAuth::default()
        };
        let asked = Message::from_payload(&asked, connection.features());
        connection.send(asked).expect("there is room");
        let secrets = told(&inbox, &mut session);
        messenger.shutdown();
        messenger.wait().expect("ends in time");
        secrets
    }
}

fn secure() -> Offers {
    Offers::uniform(&[Method::CEPHX], &[Mode::SECURE])
}

/// Waits for the monitor's reply.
fn told(inbox: &Inbox, session: &mut Session) -> Vec<Expiring> {
    let reply = inbox.find("reply", |seen| match seen {
        Seen::Message(_, message) if message.kind() == MAuthReply::KIND => {
            Some(MAuthReply::decode(&message).expect("a reply"))
        }
        _ => None,
    });
    let since_epoch = SystemEnv.wall().duration_since(std::time::UNIX_EPOCH);
    let mut cx = AuthCx {
        now: since_epoch.expect("after 1970").into(),
        random: &mut |out| SystemEnv.fill(out),
    };
    let result = (reply.protocol, reply.result);
    match session.handle_reply(&mut cx, result, reply.global_id, &reply.payload) {
        Ok(SessionEvent::Secrets(secrets)) => secrets,
        other => panic!("not the secrets: {other:?}"),
    }
}
