//! New shares of a key that an account has: refreshes, and repairs of lost shares.

use quorate_control_store::Account;
use quorate_core::OrderId;
use quorate_core::abort::SignedAbort;
use quorate_core::code::Code;
use quorate_core::identity::PublicKey;
use quorate_core::order::{Operation, Order, Repair, RepairTarget};
use quorate_core::submission::MAX_ABORTS;
use quorate_core::{KeySpec, PartyIndex};
use quorate_net::problem::Problem;
use quorate_verify::proof::Proved;

use super::RequestIds;
use super::current_key::CurrentKey;
use super::operations::AccountService;
use super::pinned_parties::PinnedParties;
use super::present::view;
use super::request::RefreshRequest;
use super::submit::{OrderSubmission, rejected_before_start};
use super::views::AccountView;

/// What a caller asks to be repaired.
pub struct RepairRequest {
    /// The shares that are lost.
    pub lost: Vec<LostShare>,
    /// What a user of the account brings, whose share is refreshed too.
    pub refresh: RefreshRequest,
}

/// A share that is lost.
pub struct LostShare {
    /// Its party.
    pub party: PartyIndex,
    /// The identity that the party has now, if it is a new one.
    pub identity: Option<PublicKey>,
}

impl AccountService {
    /// Gives all parties of an account new shares of the same key.
    ///
    /// # Errors
    /// A problem that the caller can mend, or the reason why there are no new shares.
    pub async fn refresh(&self, ids: RequestIds, request: RefreshRequest) -> Result<AccountView, Problem> {
        let _permit = self.permit()?;
        let (account, current) = self.accounts.active(ids.account).await?;
        let order = self.order(ids.order, &account, Operation::Refresh, Some(&current))?;
        self.make_new_shares(ids, account, current, order, request).await
    }

    /// Gives parties that have lost their shares of an account new ones, and refreshes those of all others.
    ///
    /// # Errors
    /// A problem that the caller can mend, [`Code::RepairImpossible`] when too few parties are left, or the reason why there are no new
    /// shares.
    pub async fn repair(&self, ids: RequestIds, request: RepairRequest) -> Result<AccountView, Problem> {
        let _permit = self.permit()?;
        let (account, current) = self.accounts.active(ids.account).await?;
        let RepairRequest { lost, refresh } = request;
        check_lost(&account, &lost)?;
        let mut repaired = account.clone();
        repaired.spec = spec_after(self.stored.pinned(), &account.spec, &lost)?;
        if account.user_party.is_some() && repaired.spec != account.spec {
            let detail = "identity: a user keeps a share of this account and has agreed to its parties: no other one gets a share";
            return Err(Problem::new(Code::RepairImpossible, detail));
        }
        let former = |lost: &LostShare| account.spec.party(lost.party).copied();
        let target =
            |lost: &LostShare| Some(RepairTarget { party: lost.party, former_identity: former(lost)? });
        let repair = Operation::Repair(Repair {
            targets: lost.iter().filter_map(target).collect(),
            certificate: current.certificate.clone(),
            outputs: current.outputs.clone(),
        });
        let order = self.order(ids.order, &repaired, repair, Some(&current))?;
        self.make_new_shares(ids, account, current, order, refresh).await
    }

    /// Has new shares made for an order, with what a user of the account brings.
    async fn make_new_shares(
        &self,
        ids: RequestIds,
        account: Account,
        current: CurrentKey,
        mut order: Order,
        request: RefreshRequest,
    ) -> Result<AccountView, Problem> {
        let new_share = request.new_share_for(&account)?;
        order.recipient = new_share.as_ref().map(|terms| terms.recipient);
        order.claim_hash = new_share.map(|terms| terms.claim_hash);
        order.sealing_key = request.user_share.as_ref().map(|share| share.sealing_key);
        let limit = self.limits.shares(account.spec.threshold.parties());
        let aborts = self.aborts_of_open_orders(&account).await?;
        self.stored.store().open_order(account.spec.account, self.accounts.open_order(ids.order)).await?;
        let resubmitted = ids.resubmitted;
        if let Some(share) = &request.user_share
            && let Err(problem) = self.users.submit_user_share(&order, share, limit).await
        {
            // An earlier run may have begun the session.
            if !resubmitted {
                self.stored.store().close_order(account.spec.account, ids.order).await?;
            }
            return Err(problem);
        }
        let submission =
            OrderSubmission { order, key: Some(current), signers: vec![], aborts, limit, resubmitted };
        match self.make_shares(submission, &account).await {
            Ok(view) => Ok(view),
            Err(problem) => {
                self.close_if_not_started(&account, ids.order, &problem).await?;
                Err(problem)
            }
        }
    }

    /// Notices of parties that aborted the account's open orders: a refresh that came to nothing may still hold
    /// promises at some parties, and the notices of the others release them.
    async fn aborts_of_open_orders(&self, account: &Account) -> Result<Vec<SignedAbort>, Problem> {
        let mut aborts = Vec::new();
        // The order that holds the account is most likely the latest.
        for open in account.open.iter().rev() {
            aborts.extend(self.orders.aborts_of(open.id).await?);
        }
        aborts.truncate(MAX_ABORTS);
        Ok(aborts)
    }

    /// Closes an order that was refused before any session was made for it. Returns whether a session may exist.
    pub(crate) async fn close_if_not_started(
        &self,
        account: &Account,
        order: OrderId,
        problem: &Problem,
    ) -> Result<bool, Problem> {
        // With any other problem, or when the answer was lost, there may be a session.
        let may_run = !rejected_before_start(problem);
        if !may_run {
            self.stored.store().close_order(account.spec.account, order).await?;
        }
        Ok(may_run)
    }

    /// Has new shares made. The account is active afterwards, or waits for its user.
    pub(crate) async fn make_shares(
        &self,
        submission: OrderSubmission,
        account: &Account,
    ) -> Result<AccountView, Problem> {
        if account.user_party.is_some() {
            let session = self.users.submit_until_delivered(&self.submitter, submission).await?;
            let session_id = Some(session.to_string());
            return Ok(AccountView { session_id, ..view(&self.accounts.find(account.spec.account).await?)? });
        }
        let spec = submission.order.spec.clone();
        let Proved::Shares { certificate, key } = self.submitter.submit(submission).await?.proved else {
            return Err(Problem::internal("a signature where a key was asked for"));
        };
        self.stored.store().activate_account(&spec, &certificate, &key).await?;
        view(&self.accounts.find(certificate.activation.account).await?)
    }
}

/// Refuses at once what no order could lead to.
fn check_lost(account: &Account, lost: &[LostShare]) -> Result<(), Problem> {
    let threshold = account.spec.threshold;
    let wrong = |detail: String| Err(Problem::new(Code::InvalidBody, detail));
    if lost.is_empty() || !lost.is_sorted_by(|a, b| a.party < b.party) {
        return wrong("parties: name at least one, each once, in ascending order".into());
    }
    let (t, n) = (threshold.required(), threshold.parties());
    if let Some(lost) = lost.iter().find(|lost| lost.party.number() > n) {
        return wrong(format!("party: the account has {n} parties, and no party {}", lost.party));
    }
    let impossible = |detail: String| Err(Problem::new(Code::RepairImpossible, detail));
    if lost.iter().any(|lost| Some(lost.party) == account.user_party) {
        return impossible(
            "party: this share is its user's: create another account, and move what this one holds".into(),
        );
    }
    let most = usize::from(n - t);
    if lost.len() > most {
        return impossible(format!(
            "party: {t} of {n} parties sign with this account, and as many must have their shares to repair others: {} \
             can't be repaired",
            if most == 0 { "a lost share".to_owned() } else { format!("more than {most}") }
        ));
    }
    Ok(())
}

/// The key's properties with the identities that its parties have now.
fn spec_after(pinned: &PinnedParties, spec: &KeySpec, lost: &[LostShare]) -> Result<KeySpec, Problem> {
    let mut after = spec.clone();
    for LostShare { party, identity } in lost {
        let Some(key) = after.parties.get_mut(usize::from(party.number()) - 1) else { continue };
        *key = match identity {
            Some(identity) => *identity,
            None if pinned.current.contains(key) => *key,
            None => only_new_party(pinned, spec)?,
        };
    }
    let pairs = || after.parties.iter().zip(&spec.parties);
    if pairs().any(|(now, before)| now != before && spec.parties.contains(now)) {
        let detail = "identity: a party of the account has it already, and gets no share of another one";
        return Err(Problem::new(Code::InvalidBody, detail));
    }
    let mut sorted = after.parties.clone();
    sorted.sort_unstable();
    if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
        let detail = "identity: two parties of the account would have the same one";
        return Err(Problem::new(Code::InvalidBody, detail));
    }
    Ok(after)
}

/// The only party of this deployment that has no share of the account.
fn only_new_party(pinned: &PinnedParties, spec: &KeySpec) -> Result<PublicKey, Problem> {
    let mut new = pinned.current.iter().filter(|key| !spec.parties.contains(key));
    match (new.next(), new.next()) {
        (Some(only), None) => Ok(*only),
        _ => {
            let detail = "identity: the party's former identity is no longer in use here: name its new one";
            Err(Problem::new(Code::InvalidBody, detail))
        }
    }
}
