//! What becomes of a peer's claim: the protocols' own rules, in the words that the worker acts on.
//!
//! Decides and does nothing. The rules themselves are [`arbitrate`](crate::proto::arbitrate)
//! (msgr1 §11, §12) and [`v2::arbitrate`] (msgr2 §12); here they are asked.

use super::peer::Peer;
use crate::connection::Claim;
use crate::connection::{Numbers, Verdict};
use crate::error::Error;
use crate::inject::{Step, Who};
use crate::messenger::{Policy, Shared};
use crate::proto::v1::{Refusal, ReplyTag};
use crate::proto::{self, Attempt, Decision, arbitrate};

/// What to do with a claim.
#[derive(Debug)]
pub(super) enum Ruling {
    /// A new session.
    LetIn,
    /// The old session ends, and a new one begins.
    Supersede,
    /// The old session takes the link over.
    TakeOver {
        /// The peer's numbers start over; so do the own ones, and what is queued is void.
        resets: (bool, bool),
        /// What the peer is told. `None`: it is in.
        verdict: Option<Verdict>,
    },
    /// The own attempt goes first.
    Wait(Verdict),
    /// The peer has to forget a session; so has an own attempt that it may have let in meanwhile.
    StartOver(Verdict),
    /// The peer has to try again.
    Refuse(Verdict),
    /// The peer has overtaken itself.
    Stale,
}

impl Ruling {
    /// Whether the peer is told to try again with a greater number.
    pub(super) fn is_retry_global(&self) -> bool {
        use proto::{v1, v2};
        let verdict = match self {
            Self::TakeOver { verdict, .. } => verdict.as_ref(),
            Self::Refuse(verdict) => Some(verdict),
            _ => None,
        };
        match verdict {
            Some(Verdict::V1(v1::Verdict::Refuse(refusal))) => refusal.tag == ReplyTag::RetryGlobal,
            Some(Verdict::V2(v2::Verdict::RetryGlobal(_))) => true,
            _ => false,
        }
    }
}

/// The rules of v1.
pub(super) fn v1(shared: &Shared, old: Option<&Peer>, claim: &proto::v1::Claim) -> Ruling {
    let policy = shared.policy(claim.peer_type);
    let attempt = Attempt {
        global_seq: claim.global_seq,
        connect_seq: claim.connect_seq,
        resetcheck: policy.resetcheck,
        peer_first: shared.goes_first(&claim.peer_addr),
    };
    let existing = old.and_then(Peer::existing_v1);
    let decision = arbitrate(existing.as_ref(), &attempt);
    tracing::debug!(peer = %claim.peer_addr, ?existing, ?attempt, ?decision, "arbitrated");
    let terms = shared.terms(claim.peer_type, policy);
    let mut refusal = Refusal::new(ReplyTag::ResetSession, claim, &terms);
    let refuse = |refusal| Verdict::V1(proto::v1::Verdict::Refuse(refusal));
    match decision {
        Decision::Open => Ruling::LetIn,
        Decision::Supersede => Ruling::Supersede,
        Decision::Replace {
            global_seq,
            peer_reset,
            reset,
        } => {
            refusal.tag = ReplyTag::RetryGlobal;
            refusal.global_seq = global_seq;
            Ruling::TakeOver {
                resets: (peer_reset, reset),
                verdict: Some(refuse(refusal)),
            }
        }
        Decision::RetryGlobal(global_seq) => {
            refusal.tag = ReplyTag::RetryGlobal;
            refusal.global_seq = global_seq;
            Ruling::Refuse(refuse(refusal))
        }
        Decision::RetrySession(connect_seq) => {
            refusal.tag = ReplyTag::RetrySession;
            refusal.connect_seq = connect_seq;
            Ruling::Refuse(refuse(refusal))
        }
        Decision::Wait => {
            refusal.tag = ReplyTag::Wait;
            Ruling::Wait(refuse(refusal))
        }
        Decision::ResetSession => Ruling::StartOver(refuse(refusal)),
    }
}

/// The rules of v2.
pub(super) fn v2(shared: &Shared, old: Option<&Peer>, claim: &proto::v2::Claim) -> Ruling {
    use proto::v2;
    let attempt = v2::Attempt {
        global_seq: claim.global_seq,
        client_cookie: claim.client_cookie,
        connect_seq: claim.connect_seq(),
        resetcheck: shared.policy(claim.peer_type).resetcheck,
        peer: v2::compare(&claim.peer_addrs, &shared.addrs()),
    };
    let existing = old.and_then(Peer::existing_v2);
    let decision = v2::arbitrate(existing.as_ref(), &attempt);
    tracing::debug!(peer = %claim.peer_addrs, ?existing, ?attempt, ?decision, "arbitrated");
    match decision {
        v2::Decision::Open => Ruling::LetIn,
        v2::Decision::Supersede => Ruling::Supersede,
        v2::Decision::Stale => Ruling::Stale,
        v2::Decision::TakeOver { reset } => Ruling::TakeOver {
            resets: (false, reset),
            verdict: None,
        },
        v2::Decision::Resume => Ruling::TakeOver {
            resets: (false, false),
            verdict: None,
        },
        v2::Decision::Reset { full } => Ruling::StartOver(Verdict::V2(v2::Verdict::Reset { full })),
        v2::Decision::RetrySession(seq) => Ruling::Refuse(Verdict::V2(v2::Verdict::Retry(seq))),
        v2::Decision::RetryGlobal(seq) => {
            Ruling::Refuse(Verdict::V2(v2::Verdict::RetryGlobal(seq)))
        }
        v2::Decision::Wait => Ruling::Wait(Verdict::V2(v2::Verdict::Wait)),
    }
}

impl Peer {
    /// Judges a claim by itself: versions, features, and what is shown beside it. `Some`: what the
    /// peer is told.
    pub(super) fn vet(&mut self, claim: &Claim, policy: &Policy) -> Result<Option<Verdict>, Error> {
        match claim {
            Claim::V1(of) => {
                if self.link.as_mut().is_some_and(|link| link.is_first_claim()) {
                    let who = Who::of_claim(self.connection.as_ref(), claim);
                    self.shared.injector.step(Step::BannerReadAccepting, who)?;
                }
                let terms = self.shared.terms(of.peer_type, policy);
                let vetted = proto::v1::vet(of, &terms).and_then(|()| match &mut self.link {
                    Some(link) => link.authorize(of, &terms),
                    None => Ok(()),
                });
                let refused = vetted.err();
                Ok(refused.map(|refusal| Verdict::V1(proto::v1::Verdict::Refuse(refusal))))
            }
            Claim::V2(claim) => {
                let vetted = proto::v2::vet(claim, policy.features_required);
                Ok(vetted.err().map(Verdict::V2))
            }
        }
    }

    /// Lets a peer in by v1.
    pub(super) fn open_v1(&mut self, claim: &proto::v1::Claim, policy: &Policy) -> (Verdict, Step) {
        let reset = self.peer_reset;
        let numbers = self.numbers_mut();
        if reset {
            numbers.in_seq = 0;
        }
        numbers.connect_seq = claim.connect_seq.wrapping_add(1).into();
        numbers.peer_global_seq = claim.global_seq.into();
        let verdict = proto::v1::Verdict::Open {
            features: policy.features_supported,
            in_seq: numbers.in_seq,
            global_seq: self.shared.next_global_seq(0),
            lossy: policy.lossy,
            reset,
            protocol_version: claim.protocol_version,
        };
        let step = match claim.connect_seq {
            0 => Step::SendAccept,
            _ => Step::SendReconnectOk,
        };
        (Verdict::V1(verdict), step)
    }

    /// Lets a peer in by v2 (msgr2 §9.2, §12.3).
    pub(super) fn open_v2(
        &mut self,
        claim: &proto::v2::Claim,
        policy: &Policy,
    ) -> Result<(Verdict, Step), Error> {
        use proto::v2;
        let server_cookie = if policy.lossy {
            0
        } else {
            self.shared.cookie()
        };
        let own_addrs = self.link.as_ref().map(|link| link.own_addrs());
        let numbers = self.numbers_mut();
        numbers.peer_global_seq = claim.global_seq;
        if let Some(connect_seq) = claim.connect_seq() {
            numbers.connect_seq = connect_seq;
            let Numbers {
                in_seq,
                server_cookie,
                standing,
                ..
            } = *numbers;
            let bug = proto::ProtoError::LocalBug("a session goes on that has never begun");
            let standing = standing.ok_or_else(|| Error::proto(bug))?;
            let verdict = v2::Verdict::Resume {
                in_seq,
                server_cookie,
                standing,
            };
            return Ok((Verdict::V2(verdict), Step::SendReconnectOk));
        }
        numbers.in_seq = 0;
        let verdict = v2::Verdict::Open {
            addrs: own_addrs.unwrap_or_default(),
            gid: self.shared.name.num,
            features: policy.features_supported,
            required: policy.features_required,
            global_seq: self.shared.next_global_seq(0).into(),
            lossy: policy.lossy,
            server_cookie,
        };
        Ok((Verdict::V2(verdict), Step::SendAccept))
    }
}
