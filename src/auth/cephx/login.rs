//! The client's side of a log-in to a monitor, and of renewals on its session (cephx §8).
//!
//! It makes requests and reads responses; whether they travel in frames of v2, in messages of v1
//! or on an established session is up to its caller.

use crate::wire::{AuthName, EntityType, Put, Reader};

use super::super::{AuthCx, AuthError, Authenticated, CryptoKey, Secret};
use super::tickets::decode_reply;
use super::wire::{Authenticate, decode_challenge};
use super::{
    Authorizer, Request, ServiceSecrets, Ticket, Tickets, proof, random_u64, secrets, service_bit,
    usage,
};

/// The byte that a log-in begins with.
pub(super) const LOG_IN: u8 = 10;

/// What a log-in leaves for later requests on the same session (cephx §8.3).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LogIn {
    /// The challenge that the monitor began with; renewals are about the same.
    pub server_challenge: u64,
    /// The tickets that came with it, that for the monitors' own service among them. On the
    /// monitor's side there are none.
    pub tickets: Vec<Ticket>,
}

/// One client's log-in.
#[derive(Clone, Debug)]
pub struct LogInClient {
    name: AuthName,
    key: CryptoKey,
    global_id: u64,
    /// The ticket that shows that the number is ours, from before.
    old: Option<Ticket>,
    wanted: u32,
    server_challenge: Option<u64>,
}

impl LogInClient {
    /// The log-in of `name`, who wants tickets for the services in `wanted`. What is in `tickets`
    /// is shown again, so that the number in the cluster can be kept.
    #[must_use]
    pub fn new(name: AuthName, key: CryptoKey, tickets: &Tickets, wanted: u32) -> Self {
        Self {
            name,
            key,
            global_id: tickets.claim(),
            old: tickets.get(EntityType::AUTH).cloned(),
            wanted: wanted | service_bit(EntityType::AUTH),
            server_challenge: None,
        }
    }

    /// One that is over: for renewals on the session that it was for.
    #[must_use]
    pub fn resumed(
        name: AuthName,
        key: CryptoKey,
        tickets: &Tickets,
        wanted: u32,
        server_challenge: u64,
    ) -> Self {
        Self {
            server_challenge: Some(server_challenge),
            ..Self::new(name, key, tickets, wanted)
        }
    }

    /// The first payload in v2.
    #[must_use]
    pub fn hello(&self) -> Vec<u8> {
        let mut out = vec![LOG_IN];
        self.name.encode(&mut out);
        out.extend_from_slice(&self.global_id.to_le_bytes());
        out
    }

    /// Reads the challenge, and answers it.
    ///
    /// # Errors
    /// If it does not decode, or there was one before.
    pub fn prove(&mut self, cx: &mut AuthCx<'_>, payload: &[u8]) -> Result<Vec<u8>, AuthError> {
        if self.server_challenge.is_some() {
            return Err(AuthError::Misbehaved(
                "the monitor challenges a second time",
            ));
        }
        let challenge = decode_challenge(&mut Reader::new(payload, "challenge of the monitor"))?;
        self.server_challenge = Some(challenge);
        self.request(cx)
    }

    /// The request for a session key: the answer to the challenge, or the renewal of the auth
    /// ticket.
    ///
    /// # Errors
    /// If there was no challenge, or the key is empty.
    pub fn request(&self, cx: &mut AuthCx<'_>) -> Result<Vec<u8>, AuthError> {
        let server_challenge = self.server_challenge.ok_or(AuthError::Misbehaved(
            "the monitor did not begin with a challenge",
        ))?;
        let client_challenge = random_u64(cx);
        let authenticate = Authenticate {
            version: Authenticate::VERSION,
            client_challenge,
            proof: proof(&self.key, server_challenge, client_challenge)?,
            old_ticket: self
                .old
                .as_ref()
                .map(|t| t.blob.clone())
                .unwrap_or_default(),
            other_keys: self.wanted,
        };
        let mut out = Request::SESSION_KEY.0.to_le_bytes().to_vec();
        authenticate.encode(&mut out);
        Ok(out)
    }

    /// Reads the response to [`request`](Self::request).
    ///
    /// # Errors
    /// If it is not for us, was changed, or brings no ticket for the monitors' service.
    pub fn finish(
        &mut self,
        cx: &AuthCx<'_>,
        global_id: u64,
        payload: &[u8],
    ) -> Result<Authenticated, AuthError> {
        let server_challenge = self.server_challenge.ok_or(AuthError::Misbehaved(
            "the monitor lets in without a challenge",
        ))?;
        if global_id == 0 {
            return Err(AuthError::Misbehaved("the monitor gave no number"));
        }
        let mut r = response(payload, Request::SESSION_KEY)?;
        let old_key = self.old.as_ref().map(|old| &old.session_key);
        let mut tickets = decode_reply(cx, &mut r, &self.key, old_key, false)?;
        tickets.retain(|ticket| ticket.service == EntityType::AUTH);
        let session_key = match &tickets[..] {
            [ticket] => ticket.session_key.clone(),
            _ => return Err(AuthError::Misbehaved("the monitor gave no auth ticket")),
        };
        // Both are there because we ask for other keys, if only for that of the ticket above.
        let connection_secret = open_secret(r.blob()?, &session_key)?;
        let extra = r.blob()?;
        if !extra.is_empty() {
            let mut r = Reader::new(extra, "tickets");
            tickets.extend(decode_reply(cx, &mut r, &session_key, None, true)?);
        }
        self.global_id = global_id;
        self.old = tickets.first().cloned();
        Ok(Authenticated {
            name: self.name.clone(),
            global_id,
            session_key: Some(session_key),
            connection_secret,
            login: Some(LogIn {
                server_challenge,
                tickets,
            }),
            ..Authenticated::default()
        })
    }

    /// The request for tickets for the services in `mask`; it shows the auth ticket.
    ///
    /// # Errors
    /// If there is no auth ticket.
    pub fn request_tickets(&self, cx: &mut AuthCx<'_>, mask: u32) -> Result<Vec<u8>, AuthError> {
        let auth = self.auth_ticket()?;
        let authorizer = Authorizer::new(cx, self.global_id, auth);
        let mut out = Request::SERVICE_TICKETS.0.to_le_bytes().to_vec();
        out.extend_from_slice(&authorizer.first(cx)?);
        out.push(1);
        out.extend_from_slice(&mask.to_le_bytes());
        Ok(out)
    }

    /// Reads the response to [`request_tickets`](Self::request_tickets).
    ///
    /// # Errors
    /// If it is not for us, or was changed.
    pub fn finish_tickets(
        &self,
        cx: &AuthCx<'_>,
        payload: &[u8],
    ) -> Result<Vec<Ticket>, AuthError> {
        let mut r = response(payload, Request::SERVICE_TICKETS)?;
        let key = &self.auth_ticket()?.session_key;
        decode_reply(cx, &mut r, key, None, false)
    }

    /// The request of a daemon for the secrets of its service.
    #[must_use]
    pub fn request_secrets(&self) -> Vec<u8> {
        Request::ROTATING.0.to_le_bytes().to_vec()
    }

    /// Reads the response to [`request_secrets`](Self::request_secrets).
    ///
    /// # Errors
    /// If it is not for us, or was changed.
    pub fn finish_secrets(&self, payload: &[u8]) -> Result<Vec<secrets::Expiring>, AuthError> {
        let mut r = response(payload, Request::ROTATING)?;
        let cipher = self.key.cipher(usage::ROTATING)?;
        let opened = cipher.open(&mut r, "rotating secrets")?;
        Ok(ServiceSecrets::decode(&mut opened.reader())?)
    }

    fn auth_ticket(&self) -> Result<&Ticket, AuthError> {
        let held = self.old.as_ref();
        held.ok_or(AuthError::NoTicket(EntityType::AUTH))
    }
}

/// Reads the head of a response; its status is told beside the payload, too, and not looked at.
fn response(payload: &[u8], wanted: Request) -> Result<Reader<'_>, AuthError> {
    let mut r = Reader::new(payload, "response of the monitor");
    let request = r.u16()?;
    if request != wanted.0 {
        return Err(AuthError::Misbehaved(
            "the monitor answers another request than ours",
        ));
    }
    let _status = r.i32()?;
    Ok(r)
}

/// Opens the connection secret that comes with a log-in; v1 and renewals bring an empty one.
fn open_secret(bytes: &[u8], session_key: &CryptoKey) -> Result<Secret, AuthError> {
    if bytes.is_empty() {
        return Ok(Secret::default());
    }
    let what = "connection secret";
    let cipher = session_key.cipher(usage::CONNECTION_SECRET)?;
    let opened = cipher.open(&mut Reader::new(bytes, what), what)?;
    Ok(opened.reader().blob()?.into())
}

/// Writes the head of a response.
pub(super) fn response_head(request: Request, status: i32) -> Vec<u8> {
    let mut out = request.0.to_le_bytes().to_vec();
    out.extend_from_slice(&status.to_le_bytes());
    out
}

/// Writes the two blobs behind the auth ticket.
pub(super) fn put_extra(out: &mut Vec<u8>, secret: &[u8], tickets: &[u8]) {
    out.put_blob(secret);
    out.put_blob(tickets);
}
