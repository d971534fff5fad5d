//! The way to ask monitors something: a messenger, and a monitor client on it, with who we are and
//! where they are taken from the command line and a `ceph.conf`.

use std::sync::Arc;
use std::time::Duration;

use async_messenger::mon::{Client, Settings};
use async_messenger::wire::EntityAddr;
use async_messenger::{Error, Messenger};

use crate::args::{Global, PeerArgs};
use crate::failure::{Exit, Failure};
use crate::who;

/// How much longer than the time-out to wait for the messenger itself to say in which phase of
/// the handshake the time was up.
const GRACE: Duration = Duration::from_secs(1);
/// How long one of several monitors may take, so that the others have their turn.
const ONE_OF_MANY: Duration = Duration::from_secs(3);

/// A client of some monitors.
pub(crate) struct Asker {
    pub(crate) client: Client,
    /// How long a question may take.
    pub(crate) within: Duration,
    settings: Settings,
}

impl Asker {
    /// Makes ready to ask; nothing is sent yet.
    pub(crate) fn new(global: &Global, args: &PeerArgs) -> Result<Self, Failure> {
        let conf = global.read_conf()?;
        let who = who::Who::new(args, conf.as_deref())?;
        let monitors = match &args.addr {
            Some(given) => given.0.clone(),
            None => who.monitors()?,
        };
        let patience = match monitors.len() {
            1 => global.timeout,
            _ => global.timeout.min(ONE_OF_MANY),
        };
        let mut config = global.config()?;
        config.workers = 1;
        config.ready_timeout = patience;
        let settings = Settings {
            fsid: who.fsid()?,
            attempt_timeout: patience + GRACE,
            // Whoever is at the command line decides whether to try again.
            rounds: Some(1),
            ..Settings::new(monitors)
        };
        let messenger = Messenger::builder(who.entity())
            .credentials(who.credentials()?)
            .config(config)
            .build()?;
        let messenger = Arc::new(messenger);
        let client = Client::new(&messenger, settings.clone())?;
        messenger.start()?;
        Ok(Self {
            client,
            within: global.timeout + GRACE,
            settings,
        })
    }

    /// Logs in, and tells at which monitor.
    pub(crate) fn log_in(&self) -> Result<EntityAddr, Failure> {
        Ok(self.client.session(self.within).wait()?)
    }

    /// The first answer to a ping, of whichever monitor.
    pub(crate) fn ping(&self) -> Result<String, Failure> {
        let mut last = None;
        for monitor in &self.settings.monitors {
            match self.client.ping(monitor, self.within).wait() {
                Ok(text) => return Ok(text),
                Err(error) => last = Some(error),
            }
        }
        Err(last.map_or_else(no_monitor, |error: Error| error.into()))
    }
}

/// Nobody has said where a monitor is.
pub(crate) fn no_monitor() -> Failure {
    let cure =
        "give an address such as v1:127.0.0.1:6789, or a ceph.conf with `mon host` by --conf";
    Failure::new(Exit::Usage, "no monitor is named", cure)
}
