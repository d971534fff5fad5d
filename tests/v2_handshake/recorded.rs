//! Each side against what real Ceph programs sent to each other. Authentication says what was said
//! then, so that the signatures must fit.

use async_messenger::auth::{
    AuthAnswer, AuthClient, AuthCx, AuthError, AuthRefusal, AuthRequest, AuthServer, Authenticated,
    Mode,
};
use async_messenger::proto::ProtoError;
use async_messenger::proto::v2::{
    Acceptor, AcceptorEvent, AcceptorParams, Connector, ConnectorEvent, ConnectorParams, Control,
    Resume, Standing, Verdict, Wants, tag,
};
use async_messenger::wire::{AddrVec, EntityAddr, EntityName, EntityType};
use bytes::BytesMut;

use super::tap::{ALL, Connection, connections};
use super::{BANNERS, with_cx};

/// What release 16.2.15 offers.
const PACIFIC: u64 = 0x3f01_cfbd_fffd_ffff;

/// Says what was said in a recording.
#[derive(Debug)]
struct Parrot {
    controls: std::vec::IntoIter<Control>,
    who: Authenticated,
}

impl Parrot {
    fn new(connection: &Connection, side: usize) -> Box<Self> {
        let auth = tag::AUTH_REQUEST..=tag::AUTH_DONE;
        let controls = connection.frames[side].iter().filter_map(|f| f.control());
        let controls: Vec<_> = controls.filter(|c| auth.contains(&c.tag())).collect();
        let global_id = connection.frames[1]
            .iter()
            .find_map(|f| match f.control()? {
                Control::AuthDone { global_id, .. } => Some(global_id),
                _ => None,
            });
        Box::new(Self {
            controls: controls.into_iter(),
            who: Authenticated {
                global_id: global_id.unwrap_or_default(),
                session_key: connection.session_key.clone(),
                connection_secret: connection.secret[..].into(),
                ..Authenticated::default()
            },
        })
    }

    fn answer(&mut self) -> AuthAnswer {
        match self.controls.next() {
            Some(Control::AuthReplyMore(payload)) => AuthAnswer::More(payload),
            Some(Control::AuthDone { mode, payload, .. }) => AuthAnswer::Done {
                mode,
                payload,
                who: self.who.clone(),
            },
            Some(Control::AuthBadMethod(refusal)) => AuthAnswer::Refused {
                refusal,
                why: AuthError::Unsupported("as recorded".into()),
            },
            // It died before it answered; anything will do.
            None => AuthAnswer::More(Vec::new()),
            other => panic!("a server that says {other:?}"),
        }
    }
}

impl AuthClient for Parrot {
    fn begin(&mut self, _: &mut AuthCx<'_>) -> Result<AuthRequest, AuthError> {
        match self.controls.next() {
            Some(Control::AuthRequest(request)) => Ok(request),
            other => panic!("a client that begins with {other:?}"),
        }
    }

    fn refused(
        &mut self,
        _: &mut AuthCx<'_>,
        refusal: &AuthRefusal,
    ) -> Result<AuthRequest, AuthError> {
        Err(AuthError::Refused {
            method: refusal.method,
            result: refusal.result,
            methods: refusal.methods.clone(),
        })
    }

    fn more(&mut self, _: &mut AuthCx<'_>, _: &[u8]) -> Result<Vec<u8>, AuthError> {
        match self.controls.next() {
            Some(Control::AuthRequestMore(payload)) => Ok(payload),
            other => panic!("a client that answers with {other:?}"),
        }
    }

    fn done(
        &mut self,
        _: &mut AuthCx<'_>,
        _: u64,
        _: Mode,
        _: &[u8],
    ) -> Result<Authenticated, AuthError> {
        Ok(self.who.clone())
    }
}

impl AuthServer for Parrot {
    fn begin(&mut self, _: &mut AuthCx<'_>, _: &AuthRequest) -> AuthAnswer {
        self.answer()
    }

    fn more(&mut self, _: &mut AuthCx<'_>, _: &[u8]) -> AuthAnswer {
        self.answer()
    }
}

fn hello(connection: &Connection, side: usize) -> Option<(EntityType, EntityAddr)> {
    match connection.frames[side].first()?.control()? {
        Control::Hello { entity, peer_addr } => Some((entity, peer_addr)),
        other => panic!("it begins with {other:?}"),
    }
}

fn standing(peer: EntityName) -> Standing {
    Standing {
        features: PACIFIC,
        lossy: false,
        peer,
    }
}

/// What the recorded client was told to do, as far as its frames show it.
fn connector_params(connection: &Connection) -> Option<ConnectorParams> {
    let (entity, peer_addr) = hello(connection, 0)?;
    let (peer_type, _) = hello(connection, 1)?;
    let mut params = ConnectorParams {
        banner: BANNERS[1],
        name: EntityName::new(entity, -1),
        addrs: AddrVec::default(),
        peer_addr,
        peer_type,
        features: PACIFIC,
        required: 0,
        lossy: false,
        global_seq: 0,
        client_cookie: 0,
        resume: None,
        checksums: Default::default(),
        compression: Default::default(),
    };
    let mut asked = connection.frames[0].iter().filter_map(|f| f.control());
    match asked.find(|c| [tag::CLIENT_IDENT, tag::SESSION_RECONNECT].contains(&c.tag())) {
        Some(Control::ClientIdent(ident)) => {
            params.name.num = ident.gid;
            params.addrs = ident.addrs;
            params.global_seq = ident.global_seq;
            params.features = ident.supported;
            params.required = ident.required;
            params.lossy = ident.lossy;
            params.client_cookie = ident.cookie;
            // A client does not know its ip before the server says it.
            if params.addrs.front().port() == 0 {
                params.addrs.0[0].sock = None;
            }
        }
        Some(Control::SessionReconnect(reconnect)) => {
            params.addrs = reconnect.addrs;
            params.global_seq = reconnect.global_seq;
            params.client_cookie = reconnect.client_cookie;
            params.resume = Some(Resume {
                server_cookie: reconnect.server_cookie,
                connect_seq: reconnect.connect_seq,
                in_seq: reconnect.msg_seq,
                standing: standing(EntityName::osd(9)),
            });
        }
        _ => {}
    }
    Some(params)
}

/// What one of our sides made of a recorded stream: events as text, bytes sent, bytes left.
type Replay = (Vec<String>, Vec<u8>, Vec<u8>, Option<ProtoError>);

fn replay_connector(connection: &Connection, pieces: &[&[u8]]) -> Option<Replay> {
    let params = connector_params(connection)?;
    let mut connector = Connector::new(params, Parrot::new(connection, 0));
    let (mut rx, mut out, mut events) = (BytesMut::new(), BytesMut::new(), Vec::new());
    connector.start(&mut out);
    let mut error = None;
    for piece in pieces {
        rx.extend_from_slice(piece);
        while error.is_none() {
            match with_cx(|cx| connector.handle_input(&mut rx, cx, &mut out)) {
                Ok(None) => break,
                Ok(Some(event)) => {
                    events.push(format!("{event:?}"));
                    let retry = matches!(
                        event,
                        ConnectorEvent::RetrySession { .. }
                            | ConnectorEvent::ResetSession { .. }
                            | ConnectorEvent::RetryGlobal { .. }
                    );
                    if retry {
                        connector
                            .handle_retry(connector.global_seq(), &mut out)
                            .unwrap();
                    }
                }
                Err(e) => error = Some(e),
            }
        }
    }
    Some((events, out.to_vec(), rx.to_vec(), error))
}

/// The answers of the recorded server to claims.
fn verdicts(connection: &Connection) -> Vec<Verdict> {
    let answers = connection.frames[1].iter().filter_map(|f| f.control());
    let verdicts = answers.filter_map(|control| {
        Some(match control {
            Control::ServerIdent(ident) => Verdict::Open {
                addrs: ident.addrs,
                gid: ident.gid,
                features: ident.supported,
                required: ident.required,
                global_seq: ident.global_seq,
                lossy: ident.lossy,
                server_cookie: ident.cookie,
            },
            Control::SessionReconnectOk { msg_seq } => Verdict::Resume {
                in_seq: msg_seq,
                server_cookie: 1,
                standing: standing(EntityName::osd(9)),
            },
            Control::SessionRetry { connect_seq } => Verdict::Retry(connect_seq),
            Control::SessionRetryGlobal { global_seq } => Verdict::RetryGlobal(global_seq),
            Control::SessionReset { full } => Verdict::Reset { full },
            Control::Wait => Verdict::Wait,
            _ => return None,
        })
    });
    verdicts.collect()
}

fn replay_acceptor(connection: &Connection, pieces: &[&[u8]]) -> Option<Replay> {
    let (entity, peer_seen) = hello(connection, 1)?;
    let (_, own) = hello(connection, 0)?;
    let mut acceptor = Acceptor::new(AcceptorParams {
        banner: BANNERS[1],
        entity,
        addrs: own.into(),
        peer_seen: peer_seen.sock?,
        checksums: Default::default(),
        compression: Default::default(),
    });
    let mut verdicts = verdicts(connection).into_iter();
    let (mut rx, mut out, mut events) = (BytesMut::new(), BytesMut::new(), Vec::new());
    acceptor.start(&mut out);
    for piece in pieces {
        rx.extend_from_slice(piece);
        loop {
            let event = with_cx(|cx| acceptor.handle_input(&mut rx, cx, &mut out)).unwrap();
            let Some(event) = event else { break };
            events.push(format!("{event:?}"));
            match event {
                AcceptorEvent::Hello(_) => {
                    acceptor.handle_auth(Parrot::new(connection, 1)).unwrap();
                }
                AcceptorEvent::Claim(claim) => {
                    assert!(matches!(
                        claim.wants,
                        Wants::New { gid: -1.., .. } | Wants::Resume { .. }
                    ));
                    let Some(verdict) = verdicts.next() else {
                        break;
                    };
                    let event = acceptor.handle_verdict(verdict, &mut out).unwrap();
                    events.extend(event.map(|event| format!("{event:?}")));
                }
                _ => {}
            }
        }
    }
    Some((events, out.to_vec(), rx.to_vec(), None))
}

type Side = fn(&Connection, &[&[u8]]) -> Option<Replay>;

/// Replays one side of a recording, whole and cut everywhere in its handshake.
fn check(connection: &Connection, input: usize, side: Side) -> bool {
    let name = &connection.recorded.name;
    let stream = &connection.streams[input];
    let Some(whole) = side(connection, &[stream]) else {
        return false;
    };
    let (events, sent, left, _) = &whole;
    let recorded = &connection.streams[1 - input];
    // A side may have died before it sent all of its part.
    let common = sent.len().min(recorded.len());
    assert_eq!(sent[..common], recorded[..common], "{name}: what we send");
    let opened = connection.open_at(input);
    if let Some(at) = opened {
        assert!(
            events.last().unwrap().starts_with("Ready"),
            "{name}: {events:?}"
        );
        assert_eq!(left[..], stream[at..], "{name}: what we leave");
        assert_eq!(connection.open_at(1 - input), Some(sent.len()), "{name}");
    }
    let end = opened.unwrap_or(stream.len());
    for cut in 0..=end {
        let (a, b) = stream.split_at(cut);
        assert_eq!(
            side(connection, &[a, b]).as_ref(),
            Some(&whole),
            "{name}: cut at {cut}"
        );
    }
    for size in [1, 7, 31] {
        let pieces: Vec<&[u8]> = stream.chunks(size).take(end.div_ceil(size)).collect();
        let taken: usize = pieces.iter().map(|piece| piece.len()).sum();
        let pieces = [&pieces[..], &[&stream[taken..]]].concat();
        assert_eq!(
            side(connection, &pieces).as_ref(),
            Some(&whole),
            "{name}: {size} at a time"
        );
    }
    opened.is_some()
}

#[test]
fn recorded_handshakes() {
    let (mut connected, mut accepted) = (0, 0);
    for name in ALL {
        for connection in connections(name) {
            connected += usize::from(check(&connection, 1, replay_connector));
            accepted += usize::from(check(&connection, 0, replay_acceptor));
        }
    }
    println!("{connected} connected, {accepted} accepted");
    assert!(connected >= 20 && accepted >= 20, "{connected} {accepted}");
}

/// Clients that were not let in, and what we tell our user then.
#[test]
fn recorded_refusals() {
    for (name, hint) in [
        ("v2-refused-key", "-13"),
        ("v2-refused-method", "-95"),
        ("v2-refused-mode", "-95"),
    ] {
        let mut refused = 0;
        for connection in connections(name) {
            let stream = connection.streams[1].clone();
            let (.., error) = replay_connector(&connection, &[&stream]).expect("it said hello");
            let Some(error) = error else { continue };
            assert!(
                matches!(error, ProtoError::AuthDenied(_)),
                "{name}: {error}"
            );
            println!("{name}: {error} (expected {hint})");
            refused += 1;
        }
        assert_ne!(refused, 0, "{name}");
    }
}
