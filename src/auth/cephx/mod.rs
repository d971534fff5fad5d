//! cephx: shared keys, tickets and the proofs made of them (cephx, aes256k).
//!
//! Two flows carry it. A *log-in* shows a monitor that one knows the key of a name, and gives
//! tickets (cephx §8). An *authorizer* shows a daemon a ticket, and that one knows the session key
//! in it (cephx §9). What a key of which type does is the business of `key.rs` and `cipher.rs`;
//! here every call names the key and the usage, and nothing asks for a global setting.

mod authorizer;
mod login;
mod monitor;
mod secrets;
mod tickets;
mod wire;

use crate::wire::EntityType;

use super::{AuthCx, CryptoKey, KeyType};

pub use authorizer::{Authorizer, Presented, Verifier};
pub use login::{LogIn, LogInClient};
pub use monitor::{LogInServer, Reply};
pub use secrets::{Expiring, SECRETS_MAX, ServiceSecrets};
pub use tickets::{Ticket, Tickets};
pub use wire::TicketBlob;

/// The secret id that means the long-term key of (service, empty id).
pub const LONG_TERM: u64 = u64::MAX;
/// Bytes of a connection secret, if the mode needs one.
pub const CONNECTION_SECRET: usize = 64;

/// What is asked of a monitor: the number before each request and response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request(pub u16);

impl Request {
    /// A log-in, or a renewal of the auth ticket.
    pub const SESSION_KEY: Self = Self(0x0100);
    /// Tickets for services.
    pub const SERVICE_TICKETS: Self = Self(0x0200);
    /// The secrets of the own service, for daemons.
    pub const ROTATING: Self = Self(0x0400);
}

/// What a type-2 key is used for (aes256k §5).
pub(super) mod usage {
    pub(crate) const CONNECTION_SECRET: u32 = 0x03;
    pub(crate) const SERVICE_TICKET: u32 = 0x04;
    pub(crate) const TICKET_BLOB: u32 = 0x05;
    pub(crate) const AUTHORIZE: u32 = 0x10;
    pub(crate) const CHALLENGE: u32 = 0x11;
    pub(crate) const REPLY: u32 = 0x12;
    pub(crate) const ROTATING: u32 = 0x20;
    pub(crate) const TICKET_INFO: u32 = 0x30;
}

/// The kinds of daemons that get tickets presented.
pub const SERVICES: [EntityType; 4] = [
    EntityType::MON,
    EntityType::MDS,
    EntityType::OSD,
    EntityType::MGR,
];

/// The bit of a service in masks.
#[must_use]
pub const fn service_bit(service: EntityType) -> u32 {
    service.0 as u32
}

/// A random number other than 0.
fn random_u64(cx: &mut AuthCx<'_>) -> u64 {
    let mut bytes = [0; 8];
    (cx.random)(&mut bytes);
    u64::from_le_bytes(bytes).max(1)
}

/// The proof that one knows a key: 64 bits over both challenges (cephx §6.1, aes256k §6).
fn proof(
    key: &CryptoKey,
    server_challenge: u64,
    client_challenge: u64,
) -> Result<u64, super::AuthError> {
    let pair = [
        server_challenge.to_le_bytes(),
        client_challenge.to_le_bytes(),
    ]
    .concat();
    let bytes = match key.kind() {
        KeyType::Aes256k => key.hmac_sha256(&[&pair]).to_vec(),
        _ => key
            .cipher(0)?
            .seal(&mut |_| {}, |out| out.extend_from_slice(&pair)),
    };
    Ok(super::fold(&bytes))
}
