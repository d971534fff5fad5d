//! Why an authentication failed. The texts are for operators: what was wrong and, where there is
//! one, the cure.
//!
//! Invariant: no text holds key material, or bytes of a peer other than names and numbers.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use crate::wire::{AuthName, DecodeError, EntityType};

use super::Method;

/// Why an authentication failed.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum AuthError {
    /// A proof, ticket or seal that does not hold: another key was used, or bytes were changed.
    Denied(Cow<'static, str>),
    /// Bytes that do not decode.
    Undecodable(DecodeError),
    /// A method, mode, key type or request that is not taken here.
    Unsupported(Cow<'static, str>),
    /// There is no key for a name, neither to show nor to compare with.
    NoKey(AuthName),
    /// There is no ticket, or no valid one, for a kind of daemon.
    NoTicket(EntityType),
    /// The peer does not take what we showed.
    Refused {
        /// The method by which we showed it.
        method: Method,
        /// The negative error number that it gave.
        result: i32,
        /// The methods that it takes, if it said so.
        methods: Vec<Method>,
    },
    /// The peer broke the rules of the exchange.
    Misbehaved(&'static str),
    /// The peer asks for what there is not, or at the wrong time.
    Invalid(&'static str),
}

impl AuthError {
    /// A refusal by what the text says.
    pub(super) fn denied(what: impl Into<Cow<'static, str>>) -> Self {
        Self::Denied(what.into())
    }

    /// The error number that a peer is told: -95 for what is not supported, -22 for a request that
    /// makes no sense at this time, and -13 for all that has to do with proofs, so that it cannot
    /// be told from the number what was wrong with one.
    #[must_use]
    pub fn errno(&self) -> i32 {
        match self {
            Self::Unsupported(_) => super::EOPNOTSUPP,
            Self::Invalid(_) => super::EINVAL,
            _ => super::EACCES,
        }
    }
}

impl From<DecodeError> for AuthError {
    fn from(e: DecodeError) -> Self {
        Self::Undecodable(e)
    }
}

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(what) | Self::Unsupported(what) => f.write_str(what),
            Self::Undecodable(e) => write!(f, "undecodable authentication payload: {e}"),
            Self::NoKey(name) => write!(
                f,
                "there is no key for {name}; add a section [{name}] to the keyring"
            ),
            Self::NoTicket(service) => write!(
                f,
                "there is no valid ticket for {service}; log in to a monitor first, and check \
                 that the caps of this client name {service}"
            ),
            Self::Refused {
                method,
                result,
                methods,
            } => write_refused(f, *method, *result, methods),
            Self::Misbehaved(what) | Self::Invalid(what) => {
                write!(f, "peer broke the rules of authentication: {what}")
            }
        }
    }
}

fn write_refused(
    f: &mut fmt::Formatter<'_>,
    method: Method,
    result: i32,
    methods: &[Method],
) -> fmt::Result {
    write!(f, "peer refused method {method} with {result}: ")?;
    match result {
        super::EACCES => f.write_str(
            "permission denied, or key type not allowed by the monitors; check that the key in \
             the keyring is the one that the cluster has for this name",
        ),
        super::EOPNOTSUPP => {
            f.write_str("it does not take this method or none of the modes")?;
            for (i, method) in methods.iter().enumerate() {
                let before = if i == 0 { "; it takes methods " } else { ", " };
                write!(f, "{before}{method}")?;
            }
            f.write_str("; make the lists of methods and modes of both sides overlap")
        }
        _ => f.write_str("see its log"),
    }
}

impl Error for AuthError {}
