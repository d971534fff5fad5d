//! What a monitor client is set up with: plain data.

use std::time::Duration;

use crate::error::Error;
use crate::messages::Fsid;
use crate::wire::AddrVec;

/// The most monitors that are known at a time; what a monmap names beyond that is left out.
pub const MONITORS_MAX: usize = 64;

/// What a [`Client`](super::Client) is set up with.
///
/// ```
/// use async_messenger::mon::{self, Settings};
///
/// let monitors = mon::parse_hosts("v1:10.0.0.1:6789,[v2:10.0.0.2:3300,v1:10.0.0.2:6789]")?;
/// let settings = Settings { requests_max: 16, ..Settings::new(monitors) };
/// assert_eq!(settings.monitors.len(), 2);
/// # Ok::<(), async_messenger::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where monitors are: those that are tried first. A monmap adds to them.
    pub monitors: Vec<AddrVec>,
    /// The cluster that is meant, if that is known: monitors of others are refused.
    pub fsid: Option<Fsid>,
    /// How long one monitor may take to let us in. Doubles with each round of failures, up to
    /// `attempt_timeout_max`. Default 3 s.
    pub attempt_timeout: Duration,
    /// Default 30 s.
    pub attempt_timeout_max: Duration,
    /// How long to wait when all monitors have failed. Doubles with each round, up to
    /// `backoff_max`. Default 0.2 s.
    pub backoff: Duration,
    /// Default 15 s.
    pub backoff_max: Duration,
    /// After how many rounds through all monitors what waits for a session fails. Default none:
    /// only its deadline ends it, or a refusal that another attempt would not change.
    pub rounds: Option<u32>,
    /// How often a session is asked for a sign of life, and tickets are looked after. Default 10 s.
    pub keepalive_interval: Duration,
    /// A session whose last sign of life is older is given up. Default 30 s.
    pub keepalive_timeout: Duration,
    /// The most questions that may be open at a time. Default 1024.
    pub requests_max: usize,
    /// The most subscriptions. Default 64.
    pub subscriptions_max: usize,
    /// The own host, by which monitors choose the configuration that they send. Default empty.
    pub hostname: String,
}

impl Settings {
    /// Ceph's defaults, for these monitors.
    #[must_use]
    pub fn new(monitors: Vec<AddrVec>) -> Self {
        Self {
            monitors,
            fsid: None,
            attempt_timeout: Duration::from_secs(3),
            attempt_timeout_max: Duration::from_secs(30),
            backoff: Duration::from_millis(200),
            backoff_max: Duration::from_secs(15),
            rounds: None,
            keepalive_interval: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(30),
            requests_max: 1024,
            subscriptions_max: 64,
            hostname: String::new(),
        }
    }

    /// Whether they make sense.
    pub(super) fn check(&self) -> Result<(), Error> {
        let zero = [
            ("attempt_timeout", self.attempt_timeout),
            ("backoff", self.backoff),
            ("keepalive_interval", self.keepalive_interval),
            ("keepalive_timeout", self.keepalive_timeout),
        ];
        if let Some((name, _)) = zero.iter().find(|(_, time)| time.is_zero()) {
            return Err(Error::misuse(format!(
                "monitor client: {name} must not be 0"
            )));
        }
        if self.rounds == Some(0) {
            return Err(Error::misuse(
                "monitor client: rounds must not be 0; None is without limit",
            ));
        }
        match self.monitors.len() {
            0 => Err(Error::misuse(
                "monitor client: there is no monitor to connect to; give the addresses of some",
            )),
            1..=MONITORS_MAX => Ok(()),
            n => {
                let text = format!("monitor client: {n} monitors, not {MONITORS_MAX} at most");
                Err(Error::misuse(text))
            }
        }
    }
}
