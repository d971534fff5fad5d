//! Authentication, as both protocol versions ask for it: a method is two state machines that take
//! and give opaque payloads (cephx §8 to §11).
//!
//! Pure: time and randomness come with each call, keys are plain data. A protocol core carries the
//! payloads, in frames (msgr2 §7) or beside the connect message (msgr1 §9), and knows nothing of
//! what is in them; a method does not know which of the two carries it.

pub mod cephx;
mod cipher;
mod client;
mod error;
mod key;
mod keyring;
mod modes;
mod secret;
mod server;
mod session;
mod sign;
mod site;

use std::fmt;

use crate::wire::{AuthName, Timespec};

pub use cipher::{Cipher, Opened};
pub use client::{Client, Identity};
pub use error::AuthError;
pub use key::{CryptoKey, KeyType};
pub use keyring::{KEYRING_MAX, Keyring, KeyringError, SECTIONS_MAX};
pub use modes::{Offer, Offers};
pub use secret::Secret;
pub use server::Server;
pub use session::{AuthMessage, Session, SessionEvent, SessionReply, SessionServer};
pub use sign::{SignedParts, Signer};
pub use site::{AUTH_TTL, SERVICE_TTL, Site, SiteRef};

use sign::fold;

/// Told to a peer whose proof does not convince.
pub const EACCES: i32 = -13;
/// Told to a peer that asks for what there is not.
pub const EINVAL: i32 = -22;
/// Told to a peer whose method or modes are not taken.
pub const EOPNOTSUPP: i32 = -95;

/// The number of an authentication method on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Method(pub u32);

impl Method {
    /// Nothing is proved; a peer is who it says it is.
    pub const NONE: Self = Self(1);
    /// Shared keys and tickets.
    pub const CEPHX: Self = Self(2);
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NONE => f.pad("none"),
            Self::CEPHX => f.pad("cephx"),
            Self(number) => write!(f, "{number}"),
        }
    }
}

/// How frames are protected once the peers know each other (msgr2 §2.2). v1 has only `CRC`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Mode(pub u32);

impl Mode {
    /// Against accidents.
    pub const CRC: Self = Self(1);
    /// Encrypted, against everybody.
    pub const SECURE: Self = Self(2);
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::CRC => f.pad("crc"),
            Self::SECURE => f.pad("secure"),
            Self(number) => write!(f, "{number}"),
        }
    }
}

/// What somebody may do, as the cluster has written it down for one kind of daemon (cephx §5).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Caps {
    /// Everything.
    pub allow_all: bool,
    /// The text, such as `allow rw`; it is not looked at here.
    pub text: String,
}

impl Caps {
    /// What a peer gets that nobody asked for a proof.
    #[must_use]
    pub fn all() -> Self {
        Self {
            allow_all: true,
            text: String::new(),
        }
    }

    /// Those of a text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            allow_all: false,
            text: text.into(),
        }
    }

    /// Whether nothing is allowed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.allow_all && self.text.is_empty()
    }
}

/// The world as a step of a method may see it.
pub struct AuthCx<'a> {
    /// The calendar.
    pub now: Timespec,
    /// Fills with random bytes that nobody can guess.
    pub random: &'a mut dyn FnMut(&mut [u8]),
}

/// What the connecting side begins with, or goes on with after a refusal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthRequest {
    /// How it wants to show who it is.
    pub method: Method,
    /// The modes that it would use, best first.
    pub modes: Vec<Mode>,
    /// What the method has to say.
    pub payload: Vec<u8>,
}

/// Why the accepting side refused a method or what was shown by it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthRefusal {
    /// The method that it refused.
    pub method: Method,
    /// A negative error number: -95 for a method or mode that it does not take, -13 for a proof
    /// that did not convince it.
    pub result: i32,
    /// The methods that it takes.
    pub methods: Vec<Method>,
    /// The modes that it takes.
    pub modes: Vec<Mode>,
}

/// What one side knows of the other at the end.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Authenticated {
    /// Who the connecting side is. On the connecting side, who it was let in as.
    pub name: AuthName,
    /// The number of that instance in the cluster; 0 if it has none.
    pub global_id: u64,
    /// What signs: the end of the handshake in v2, each message in v1. None with [`Method::NONE`].
    pub session_key: Option<CryptoKey>,
    /// What encrypts, if the mode does: at least 40 bytes then, else empty.
    pub connection_secret: Secret,
    /// What the connecting side may do, as the cluster has written it down for this service.
    pub caps: Caps,
    /// What is needed for later requests on the session, after a log-in to a monitor.
    pub login: Option<cephx::LogIn>,
}

/// The connecting side of one authentication.
pub trait AuthClient: Send + fmt::Debug {
    /// The first request.
    ///
    /// # Errors
    /// If there is nothing to show to this peer, for example no key or no ticket.
    fn begin(&mut self, cx: &mut AuthCx<'_>) -> Result<AuthRequest, AuthError>;

    /// Another try after a refusal of the last request, on the same link.
    ///
    /// # Errors
    /// If there is nothing else to try; the text says what was refused and what to do.
    fn refused(
        &mut self,
        cx: &mut AuthCx<'_>,
        refusal: &AuthRefusal,
    ) -> Result<AuthRequest, AuthError>;

    /// The answer to a challenge.
    ///
    /// # Errors
    /// If the challenge makes no sense.
    fn more(&mut self, cx: &mut AuthCx<'_>, payload: &[u8]) -> Result<Vec<u8>, AuthError>;

    /// The peer is convinced; now it shows in its turn that it knows the key.
    ///
    /// # Errors
    /// If it does not, or picked a mode that was not among those asked for.
    fn done(
        &mut self,
        cx: &mut AuthCx<'_>,
        global_id: u64,
        mode: Mode,
        payload: &[u8],
    ) -> Result<Authenticated, AuthError>;
}

/// The accepting side of one authentication.
pub trait AuthServer: Send + fmt::Debug {
    /// A request; a second one may follow a refusal.
    fn begin(&mut self, cx: &mut AuthCx<'_>, request: &AuthRequest) -> AuthAnswer;

    /// The answer to the challenge that was the last [`AuthAnswer::More`].
    fn more(&mut self, cx: &mut AuthCx<'_>, payload: &[u8]) -> AuthAnswer;
}

/// What the accepting side answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AuthAnswer {
    /// A challenge.
    More(Vec<u8>),
    /// Convinced.
    Done {
        /// How frames are protected from here on.
        mode: Mode,
        /// What proves to the other that this side knows the key.
        payload: Vec<u8>,
        /// Who the other is.
        who: Authenticated,
    },
    /// Not convinced; `why` is for the own log and never for the wire.
    Refused {
        /// What is told.
        refusal: AuthRefusal,
        /// What is not.
        why: AuthError,
    },
}
