//! A client of the monitors: finds one that lets it in, stays in touch, and asks it things.
//!
//! [`Client`] sits on a [`Messenger`] as one of its dispatchers. It has no thread and no clock of
//! its own: it acts when messages and events come, and by alarms on the messenger's workers.
//!
//! - It tries the monitors in random order, each for a bounded time, and backs off when all have
//!   failed. When a session is lost it looks for another one; what was asked is asked again there,
//!   and answered once.
//! - It shows who it is by the messenger's [`Credentials`](crate::Credentials), and renews the
//!   tickets in them before they expire.
//! - It asks for signs of life every 10 s, and gives a session up that shows none for 30 s.
//! - It keeps subscriptions up, with the versions that have come, on whichever monitor it is.
//!
//! Each question has a deadline, and each table a limit; see [`Settings`].
//!
//! ```no_run
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use async_messenger::mon::{self, Client, Command, Settings};
//! use async_messenger::wire::{AuthName, EntityName, EntityType};
//! use async_messenger::{Credentials, Messenger};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let who = Credentials::none(AuthName::new(EntityType::CLIENT, "admin"));
//! let messenger = Messenger::builder(EntityName::client(-1)).credentials(who).build()?;
//! let messenger = Arc::new(messenger);
//! let settings = Settings::new(mon::parse_hosts("v1:127.0.0.1:6789")?);
//! let client = Client::new(&messenger, settings)?;
//! messenger.start()?;
//!
//! let within = Duration::from_secs(10);
//! let status = client.command(Command::new(r#"{"prefix":"status"}"#), within).wait()?;
//! println!("{} {}", status.result, String::from_utf8_lossy(&status.data));
//! # Ok(())
//! # }
//! ```

mod core;
mod hosts;
mod hunt;
mod login;
mod pending;
mod pings;
mod requests;
mod server;
mod settings;
mod state;
mod subscriptions;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use self::core::Core;
use self::pending::{Promise, pending};
use self::requests::{Ask, failed, too_many};
use self::state::{Phase, State};
use crate::connection::Connection;
use crate::error::Error;
use crate::message::Message;
use crate::messages::{MonMap, Subscription};
use crate::messenger::{Dispatcher, Messenger};
use crate::wire::{AddrVec, EntityAddr};

pub use hosts::parse_hosts;
pub use pending::Pending;
pub use requests::{Answer, Versions};
pub use server::LogIns;
pub use settings::{MONITORS_MAX, Settings};

/// A command for the monitors.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Command {
    /// Normally one JSON object, such as `{"prefix":"status"}`.
    pub words: Vec<String>,
    /// What the command works on.
    pub input: Bytes,
}

impl Command {
    /// A command without input.
    #[must_use]
    pub fn new(json: impl Into<String>) -> Self {
        Self {
            words: vec![json.into()],
            input: Bytes::new(),
        }
    }

    /// With something to work on.
    #[must_use]
    pub fn with_input(mut self, input: impl Into<Bytes>) -> Self {
        self.input = input.into();
        self
    }
}

/// A client of the monitors; see [the module](self). Dropping it ends its session.
///
/// Questions may be asked by any thread once the messenger is started. The first one begins the
/// search for a monitor; [`session`](Self::session) does that and asks nothing. Handlers may ask,
/// but not wait.
pub struct Client {
    core: Arc<Core>,
    messenger: Arc<Messenger>,
}

impl Client {
    /// Adds a client to a messenger that has not been started yet, behind the dispatchers it has.
    /// Messages of monitors that the client has no use for go to the next dispatcher.
    ///
    /// # Errors
    /// If the messenger has been started, or the settings make no sense.
    pub fn new(messenger: &Arc<Messenger>, settings: Settings) -> Result<Self, Error> {
        settings.check()?;
        let credentials = messenger.credentials().clone();
        let core = Core::new(messenger, State::new(settings, credentials));
        messenger.add_dispatcher_tail(Arc::<Core>::clone(&core) as Arc<dyn Dispatcher>)?;
        Ok(Self {
            core,
            messenger: Arc::clone(messenger),
        })
    }

    /// The messenger it sits on.
    #[must_use]
    pub fn messenger(&self) -> &Arc<Messenger> {
        &self.messenger
    }

    /// A session: which monitor has let us in. Comes at once if there is one.
    pub fn session(&self, within: Duration) -> Pending<EntityAddr> {
        self.ask(within, Ask::Session)
    }

    /// Has a command run. One that was under way when a session was lost is sent again on the
    /// next one, so it may run twice; it is answered once.
    ///
    /// A result other than 0 is not an error of this call: see [`Answer::result`].
    pub fn command(&self, command: Command, within: Duration) -> Pending<Answer> {
        self.ask(within, |promise| Ask::Command {
            command: command.words,
            input: command.input,
            promise,
        })
    }

    /// Which versions of a map there are, such as `osdmap`.
    pub fn versions(&self, what: impl Into<String>, within: Duration) -> Pending<Versions> {
        let what = what.into();
        self.ask(within, |promise| Ask::Versions { what, promise })
    }

    /// The monmap: the first one that comes after the question was sent. Monitors do not say which
    /// question they answer, so it may be one that they have sent for another reason.
    pub fn mon_map(&self, within: Duration) -> Pending<MonMap> {
        self.ask(within, Ask::Map)
    }

    /// Asks one monitor how it is, on a connection of its own: no session, and in v1 no key, is
    /// needed. Gives the monitor's own words, which are JSON.
    pub fn ping(&self, monitor: &AddrVec, within: Duration) -> Pending<String> {
        let (promise, answer) = pending(within);
        let mut promise = Some(promise);
        self.core.step(|state, cx| {
            let Some(promise) = promise.take() else {
                return;
            };
            let max = state.settings.requests_max;
            if state.open_questions() >= max {
                return cx.due.push(failed(promise, too_many(max)));
            }
            state.ping(cx, monitor, within, promise);
        });
        answer
    }

    /// Subscribes to a map or to the configuration: `osdmap`, `monmap`, `mgrmap`, `mdsmap`,
    /// `fsmap`, `fsmap.user`, `servicemap` or `config`. Replaces a subscription to the same thing.
    ///
    /// `deliver` gets the messages as they came, on the dispatch thread. After a change of
    /// monitors the versions go on where they were; for other maps than `monmap` and `osdmap`
    /// [`have`](Self::have) says where that is.
    ///
    /// # Errors
    /// If there is no such thing, or there are too many subscriptions.
    pub fn subscribe(
        &self,
        what: &str,
        wanted: Subscription,
        deliver: impl Fn(Message) + Send + Sync + 'static,
    ) -> Result<(), Error> {
        let subscribed = self.core.step(|state, cx| {
            let max = state.settings.subscriptions_max;
            let deliver = Arc::new(deliver);
            state.subscriptions.insert(what, wanted, deliver, max)?;
            state.wake(cx);
            state.subscribe();
            Ok(())
        });
        subscribed.unwrap_or(Ok(()))
    }

    /// Ends a subscription.
    pub fn unsubscribe(&self, what: &str) {
        self.core.step(|state, _| state.subscriptions.remove(what));
    }

    /// Says that this version of something subscribed to is here, and that the next one is wanted.
    pub fn have(&self, what: &str, version: u64) {
        self.core
            .step(|state, _| state.subscriptions.have(what, version));
    }

    /// The connection of the session, if there is one, for messages of your own.
    #[must_use]
    pub fn connection(&self) -> Option<Connection> {
        match &self.core.lock().phase {
            Phase::Open(open) => Some(open.connection.clone()),
            _ => None,
        }
    }

    /// The newest monmap that has come.
    #[must_use]
    pub fn known_map(&self) -> Option<MonMap> {
        self.core.lock().map.clone()
    }

    /// How many sessions there have been.
    #[must_use]
    pub fn sessions(&self) -> u64 {
        self.core.lock().sessions
    }

    fn ask<T>(&self, within: Duration, ask: impl FnOnce(Promise<T>) -> Ask) -> Pending<T>
    where
        T: Send + 'static,
    {
        let (promise, answer) = pending(within);
        let mut promise = Some(promise);
        self.core.step(|state, cx| {
            let Some(promise) = promise.take() else {
                return;
            };
            let max = state.settings.requests_max;
            if state.open_questions() >= max {
                return cx.due.push(failed(promise, too_many(max)));
            }
            state.requests.push(ask(promise), cx.now + within);
            state.wake(cx);
        });
        answer
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.core.stop();
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.core.lock();
        f.debug_struct("Client")
            .field("connection", &state.connection())
            .field("sessions", &state.sessions)
            .field("open_questions", &state.open_questions())
            .finish_non_exhaustive()
    }
}
