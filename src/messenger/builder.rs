//! How a messenger is made.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use super::shared::{Shared, SharedParts};
use super::{Messenger, Policy};
use crate::config::Config;
use crate::credentials::{Authority, Credentials};
use crate::error::Error;
use crate::inject::{Injector, Interceptor};
use crate::message::Registry;
use crate::wire::{AuthName, EntityName, EntityType};
use crate::worker::Workers;

/// Sets a [`Messenger`] up.
#[must_use = "a builder does nothing until build() is called"]
pub struct Builder {
    name: EntityName,
    auth_name: AuthName,
    credentials: Option<Credentials>,
    authority: Option<Authority>,
    nonce: Option<u32>,
    cluster_protocol: u32,
    require_authorizer: bool,
    config: Config,
    default_policy: Policy,
    policies: BTreeMap<EntityType, Policy>,
    registry: Registry,
    workers: Option<Arc<Workers>>,
    interceptor: Option<Arc<dyn Interceptor>>,
}

impl Builder {
    pub(super) fn new(name: EntityName) -> Self {
        let id = if name.num < 0 {
            "admin".into()
        } else {
            name.num.to_string()
        };
        Self {
            name,
            auth_name: AuthName {
                kind: name.kind,
                id,
            },
            credentials: None,
            authority: None,
            nonce: None,
            cluster_protocol: 0,
            require_authorizer: true,
            config: Config::default(),
            default_policy: Policy::lossy_client(0),
            policies: BTreeMap::new(),
            registry: Registry::default(),
            workers: None,
            interceptor: None,
        }
    }

    /// Options. Those about workers only matter if the messenger makes its own.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// What is shown to the peers that are connected to. Default: the
    /// [`auth_name`](Self::auth_name), without proof (method none).
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = Some(credentials);
        self
    }

    /// What peers that connect have to show. Default: no proof (method none); they are believed.
    pub fn authority(mut self, authority: Authority) -> Self {
        self.authority = Some(authority);
        self
    }

    /// The name to authenticate by, where there are no [`credentials`](Self::credentials). Default:
    /// the type, and the number or `admin`.
    pub fn auth_name(mut self, name: AuthName) -> Self {
        self.auth_name = name;
        self
    }

    /// What tells this instance from others at the same address (encoding §6.1). Default: random.
    /// Monitors use 0.
    pub fn nonce(mut self, nonce: u32) -> Self {
        self.nonce = Some(nonce);
        self
    }

    /// The protocol version between peers of the same type (msgr1 §5), 10 for OSDs. Default 0.
    pub fn cluster_protocol(mut self, version: u32) -> Self {
        self.cluster_protocol = version;
        self
    }

    /// Whether peers that connect must bring an authorizer (msgr1 §7). Default true. Monitors let
    /// everybody but monitors in without one; heartbeat messengers let all.
    pub fn require_authorizer(mut self, require: bool) -> Self {
        self.require_authorizer = require;
        self
    }

    /// The policy for peers of types that have none of their own. Default:
    /// [`Policy::lossy_client`].
    pub fn default_policy(mut self, policy: Policy) -> Self {
        self.default_policy = policy;
        self
    }

    /// The policy for peers of one type.
    pub fn policy(mut self, peer_type: EntityType, policy: Policy) -> Self {
        self.policies.insert(peer_type, policy);
        self
    }

    /// The typed messages that the messenger knows. Default: none, and all are delivered.
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = registry;
        self
    }

    /// Workers to share with other messengers. Default: own ones.
    pub fn workers(mut self, workers: &Arc<Workers>) -> Self {
        self.workers = Some(Arc::clone(workers));
        self
    }

    /// Has the steps of its connections decided on, for tests. Give it workers of its own: see
    /// [`Interceptor`].
    pub fn interceptor(mut self, interceptor: Arc<dyn Interceptor>) -> Self {
        self.interceptor = Some(interceptor);
        self
    }

    /// Makes the messenger, and its workers if it has none.
    ///
    /// # Errors
    /// If the configuration is invalid or the workers cannot be started.
    pub fn build(self) -> Result<Messenger, Error> {
        self.config.validate().map_err(Error::misuse)?;
        let workers = match self.workers {
            Some(workers) => workers,
            None => Workers::start(&self.config)?,
        };
        let env = Arc::clone(workers.env());
        let nonce = self.nonce.unwrap_or_else(|| env.random() as u32);
        let named = || Credentials::none(self.auth_name);
        let credentials = self.credentials.unwrap_or_else(named);
        let trusting = || Authority::none(self.name.kind);
        let authority = self.authority.unwrap_or_else(trusting);
        let injector = Injector::new(&self.config.inject, &*env, self.interceptor);
        let shared = Shared::new(SharedParts {
            injector,
            name: self.name,
            credentials,
            authority,
            nonce: AtomicU32::new(nonce),
            cluster_protocol: self.cluster_protocol,
            require_authorizer: self.require_authorizer,
            config: self.config,
            default_policy: self.default_policy,
            policies: self.policies,
            registry: self.registry,
            env,
        });
        Ok(Messenger::new(Arc::new(shared), workers))
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("nonce", &self.nonce)
            .field("config", &self.config)
            .field("default_policy", &self.default_policy)
            .field("policies", &self.policies)
            .finish_non_exhaustive()
    }
}
