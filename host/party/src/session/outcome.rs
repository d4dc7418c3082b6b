//! The third phase: what the protocol has made is held against the order, before anybody hears of it.

use quorate_backends::database::StoreError;
use quorate_core::abort::{Abort, AbortCode};
use quorate_core::certificate::Activation;
use quorate_core::order::{Operation, SignItems};
use quorate_core::report::Outcome;
use quorate_core::session::Effect;
use quorate_core::user_share::ShareEntries;
use quorate_core::{ExecutionId, KeyRecord, PreparedId, SchemeSignature};
use quorate_party_store::NewMaterial;
use quorate_runtime::GeneratedKey;
use quorate_runtime::capabilities::vault::{EntryName, Scope, Staged};
use quorate_verify::error::SignatureError;
use quorate_verify::expected_key::is_canonical_key;
use quorate_verify::signature;
use zeroize::Zeroizing;

use super::connection::Connection;
use super::context::SessionContext;
use super::{linger, sandbox, session_pool};

/// A share that a session has just made, and that fits its order.
pub(super) struct NewShare {
    /// The statement that all parties must promise.
    pub(super) activation: Activation,
    /// The record that is sealed with the share.
    pub(super) record: KeyRecord,
    /// The share.
    pub(super) entries: ShareEntries,
}

/// Verifies the signature of every item before anybody hears of one (rule 7), and records the session's success.
pub(super) async fn finish_signing(
    context: &SessionContext,
    mut connection: Connection,
    items: &SignItems,
    signatures: Vec<SchemeSignature>,
) -> Result<Outcome, StoreError> {
    let order = context.order();
    let verified = signature::verify_all(order, context.chain_code(), items, &signatures);
    match verified {
        Ok(()) => {
            context.party.store.finish(context.plan_hash).await?;
            connection.session.mark_result_durable();
            connection.send_all(connection.session.finish());
            linger::linger(context, connection);
            Ok(Outcome::Signed(signatures))
        }
        Err(rejected) => {
            let code = match rejected {
                SignatureError::BadSignature => AbortCode::BadSignature,
                // The plugin may well be right: it is the order that this host can't judge.
                SignatureError::NotCheckable(_) => AbortCode::Misconfigured,
            };
            if code == AbortCode::BadSignature {
                context.party.suspend(context.plan.digest).await?;
            }
            abort(context, connection, Abort::of(code, rejected.to_string())).await
        }
    }
}

/// Puts what a session has prepared into the pool of this process, and ends the session well.
pub(super) async fn finish_presigning(
    context: &SessionContext,
    mut connection: Connection,
    execution: ExecutionId,
    count: u16,
    staged: &Staged,
) -> Result<Outcome, StoreError> {
    let Some(purpose) = session_pool::purpose(context.order(), &context.plan, &context.facts) else {
        let missing = Abort::of(AbortCode::Share, "this party has no active share of the account");
        return abort(context, connection, missing).await;
    };
    let entries = (0..count).filter_map(|index| {
        let id = PreparedId::of(&execution, index);
        // The runtime has checked that each is there.
        let value = staged.stocks.get(&EntryName::new(Scope::Key, &id.to_string())?)?;
        Some((id, Zeroizing::new(value.expose().to_vec())))
    });
    let entries: Vec<_> = entries.collect();
    if entries.len() != usize::from(count) {
        let fewer = Abort::of(AbortCode::Plugin, "fewer presignatures than the plugin says");
        return abort(context, connection, fewer).await;
    }
    let party = &context.party;
    let stocked = party
        .store
        .stock(NewMaterial {
            plan: context.plan_hash,
            purpose: &purpose,
            digest: context.plan.digest,
            replica: &party.replica,
            now: context.now(),
            entries,
        })
        .await;
    match stocked {
        Ok(()) => {}
        // The account has new shares by now, or another session of the order was faster.
        Err(StoreError::Conflict(reason)) => {
            return abort(context, connection, Abort::of(AbortCode::Unavailable, reason)).await;
        }
        Err(error) => return Err(error),
    }
    connection.session.mark_result_durable();
    connection.send_all(connection.session.finish());
    linger::linger(context, connection);
    Ok(Outcome::Prepared { execution, pool: party.store.pool_id(), count })
}

/// Holds a new share against the order: a refresh keeps key, scheme and chain code, and so does a repair.
pub(super) fn check_new_share(
    context: &SessionContext,
    execution: ExecutionId,
    key: GeneratedKey,
    staged: Staged,
) -> Result<NewShare, Abort> {
    let order = context.order();
    let epoch = order.epoch.saturating_add(1);
    let GeneratedKey { outputs, share_format } = key;
    // The account service would never accept it, and the account could get no other.
    if !is_canonical_key(&order.spec.scheme, &outputs.public_key.0) {
        return Err(Abort::of(
            AbortCode::Plugin,
            "the plugin made a key that is none of the account's scheme",
        ));
    }
    if order.operation != Operation::Keygen {
        let another = |what| Err(Abort::of(AbortCode::Plugin, format!("new shares of another {what}")));
        if outputs.public_key != order.public_key || outputs.scheme != order.spec.scheme {
            return another("key");
        }
        // A party whose share is repaired has no record of the key: the order carries what all parties once promised.
        let chain_code = match order.operation.repair() {
            Some(repair) => repair.outputs.chain_code.as_ref(),
            None => context.chain_code(),
        };
        if outputs.chain_code.as_ref() != chain_code {
            return another("chain code");
        }
    }
    let activation = Activation {
        plan: context.plan_hash,
        execution,
        account: order.spec.account,
        epoch,
        threshold: order.spec.threshold,
        digest: context.plan.digest,
        outputs: outputs.hash(),
    };
    let written_by = context.entry.facts.version;
    let record = KeyRecord { spec: order.spec.clone(), epoch, key: outputs, written_by, share_format };
    // The component's copy of the share ends with this function.
    let entries = sandbox::entries(&staged);
    drop(staged);
    Ok(NewShare { activation, record, entries })
}

/// Ends a session whose protocol has ended, without a result: durably, before anybody hears of it.
pub(super) async fn abort(
    context: &SessionContext,
    mut connection: Connection,
    abort: Abort,
) -> Result<Outcome, StoreError> {
    tracing::warn!(code = ?abort.code, culprits = ?abort.culprits, reason = abort.reason, "session aborted");
    let effects = connection.session.fail(abort.clone(), context.now());
    let outcome = context.record_abort(abort).await?;
    for effect in effects {
        if let Effect::Abort { notices, .. } = effect {
            notices.into_iter().for_each(|(to, frame)| connection.send(to, frame));
        }
    }
    linger::linger(context, connection);
    Ok(outcome)
}
