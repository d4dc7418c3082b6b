//! Why a plan is not taken on, for people and for the report.

use quorate_backends::database::StoreError;
use quorate_core::PartyIndex;
use quorate_core::abort::AbortCode;
use quorate_core::admission::Refused;
use quorate_core::order::OrderRefused;
use quorate_core::report::{Outcome, RefusedCode};

use crate::session::sandbox::NoMemory;

/// Why a plan was not run. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum PlanRefusal {
    /// It is not to be taken on.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It was run before, or another replica runs it.
    #[error("this plan was claimed before")]
    ClaimedBefore,
    /// Another keygen or refresh of the account runs or waits for its certificate.
    #[error(
        "another keygen, refresh or repair of this account is under way: wait for it; if it will never end, the operator \
         runs `quorate admin unlock`"
    )]
    Locked,
    /// The facts of the plan's admission have changed meanwhile.
    #[error("the account's epoch or bans have changed: ask again")]
    Stale,
    /// As many signings are open with this party as may be.
    #[error(
        "as many signings of this account are open with party {0} as may be: another quorum signs, or a later session"
    )]
    Full(PartyIndex),
    /// The coordinator has given the session up, or this party is shutting down, before it had memory.
    #[error("the session was cancelled while it waited for memory")]
    Cancelled,
    /// Sessions that run have the memory that it needs.
    #[error(transparent)]
    NoMemory(#[from] NoMemory),
    /// Too many signings with this party have an unknown outcome.
    #[error(
        "too many signings of this account with party {0} have an unknown outcome: the shares must be refreshed before the \
         two sign together again (POST /accounts/{{id}}/refresh)"
    )]
    RefreshRequired(PartyIndex),
    /// It has signed with the account as often as it does in a day.
    #[error(
        "this party would sign with the account more often than it does in a day (QUORATE_SIGNATURES_PER_DAY): ask for fewer items, \
         ask its operator, or wait for the next day (UTC)"
    )]
    DailyMaximum,
    /// A ban on the account is not stored yet.
    #[error("a ban on this account can't be stored: its operator mends this party's database")]
    BanNotStored,
    /// The party was set back to an earlier state.
    #[error(
        "this party was set back to an earlier state: its operator brings its database up to date, or re-admits it at the \
         party itself and at its peers (quorate admin readmit)"
    )]
    SetBack,
    /// The store did not answer whether the plan was claimed. No report is sent, because its session may be running.
    #[error("it is not known whether this plan was claimed before")]
    NotKnown(#[source] StoreError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl PlanRefusal {
    /// The outcome to report; `None` for a plan that is claimed already.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        let (code, culprits) = self.judgement()?;
        Some(Outcome::Refused { culprits, code, reason: self.to_string(), notice: None })
    }

    /// How a party says that it will never promise anything for the plan; `None` where it may still take the plan on: it is
    /// busy, its database fails, or a clock is wrong.
    pub(super) fn denial(&self) -> Option<AbortCode> {
        match self.judgement()?.0 {
            RefusedCode::Busy
            | RefusedCode::NoRoom
            | RefusedCode::Store
            | RefusedCode::Clock
            | RefusedCode::DailyMaximum => None,
            RefusedCode::Banned => Some(AbortCode::Ban),
            RefusedCode::Plugin => Some(AbortCode::Plugin),
            RefusedCode::Share
            | RefusedCode::ShareLost
            | RefusedCode::ShareNotLost
            | RefusedCode::RefreshRequired => Some(AbortCode::Share),
            RefusedCode::DeadlinePassed => Some(AbortCode::Timeout),
            RefusedCode::NotAcceptable | RefusedCode::OrderExhausted | RefusedCode::RepairNotPermitted => {
                Some(AbortCode::Misconfigured)
            }
        }
    }

    fn judgement(&self) -> Option<(RefusedCode, Vec<PartyIndex>)> {
        Some(match self {
            Self::ClaimedBefore | Self::Cancelled | Self::NotKnown(_) => return None,
            Self::Locked | Self::Stale => (RefusedCode::Busy, vec![]),
            Self::Full(with) => (RefusedCode::NoRoom, vec![*with]),
            Self::NoMemory(NoMemory::Taken) => (RefusedCode::NoRoom, vec![]),
            Self::NoMemory(NoMemory::TooLittle | NoMemory::BeyondLimit) => {
                (RefusedCode::NotAcceptable, vec![])
            }
            Self::RefreshRequired(with) => (RefusedCode::RefreshRequired, vec![*with]),
            Self::DailyMaximum => (RefusedCode::DailyMaximum, vec![]),
            Self::Store(_) | Self::BanNotStored | Self::SetBack => (RefusedCode::Store, vec![]),
            Self::Refused(refused) => (code(refused), culprit(refused).into_iter().collect()),
        })
    }
}

fn code(refused: &Refused) -> RefusedCode {
    match refused {
        // A plan ends before its order. An expired order in a plan that is still delivered means that clocks differ.
        Refused::ClockWentBack
        | Refused::ClockSetBack(_)
        | Refused::Order(OrderRefused::NotYet | OrderRefused::Expired) => RefusedCode::Clock,
        Refused::Banned(_) => RefusedCode::Banned,
        Refused::PluginNotActive | Refused::Plugin(_) | Refused::ShareFormat { .. } => RefusedCode::Plugin,
        Refused::Share(_) | Refused::Contradicts(_) => RefusedCode::Share,
        Refused::ShareLost => RefusedCode::ShareLost,
        Refused::ShareNotLost => RefusedCode::ShareNotLost,
        Refused::RepairNotPermitted(_) => RefusedCode::RepairNotPermitted,
        Refused::Succeeded | Refused::TooManySessions => RefusedCode::OrderExhausted,
        Refused::DeadlinePassed => RefusedCode::DeadlinePassed,
        // Nothing is wrong with the order: the coordinator plans without, or with other material.
        Refused::NoPresignatures(_) => RefusedCode::NoRoom,
        _ => RefusedCode::NotAcceptable,
    }
}

fn culprit(refused: &Refused) -> Option<PartyIndex> {
    match refused {
        Refused::Banned(party) | Refused::NotPinned(party) | Refused::RepairNotPermitted(party) => {
            Some(*party)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_that_may_be_running_is_not_reported_and_others_say_whose_fault_it_is() {
        let unknown = StoreError::Conflict("no answer");
        assert_eq!(PlanRefusal::ClaimedBefore.outcome(), None);
        assert_eq!(PlanRefusal::Cancelled.outcome(), None);
        assert_eq!(PlanRefusal::NotKnown(unknown).outcome(), None);
        let party = PartyIndex::FIRST;
        for (refusal, code, culprits) in [
            (PlanRefusal::Locked, RefusedCode::Busy, vec![]),
            (PlanRefusal::Stale, RefusedCode::Busy, vec![]),
            (PlanRefusal::Full(party), RefusedCode::NoRoom, vec![party]),
            (PlanRefusal::NoMemory(NoMemory::Taken), RefusedCode::NoRoom, vec![]),
            (PlanRefusal::NoMemory(NoMemory::TooLittle), RefusedCode::NotAcceptable, vec![]),
            (PlanRefusal::NoMemory(NoMemory::BeyondLimit), RefusedCode::NotAcceptable, vec![]),
            (PlanRefusal::RefreshRequired(party), RefusedCode::RefreshRequired, vec![party]),
            (PlanRefusal::DailyMaximum, RefusedCode::DailyMaximum, vec![]),
            (PlanRefusal::BanNotStored, RefusedCode::Store, vec![]),
            (PlanRefusal::SetBack, RefusedCode::Store, vec![]),
            (StoreError::Conflict("full").into(), RefusedCode::Store, vec![]),
            (Refused::Banned(party).into(), RefusedCode::Banned, vec![party]),
            (Refused::NotPinned(party).into(), RefusedCode::NotAcceptable, vec![party]),
            (Refused::ClockWentBack.into(), RefusedCode::Clock, vec![]),
            (Refused::ClockSetBack(660).into(), RefusedCode::Clock, vec![]),
            (Refused::Order(OrderRefused::Expired).into(), RefusedCode::Clock, vec![]),
            (Refused::PluginNotActive.into(), RefusedCode::Plugin, vec![]),
            (Refused::ShareLost.into(), RefusedCode::ShareLost, vec![]),
            (Refused::RepairNotPermitted(party).into(), RefusedCode::RepairNotPermitted, vec![party]),
            (Refused::Succeeded.into(), RefusedCode::OrderExhausted, vec![]),
            (Refused::TooManySessions.into(), RefusedCode::OrderExhausted, vec![]),
            (Refused::DeadlinePassed.into(), RefusedCode::DeadlinePassed, vec![]),
            (Refused::DeadlineAfterOrder.into(), RefusedCode::NotAcceptable, vec![]),
        ] {
            let reason = refusal.to_string();
            let outcome = Outcome::Refused { culprits, code, reason, notice: None };
            assert_eq!(refusal.outcome(), Some(outcome), "{refusal:?}");
            let may_still = [
                RefusedCode::Busy,
                RefusedCode::NoRoom,
                RefusedCode::Store,
                RefusedCode::Clock,
                RefusedCode::DailyMaximum,
            ];
            assert_eq!(refusal.denial().is_none(), may_still.contains(&code), "{refusal:?}");
        }
    }
}
