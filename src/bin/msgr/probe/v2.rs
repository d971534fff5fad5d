//! Version 2: a server that refuses a method says which methods and modes it takes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_messenger::auth::{
    AuthClient, AuthCx, AuthError, AuthRefusal, AuthRequest, Authenticated, Method, Mode,
};
use async_messenger::event::{Env as _, SystemEnv};
use async_messenger::proto::v2::{Banner, Compression, Connector, ConnectorEvent, ConnectorParams};
use async_messenger::proto::{Checksums, Mismatch, ProtoError};
use async_messenger::wire::{AddrType, AddrVec, AuthName, EntityAddr, EntityName, EntityType};
use async_messenger::wire::{Reader, features};
use bytes::BytesMut;

use super::report::Report;
use super::{Line, clip};
use crate::args::Global;
use crate::failure::Failure;

/// Prefix and length, and the two words.
const HEAD_LEN: usize = 10;
const WORDS_LEN: usize = 16;
/// The bytes that a payload begins with, towards a monitor and elsewhere.
const LOG_IN: u8 = 10;
const AUTHORIZER: u8 = 1;

/// Fills the report in.
pub(super) fn probe(
    line: Line,
    name: &AuthName,
    global: &Global,
    report: &mut Report,
) -> Result<(), Failure> {
    let peer = line.peer;
    let kind = EntityType::MON;
    let found = attempt(line, kind, name, report)?;
    // It has said what it is, and is asked again as such.
    if let Some(found) = found.filter(|found| *found != kind) {
        let mut line = Line::dial(peer, global.timeout)?;
        line.banner()?;
        attempt(line, found, name, report)?;
    }
    Ok(())
}

/// Connects to what is taken for a daemon of this kind; gives the kind that it is of.
fn attempt(
    mut line: Line,
    kind: EntityType,
    name: &AuthName,
    report: &mut Report,
) -> Result<Option<EntityType>, Failure> {
    let told = Arc::new(Mutex::new(Told::default()));
    let auth = Box::new(Nobody {
        name: name.clone(),
        peer: kind,
        told: Arc::clone(&told),
    });
    let params = ConnectorParams {
        banner: Banner::ours(),
        name: EntityName::client(-1),
        addrs: AddrVec::default(),
        peer_addr: EntityAddr {
            kind: AddrType::Msgr2,
            ..line.peer
        },
        peer_type: kind,
        features: features::SUPPORTED,
        required: 0,
        lossy: true,
        global_seq: 1,
        client_cookie: 0,
        resume: None,
        checksums: Checksums::default(),
        compression: Compression::default(),
    };
    let mut ended = drive(&mut line, Connector::new(params, auth), report)?;
    report.rtt = line.rtt.or(report.rtt);
    report.banner = clip(&line.first, HEAD_LEN + WORDS_LEN).to_vec();
    report.words = line.first.get(HEAD_LEN..).and_then(|bytes| {
        let mut r = Reader::new(bytes, "banner");
        r.u64().ok().zip(r.u64().ok())
    });
    if let Err(ProtoError::PeerIncompatible(Mismatch::EntityType { found, .. })) = &ended {
        report.entity = Some(*found);
        return Ok(Some(*found));
    }
    let told = lock(&told);
    if told.was_asked {
        report.entity = Some(kind);
    }
    let mut methods = told.methods.clone();
    if told.is_let_in {
        methods.push(Method::NONE);
        report.is_let_in = true;
        report.modes.push(Mode::CRC.to_string());
    }
    methods.dedup();
    report.methods = methods.iter().map(Method::to_string).collect();
    report.modes.extend(told.modes.iter().map(Mode::to_string));
    if told.is_challenged {
        ended = Err(ProtoError::AuthDenied(
            format!("it wants proof by cephx that we are {name}").into(),
        ));
    }
    report.refusal = ended.err().map(|error| error.to_string());
    if let (Some(refusal), Some(result)) = (&mut report.refusal, told.result) {
        *refusal = format!("method none: result {result}; {refusal}");
    }
    Ok(report.entity)
}

/// The handshake, up to a session or the reason why there is none.
fn drive(
    line: &mut Line,
    mut connector: Connector,
    report: &mut Report,
) -> Result<Result<(), ProtoError>, Failure> {
    let mut out = BytesMut::new();
    let mut random = |out: &mut [u8]| out.fill_with(|| SystemEnv.random() as u8);
    connector.start(&mut out);
    loop {
        let since = SystemEnv.wall().duration_since(SystemTime::UNIX_EPOCH);
        let mut cx = AuthCx {
            now: since.unwrap_or_default().into(),
            random: &mut random,
        };
        let event = connector.handle_input(&mut line.rx, &mut cx, &mut out);
        line.send(&mut out)?;
        match event {
            Ok(Some(ConnectorEvent::Ready(opened))) => {
                report.features = Some(opened.features);
                report.own = opened.peer_addrs.0.first().copied();
                return Ok(Ok(()));
            }
            Ok(Some(ConnectorEvent::Learned(seen))) => report.seen = Some(seen),
            Ok(Some(_)) => return Ok(Ok(())),
            Ok(None) => {
                let state = connector.state();
                if !line.receive(&format!("an answer in {state}"))? {
                    let text = format!("it hung up in {state}");
                    return Ok(Err(ProtoError::PeerMisbehaved(text.into())));
                }
            }
            Err(error) => return Ok(Err(error)),
        }
    }
}

/// What the server has told somebody who has no key.
#[derive(Debug, Default)]
struct Told {
    was_asked: bool,
    result: Option<i32>,
    methods: Vec<Method>,
    modes: Vec<Mode>,
    is_challenged: bool,
    is_let_in: bool,
}

/// Somebody who has no key: offers method none, and then cephx, if that is wanted, up to the point
/// where a key would be needed.
#[derive(Debug)]
struct Nobody {
    name: AuthName,
    peer: EntityType,
    told: Arc<Mutex<Told>>,
}

fn lock(told: &Mutex<Told>) -> MutexGuard<'_, Told> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Nobody {
    fn request(&self, method: Method, modes: Vec<Mode>) -> AuthRequest {
        let first = if self.peer == EntityType::MON {
            LOG_IN
        } else {
            AUTHORIZER
        };
        let mut payload = vec![first];
        self.name.encode(&mut payload);
        payload.extend_from_slice(&0_u64.to_le_bytes());
        AuthRequest {
            method,
            modes,
            payload,
        }
    }
}

impl AuthClient for Nobody {
    fn begin(&mut self, _: &mut AuthCx<'_>) -> Result<AuthRequest, AuthError> {
        lock(&self.told).was_asked = true;
        Ok(self.request(Method::NONE, vec![Mode::CRC]))
    }

    fn refused(
        &mut self,
        _: &mut AuthCx<'_>,
        refusal: &AuthRefusal,
    ) -> Result<AuthRequest, AuthError> {
        let mut told = lock(&self.told);
        let is_first = told.result.is_none();
        told.result.get_or_insert(refusal.result);
        if is_first {
            told.methods.clone_from(&refusal.methods);
            told.modes.clone_from(&refusal.modes);
            let wants = refusal.methods.contains(&Method::CEPHX);
            if wants && self.peer == EntityType::MON && !refusal.modes.is_empty() {
                return Ok(self.request(Method::CEPHX, refusal.modes.clone()));
            }
        }
        Err(AuthError::Refused {
            method: refusal.method,
            result: refusal.result,
            methods: refusal.methods.clone(),
        })
    }

    fn more(&mut self, _: &mut AuthCx<'_>, _: &[u8]) -> Result<Vec<u8>, AuthError> {
        lock(&self.told).is_challenged = true;
        Err(AuthError::NoKey(self.name.clone()))
    }

    fn done(
        &mut self,
        _: &mut AuthCx<'_>,
        global_id: u64,
        _: Mode,
        _: &[u8],
    ) -> Result<Authenticated, AuthError> {
        lock(&self.told).is_let_in = true;
        Ok(Authenticated {
            name: self.name.clone(),
            global_id,
            ..Authenticated::default()
        })
    }
}
