//! Steps of the v2 handshake that only a scripted peer takes.

use async_messenger::auth::{
    AuthClient, AuthCx, AuthError, AuthRefusal, AuthRequest, Authenticated, Method, Mode,
};
use async_messenger::crypto::{NonceStep, Role, best, session_ciphers};
use async_messenger::message::Segment;
use async_messenger::proto::v2::{
    Acceptor, AcceptorParams, Assembler, Banner, Connector, ConnectorEvent, ConnectorParams,
    Control, Encoder, Resume, Revision, ServerIdent, Standing, State,
};
use async_messenger::proto::{Limits, ProtoError};
use async_messenger::wire::features::SUPPORTED;
use async_messenger::wire::{EntityName, EntityType};
use bytes::BytesMut;

use super::with_cx;

const BANNER: Banner = Banner {
    supported: 1,
    required: 0,
};

/// Offers a mode, goes on after every refusal, and believes everything.
#[derive(Debug)]
struct Naive(Mode);

impl Naive {
    fn request(&self) -> AuthRequest {
        AuthRequest {
            method: Method::NONE,
            modes: vec![self.0],
            payload: vec![],
        }
    }
}

impl AuthClient for Naive {
    fn begin(&mut self, _: &mut AuthCx<'_>) -> Result<AuthRequest, AuthError> {
        Ok(self.request())
    }

    fn refused(&mut self, _: &mut AuthCx<'_>, _: &AuthRefusal) -> Result<AuthRequest, AuthError> {
        Ok(self.request())
    }

    fn more(&mut self, _: &mut AuthCx<'_>, _: &[u8]) -> Result<Vec<u8>, AuthError> {
        Ok(vec![])
    }

    fn done(
        &mut self,
        _: &mut AuthCx<'_>,
        _: u64,
        _: Mode,
        _: &[u8],
    ) -> Result<Authenticated, AuthError> {
        Ok(Authenticated::default())
    }
}

fn params() -> ConnectorParams {
    ConnectorParams {
        banner: BANNER,
        name: EntityName::client(-1),
        addrs: "any:127.0.0.1:0/5".parse().expect("an address"),
        peer_addr: "v2:127.0.0.1:6802/22".parse().expect("an address"),
        peer_type: EntityType::OSD,
        features: SUPPORTED,
        required: 0,
        lossy: true,
        global_seq: 3,
        client_cookie: 0,
        resume: None,
        checksums: Default::default(),
        compression: Default::default(),
    }
}

fn frame(control: &Control, out: &mut BytesMut) {
    let mut frames = Assembler::new(Revision::V1, None, true);
    let none = [Segment::EMPTY, Segment::EMPTY, Segment::EMPTY];
    let sent = frames.frame(control.tag(), &control.encode(), none, out);
    sent.expect("it can be sent");
}

/// What a connector makes of these frames behind a banner.
fn hear(params: ConnectorParams, mode: Mode, says: &[Control]) -> (Connector, Heard) {
    let mut connector = Connector::new(params, Box::new(Naive(mode)));
    let (mut rx, mut out, mut events) = (BytesMut::new(), BytesMut::new(), Vec::new());
    connector.start(&mut out);
    assert_eq!(connector.state(), State::BannerConnecting);
    BANNER.encode(&mut rx);
    says.iter().for_each(|control| frame(control, &mut rx));
    loop {
        match with_cx(|cx| connector.handle_input(&mut rx, cx, &mut out)) {
            Ok(Some(event)) => events.push(event),
            Ok(None) => return (connector, Ok(events)),
            Err(error) => return (connector, Err(error)),
        }
    }
}

type Heard = Result<Vec<ConnectorEvent>, ProtoError>;

fn hello() -> Control {
    Control::Hello {
        entity: EntityType::OSD,
        peer_addr: "v2:127.0.0.1:50000/0".parse().expect("an address"),
    }
}

fn done(mode: Mode) -> Control {
    Control::AuthDone {
        global_id: 5,
        mode,
        payload: vec![],
    }
}

fn refusal() -> Control {
    Control::AuthBadMethod(AuthRefusal {
        method: Method::NONE,
        result: -13,
        methods: vec![],
        modes: vec![],
    })
}

#[test]
fn frames_out_of_turn_are_named_with_the_state() {
    let trusted = [hello(), done(Mode::CRC), Control::AuthSignature([0; 32])];
    let with = |last: &[Control]| [&trusted[..], last].concat();
    let cases = [
        (
            vec![Control::Ack(1)],
            "ACK does not belong into state HELLO_CONNECTING",
        ),
        (
            vec![hello(), Control::Wait],
            "WAIT does not belong into state AUTH_CONNECTING",
        ),
        (
            vec![hello(), done(Mode::CRC), hello()],
            "HELLO does not belong into state AUTH_CONNECTING_SIGN",
        ),
        (
            with(&[Control::Ack(1)]),
            "ACK does not belong into state SESSION_CONNECTING",
        ),
        (
            vec![hello(), Control::AuthReplyMore(vec![]), refusal()],
            "the peer is not convinced by what it was shown by method none (error -13)",
        ),
    ];
    for (says, wanted) in cases {
        let (mut connector, heard) = hear(params(), Mode::CRC, &says);
        let error = heard.expect_err(wanted);
        assert!(error.to_string().contains(wanted), "{error}");
        assert!(wanted.ends_with(')') || wanted.contains(&connector.state().to_string()));
        let retry = connector.handle_retry(1, &mut BytesMut::new());
        assert_eq!(retry, Err(error), "for good");
        assert!(connector.into_open(Limits::default()).is_none());
    }
}

#[test]
fn a_mode_that_nobody_has() {
    let (_, heard) = hear(params(), Mode(9), &[hello(), done(Mode(9))]);
    let error = heard.expect_err("there is none").to_string();
    assert!(error.contains("there is no connection mode 9"), "{error}");
    let (_, heard) = hear(params(), Mode::SECURE, &[hello(), done(Mode::SECURE)]);
    let error = heard.expect_err("there is no secret").to_string();
    assert!(error.contains("without a secret"), "{error}");
}

#[test]
fn where_a_connector_ends_up() {
    let trusted = [hello(), done(Mode::CRC), Control::AuthSignature([0; 32])];
    let with = |last: Control| [&trusted[..], &[last]].concat();
    let (connector, heard) = hear(params(), Mode::CRC, &with(Control::Wait));
    assert_eq!(
        (connector.state(), heard),
        (State::Wait, Ok(vec![ConnectorEvent::Wait]))
    );
    let ident = Control::ServerIdent(ServerIdent {
        addrs: "v2:127.0.0.1:6802/22".parse().expect("an address"),
        gid: 3,
        global_seq: 1,
        supported: SUPPORTED,
        required: 0,
        lossy: true,
        cookie: 0,
    });
    let (connector, heard) = hear(params(), Mode::CRC, &with(ident));
    assert!(matches!(
        heard.expect("let in")[..],
        [ConnectorEvent::Ready(_)]
    ));
    assert_eq!(connector.state(), State::Ready);
    assert!(connector.into_open(Limits::default()).is_some());
    // A lossy session has no name that a reset could change.
    let mut lossy = params();
    lossy.resume = Some(Resume {
        server_cookie: 1,
        connect_seq: 1,
        in_seq: 0,
        standing: Standing {
            features: SUPPORTED,
            lossy: true,
            peer: EntityName::osd(3),
        },
    });
    let (connector, heard) = hear(
        lossy,
        Mode::CRC,
        &with(Control::SessionReset { full: true }),
    );
    let reset = ConnectorEvent::ResetSession {
        full: true,
        client_cookie: 0,
    };
    assert_eq!(
        (connector.state(), heard),
        (State::SessionConnecting, Ok(vec![reset]))
    );
}

/// Assemblers that rest need not keep the room for what they seal.
#[test]
fn the_room_for_sealed_frames_is_exchanged() {
    let sealer = session_ciphers(best(), &[7; 64], Role::Client, NonceStep::Last64);
    let (sealer, _) = sealer.expect("64 bytes are enough");
    let mut frames = Assembler::new(Revision::V1, Some(sealer), true);
    let mut room = BytesMut::with_capacity(1 << 20);
    frames.swap_room(&mut room);
    assert_eq!(room.capacity(), 0, "it had none yet");
    let rest = [Segment::from(vec![1; 500]), Segment::EMPTY, Segment::EMPTY];
    let mut out = BytesMut::new();
    frames.frame(99, b"first", rest, &mut out).expect("sent");
    let mut encoder = Encoder::new(frames);
    encoder.swap_room(&mut room);
    assert!(room.capacity() > 500_000, "what is left of it comes back");
    assert_eq!(out.len(), 96 + 512 + 32);
}

#[test]
fn where_an_acceptor_begins() {
    let mut acceptor = Acceptor::new(AcceptorParams {
        banner: BANNER,
        entity: EntityType::OSD,
        addrs: "v2:127.0.0.1:6802/22".parse().expect("an address"),
        peer_seen: "127.0.0.1:50000".parse().expect("an address"),
        checksums: Default::default(),
        compression: Default::default(),
    });
    assert_eq!(acceptor.state(), State::StartAccept);
    acceptor.start(&mut BytesMut::new());
    assert_eq!(acceptor.state(), State::BannerAccepting);
    assert!(acceptor.into_open(Limits::default()).is_none());
}
