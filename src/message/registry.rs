//! Which message types a messenger understands.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;

use super::{Message, Payload};
use crate::wire::{DecodeError, msgtype};

/// What to do with a message of a type that is not registered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum UnknownTypes {
    /// Deliver it as it is: the messenger carries opaque messages.
    #[default]
    Deliver,
    /// Treat it as undecodable, which faults the connection, as Ceph does (encoding §13).
    Fault,
}

/// The typed payloads a messenger knows. It decides what may be delivered, and decodes messages
/// for code that does not know their type.
///
/// ```
/// use async_messenger::message::{Message, Registry};
/// use async_messenger::messages::MMonGetVersion;
///
/// let mut registry = Registry::default();
/// registry.register::<MMonGetVersion>();
///
/// let request = MMonGetVersion { handle: 1, what: "osdmap".into() };
/// let message = Message::from_payload(&request, 0);
/// let decoded = registry.decode(&message).unwrap();
/// assert_eq!(decoded.downcast_ref::<MMonGetVersion>(), Some(&request));
/// ```
#[derive(Clone, Default)]
pub struct Registry {
    types: BTreeMap<u16, Type>,
    unknown: UnknownTypes,
}

#[derive(Clone, Copy)]
struct Type {
    name: &'static str,
    version: u16,
    decode: fn(&Message) -> Result<Box<dyn Any + Send>, DecodeError>,
}

impl Registry {
    /// Adds a type, or replaces the one that had its number.
    pub fn register<P: Payload>(&mut self) -> &mut Self {
        let decode = |message: &Message| -> Result<Box<dyn Any + Send>, DecodeError> {
            Ok(Box::new(message.decode::<P>()?))
        };
        self.types.insert(
            P::KIND,
            Type {
                name: P::NAME,
                version: P::VERSION,
                decode,
            },
        );
        self
    }

    /// Says what becomes of types that are not registered.
    pub fn unknown_types(&mut self, unknown: UnknownTypes) -> &mut Self {
        self.unknown = unknown;
        self
    }

    /// Whether a received message may be delivered, judged by its head (encoding §13).
    ///
    /// # Errors
    /// If the type is unknown and unknown ones are refused, or the sender requires a decoder that
    /// is newer than the registered type.
    pub fn admit(&self, message: &Message) -> Result<(), Undecodable> {
        let head = message.head();
        match self.types.get(&head.kind) {
            Some(known) if head.compat_version > known.version => Err(Undecodable::TooNew {
                name: known.name,
                needs: head.compat_version,
                has: known.version,
            }),
            None if self.unknown == UnknownTypes::Fault => Err(Undecodable::Unknown(head.kind)),
            _ => Ok(()),
        }
    }

    /// Decodes a message of any registered type.
    ///
    /// # Errors
    /// As [`admit`](Self::admit), and if the bytes make no sense. An unregistered type is always an
    /// error here.
    pub fn decode(&self, message: &Message) -> Result<Box<dyn Any + Send>, Undecodable> {
        self.admit(message)?;
        let kind = message.kind();
        let known = self.types.get(&kind).ok_or(Undecodable::Unknown(kind))?;
        (known.decode)(message).map_err(Undecodable::Malformed)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.types.iter().map(|(kind, t)| (kind, t.name));
        f.debug_struct("Registry")
            .field("types", &names.collect::<BTreeMap<_, _>>())
            .field("unknown", &self.unknown)
            .finish()
    }
}

/// Why a message cannot be decoded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Undecodable {
    /// Its type is not registered.
    Unknown(u16),
    /// The sender requires a decoder of a newer version.
    TooNew {
        /// Name of the type.
        name: &'static str,
        /// The version that the sender requires.
        needs: u16,
        /// The newest version known here.
        has: u16,
    },
    /// The payload makes no sense.
    Malformed(DecodeError),
}

impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(kind) => {
                let name = msgtype::name(*kind).unwrap_or("no name");
                write!(f, "message type {kind} ({name}) is not registered")
            }
            Self::TooNew { name, needs, has } => {
                write!(
                    f,
                    "{name} requires a decoder of version {needs}, here is {has}"
                )
            }
            Self::Malformed(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Undecodable {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::{MMonGetVersion, MPing};

    #[test]
    fn a_type_that_is_too_new_is_refused() {
        let mut registry = Registry::default();
        registry.register::<MMonGetVersion>();
        let message = |compat| Message::new(MMonGetVersion::KIND).with_version(9, compat);
        assert_eq!(registry.admit(&message(1)), Ok(()), "newer but compatible");
        assert_eq!(registry.admit(&message(0)), Ok(()), "0 means unknown");
        let refused = registry.admit(&message(2)).expect_err("needs version 2");
        assert!(matches!(
            refused,
            Undecodable::TooNew {
                needs: 2,
                has: 1,
                ..
            }
        ));
    }

    #[test]
    fn unknown_types_are_delivered_unless_told_otherwise() {
        let mut registry = Registry::default();
        let ping = Message::new(MPing::KIND);
        assert_eq!(registry.admit(&ping), Ok(()));
        registry.unknown_types(UnknownTypes::Fault);
        assert_eq!(registry.admit(&ping), Err(Undecodable::Unknown(2)));
        registry.register::<MPing>();
        assert_eq!(registry.admit(&ping), Ok(()));
    }
}
