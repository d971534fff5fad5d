//! What a messenger shows to others, and what it asks of them: handles to the plain data of
//! [`auth`](crate::auth) that its connections share.
//!
//! Any thread may use them; a lock is held for one step of an authentication, and no other lock is
//! taken under it. Neither knows connections.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::auth::cephx::{ServiceSecrets, Ticket, Tickets};
use crate::auth::{
    AuthClient, AuthError, AuthServer, Authenticated, Client, CryptoKey, Identity, Keyring, Method,
    Mode, Offer, Offers, Server, Session, SessionServer, Site, SiteRef,
};
use crate::wire::{AuthName, EntityType};

/// Who a messenger is, how it shows that, and the tickets that it has got so far. Clones share
/// them.
#[derive(Clone, Debug)]
pub struct Credentials {
    offers: Arc<Offers>,
    service_keys: Arc<Keyring>,
    who: Arc<Mutex<Identity>>,
}

impl Credentials {
    /// Says who it is, and proves nothing: method none.
    #[must_use]
    pub fn none(name: AuthName) -> Self {
        let offers = Offers::uniform(&[Method::NONE], &[Mode::CRC]);
        Self::with(name, None, offers)
    }

    /// Proves by its key who it is; methods and modes are Ceph's defaults.
    #[must_use]
    pub fn new(name: AuthName, key: CryptoKey) -> Self {
        Self::with(name, Some(key), Offers::default())
    }

    /// The same with the key from a keyring.
    ///
    /// # Errors
    /// If there is none.
    pub fn from_keyring(keyring: &Keyring, name: AuthName) -> Result<Self, AuthError> {
        match keyring.key(&name) {
            Some(key) => Ok(Self::new(name, key.clone())),
            None => Err(AuthError::NoKey(name)),
        }
    }

    fn with(name: AuthName, key: Option<CryptoKey>, offers: Offers) -> Self {
        // What librados asks for: tickets for monitors, OSDs and managers; CephFS clients need
        // one for the MDS instead.
        let wanted = [EntityType::MON, EntityType::OSD, EntityType::MGR];
        let wanted = wanted.iter().fold(0, |mask, kind| mask | u32::from(kind.0));
        Self {
            offers: Arc::new(offers),
            service_keys: Arc::default(),
            who: Arc::new(Mutex::new(Identity {
                name,
                key,
                wanted,
                ..Identity::default()
            })),
        }
    }

    /// Sets the lists of methods and modes. Not for clones made before.
    #[must_use]
    pub fn offers(mut self, offers: Offers) -> Self {
        self.offers = Arc::new(offers);
        self
    }

    /// Sets for which kinds of daemons tickets are asked for.
    #[must_use]
    pub fn services(self, services: &[EntityType]) -> Self {
        let mask = services
            .iter()
            .fold(0, |mask, kind| mask | u32::from(kind.0));
        self.lock().wanted = mask;
        self
    }

    /// Gives it long-term keys of kinds of daemons, under names such as `osd.`: to daemons of
    /// such a kind it shows tickets that it makes itself, without a monitor. Not for clones made
    /// before.
    #[must_use]
    pub fn service_keys(mut self, keyring: Keyring) -> Self {
        self.service_keys = Arc::new(keyring);
        self
    }

    /// Who it is.
    #[must_use]
    pub fn name(&self) -> AuthName {
        self.lock().name.clone()
    }

    /// What it offers to a kind of peer in v2.
    #[must_use]
    pub fn offer(&self, peer: EntityType) -> Offer {
        self.offers.of(self.lock().name.kind, peer)
    }

    /// The connecting side of a handshake of v2 with a kind of peer.
    #[must_use]
    pub fn client(&self, peer: EntityType) -> Box<dyn AuthClient> {
        Box::new(Client::new(self.identity(peer), peer, self.offer(peer)))
    }

    /// The connecting side of a handshake of v1: what goes beside the connect message. `None`
    /// where nothing does, because the peer is a monitor; see [`session`](Self::session).
    #[must_use]
    pub fn client_v1(&self, peer: EntityType) -> Option<Box<dyn AuthClient>> {
        let who = self.identity(peer);
        if peer == EntityType::MON && who.shared.is_none() {
            return None;
        }
        let offer = Offer {
            modes: vec![Mode::CRC],
            ..self.offer(peer)
        };
        Some(Box::new(Client::new(who, peer, offer)))
    }

    /// A log-in to a monitor by messages, as it is in v1.
    #[must_use]
    pub fn session(&self) -> Session {
        let offer = self.offer(EntityType::MON);
        Session::new(self.lock().clone(), &offer.methods)
    }

    /// What goes on after a log-in in v2: renewals. `None` with method none.
    #[must_use]
    pub fn session_after(&self, who: &Authenticated) -> Option<Session> {
        let login = who.login.as_ref()?;
        Some(Session::after(self.lock().clone(), who.global_id, login))
    }

    /// Takes back what a log-in to a monitor brought, in v1 or v2. To be called for those only.
    pub fn logged_in(&self, who: &Authenticated) {
        let mut held = self.lock();
        held.tickets.global_id = who.global_id;
        held.method = Some(match who.session_key {
            Some(_) => Method::CEPHX,
            None => Method::NONE,
        });
        let tickets = who.login.as_ref().map_or(&[][..], |login| &login.tickets);
        for ticket in tickets {
            held.tickets.insert(ticket.clone());
        }
    }

    /// Takes back what a renewal brought.
    pub fn renewed(&self, tickets: &[Ticket]) {
        let mut held = self.lock();
        for ticket in tickets {
            held.tickets.insert(ticket.clone());
        }
    }

    /// The tickets held at the moment.
    #[must_use]
    pub fn tickets(&self) -> Tickets {
        self.lock().tickets.clone()
    }

    /// Forgets the number in the cluster and all tickets: for a new beginning after a monitor
    /// does not believe that they are ours.
    pub fn forget(&self) {
        let mut held = self.lock();
        held.tickets = Tickets::default();
        held.method = None;
    }

    fn identity(&self, peer: EntityType) -> Identity {
        let mut who = self.lock().clone();
        who.shared = self.service_keys.key(&AuthName::new(peer, "")).cloned();
        who
    }

    fn lock(&self) -> MutexGuard<'_, Identity> {
        self.who.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whom a messenger lets in, and how they have to show who they are. Clones share it.
#[derive(Clone)]
pub struct Authority(Arc<Mutex<Site>>);

impl Authority {
    /// Lets in whom a site lets in.
    #[must_use]
    pub fn new(site: Site) -> Self {
        Self(Arc::new(Mutex::new(site)))
    }

    /// Believes everybody: method none.
    #[must_use]
    pub fn none(own: EntityType) -> Self {
        let mut site = Site::new(own, Keyring::new());
        site.offers = Offers::uniform(&[Method::NONE], &[Mode::CRC]);
        Self::new(site)
    }

    /// Changes something, or looks at it.
    pub fn edit<R>(&self, f: impl FnOnce(&mut Site) -> R) -> R {
        f(&mut self.lock())
    }

    /// Replaces the secrets of services, which a daemon has got from a monitor.
    pub fn set_secrets(&self, secrets: ServiceSecrets) {
        self.lock().secrets = secrets;
    }

    /// What is taken from a kind of peer in v2.
    #[must_use]
    pub fn offer(&self, peer: EntityType) -> Offer {
        self.lock().offer(peer)
    }

    /// The accepting side of a handshake of v2 with a kind of peer.
    #[must_use]
    pub fn server(&self, peer: EntityType) -> Box<dyn AuthServer> {
        Box::new(Server::new(self.site(), peer, self.offer(peer)))
    }

    /// The accepting side of a handshake of v1: for what comes beside the connect message. The
    /// protocol lets peers without that through to a monitor, to its [`session`](Self::session).
    #[must_use]
    pub fn server_v1(&self, peer: EntityType) -> Box<dyn AuthServer> {
        let offer = Offer {
            modes: vec![Mode::CRC],
            ..self.offer(peer)
        };
        Box::new(Server::new(self.site(), peer, offer))
    }

    /// Log-ins to a monitor by messages, as they are in v1.
    #[must_use]
    pub fn session(&self) -> SessionServer {
        SessionServer::new(self.site())
    }

    /// Answers to renewals on a session whose handshake let `who` in.
    #[must_use]
    pub fn session_after(&self, who: &Authenticated) -> SessionServer {
        SessionServer::after(self.site(), who)
    }

    fn site(&self) -> Box<dyn SiteRef> {
        Box::new(self.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Site> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SiteRef for Authority {
    fn with(&self, f: &mut dyn FnMut(&mut Site)) {
        f(&mut self.lock());
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let site = self.lock();
        f.debug_struct("Authority")
            .field("own", &site.own)
            .field("offers", &site.offers)
            .finish_non_exhaustive()
    }
}
