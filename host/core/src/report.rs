//! Reports: what a party tells of a session that it was given. Its word counts only where it is proved: a signature
//! verifies or does not, a certificate is signed by all.

use crate::PartyIndex;
use crate::abort::{AbortCode, SignedAbort};
use crate::certificate::{Certificate, KeyOutputs, Ready};
use crate::codec::{Bytes, Malformed, Reader, Wire, encode, wire_struct};
use crate::identity::{BadSignature, PublicKey, SecretKey, Signature, Tag, key_of};
use crate::ids::{Digest, OrderId, SessionId};

/// The longest reason in a report, in bytes: a sentence or two.
pub const MAX_REASON_BYTES: usize = 512;

/// The statement of one party about one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The session.
    pub session: SessionId,
    /// Its order.
    pub order: OrderId,
    /// The party that reports.
    pub by: PartyIndex,
    /// The component that the session ran on.
    pub digest: Digest,
    /// How it went.
    pub outcome: Outcome,
}

wire_struct!(Report { session, order, by, digest, outcome });

/// How a session went for a party.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With a signature, which the party has verified.
    Signed {
        /// The signature in the scheme's fixed-length form: r ‖ s for ECDSA.
        signature: Bytes,
        /// Which of the public keys that fit it is the right one (ECDSA).
        recovery_id: Option<u8>,
    },
    /// With an active share.
    Activated {
        /// The promises of all n.
        certificate: Certificate,
        /// The key that they promised.
        key: KeyOutputs,
    },
    /// With a promised share that lacks the promises of others.
    Promised {
        /// The party's own promise.
        ready: Ready,
        /// The key that it promises.
        key: KeyOutputs,
    },
    /// Without a result.
    Aborted {
        /// Why.
        code: AbortCode,
        /// The parties that caused it, by this party's judgement.
        culprits: Vec<PartyIndex>,
        /// For people.
        reason: String,
        /// The party's word that it never promised anything in this session and never will.
        notice: Option<SignedAbort>,
    },
    /// It was not taken on.
    Refused {
        /// The party in the way, if there is one (a ban, an identity that is not pinned).
        culprits: Vec<PartyIndex>,
        /// One of the codes of [`RefusedCode`].
        code: RefusedCode,
        /// For people.
        reason: String,
    },
}

/// The kinds of reasons for which a party refuses a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefusedCode {
    /// The order or the plan is not acceptable: its account service or coordinator must act.
    NotAcceptable,
    /// A counterparty is banned for this account.
    Banned,
    /// The component is not active here, too old, or suspended.
    Plugin,
    /// Another keygen or refresh of the account runs or is promised here.
    Busy,
    /// This party has no share, or another one than the order is about.
    Share,
    /// This party's clock went back, or is apart from the account service's: an operator must act.
    Clock,
    /// This party has no room for the session right now.
    NoRoom,
    /// This party's database fails: its operator must act.
    Store,
    /// This party starts no further session of the order: it saw the order succeed, or has started as many as it may.
    /// The report of an earlier session may hold the result.
    OrderExhausted,
    /// The plan's deadline had passed when this party read it.
    DeadlinePassed,
}

impl Wire for RefusedCode {
    fn put(&self, out: &mut Vec<u8>) {
        (*self as u8).put(out);
    }

    fn take(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match u8::take(input)? {
            0 => Self::NotAcceptable,
            1 => Self::Banned,
            2 => Self::Plugin,
            3 => Self::Busy,
            4 => Self::Share,
            5 => Self::Clock,
            6 => Self::NoRoom,
            7 => Self::Store,
            8 => Self::OrderExhausted,
            9 => Self::DeadlinePassed,
            _ => return Err(Malformed),
        })
    }
}

impl Wire for Outcome {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Signed { signature, recovery_id } => {
                1_u8.put(out);
                signature.put(out);
                recovery_id.put(out);
            }
            Self::Activated { certificate, key } => {
                2_u8.put(out);
                certificate.put(out);
                key.put(out);
            }
            Self::Promised { ready, key } => {
                3_u8.put(out);
                ready.put(out);
                key.put(out);
            }
            Self::Aborted { code, culprits, reason, notice } => {
                4_u8.put(out);
                code.put(out);
                culprits.put(out);
                reason.put(out);
                notice.put(out);
            }
            Self::Refused { culprits, code, reason } => {
                5_u8.put(out);
                culprits.put(out);
                code.put(out);
                reason.put(out);
            }
        }
    }

    fn take(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match u8::take(input)? {
            1 => Self::Signed { signature: Wire::take(input)?, recovery_id: Wire::take(input)? },
            2 => Self::Activated { certificate: Wire::take(input)?, key: Wire::take(input)? },
            3 => Self::Promised { ready: Wire::take(input)?, key: Wire::take(input)? },
            4 => Self::Aborted {
                code: Wire::take(input)?,
                culprits: Wire::take(input)?,
                reason: Wire::take(input)?,
                notice: Wire::take(input)?,
            },
            5 => Self::Refused {
                culprits: Wire::take(input)?,
                code: Wire::take(input)?,
                reason: Wire::take(input)?,
            },
            _ => return Err(Malformed),
        })
    }
}

/// A report as it travels: no part on the way decodes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedReport {
    /// The signed content.
    pub report: Report,
    signature: Signature,
}

wire_struct!(SignedReport { report, signature });

impl Outcome {
    /// Cuts what people and plugins have written to what a report may contain.
    #[must_use]
    pub fn sanitized(mut self) -> Self {
        if let Self::Aborted { culprits, reason, .. } | Self::Refused { culprits, reason, .. } = &mut self {
            culprits.sort_unstable();
            culprits.dedup();
            reason.retain(|c| !c.is_control());
            if let Some((end, _)) = reason.char_indices().find(|(i, c)| i + c.len_utf8() > MAX_REASON_BYTES) {
                reason.truncate(end);
            }
        }
        self
    }

    /// Whether it contains no more than a party of a key with `parties` parties has to say.
    #[must_use]
    pub fn is_sanitized(&self, parties: u16) -> bool {
        match self {
            Self::Aborted { culprits, .. } | Self::Refused { culprits, .. } => {
                culprits.iter().all(|c| c.number() <= parties) && self.clone().sanitized() == *self
            }
            _ => true,
        }
    }
}

impl Report {
    /// Signs the report.
    #[must_use]
    pub fn sign(self, key: &SecretKey) -> SignedReport {
        let signature = key.sign(Tag::Report, &encode(&self));
        SignedReport { report: self, signature }
    }
}

impl SignedReport {
    /// Verifies that the party it names, of these in index order, said it.
    ///
    /// # Errors
    /// When it did not.
    pub fn verify(&self, parties: &[PublicKey]) -> Result<(), BadSignature> {
        let key = key_of(parties, self.report.by).ok_or(BadSignature)?;
        key.verify(Tag::Report, &encode(&self.report), &self.signature)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::codec::decode;
    use crate::order::tests::identities;

    fn report(outcome: Outcome) -> Report {
        let (session, order) = (SessionId([1; 32]), OrderId([2; 32]));
        Report { session, order, by: PartyIndex::FIRST, digest: Digest([3; 32]), outcome }
    }

    #[test]
    fn what_is_written_in_a_report_is_bounded() {
        let wild = Outcome::Aborted {
            code: AbortCode::Plugin,
            culprits: PartyIndex::all(3).chain(PartyIndex::all(2)).collect(),
            reason: "line\nline ".repeat(100) + "ä",
            notice: None,
        };
        assert!(!wild.is_sanitized(3));
        let sanitized = wild.sanitized();
        assert!(sanitized.is_sanitized(3) && !sanitized.is_sanitized(2));
        let Outcome::Aborted { culprits, reason, .. } = sanitized else { unreachable!() };
        assert_eq!((culprits.len(), reason.len()), (3, MAX_REASON_BYTES));
    }

    #[test]
    fn a_report_counts_only_as_its_party_signed_it() {
        let keys = identities(2);
        let parties: Vec<PublicKey> = keys.iter().map(SecretKey::public).collect();
        let signed = Outcome::Signed { signature: Bytes(vec![4; 64]), recovery_id: Some(1) };
        let refused = Outcome::Refused {
            culprits: vec![PartyIndex::FIRST],
            code: RefusedCode::Banned,
            reason: "for ever".into(),
        };
        for outcome in [signed, refused] {
            let report = report(outcome).sign(&keys[0]);
            assert_eq!(report.verify(&parties), Ok(()));
            assert_eq!(decode(&encode(&report)), Ok(report.clone()));
            assert_eq!(report.verify(&parties[1..]), Err(BadSignature), "signed by another");
            assert_eq!(report.verify(&[]), Err(BadSignature));
            let mut changed = report;
            changed.report.digest = Digest([9; 32]);
            assert_eq!(changed.verify(&parties), Err(BadSignature));
        }
    }
}
