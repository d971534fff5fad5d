//! Peers that do not keep to the protocol: what is told of them, and that nobody else is hurt.

mod acceptor;
mod connector;
mod crowds;
mod messages;
mod retry;

#[path = "../common/bed.rs"]
mod bed;
#[path = "../common/peers.rs"]
mod peers;
#[path = "../common/scripted.rs"]
mod scripted;
#[path = "../common/vectors.rs"]
mod vectors;

use async_messenger::message::Message;
use async_messenger::proto::v1::State;
use async_messenger::{Connection, ErrorKind};
use bed::{Bed, Fault, ROLES, Role};
use peers::Seen;
use scripted::*;

/// A peer's misdeed in the handshake.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) play: fn(&Listener, &mut Wire),
    pub(crate) fault: Fault,
}

pub(crate) const fn fault(kind: ErrorKind, phase: State, words: &'static [&'static str]) -> Fault {
    Fault { kind, phase, words }
}

pub(crate) const fn protocol(phase: State, words: &'static [&'static str]) -> Fault {
    fault(ErrorKind::Protocol, phase, words)
}

pub(crate) type Words = &'static [&'static str];

pub(crate) fn changed(mut bytes: Vec<u8>, at: usize, to: u8) -> Vec<u8> {
    bytes[at] = to;
    bytes
}

/// Messages but for those of the bystander.
pub(crate) fn of_a_script(seen: Seen) -> Option<(Connection, Message)> {
    match seen {
        Seen::Message(from, message) if message.kind() == 42 => Some((from, message)),
        _ => None,
    }
}

#[test]
fn a_handshake_that_trickles_in_is_as_good_as_another() {
    for role in ROLES {
        let mut bed = Bed::new(role, |b| b);
        let mut wire = match role {
            Role::Acceptor => {
                let mut wire = Wire::connect(&bed.subject.addrs);
                wire.trickle(&acceptor::client_side(1));
                wire.take(SERVER_HELLO_LEN + REPLY_LEN + SEQ_LEN);
                wire
            }
            Role::Connector => {
                bed.connect();
                let mut wire = bed.listener().accept();
                let hello = bed.listener().hello(&wire);
                wire.trickle(&hello);
                wire.trickle(&Reply::default().bytes());
                wire.trickle(&[0; SEQ_LEN]);
                wire.take(CLIENT_HELLO_LEN + CONNECT_LEN + authorizer().len() + SEQ_LEN);
                wire
            }
        };
        wire.trickle(&[Frame::new(1).bytes(), vec![tag::KEEPALIVE]].concat());
        wire.trickle(&Frame::new(2).bytes());
        for seq in 1..3 {
            let (_, message) = bed.subject.inbox.find("message", of_a_script);
            assert_eq!(message.head().seq, seq, "{role:?}");
            assert_eq!(message.data().to_bytes(), &b"the data"[..]);
        }
        drop(wire);
        bed.subject.inbox.reset();
        let (wire, _) = bed.open();
        drop(wire);
        bed.finish();
    }
}
