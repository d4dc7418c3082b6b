//! Reports: what a party tells of a session that it was given. Its word counts only where it is proved: a signature
//! verifies or does not, a certificate is signed by all.

use crate::abort::{AbortCode, SignedAbort};
use crate::acknowledgement::Acknowledgement;
use crate::ban::{MAX_BANS, SignedBan};
use crate::certificate::{Certificate, KeyOutputs, Ready};
use crate::codec::{Malformed, Reader, Wire, encode, wire_struct};
use crate::identity::{BadSignature, PublicKey, SecretKey, Signature, Tag, key_of};
use crate::ids::{Digest, ExecutionId, OrderId, PoolId, SessionId};
use crate::order::{MAX_SIGN_ITEMS, Operation, Order};
use crate::{PartyIndex, SchemeSignature};

/// The longest reason in a report, in bytes: a sentence or two.
pub const MAX_REASON_BYTES: usize = 512;

/// Stands in a report for a plugin's code that its descriptor does not list.
pub const UNLISTED_PLUGIN_CODE: u16 = u16::MAX;

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
    /// Acknowledgements of the account's share sets that the party has.
    pub acknowledgements: Vec<Acknowledgement>,
    /// Bans on the account that the party has decided or was told.
    pub bans: Vec<SignedBan>,
}

wire_struct!(Report { session, order, by, digest, outcome, acknowledgements, bans });

/// How a session went for a party.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With a signature for each item of the order, in their order. The party has verified them.
    Signed(Vec<SchemeSignature>),
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
        /// The code of the plugin's failure, as its descriptor lists it; [`UNLISTED_PLUGIN_CODE`] for one that it does not
        /// list.
        plugin_code: Option<u16>,
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
        /// The party's word that it never promised anything in this session and never will: of a keygen or refresh, once the
        /// refusal is durable. There is none where the party may still take the plan on.
        notice: Option<SignedAbort>,
    },
    /// With material that was made ahead of time.
    Prepared {
        /// The execution that made it: the items' ids are made of it ([`PreparedId::of`](crate::PreparedId::of)).
        execution: ExecutionId,
        /// The pool of this party in which it is.
        pool: PoolId,
        /// How many items.
        count: u16,
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
    /// As many signings are open with a counterparty as may be, the memory for components is taken, or prepared material is
    /// not there any more. This is no failure: another quorum is chosen, or the order waits.
    NoRoom,
    /// This party's database fails: its operator must act.
    Store,
    /// This party starts no further session of the order: it saw the order succeed, or has started as many as it may.
    /// The report of an earlier session may hold the result.
    OrderExhausted,
    /// The plan's deadline had passed when this party read it.
    DeadlinePassed,
    /// Too many signings with a counterparty have an unknown outcome: the account's shares are refreshed first.
    RefreshRequired,
    /// This party signs no more with the account today.
    DailyMaximum,
    /// This party has no share of the account: it may have lost it.
    ShareLost,
    /// This party's operator has not permitted the repair.
    RepairNotPermitted,
    /// This party has the share that is to be repaired.
    ShareNotLost,
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
            10 => Self::RefreshRequired,
            11 => Self::DailyMaximum,
            12 => Self::ShareLost,
            13 => Self::RepairNotPermitted,
            14 => Self::ShareNotLost,
            _ => return Err(Malformed),
        })
    }
}

impl Wire for Outcome {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Signed(signatures) => {
                1_u8.put(out);
                signatures.put(out);
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
            Self::Aborted { code, plugin_code, culprits, reason, notice } => {
                4_u8.put(out);
                code.put(out);
                plugin_code.put(out);
                culprits.put(out);
                reason.put(out);
                notice.put(out);
            }
            Self::Refused { culprits, code, reason, notice } => {
                5_u8.put(out);
                culprits.put(out);
                code.put(out);
                reason.put(out);
                notice.put(out);
            }
            Self::Prepared { execution, pool, count } => {
                6_u8.put(out);
                execution.put(out);
                pool.put(out);
                count.put(out);
            }
        }
    }

    fn take(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match u8::take(input)? {
            1 => Self::Signed(Wire::take(input)?),
            2 => Self::Activated { certificate: Wire::take(input)?, key: Wire::take(input)? },
            3 => Self::Promised { ready: Wire::take(input)?, key: Wire::take(input)? },
            4 => Self::Aborted {
                code: Wire::take(input)?,
                plugin_code: Wire::take(input)?,
                culprits: Wire::take(input)?,
                reason: Wire::take(input)?,
                notice: Wire::take(input)?,
            },
            5 => Self::Refused {
                culprits: Wire::take(input)?,
                code: Wire::take(input)?,
                reason: Wire::take(input)?,
                notice: Wire::take(input)?,
            },
            6 => Self::Prepared {
                execution: Wire::take(input)?,
                pool: Wire::take(input)?,
                count: Wire::take(input)?,
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
    /// The party's word that it never promises anything in the session.
    #[must_use]
    pub fn denial(&self) -> Option<&SignedAbort> {
        match self {
            Self::Aborted { notice, .. } | Self::Refused { notice, .. } => notice.as_ref(),
            _ => None,
        }
    }

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
}

impl Report {
    /// Whether it contains no more than a party has to say of this order, and nothing that this version has room for and
    /// does not act on.
    #[must_use]
    pub fn is_acceptable(&self, order: &Order) -> bool {
        let parties = order.spec.threshold.parties();
        let acknowledgements = &self.acknowledgements;
        acknowledgements.is_sorted_by(|a, b| a.by < b.by)
            && acknowledgements.iter().all(|acknowledgement| acknowledgement.by.number() <= parties)
            && self.bans.len() <= MAX_BANS
            && match &self.outcome {
                // A plugin has no code 0.
                Outcome::Aborted { plugin_code: Some(0), .. } => false,
                Outcome::Aborted { culprits, .. } | Outcome::Refused { culprits, .. } => {
                    culprits.iter().all(|c| c.number() <= parties)
                        && self.outcome.clone().sanitized() == self.outcome
                }
                Outcome::Signed(signatures) => (1..=MAX_SIGN_ITEMS).contains(&signatures.len()),
                Outcome::Activated { .. } | Outcome::Promised { .. } => true,
                Outcome::Prepared { count, .. } => {
                    matches!(order.operation, Operation::Presign { at_most } if (1..=at_most).contains(count))
                }
            }
    }

    /// The same report with acknowledgements.
    #[must_use]
    pub fn with_acknowledgements(self, acknowledgements: Vec<Acknowledgement>) -> Self {
        Self { acknowledgements, ..self }
    }

    /// The same report with bans.
    #[must_use]
    pub fn with_bans(self, bans: Vec<SignedBan>) -> Self {
        Self { bans, ..self }
    }

    /// A report that carries nothing beside its outcome.
    #[must_use]
    pub fn new(session: SessionId, order: OrderId, by: PartyIndex, digest: Digest, outcome: Outcome) -> Self {
        Self {
            session,
            order,
            by,
            digest,
            outcome: outcome.sanitized(),
            acknowledgements: vec![],
            bans: vec![],
        }
    }

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
    use crate::Threshold;
    use crate::ban::Ban;
    use crate::codec::decode;
    use crate::ids::{AccountId, PlanHash};
    use crate::order::MAX_ORDER_LIFETIME;
    use crate::order::tests::{NOW, identities, signing, terms};

    fn report(outcome: Outcome) -> Report {
        Report::new(SessionId([1; 32]), OrderId([2; 32]), PartyIndex::FIRST, Digest([3; 32]), outcome)
    }

    fn order(operation: Operation) -> Order {
        Order::new(OrderId([2; 32]), terms(operation), NOW, MAX_ORDER_LIFETIME)
    }

    #[test]
    fn what_is_written_in_a_report_is_bounded() {
        let order = order(signing());
        let mut of_two = order.clone();
        of_two.spec.threshold = Threshold::new(2, 2).unwrap();
        let wild = Outcome::Aborted {
            code: AbortCode::Plugin,
            plugin_code: None,
            culprits: PartyIndex::all(3).chain(PartyIndex::all(2)).collect(),
            reason: "line\nline ".repeat(100) + "ä",
            notice: None,
        };
        let sanitized = report(wild.clone());
        assert!(!Report { outcome: wild, ..sanitized.clone() }.is_acceptable(&order));
        assert!(sanitized.is_acceptable(&order) && !sanitized.is_acceptable(&of_two));
        let Outcome::Aborted { culprits, reason, .. } = sanitized.outcome else { unreachable!() };
        assert_eq!((culprits.len(), reason.len()), (3, MAX_REASON_BYTES));
        let signature = SchemeSignature { bytes: [4; 64], recovery_id: None };
        for (count, acceptable) in [(0, false), (1, true), (64, true), (65, false)] {
            let signed = report(Outcome::Signed(vec![signature.clone(); count]));
            assert_eq!(signed.is_acceptable(&order), acceptable, "{count}");
        }
    }

    #[test]
    fn presignatures_are_reported_where_they_were_ordered_and_no_more_of_them() {
        let order = order(Operation::Presign { at_most: 8 });
        for (count, acceptable) in [(0, false), (1, true), (8, true), (9, false)] {
            let prepared =
                Outcome::Prepared { execution: ExecutionId([1; 32]), pool: PoolId([2; 16]), count };
            assert_eq!(report(prepared).is_acceptable(&order), acceptable, "{count}");
        }
    }

    /// Reports have room for all of this, and no part takes one that says it of a signing.
    #[test]
    fn a_report_of_what_was_not_ordered_or_is_not_implemented_is_not_acceptable() {
        let plain = report(Outcome::Signed(vec![SchemeSignature { bytes: [4; 64], recovery_id: None }]));
        let key = &identities(1)[0];
        let acknowledgement = Acknowledgement::sign(PlanHash([1; 32]), PartyIndex::FIRST, key);
        let ban = Ban {
            account: AccountId([1; 16]),
            share_set: Some(PlanHash([1; 32])),
            by: PartyIndex::FIRST,
            banned: PartyIndex::FIRST,
            session: SessionId([1; 32]),
        };
        assert!(plain.is_acceptable(&order(signing())));
        for future in [
            report(Outcome::Prepared { execution: ExecutionId([1; 32]), pool: PoolId([2; 16]), count: 1 }),
            report(Outcome::Aborted {
                code: AbortCode::Plugin,
                plugin_code: Some(0),
                culprits: vec![],
                reason: "why".into(),
                notice: None,
            }),
            Report { acknowledgements: vec![acknowledgement; 2], ..plain.clone() },
            Report { bans: vec![ban.sign(key); MAX_BANS + 1], ..plain },
        ] {
            assert_eq!(decode(&encode(&future)), Ok(future.clone()));
            assert!(!future.is_acceptable(&order(signing())), "{future:?}");
        }
    }

    #[test]
    fn a_report_counts_only_as_its_party_signed_it() {
        let keys = identities(2);
        let parties: Vec<PublicKey> = keys.iter().map(SecretKey::public).collect();
        let signed = Outcome::Signed(vec![SchemeSignature { bytes: [4; 64], recovery_id: Some(1) }]);
        let refused = Outcome::Refused {
            culprits: vec![PartyIndex::FIRST],
            code: RefusedCode::Banned,
            reason: "for ever".into(),
            notice: None,
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
