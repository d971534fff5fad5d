//! Clients on paper, who say what they like, and our acceptor.

use async_messenger::auth::{AuthRequest, Method, Mode};
use async_messenger::message::Segment;
use async_messenger::proto::ProtoError;
use async_messenger::proto::v2::{
    Acceptor, AcceptorEvent, Assembler, ClientIdent, Control, Preamble, Reconnect, Revision, State,
    tag,
};
use async_messenger::wire::features::SUPPORTED;
use async_messenger::wire::{EntityType, crc32c};
use bytes::BytesMut;

use super::fake::Play;
use super::meeting::{Cast, meet};
use super::{BANNERS, acceptor_params, addr, with_cx};

pub(crate) fn new_acceptor() -> Acceptor {
    Acceptor::new(acceptor_params(BANNERS[1]))
}

/// Feeds an acceptor until it takes no more; claims are left unanswered.
pub(crate) fn feed(
    acceptor: &mut Acceptor,
    play: &Play,
    rx: &mut BytesMut,
    out: &mut BytesMut,
) -> Result<Vec<AcceptorEvent>, ProtoError> {
    let mut events = Vec::new();
    while let Some(event) = with_cx(|cx| acceptor.handle_input(rx, cx, out))? {
        if matches!(event, AcceptorEvent::Hello(_)) {
            acceptor.handle_auth(play.server())?;
        }
        events.push(event);
    }
    Ok(events)
}

fn frame(control: &Control) -> Vec<u8> {
    raw_frame(control.tag(), &control.encode())
}

fn raw_frame(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    let none = [Segment::EMPTY, Segment::EMPTY, Segment::EMPTY];
    Assembler::new(Revision::V1, None, true)
        .frame(tag, content, none, &mut out)
        .expect("it can be sent");
    out.to_vec()
}

pub(crate) fn banner_bytes() -> Vec<u8> {
    let mut out = BytesMut::new();
    BANNERS[1].encode(&mut out);
    out.to_vec()
}

fn hello() -> Control {
    Control::Hello {
        entity: EntityType::OSD,
        peer_addr: addr("v2:127.0.0.1:6801/0"),
    }
}

fn request(method: Method) -> Control {
    Control::AuthRequest(AuthRequest {
        method,
        modes: vec![Mode::SECURE, Mode::CRC],
        payload: b"it is me".to_vec(),
    })
}

fn ident() -> ClientIdent {
    ClientIdent {
        addrs: "v2:127.0.0.1:6801/11".parse().unwrap(),
        target: addr("v2:127.0.0.1:6802/22"),
        gid: 0,
        global_seq: 1,
        supported: SUPPORTED,
        required: 0,
        lossy: false,
        cookie: 1,
    }
}

/// What a client says, and what the acceptor makes of it.
fn says(play: &Play, frames: &[Vec<u8>]) -> (Acceptor, Result<Vec<AcceptorEvent>, ProtoError>) {
    let (mut acceptor, mut out) = (new_acceptor(), BytesMut::new());
    acceptor.start(&mut out);
    let mut rx = BytesMut::from(&[banner_bytes(), frames.concat()].concat()[..]);
    let result = feed(&mut acceptor, play, &mut rx, &mut out);
    (acceptor, result)
}

fn refused(play: &Play, frames: &[Vec<u8>], state: State) -> String {
    let (mut acceptor, result) = says(play, frames);
    let error = result.expect_err("refused");
    assert_eq!(acceptor.state(), state, "{error}");
    let mut rx = BytesMut::from(&b"more"[..]);
    let again = with_cx(|cx| acceptor.handle_input(&mut rx, cx, &mut BytesMut::new()));
    assert_eq!(again, Err(error.clone()));
    assert!(acceptor.into_open(Default::default()).is_none());
    error.to_string()
}

/// One of each sort.
fn all_controls() -> Vec<Control> {
    let mut all = vec![
        hello(),
        request(Method::NONE),
        Control::AuthReplyMore(vec![]),
        Control::AuthRequestMore(vec![]),
        Control::AuthDone {
            global_id: 1,
            mode: Mode::CRC,
            payload: vec![],
        },
        Control::AuthSignature([0; 32]),
        Control::ClientIdent(ident()),
        Control::IdentMissingFeatures(1),
        Control::SessionReset { full: true },
        Control::SessionRetry { connect_seq: 1 },
        Control::SessionRetryGlobal { global_seq: 1 },
        Control::SessionReconnectOk { msg_seq: 1 },
        Control::Wait,
        Control::Keepalive2(Default::default()),
        Control::Keepalive2Ack(Default::default()),
        Control::Ack(1),
        Control::CompressionRequest {
            wanted: false,
            algorithms: vec![],
        },
        Control::CompressionDone {
            on: false,
            algorithm: 0,
        },
    ];
    all.push(Control::SessionReconnect(Reconnect {
        addrs: "v2:127.0.0.1:6801/11".parse().unwrap(),
        client_cookie: 1,
        server_cookie: 2,
        global_seq: 3,
        connect_seq: 4,
        msg_seq: 5,
    }));
    all
}

/// Wherever it is, an acceptor takes what belongs there and nothing else.
#[test]
fn frames_in_the_wrong_state_are_refused() {
    let play = Play::plain();
    let challenging = Play {
        challenges: 1,
        ..Play::plain()
    };
    let signature = Control::AuthSignature([0; 32]);
    let none = request(Method::NONE);
    let places: [(&Play, Vec<Control>, State, &[u8]); 5] = [
        (&play, vec![], State::HelloAccepting, &[tag::HELLO]),
        (
            &play,
            vec![hello()],
            State::AuthAccepting,
            &[tag::AUTH_REQUEST],
        ),
        (
            &challenging,
            vec![hello(), none.clone()],
            State::AuthAcceptingMore,
            &[tag::AUTH_REQUEST_MORE],
        ),
        (
            &play,
            vec![hello(), none.clone()],
            State::AuthAcceptingSign,
            &[tag::AUTH_SIGNATURE],
        ),
        (
            &play,
            vec![hello(), none.clone(), signature],
            State::SessionAccepting,
            &[tag::CLIENT_IDENT, tag::SESSION_RECONNECT],
        ),
    ];
    for (play, before, state, takes) in places {
        for control in all_controls() {
            if takes.contains(&control.tag()) {
                continue;
            }
            let mut frames: Vec<_> = before.iter().map(frame).collect();
            frames.push(frame(&control));
            let text = refused(play, &frames, state);
            let wanted = format!(
                "{} does not belong into state {state}",
                tag::name(control.tag()).unwrap()
            );
            assert!(text.contains(&wanted), "{text}");
        }
        let mut frames: Vec<_> = before.iter().map(frame).collect();
        frames.push(raw_frame(tag::MESSAGE, &[0; 41]));
        assert!(refused(play, &frames, state).contains("message before the session is open"));
        frames.pop();
        frames.push(raw_frame(99, &[0; 41]));
        assert!(refused(play, &frames, state).contains("no frame with tag 99"));
    }
}

#[test]
fn nothing_goes_on_after_a_refusal() {
    let play = Play::plain();
    let begun = [frame(&hello()), frame(&request(Method::CEPHX))];
    let (acceptor, result) = says(&play, &begun);
    let events = result.unwrap();
    assert!(matches!(
        events[..],
        [AcceptorEvent::Hello(_), AcceptorEvent::Denied(_)]
    ));
    assert_eq!(acceptor.state(), State::AuthAccepting);
    for control in all_controls() {
        if control.tag() == tag::AUTH_REQUEST {
            continue;
        }
        let frames = [&begun[..], &[frame(&control)]].concat();
        refused(&play, &frames, State::AuthAccepting);
    }
    // Another beginning is taken, as long as none has got as far as a challenge.
    let frames = [&begun[..], &[frame(&request(Method::NONE))]].concat();
    let (acceptor, result) = says(&play, &frames);
    assert_eq!(
        (acceptor.state(), result.is_ok()),
        (State::AuthAcceptingSign, true)
    );
    let play = Play {
        unconvinced: true,
        ..Play::keyed(Mode::CRC)
    };
    let begun = [
        frame(&hello()),
        frame(&request(Method::CEPHX)),
        frame(&Control::AuthRequestMore(b"really".to_vec())),
    ];
    let (acceptor, result) = says(&play, &begun);
    assert!(matches!(result.unwrap()[..], [_, AcceptorEvent::Denied(_)]));
    assert_eq!(acceptor.state(), State::AuthAcceptingMore);
    for control in all_controls() {
        if control.tag() != tag::AUTH_REQUEST_MORE {
            let frames = [&begun[..], &[frame(&control)]].concat();
            refused(&play, &frames, State::AuthAcceptingMore);
        }
    }
}

#[test]
fn no_method_is_not_a_method() {
    for challenges in [0, 1] {
        let play = Play {
            methods: vec![Method(0)],
            takes: Method(0),
            challenges,
            ..Play::plain()
        };
        let frames = [frame(&hello()), frame(&request(Method(0)))];
        let text = refused(&play, &frames, State::AuthAccepting);
        assert!(text.contains("bug in async-messenger"), "{text}");
        let meeting = meet(&Cast::new(BANNERS[1], play), usize::MAX);
        assert!(meeting.error(0).contains("without a method"), "{meeting:?}");
    }
}

#[test]
fn a_peer_without_an_address_is_refused() {
    let mut nobody = ident();
    nobody.addrs = "[]".parse().unwrap();
    let start = [
        frame(&hello()),
        frame(&request(Method::NONE)),
        frame(&Control::AuthSignature([0; 32])),
    ];
    for addrs in ["[]", "-"] {
        nobody.addrs = addrs.parse().unwrap();
        let control = Control::ClientIdent(nobody.clone());
        let frames = [&start[..], &[frame(&control)]].concat();
        let text = refused(&Play::plain(), &frames, State::SessionAccepting);
        assert!(text.contains("no address by which"), "{text}");
    }
}

#[test]
fn strangers_get_little_room() {
    for len in [65_537_u32, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
        let preamble = Preamble::new(tag::AUTH_REQUEST, [len, 0, 0, 0]).encode([8; 4]);
        let text = refused(&Play::plain(), &[preamble.to_vec()], State::HelloAccepting);
        let wanted = format!("control frame {len}, at most 65536 are taken");
        assert!(text.contains(&wanted), "{text}");
    }
    // An aborted frame only makes sense in an open session.
    let mut aborted = vec![1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    aborted[1..5].copy_from_slice(&crc32c(u32::MAX, &[0; 4]).to_le_bytes());
    let preamble = Preamble::new(tag::HELLO, [0, 4, 0, 0]).encode([8; 4]);
    let frame = [&preamble[..], &[0; 4], &aborted].concat();
    let text = refused(&Play::plain(), &[frame], State::HelloAccepting);
    assert!(text.contains("aborted"), "{text}");
}
