//! Authorizers: a ticket shown to a daemon, with a proof that one knows the key in it (cephx
//! §6.2).
//!
//! The service challenges the first one, so that a recorded one is worth nothing. Invariant: each
//! side draws its own random number, and neither takes the other's word for its own.

use std::time::Duration;

use subtle::ConstantTimeEq;

use crate::wire::{AuthName, EntityType, Put, Reader};

use super::super::{AuthCx, AuthError, Caps, CryptoKey, Secret};
use super::wire::{
    Authorize, AuthorizerHead, TicketBlob, TicketInfo, decode_challenge, encode_challenge,
};
use super::{LONG_TERM, Ticket, random_u64, secrets, usage};

/// How long a ticket that one makes for oneself says that it is good for.
const SELF_MADE_TTL: Duration = Duration::from_secs(3600);

/// The client's side: shows one ticket to one service.
#[derive(Clone, Debug)]
pub struct Authorizer {
    head: AuthorizerHead,
    session_key: CryptoKey,
    nonce: u64,
}

impl Authorizer {
    /// Shows a ticket that a monitor gave to the instance `global_id`.
    pub fn new(cx: &mut AuthCx<'_>, global_id: u64, ticket: &Ticket) -> Self {
        Self {
            head: AuthorizerHead {
                global_id,
                service: ticket.service,
                ticket: ticket.blob.clone(),
            },
            session_key: ticket.session_key.clone(),
            nonce: random_u64(cx),
        }
    }

    /// Shows a ticket that it makes itself, because it knows the secret of the service: the one
    /// with the number `secret_id`, or with [`LONG_TERM`] the key of (service, empty id)
    /// (cephx §9).
    ///
    /// # Errors
    /// If the key is empty.
    pub fn self_made(
        cx: &mut AuthCx<'_>,
        service: EntityType,
        (secret_id, key): (u64, &CryptoKey),
        name: AuthName,
        global_id: u64,
        caps: Caps,
    ) -> Result<Self, AuthError> {
        let session_key = CryptoKey::generate(key.kind(), cx.now, cx.random);
        let info = TicketInfo {
            name,
            global_id,
            created: cx.now,
            expires: secrets::add(cx.now, SELF_MADE_TTL),
            caps,
            session_key: session_key.clone(),
        };
        let cipher = key.cipher(usage::TICKET_INFO)?;
        let ticket = TicketBlob {
            secret_id,
            sealed: cipher.seal_raw(cx.random, |out| info.encode(out)),
        };
        Ok(Self {
            head: AuthorizerHead {
                global_id,
                service,
                ticket,
            },
            session_key,
            nonce: random_u64(cx),
        })
    }

    /// The key in the ticket.
    #[must_use]
    pub fn session_key(&self) -> &CryptoKey {
        &self.session_key
    }

    /// What is shown first.
    ///
    /// # Errors
    /// If the session key is empty.
    pub fn first(&self, cx: &mut AuthCx<'_>) -> Result<Vec<u8>, AuthError> {
        self.encode(cx, None)
    }

    /// What is shown after a challenge.
    ///
    /// # Errors
    /// If the challenge does not come from somebody who knows the session key.
    pub fn answer(&self, cx: &mut AuthCx<'_>, challenge: &[u8]) -> Result<Vec<u8>, AuthError> {
        let cipher = self.session_key.cipher(usage::CHALLENGE)?;
        let opened = cipher.open_raw(challenge, "challenge of an authorizer")?;
        let challenge = decode_challenge(&mut opened.reader())?;
        self.encode(cx, Some(challenge.wrapping_add(1)))
    }

    /// Checks that the service could open the ticket. Returns the connection secret, empty if it
    /// sent none.
    ///
    /// # Errors
    /// If it could not.
    pub fn verify(&self, reply: &[u8]) -> Result<Secret, AuthError> {
        let cipher = self.session_key.cipher(usage::REPLY)?;
        let opened = cipher.open(
            &mut Reader::new(reply, "authorizer reply"),
            "authorizer reply",
        )?;
        let mut r = opened.reader();
        let version = r.u8()?;
        if !same(r.u64()?, self.nonce.wrapping_add(1)) {
            return Err(AuthError::denied(
                "the service's reply is not to our authorizer; it was replayed, or sent to \
                 somebody else",
            ));
        }
        if version < 2 {
            return Ok(Secret::default());
        }
        Ok(r.blob()?.into())
    }

    fn encode(&self, cx: &mut AuthCx<'_>, answer: Option<u64>) -> Result<Vec<u8>, AuthError> {
        let authorize = Authorize {
            nonce: self.nonce,
            answer,
        };
        let cipher = self.session_key.cipher(usage::AUTHORIZE)?;
        let mut out = Vec::new();
        self.head.encode(&mut out);
        out.extend_from_slice(&cipher.seal(cx.random, |out| authorize.encode(out)));
        Ok(out)
    }
}

/// The service's side: the challenges of one connection.
#[derive(Debug, Default)]
pub struct Verifier {
    challenge: Option<u64>,
}

/// What comes of an authorizer that is not refused.
#[derive(Debug)]
pub enum Presented {
    /// A challenge to send.
    Challenge(Vec<u8>),
    /// It holds.
    Accepted {
        /// The proof that this side could open the ticket.
        reply: Vec<u8>,
        /// Whose ticket it is.
        name: AuthName,
        /// Which instance of it.
        global_id: u64,
        /// What it may do here.
        caps: Caps,
        /// The key in the ticket.
        session_key: CryptoKey,
        /// What was drawn for the connection.
        connection_secret: Secret,
    },
}

impl Verifier {
    /// Looks at an authorizer for `service`, whose secrets `secret` knows by number. The reply
    /// carries a new connection secret of `secret_len` bytes. It may be called again after it
    /// accepted one, with the same bytes: v1 repeats them when it repeats its connect message.
    ///
    /// # Errors
    /// If the authorizer does not hold.
    pub fn verify(
        &mut self,
        cx: &mut AuthCx<'_>,
        service: EntityType,
        secret: &dyn Fn(u64) -> Option<CryptoKey>,
        payload: &[u8],
        secret_len: usize,
    ) -> Result<Presented, AuthError> {
        let mut r = Reader::new(payload, "authorizer");
        let (info, authorize) = open(&mut r, service, secret)?;
        let Some(challenge) = self.challenge else {
            let challenge = random_u64(cx);
            self.challenge = Some(challenge);
            let cipher = info.session_key.cipher(usage::CHALLENGE)?;
            let sealed = cipher.seal_raw(cx.random, |out| encode_challenge(challenge, out));
            return Ok(Presented::Challenge(sealed));
        };
        let wanted = challenge.wrapping_add(1);
        if !authorize.answer.is_some_and(|answer| same(answer, wanted)) {
            return Err(AuthError::denied(
                "an authorizer does not answer the challenge of this connection; it was replayed",
            ));
        }
        let connection_secret = Secret::random(secret_len, cx.random);
        let cipher = info.session_key.cipher(usage::REPLY)?;
        let reply = cipher.seal(cx.random, |out| {
            out.push(if secret_len == 0 { 1 } else { 2 });
            out.extend_from_slice(&authorize.nonce.wrapping_add(1).to_le_bytes());
            if secret_len > 0 {
                out.put_blob(connection_secret.as_bytes());
            }
        });
        Ok(Presented::Accepted {
            reply,
            name: info.name,
            global_id: info.global_id,
            caps: info.caps,
            session_key: info.session_key,
            connection_secret,
        })
    }
}

/// In constant time.
fn same(a: u64, b: u64) -> bool {
    a.to_le_bytes().ct_eq(&b.to_le_bytes()).into()
}

/// Opens a ticket and the proof that comes with it, up to the challenge.
pub(super) fn open(
    r: &mut Reader<'_>,
    service: EntityType,
    secret: &dyn Fn(u64) -> Option<CryptoKey>,
) -> Result<(TicketInfo, Authorize), AuthError> {
    let head = AuthorizerHead::decode(r)?;
    if head.service != service {
        return Err(AuthError::denied(format!(
            "a ticket for {} was shown to {service}",
            head.service
        )));
    }
    let info = open_ticket(&head.ticket, service, secret)?;
    if info.global_id != head.global_id {
        return Err(AuthError::denied(
            "a ticket belongs to another instance than the one that shows it",
        ));
    }
    let cipher = info.session_key.cipher(usage::AUTHORIZE)?;
    let opened = cipher.open(r, "proof of an authorizer")?;
    let authorize = Authorize::decode(&mut opened.reader())?;
    Ok((info, authorize))
}

/// Opens a ticket with the secret that it names.
pub(super) fn open_ticket(
    ticket: &TicketBlob,
    service: EntityType,
    secret: &dyn Fn(u64) -> Option<CryptoKey>,
) -> Result<TicketInfo, AuthError> {
    let Some(key) = secret(ticket.secret_id) else {
        return Err(AuthError::denied(if ticket.secret_id == LONG_TERM {
            format!(
                "a ticket is sealed with the long-term key of {service}, which is not known here; \
                 to take such tickets, add a section [{service}.] to the keyring"
            )
        } else {
            format!(
                "a ticket is sealed with secret {} of {service}, which is not known here; it is \
                 over, or this daemon has to fetch its secrets from a monitor again",
                ticket.secret_id
            )
        }));
    };
    let opened = key
        .cipher(usage::TICKET_INFO)?
        .open_raw(&ticket.sealed, "ticket")?;
    let info = TicketInfo::decode(&mut opened.reader())?;
    if info.session_key.is_empty() {
        return Err(AuthError::denied("a ticket has an empty session key"));
    }
    Ok(info)
}
