//! Intake: whether this party takes a plan on. What the plan carries is followed first, then it is admitted, then its
//! session is claimed.

use std::sync::Arc;

use quorate_backends::database::StoreError;
use quorate_core::abort::SignedAbort;
use quorate_core::admission::{Admitted, Facts, Refused};
use quorate_core::certificate::Certificate;
use quorate_core::order::Order;
use quorate_core::plan::Plan;
use quorate_core::promise::Contradiction;
use quorate_core::submission::MAX_ABORTS;
use quorate_core::{KeyField, UnixSeconds};
use quorate_party_store::{AdmissionFacts, Claim, ClaimOutcome, ShareState};
use quorate_runtime::Plugin;

use crate::party::Party;
use crate::refusal::PlanRefusal;
use crate::registry::RegisteredPlugin;
use crate::session::SessionTask;
use crate::session::sandbox::ComponentTask;
use crate::session::session_pool;
use crate::user::custody::Custody;

/// Takes on a plan for a share that this party keeps itself, or says why not. The token came with the plan: routers
/// let this party into the session with it.
///
/// # Errors
/// See [`PlanRefusal`]: nothing was started or sent.
pub async fn admit_and_claim(
    party: &Arc<Party>,
    plan: Plan,
    token: String,
) -> Result<SessionTask, PlanRefusal> {
    admit_and_claim_for(party, plan, token, Custody::Own).await
}

/// The same as [`admit_and_claim`], for a share that a user may keep.
pub(crate) async fn admit_and_claim_for(
    party: &Arc<Party>,
    plan: Plan,
    token: String,
    custody: Custody,
) -> Result<SessionTask, PlanRefusal> {
    let now = party.clock.seconds();
    let order = plan.order.open(&party.originators, now).map_err(Refused::from)?;
    if party.bans.is_closed(order.spec.account) {
        return Err(PlanRefusal::BanNotStored);
    }
    // Before anything of the plan is followed.
    if party.is_set_back() {
        return Err(PlanRefusal::SetBack);
    }
    // A refusal says that nothing will ever be promised: a second copy of a plan must not lead to one.
    if order.operation.makes_shares()
        && party.store.was_claimed(plan.session_id()).await.map_err(PlanRefusal::NotKnown)?
    {
        return Err(PlanRefusal::ClaimedBefore);
    }
    if let Some(certificate) = &plan.certificate {
        roll_forward(party, &order, certificate).await?;
    }
    apply_aborts(party, &order, &plan.aborts).await?;
    party.take_bans(&order, &plan.bans).await?;
    // Perhaps a ban of its own has just shown it.
    if party.is_set_back() {
        return Err(PlanRefusal::SetBack);
    }
    let entry = party.registry.active(plan.digest);
    let component = match &entry {
        Some(entry) => prepare_component(party, &entry.plugin, &plan, &order).await?,
        // Admission refuses a plan whose plugin is not active.
        None => None,
    };
    // It may have waited.
    let now = party.clock.seconds();
    let mut facts = party.store.admission_facts(order.id, order.spec.account, plan.hash()).await?;
    if facts.claimed {
        return Err(PlanRefusal::ClaimedBefore);
    }
    if party.index_in(&order).is_some_and(|me| order.operation.repairs(me)) {
        if matches!(custody, Custody::User(_)) {
            return Err(Refused::UsersShare.into());
        }
        party.store.take_bans_on(&mut facts, order.spec.account, order.share_set).await?;
    }
    let admitted = admit(party, &plan, &order, &facts, entry.as_ref(), now).await?;
    if facts.has_retired {
        erase_replaced(party, &plan, &admitted).await?;
    }
    // Admission has found it.
    let entry = entry.ok_or(Refused::PluginNotActive)?;
    let component = component.ok_or(Refused::Plugin("it does not offer the order's operation"))?;
    claim(party, &plan, &admitted, &facts, entry.facts.open_signings, now).await?;
    Ok(SessionTask::new(Arc::clone(party), plan, token, admitted, (entry, component), facts, custody))
}

/// Takes the memory for the session's component, before anything is claimed: a session that has begun is not ended for want of
/// it. A part of its time is left for the session itself.
async fn prepare_component(
    party: &Party,
    plugin: &Plugin,
    plan: &Plan,
    order: &Order,
) -> Result<Option<ComponentTask>, PlanRefusal> {
    let (session, left) = (plan.session_id(), plan.deadline.since(party.clock.millis()));
    let waiting = party.running.wait(session);
    let preparing = ComponentTask::prepare(plugin, plan, order, left / 2);
    let Some(prepared) = waiting.cancelled.run_until_cancelled(preparing).await else {
        return Err(PlanRefusal::Cancelled);
    };
    match prepared {
        Ok(component) => Ok(component),
        // The plan may have come twice, and the other copy have the memory.
        Err(_) if party.store.was_claimed(session).await.map_err(PlanRefusal::NotKnown)? => {
            Err(PlanRefusal::ClaimedBefore)
        }
        // A refusal for want of memory is for good, and the database before this one may have promised what the order asks for.
        Err(none) => {
            let from = party.store.orders_from().await.map_err(PlanRefusal::NotKnown)?;
            let wait = from.since(party.clock.seconds()).as_secs();
            Err(if order.issued_at < from { Refused::ClockSetBack(wait).into() } else { none.into() })
        }
    }
}

async fn admit(
    party: &Party,
    plan: &Plan,
    order: &Order,
    facts: &AdmissionFacts,
    entry: Option<&RegisteredPlugin>,
    now: UnixSeconds,
) -> Result<Admitted, PlanRefusal> {
    let prepared = session_pool::available(party, order, plan, facts).await?;
    let repairable = match order.operation.repair() {
        Some(_) => party.store.repairable(order.spec.account, now).await?,
        None => vec![],
    };
    let admitted = plan.admit(&Facts {
        me: party.identity(),
        originators: &party.originators,
        pinned: &party.pinned,
        plugin: entry.map(|entry| &entry.facts),
        record: facts.record.as_ref(),
        share_set: facts.share_set,
        promised: facts.promised,
        banned: &facts.banned,
        lifted: &facts.lifted,
        repairable: &repairable,
        sessions_of_order: facts.sessions_of_order,
        order_succeeded: facts.order_succeeded,
        now,
        latest_seen: facts.latest_seen,
        orders_from: facts.orders_from,
        pool: party.store.pool_id(),
        prepared: &prepared,
    });
    if let (Err(Refused::Contradicts(field)), Some(record)) = (&admitted, &facts.record)
        && record.epoch > order.epoch
    {
        // The account service did not know this party's newest epoch when it signed the order: it is reported again.
        party.store.report_again(order.spec.account).await?;
        if *field == KeyField::Epoch {
            return Err(PlanRefusal::Stale);
        }
    }
    Ok(admitted?)
}

/// Claims the session, over all replicas of this party.
async fn claim(
    party: &Party,
    plan: &Plan,
    admitted: &Admitted,
    facts: &AdmissionFacts,
    open_signings: Option<u16>,
    now: UnixSeconds,
) -> Result<(), PlanRefusal> {
    let order = &admitted.order;
    let repaired = order.operation.repair().map(|repair| repair.others(&order.spec, admitted.me));
    let claim = Claim {
        session: plan.session_id(),
        plan: plan.hash(),
        order: order.id,
        issued_at: order.issued_at,
        expires_at: order.expires_at,
        account: order.spec.account,
        exclusive: order.operation.makes_shares(),
        // Admission has found it to be the order's, except where this party's share is lost.
        share_set: facts.share_set,
        lost: order.share_set.filter(|_| order.operation.repairs(admitted.me)),
        me: admitted.me,
        digest: plan.digest,
        signers: plan.signers.clone(),
        open_signings,
        signatures: order.operation.signatures(),
        signatures_per_day: party.signatures_per_day,
        replica: party.replica.clone(),
        deadline: plan.deadline,
        now,
        at_most: order.operation.max_sessions(),
        repaired: repaired.unwrap_or_default().into_iter().map(|(_, party)| party).collect(),
    };
    match party.store.claim(&claim).await? {
        ClaimOutcome::Claimed { refresh_wanted } => {
            if refresh_wanted {
                tracing::warn!(
                    account = %order.spec.account,
                    "signings with unknown outcome: refresh the account's shares soon (POST /accounts/{{id}}/refresh)"
                );
            }
            Ok(())
        }
        ClaimOutcome::AlreadyClaimed => Err(PlanRefusal::ClaimedBefore),
        ClaimOutcome::OrderIsOver => Err(Refused::TooManySessions.into()),
        ClaimOutcome::Locked => Err(PlanRefusal::Locked),
        ClaimOutcome::Suspended => {
            party.registry.suspend(plan.digest);
            Err(Refused::PluginNotActive.into())
        }
        ClaimOutcome::Stale => Err(PlanRefusal::Stale),
        ClaimOutcome::SetBack => {
            party.check_set_back().await?;
            Err(PlanRefusal::SetBack)
        }
        ClaimOutcome::DailyMaximum => Err(PlanRefusal::DailyMaximum),
        ClaimOutcome::Full(with) => Err(PlanRefusal::Full(with)),
        ClaimOutcome::RefreshRequired(with) => Err(PlanRefusal::RefreshRequired(with)),
    }
}

/// Erases the share sets that the one of an order has replaced (rule 9), if all parties have acknowledged it. The plan may carry
/// acknowledgements that this party lacks.
async fn erase_replaced(party: &Party, plan: &Plan, admitted: &Admitted) -> Result<(), StoreError> {
    let Order { epoch, share_set: Some(named), .. } = &admitted.order else { return Ok(()) };
    let spec = admitted.order.former_spec();
    if let Some(erasure) = &plan.erasure
        && erasure.plan == *named
        && erasure.verify(&spec.parties).is_ok()
    {
        let mut acknowledgements = erasure.acknowledgements();
        acknowledgements.retain(|acknowledgement| acknowledgement.by != admitted.me);
        party.store.keep_acknowledgements(&acknowledgements).await?;
    }
    let parties = spec.threshold.parties();
    let erased = party.store.erase_replaced(spec.account, *named, *epoch, parties).await?;
    if erased > 0 {
        tracing::info!(
            shares = erased,
            epoch,
            "all parties have the new shares, and an order names them: old shares erased"
        );
    }
    Ok(())
}

/// Activates a promised share with the certificate that a plan carries (rule 9): this party may have missed it. Of two share
/// sets of one epoch the one counts that the order names.
async fn roll_forward(party: &Party, order: &Order, certificate: &Certificate) -> Result<(), StoreError> {
    let plan = certificate.activation.plan;
    if certificate.activation.account != order.spec.account {
        return Ok(());
    }
    let Some(promised) = party.store.promised(plan).await? else { return Ok(()) };
    let is_named = order.share_set == Some(plan);
    let is_wanted =
        promised.state == ShareState::Pending || is_named && promised.state == ShareState::Retired;
    // The parties that were sealed with the share count, not those that the order names.
    if !is_wanted || certificate.verify(&promised.record.spec.parties).is_err() {
        return Ok(());
    }
    let activated = match is_named {
        true => party.store.activate_named(certificate).await,
        false => party.store.activate(certificate).await,
    };
    match activated {
        Ok(()) => {
            tracing::info!(epoch = certificate.activation.epoch, "rolled forward with a certificate");
        }
        // Another share of this epoch is active, or this is not what was promised: admission says what follows.
        Err(StoreError::Conflict(reason)) => tracing::warn!(reason, "certificate not followed"),
        Err(other) => return Err(other),
    }
    Ok(())
}

/// Frees accounts of promises that a peer, by its signed word, will never complete (rule 9).
async fn apply_aborts(party: &Party, order: &Order, aborts: &[SignedAbort]) -> Result<(), StoreError> {
    for abort in aborts.iter().take(MAX_ABORTS) {
        let Some(promised) = party.store.promised(abort.notice.plan).await? else { continue };
        let spec = &promised.record.spec;
        let Some(key) = spec.party(abort.notice.by).filter(|key| **key != party.identity()) else { continue };
        if abort.verify(key).is_err() || spec.account != order.spec.account {
            continue;
        }
        if let Some(ready) =
            promised.certificate.and_then(|certificate| certificate.promise_of(abort.notice.by))
        {
            let contradiction = Contradiction::of(ready, abort.clone(), key);
            party.keep_contradictions(contradiction).await?;
        }
        if promised.state == ShareState::Pending {
            match party.store.release(abort.notice.plan).await {
                Ok(()) => tracing::warn!(
                    by = %abort.notice.by, "peer aborted without a promise; account unlocked"
                ),
                Err(StoreError::Conflict(reason)) => tracing::warn!(reason, "abort not applied"),
                Err(other) => return Err(other),
            }
        }
    }
    Ok(())
}
