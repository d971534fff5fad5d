//! Why a protocol core gave up, sorted by blame. The texts are for operators: what was wrong
//! and, where there is one, the cure.
//!
//! It does not know what a connection does after a fault; that is the session's policy.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use crate::wire::{CrcMismatch, DecodeError, EntityType, features};

/// Why a protocol core gave up.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ProtoError {
    /// The peer broke the rules of the protocol.
    PeerMisbehaved(Cow<'static, str>),
    /// Both sides keep the rules, but do not fit together.
    PeerIncompatible(Mismatch),
    /// A checksum does not fit the bytes.
    Corrupt {
        /// What it covers.
        part: Part,
        /// What the sender wrote.
        expected: u32,
        /// What the bytes received give.
        got: u32,
    },
    /// Encrypted bytes that the session's key does not open.
    Tampered {
        /// What they should have been.
        part: Part,
    },
    /// Bytes that do not decode.
    Malformed(DecodeError),
    /// One side does not believe the other who it is.
    AuthDenied(Cow<'static, str>),
    /// More of something than we take.
    Limit {
        /// Of what.
        what: &'static str,
        /// How much it was.
        got: u64,
        /// How much we take.
        max: u64,
    },
    /// The peer gave a message up midway.
    Aborted,
    /// We did something wrong ourselves.
    LocalBug(&'static str),
}

/// How two sides do not fit together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Mismatch {
    /// The peer requires features that we do not offer.
    WeLack {
        /// The bits that we do not offer.
        missing: u64,
        /// What we offer.
        ours: u64,
    },
    /// We require features that the peer does not offer.
    PeerLacks {
        /// The bits that it does not offer.
        missing: u64,
        /// What it offers.
        theirs: u64,
    },
    /// The protocol version of this pair of entity types differs.
    Protocol {
        /// What we speak.
        ours: u32,
        /// What the peer speaks.
        theirs: u32,
    },
    /// The words in the two v2 banners do not fit (msgr2 §4).
    Banner {
        /// The bits that the peer requires and we do not offer.
        we_lack: u64,
        /// The bits that we require and the peer does not offer.
        peer_lacks: u64,
    },
    /// Another sort of program than expected is at the address.
    EntityType {
        /// What was expected.
        meant: EntityType,
        /// What it says it is.
        found: EntityType,
    },
}

/// What a checksum covers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Part {
    /// A message header.
    Header,
    /// The front segment of a message.
    Front,
    /// The middle segment.
    Middle,
    /// The data segment.
    Data,
    /// The head of a v2 frame.
    Preamble,
    /// The content of a v2 frame that is no message.
    Control,
}

impl ProtoError {
    /// The error of a peer that broke the rules by what the text says.
    pub(crate) fn misbehaved(what: impl Into<Cow<'static, str>>) -> Self {
        Self::PeerMisbehaved(what.into())
    }
}

/// The checksum of a header is wrong.
impl From<CrcMismatch> for ProtoError {
    fn from(crc: CrcMismatch) -> Self {
        Self::Corrupt {
            part: Part::Header,
            expected: crc.expected,
            got: crc.got,
        }
    }
}

impl From<DecodeError> for ProtoError {
    fn from(e: DecodeError) -> Self {
        Self::Malformed(e)
    }
}

impl From<Mismatch> for ProtoError {
    fn from(m: Mismatch) -> Self {
        Self::PeerIncompatible(m)
    }
}

impl fmt::Display for ProtoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeerMisbehaved(what) => write!(f, "peer broke the protocol: {what}"),
            Self::PeerIncompatible(mismatch) => mismatch.fmt(f),
            Self::Corrupt {
                part,
                expected,
                got,
            } => {
                let crc = CrcMismatch {
                    expected: *expected,
                    got: *got,
                };
                write!(
                    f,
                    "corrupt {part}: {crc}; check the network, and that both sides have "
                )?;
                f.write_str("crc switched on or off alike")
            }
            Self::Tampered { part } => write!(
                f,
                "encrypted {part} does not open: it was changed, repeated or left out on the way"
            ),
            Self::Malformed(e) => write!(f, "undecodable bytes from the peer: {e}"),
            Self::AuthDenied(what) => write!(f, "authentication failed: {what}"),
            Self::Limit { what, got, max } => {
                write!(
                    f,
                    "peer exceeds a limit: {what} {got}, at most {max} are taken"
                )
            }
            Self::Aborted => f.write_str("peer aborted a message while sending it"),
            Self::LocalBug(what) => write!(f, "bug in async-messenger: {what}"),
        }
    }
}

impl Error for ProtoError {}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::WeLack { missing, ours } => {
                write!(f, "peer requires features that we do not offer: ")?;
                write_features(f, missing)?;
                write!(
                    f,
                    " (we offer {ours:#x}); offer them, or relax what the peer requires"
                )
            }
            Self::PeerLacks { missing, theirs } => {
                write!(f, "peer does not offer features that we require: ")?;
                write_features(f, missing)?;
                write!(
                    f,
                    " (it offers {theirs:#x}); upgrade it, or relax what we require"
                )
            }
            Self::Protocol { ours, theirs } => write!(
                f,
                "peer speaks protocol version {theirs} and we speak {ours}; check that its entity \
                 type is the expected one and that both have the same cluster protocol"
            ),
            Self::Banner {
                we_lack,
                peer_lacks,
            } => write!(
                f,
                "the revisions of msgr2 do not fit: we do not offer {we_lack:#x} that the peer \
                 requires, it does not offer {peer_lacks:#x} that we require; upgrade the older \
                 side, or relax what the newer one requires"
            ),
            Self::EntityType { meant, found } => write!(
                f,
                "the peer is of type {found} and {meant} was meant; check the address"
            ),
        }
    }
}

fn write_features(f: &mut fmt::Formatter<'_>, word: u64) -> fmt::Result {
    write!(f, "{} = {word:#x}", features::names(word).join(", "))
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "message header",
            Self::Front => "front segment",
            Self::Middle => "middle segment",
            Self::Data => "data segment",
            Self::Preamble => "frame preamble",
            Self::Control => "control frame",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_name_the_cure() {
        let e = ProtoError::from(Mismatch::WeLack {
            missing: 0x80_0002,
            ours: 1,
        });
        let want = "peer requires features that we do not offer: NOSRCADDR, MSG_AUTH = 0x800002 \
                    (we offer 0x1); offer them, or relax what the peer requires";
        assert_eq!(e.to_string(), want);
        let crc = CrcMismatch {
            expected: 1,
            got: 2,
        };
        let e = ProtoError::from(crc).to_string();
        assert!(
            e.starts_with("corrupt message header: crc is 0x00000001"),
            "{e}"
        );
        let e = ProtoError::Limit {
            what: "authorizer bytes",
            got: 5000,
            max: 4095,
        };
        let want = "peer exceeds a limit: authorizer bytes 5000, at most 4095 are taken";
        assert_eq!(e.to_string(), want);
    }
}
