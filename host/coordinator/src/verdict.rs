//! Combines the reports of a failed session into one code, one reason, and the parties that are held responsible.

use std::collections::{BTreeMap, BTreeSet};

use quorate_backends::queue::QueueError;
use quorate_control_store::SessionStatus;
use quorate_core::abort::AbortCode;
use quorate_core::code::Code;
use quorate_core::report::{Outcome, RefusedCode};
use quorate_core::{PartyIndex, UnixMillis};

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) code: Code,
    pub(super) reason: String,
    pub(super) culprits: Vec<PartyIndex>,
}

impl Verdict {
    pub(super) fn of(code: Code, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into(), culprits: vec![] }
    }

    /// The status of a session that failed at this time.
    pub(super) fn into_status(self, at: UnixMillis) -> SessionStatus {
        SessionStatus::Failed {
            at,
            code: self.code.text().into(),
            reason: self.reason,
            culprits: self.culprits,
        }
    }
}

impl From<QueueError> for Verdict {
    fn from(error: QueueError) -> Self {
        match error {
            QueueError::Full => Self::of(Code::Overloaded, "a party's queue is full"),
            QueueError::Refused => Self::of(
                Code::Misconfigured,
                "a party's queue is not there: an administrator of RabbitMQ runs `quorate migrate queues`",
            ),
            QueueError::Unavailable => Self::of(Code::Unavailable, "the queue does not answer"),
        }
    }
}

/// Suspects: parties that were silent, failed, accused a peer or were accused. Another session avoids them if
/// possible. An accuser counts as much as the accused: one of them is lying.
pub(super) fn suspects(
    signers: &[PartyIndex],
    outcomes: &BTreeMap<PartyIndex, Outcome>,
) -> BTreeSet<PartyIndex> {
    let mut suspects: BTreeSet<PartyIndex> =
        signers.iter().filter(|s| !outcomes.contains_key(s)).copied().collect();
    for (&by, outcome) in outcomes {
        let (accused, is_its_own) = match outcome {
            // A peer broke the protocol, and nobody can tell which: it is one of them.
            Outcome::Aborted { code: AbortCode::PeerFault, culprits, .. } if culprits.is_empty() => {
                (signers, true)
            }
            Outcome::Aborted { code, culprits, .. } => {
                // An abort that follows from a peer's abort or silence is not the reporter's own failure.
                (culprits.as_slice(), !matches!(code, AbortCode::PeerAborted | AbortCode::Timeout))
            }
            Outcome::Refused { culprits, .. } => (culprits.as_slice(), true),
            Outcome::Signed(_) | Outcome::Activated { .. } => (&[][..], true),
            Outcome::Promised { .. } | Outcome::Prepared { .. } => (&[][..], false),
        };
        if is_its_own || !accused.is_empty() {
            suspects.insert(by);
        }
        suspects.extend(accused.iter().filter(|party| signers.contains(party)));
    }
    suspects
}

/// The reason that says most: one that names a cause goes before one that only follows from it.
pub(super) fn verdict(signers: &[PartyIndex], outcomes: &BTreeMap<PartyIndex, Outcome>) -> Verdict {
    let failures = outcomes.iter().filter_map(|(by, outcome)| failure(*by, outcome));
    let worst = failures.min_by_key(|(rank, _)| *rank).map(|(_, verdict)| verdict);
    let silent: Vec<String> =
        signers.iter().filter(|s| !outcomes.contains_key(s)).map(|s| format!("party {s}")).collect();
    let only_followed =
        worst.as_ref().is_none_or(|verdict| matches!(verdict.code, Code::DeadlinePassed | Code::Unavailable));
    // A party that refuses the session explains why the others are silent: they wait for it.
    let is_refused = outcomes.values().any(|outcome| matches!(outcome, Outcome::Refused { .. }));
    if !silent.is_empty() && only_followed && !is_refused {
        let reason = format!("{} did not report in time", silent.join(", "));
        return Verdict::of(Code::DeadlinePassed, reason);
    }
    worst.unwrap_or_else(|| {
        Verdict::of(
            Code::DeadlinePassed,
            "all parties have promised their shares or made presignatures, but not all know it of all others",
        )
    })
}

fn failure(by: PartyIndex, outcome: &Outcome) -> Option<(u8, Verdict)> {
    let (rank, code, culprits, reason) = match outcome {
        Outcome::Aborted { code, culprits, reason, .. } => {
            (abort_rank(*code), Code::from(*code), culprits, reason)
        }
        Outcome::Refused { code, culprits, reason, .. } => {
            (refused_rank(*code), Code::from(*code), culprits, reason)
        }
        // The session has failed: what this party says can't be true.
        Outcome::Signed(_) | Outcome::Activated { .. } => {
            let reason = format!("party {by} reported a result that does not verify");
            return Some((2, Verdict { code: Code::PeerFault, reason, culprits: vec![by] }));
        }
        Outcome::Promised { .. } | Outcome::Prepared { .. } => return None,
    };
    let reason = format!("party {by}: {reason}");
    Some((rank, Verdict { code, reason, culprits: culprits.clone() }))
}

fn abort_rank(code: AbortCode) -> u8 {
    match code {
        AbortCode::BadSignature => 0,
        AbortCode::Ban => 1,
        AbortCode::PeerFault => 2,
        AbortCode::Plugin => 3,
        AbortCode::Share => 5,
        AbortCode::Misconfigured => 6,
        AbortCode::Internal => 7,
        AbortCode::Unavailable => 12,
        AbortCode::Timeout => 14,
        AbortCode::PeerAborted => 15,
    }
}

fn refused_rank(code: RefusedCode) -> u8 {
    match code {
        // Nothing is to be permitted then.
        RefusedCode::ShareNotLost => 3,
        RefusedCode::Banned
        | RefusedCode::RefreshRequired
        | RefusedCode::DailyMaximum
        | RefusedCode::RepairNotPermitted => 4,
        RefusedCode::Share | RefusedCode::ShareLost => 5,
        RefusedCode::Clock => 6,
        RefusedCode::Store => 7,
        RefusedCode::Plugin => 8,
        RefusedCode::NotAcceptable => 9,
        RefusedCode::Busy => 10,
        RefusedCode::NoRoom => 11,
        RefusedCode::OrderExhausted => 12,
        RefusedCode::DeadlinePassed => 13,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn party(index: u16) -> PartyIndex {
        PartyIndex::try_from(index).unwrap()
    }

    fn aborted(code: AbortCode) -> Outcome {
        Outcome::Aborted { code, plugin_code: None, culprits: vec![], reason: "why".into(), notice: None }
    }

    #[test]
    fn the_accuser_is_avoided_as_much_as_the_accused() {
        let signers: Vec<PartyIndex> = PartyIndex::all(3).collect();
        let accuses = Outcome::Aborted {
            code: AbortCode::PeerFault,
            plugin_code: None,
            culprits: vec![party(1), party(9)],
            reason: "why".into(),
            notice: None,
        };
        let outcomes = [(party(3), accuses), (party(1), aborted(AbortCode::PeerAborted))].into();
        // 2 has said nothing at all.
        assert_eq!(suspects(&signers, &outcomes), signers.iter().copied().collect());
        let slow = [(party(1), aborted(AbortCode::Timeout)), (party(2), aborted(AbortCode::Timeout))].into();
        assert_eq!(suspects(&signers, &slow), [party(3)].into());
        // A fault of somebody: who reports it is no more suspect than the one that says to have only heard of it.
        let nobody_named = aborted(AbortCode::PeerFault);
        let outcomes = [(party(1), nobody_named), (party(2), aborted(AbortCode::PeerAborted))].into();
        assert_eq!(suspects(&signers[..2], &outcomes), [party(1), party(2)].into());
    }

    #[test]
    fn refusals_of_what_is_over_are_transient() {
        let refused = |code| Outcome::Refused { culprits: vec![], code, reason: "why".into(), notice: None };
        let signers = [party(1), party(2)];
        for (code, wanted) in [
            (RefusedCode::OrderExhausted, Code::Unavailable),
            (RefusedCode::DeadlinePassed, Code::DeadlinePassed),
            (RefusedCode::NotAcceptable, Code::Refused),
        ] {
            let refusal = Verdict::of(wanted, "party 2: why");
            let followed = [(party(1), aborted(AbortCode::PeerAborted)), (party(2), refused(code))].into();
            assert_eq!(verdict(&signers, &followed), refusal, "{code:?}");
            // The other party waits for the one that has refused.
            let silent = [(party(2), refused(code))].into();
            assert_eq!(verdict(&signers, &silent), refusal, "{code:?}");
            let outweighed =
                [(party(1), refused(RefusedCode::NotAcceptable)), (party(2), refused(code))].into();
            assert_eq!(verdict(&signers, &outweighed).code, Code::Refused, "{code:?}");
        }
    }

    #[test]
    fn a_cause_goes_before_what_follows_from_it() {
        let signers = [party(1), party(2)];
        let both = [(party(1), aborted(AbortCode::PeerAborted)), (party(2), aborted(AbortCode::Plugin))];
        let verdict_of =
            |outcomes: &[(PartyIndex, Outcome)]| verdict(&signers, &outcomes.iter().cloned().collect());
        assert_eq!(verdict_of(&both), Verdict::of(Code::PluginFault, "party 2: why"));
        assert_eq!(verdict_of(&both[..1]).reason, "party 2 did not report in time");
        assert_eq!(verdict_of(&both[1..]).code, Code::PluginFault, "a cause was hidden by silence");
        assert_eq!(verdict_of(&[]).code, Code::DeadlinePassed);
    }
}
