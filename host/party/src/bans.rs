//! The bans that this process has decided, and the gate that every frame of a session passes (rule 8).
//!
//! A counterparty that cheats learns one bit in each session, whether it is caught or not. Once it is caught, nothing
//! of any session with it may leave this process: sending and deciding exclude each other.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::RwLock;
use quorate_core::order::Order;
use quorate_core::plan::Plan;
use quorate_core::{AccountId, PartyIndex, PlanHash};
use quorate_party_store::{AdmissionFacts, BannedParty, DecidedIn};
use tokio::time::Instant;

/// The parties of a session, on one share set of an account.
#[derive(Clone, Debug)]
pub(crate) struct SessionParties {
    pub(crate) account: AccountId,
    /// None in a keygen.
    pub(crate) share_set: Option<PlanHash>,
    pub(crate) signers: Vec<PartyIndex>,
    /// Those whose ban the operator has lifted for this session, which is a refresh or a repair.
    pub(crate) permitted: Vec<PartyIndex>,
    /// When the facts were read on which the session was admitted. No ban from later is lifted.
    pub(crate) admitted_at: Instant,
}

impl SessionParties {
    /// The parties of a plan, on the share set that its order names.
    pub(crate) fn of(order: &Order, plan: &Plan, facts: &AdmissionFacts) -> Self {
        Self {
            account: order.spec.account,
            share_set: order.share_set,
            signers: plan.signers.clone(),
            permitted: if order.operation.is_complete_refresh() { facts.lifted.clone() } else { vec![] },
            admitted_at: facts.read_at,
        }
    }

    /// Whether a banned party is one of them.
    pub(crate) fn include(&self, banned: &BannedParty) -> bool {
        (banned.account, banned.share_set) == (self.account, self.share_set)
            && self.signers.contains(&banned.party)
    }

    /// Whether a ban stands against this session.
    fn are_barred(&self, banned: &BannedParty, state: &BanState) -> bool {
        let is_lifted = self.permitted.contains(&banned.party)
            && matches!(state, BanState::Stored(since) if *since < self.admitted_at);
        self.include(banned) && !is_lifted
    }

    /// A party of them, as it is banned.
    pub(crate) fn banned(&self, party: PartyIndex) -> BannedParty {
        BannedParty { account: self.account, share_set: self.share_set, party }
    }
}

/// Where a ban is by now.
#[derive(Clone, Copy, PartialEq, Eq)]
enum BanState {
    /// It is being stored.
    Decided,
    /// The store has refused it: only this process knows of it.
    NotStored(DecidedIn),
    /// The store has it since then: admission refuses the pair for ever.
    Stored(Instant),
}

/// How long a stored ban is remembered here: longer than from a claim, which would find it, to the begin of its session.
const STORED_BAN_RETENTION: Duration = Duration::from_secs(60);

/// The bans that this process has decided, or has found in the store.
#[derive(Default)]
pub(crate) struct BanGate(RwLock<HashMap<BannedParty, BanState>>);

impl BanGate {
    /// Decides bans. `stop` holds back what waits to be sent already. When this returns, no frame of a session with one of these
    /// parties is being sent, and none will be.
    pub(crate) fn decide(&self, banned: &[BannedParty], stop: impl Fn(&BannedParty)) {
        let mut bans = self.0.write();
        for banned in banned {
            let state = bans.entry(*banned).or_insert(BanState::Decided);
            // A party that cheats again, in the refresh that was permitted.
            if matches!(state, BanState::Stored(_)) {
                *state = BanState::Decided;
            }
            stop(banned);
        }
    }

    /// Records that the store has bans.
    pub(crate) fn mark_stored(&self, banned: &[BannedParty]) {
        let (mut bans, now) = (self.0.write(), Instant::now());
        bans.extend(banned.iter().map(|banned| (*banned, BanState::Stored(now))));
    }

    /// Records that the store has refused bans.
    pub(crate) fn mark_not_stored(&self, banned: &[BannedParty], decided_in: DecidedIn) {
        let mut bans = self.0.write();
        bans.extend(banned.iter().map(|banned| (*banned, BanState::NotStored(decided_in))));
    }

    /// Sends something for a session, unless one of its parties is banned. No ban is decided meanwhile.
    pub(crate) fn pass<T>(&self, parties: &SessionParties, send: impl FnOnce() -> T) -> Option<T> {
        let bans = self.0.read();
        let open = bans.is_empty() || !bans.iter().any(|(banned, state)| parties.are_barred(banned, state));
        open.then(send)
    }

    /// A party of a session whose ban is stored: nobody hears of a ban before.
    pub(crate) fn banned_among(&self, parties: &SessionParties) -> Option<PartyIndex> {
        let bans = self.0.read();
        let is_stored = |state: &BanState| matches!(state, BanState::Stored(_));
        let (banned, _) =
            bans.iter().find(|(banned, state)| is_stored(state) && parties.are_barred(banned, state))?;
        Some(banned.party)
    }

    /// Whether a ban on an account could not be stored yet: then this party takes nothing on for the account, because a
    /// replica or a restart would not know of the ban.
    pub(crate) fn is_closed(&self, account: AccountId) -> bool {
        let bans = self.0.read();
        bans.iter()
            .any(|(banned, state)| banned.account == account && matches!(state, BanState::NotStored(_)))
    }

    /// The bans that are not stored yet, by the session in which they were decided.
    pub(crate) fn not_stored(&self) -> HashMap<DecidedIn, Vec<BannedParty>> {
        let mut sessions: HashMap<DecidedIn, Vec<BannedParty>> = HashMap::new();
        for (banned, state) in &*self.0.read() {
            if let BanState::NotStored(decided_in) = state {
                sessions.entry(*decided_in).or_default().push(*banned);
            }
        }
        sessions
    }

    /// Forgets bans that have been stored for a while, of accounts that have no session here any more.
    pub(crate) fn forget_stored(&self, has_sessions: impl Fn(AccountId) -> bool) {
        let is_old = |state: &BanState| matches!(state, BanState::Stored(since) if since.elapsed() >= STORED_BAN_RETENTION);
        self.0.write().retain(|banned, state| !is_old(state) || has_sessions(banned.account));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use quorate_core::SessionId;

    use super::*;

    fn parties(account: u8, share_set: u8) -> SessionParties {
        let signers = PartyIndex::all(2).collect();
        SessionParties {
            account: AccountId([account; 16]),
            share_set: Some(PlanHash([share_set; 32])),
            signers,
            permitted: vec![],
            admitted_at: Instant::now(),
        }
    }

    #[test]
    fn nothing_passes_for_a_pair_once_its_ban_is_decided_and_all_else_does() {
        let gate = BanGate::default();
        let (first, third) = (PartyIndex::FIRST, PartyIndex::all(3).last());
        assert_eq!(gate.pass(&parties(1, 1), || "sent"), Some("sent"));
        let stopped = Cell::new(0);
        gate.decide(&[parties(1, 1).banned(first)], |_| stopped.set(stopped.get() + 1));
        assert_eq!(stopped.get(), 1);
        assert_eq!(gate.pass(&parties(1, 1), || "sent"), None);
        assert_eq!(gate.banned_among(&parties(1, 1)), None, "a ban is told before it is stored");
        gate.mark_stored(&[parties(1, 1).banned(first)]);
        assert_eq!(gate.banned_among(&parties(1, 1)), Some(first));
        assert_eq!(gate.pass(&parties(1, 1), || "sent"), None);
        let without = SessionParties { signers: third.into_iter().collect(), ..parties(1, 1) };
        for other in [parties(2, 1), parties(1, 2), without] {
            assert_eq!(gate.pass(&other, || "sent"), Some("sent"), "{other:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_is_closed_until_its_ban_is_stored() {
        let (gate, account) = (BanGate::default(), AccountId([1; 16]));
        let decided_in = DecidedIn { session: SessionId([9; 32]), plan: PlanHash([9; 32]) };
        let banned = parties(1, 1).banned(PartyIndex::FIRST);
        gate.decide(&[banned], |_| {});
        assert!(!gate.is_closed(account), "every ban closes its account");
        gate.mark_not_stored(&[banned], decided_in);
        assert!(gate.is_closed(account) && !gate.is_closed(AccountId([2; 16])));
        assert_eq!(gate.not_stored(), HashMap::from([(decided_in, vec![banned])]));
        gate.forget_stored(|_| false);
        assert!(gate.is_closed(account), "a ban that is nowhere else was forgotten");
        gate.mark_stored(&[banned]);
        assert!(!gate.is_closed(account) && gate.not_stored().is_empty());
        gate.forget_stored(|_| false);
        assert!(gate.pass(&parties(1, 1), || ()).is_none(), "a session may be about to begin");
        tokio::time::advance(STORED_BAN_RETENTION).await;
        gate.forget_stored(|_| true);
        assert!(gate.pass(&parties(1, 1), || ()).is_none(), "a session may still run");
        gate.forget_stored(|_| false);
        assert!(gate.pass(&parties(1, 1), || ()).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lifted_ban_lets_one_refresh_pass_until_its_party_cheats_again() {
        let (gate, second) = (BanGate::default(), PartyIndex::all(2).last().unwrap());
        let banned = parties(1, 1).banned(second);
        gate.decide(&[banned], |_| {});
        gate.mark_stored(&[banned]);
        tokio::time::advance(Duration::from_millis(1)).await;
        let refresh = SessionParties { permitted: vec![second], ..parties(1, 1) };
        assert!(gate.pass(&refresh, || ()).is_some() && gate.banned_among(&refresh).is_none());
        assert!(gate.pass(&parties(1, 1), || ()).is_none(), "a lift lets any session pass");
        tokio::time::advance(Duration::from_millis(1)).await;
        let stopped = Cell::new(0);
        gate.decide(&[banned], |banned| stopped.set(u32::from(refresh.include(banned))));
        assert!(stopped.get() == 1 && gate.pass(&refresh, || ()).is_none(), "a second ban is not held to");
        gate.mark_stored(&[banned]);
        assert!(gate.pass(&refresh, || ()).is_none() && gate.banned_among(&refresh) == Some(second));
    }
}
