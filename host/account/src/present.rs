//! Accounts, keys and signatures in the forms that callers see.

use std::time::Duration;

use quorate_control_store::{Account, AccountState};
use quorate_core::certificate::{Certificate, KeyOutputs};
use quorate_core::code::Code;
use quorate_core::event::ComponentEvent;
use quorate_core::identity::PublicKey;
use quorate_core::order::{Operation, Order, SignItem};
use quorate_core::time::whole_millis;
use quorate_core::{PartyIndex, SchemeSignature};
use quorate_net::problem::Problem;
use quorate_verify::addresses::{KeyForms, TaprootOutput};
use quorate_verify::expected_key::ExpectedKey;
use quorate_verify::proof::Proved;
use quorate_verify::signature;

use super::order_status::{ReconciledSession, ReconciledStatus, SignedResult};
use super::request::SignRequest;
use super::submit::{OrderResult, known_parties};
use super::views::{
    AccountStateView, AccountView, ErrorView, EventKindView, EventView, KeyView, OperationView, SessionView,
    SignatureView, SigningView, StatusView, TaprootOutputView, ThresholdView,
};

/// An account as callers see it.
pub(crate) fn view(account: &Account) -> Result<AccountView, Problem> {
    let (state, epoch, key) = match &account.state {
        AccountState::Creating if is_pending(account) => (AccountStateView::Pending, 0, None),
        AccountState::Creating => (AccountStateView::Creating, 0, None),
        AccountState::Failed => (AccountStateView::Failed, 0, None),
        AccountState::Active { certificate, key } => {
            let shown = key_view(&account.spec.scheme, certificate, key);
            let shown = shown.ok_or_else(invalid_stored_key)?;
            (AccountStateView::Active, certificate.activation.epoch, Some(shown))
        }
    };
    Ok(AccountView {
        id: account.spec.account.to_string(),
        user_id: account.user_id.clone(),
        state,
        scheme: account.spec.scheme.clone(),
        protocol: account.spec.protocol.clone(),
        threshold: ThresholdView {
            t: account.spec.threshold.required(),
            n: account.spec.threshold.parties(),
        },
        epoch,
        user_share_mandatory: account.user_party.map(|user| account.spec.mandatory.contains(&user)),
        session_id: None,
        user_share: None,
        created_at_ms: account.created.0,
        key,
    })
}

fn invalid_stored_key() -> Problem {
    Problem::internal("the stored public key is not a valid key of its scheme")
}

/// The public view of a key; `None` if it is no key of its scheme.
fn key_view(scheme: &str, certificate: &Certificate, key: &KeyOutputs) -> Option<KeyView> {
    let forms = KeyForms::of(scheme, &key.public_key.0)?;
    Some(KeyView {
        plugin_digest: certificate.activation.digest.to_string(),
        public_key: hex::encode(&key.public_key.0),
        public_key_uncompressed: forms.uncompressed.map(hex::encode),
        chain_code: key.chain_code.map(hex::encode),
        ethereum_address: forms.ethereum,
        bitcoin_address: forms.bitcoin,
        solana_address: forms.solana,
        taproot_output: None,
    })
}

/// The Taproot output that an account's key makes with the merkle root of scripts.
pub(crate) fn taproot_output(account: &Account, root: [u8; 32]) -> Result<TaprootOutputView, Problem> {
    if account.spec.scheme != "bip340" {
        let detail = format!("merkle_root: this account's scheme is {}, and not bip340", account.spec.scheme);
        return Err(Problem::new(Code::InvalidMerkleRoot, detail));
    }
    let AccountState::Active { key, .. } = &account.state else {
        return Err(Problem::new(Code::AccountNotActive, "merkle_root: the account has no key yet"));
    };
    let output = TaprootOutput::of(&key.public_key.0, root);
    let output = output.ok_or_else(invalid_stored_key)?;
    Ok(TaprootOutputView {
        merkle_root: hex::encode(root),
        public_key: hex::encode(output.key),
        bitcoin_address: output.address,
    })
}

/// The proved signatures of a request.
pub(crate) fn signing_view(
    request: &SignRequest,
    order: &Order,
    key: &KeyOutputs,
    result: &OrderResult,
    took: Duration,
) -> Result<SigningView, Problem> {
    let mut signatures = signature_views(order, key, result)?;
    let signature = if request.is_batch { None } else { signatures.pop() };
    Ok(SigningView {
        account_id: order.spec.account.to_string(),
        session_id: result.session.to_string(),
        scheme: order.spec.scheme.clone(),
        signature,
        signatures: request.is_batch.then_some(signatures),
        signers: party_numbers(&result.signers),
        plugin_digest: result.digest.to_string(),
        milliseconds: whole_millis(took),
    })
}

/// Proved signatures in all their forms.
fn signature_views(
    order: &Order,
    key: &KeyOutputs,
    result: &OrderResult,
) -> Result<Vec<SignatureView>, Problem> {
    let Proved::Signatures(signatures) = &result.proved else {
        return Err(Problem::internal("a key where a signature was asked for"));
    };
    let items = order.operation.sign_items();
    if items.len() != signatures.len() {
        return Err(Problem::internal("not one signature for each item"));
    }
    let scheme = &order.spec.scheme;
    let both = items.iter().zip(signatures);
    both.map(|(item, signature)| signature_view(scheme, item, key, signature)).collect()
}

fn signature_view(
    scheme: &str,
    item: &SignItem,
    key: &KeyOutputs,
    signature: &SchemeSignature,
) -> Result<SignatureView, Problem> {
    let unshowable = |_| Problem::internal("a signature that verified can't be shown");
    let expected = ExpectedKey::of(scheme, &key.public_key.0, key.chain_code.as_ref(), item);
    let expected = expected.map_err(unshowable)?;
    let digest = match expected {
        ExpectedKey::Ed25519(_) => None,
        ExpectedKey::Ecdsa(_) | ExpectedKey::Bip340(_) => Some(signature::digest(item).map_err(unshowable)?),
    };
    let (r, s) = signature.bytes.split_at(32);
    Ok(SignatureView {
        digest: digest.map(hex::encode),
        r: hex::encode(r),
        s: hex::encode(s),
        recovery_id: signature.recovery_id,
        signature: hex::encode(signature.bytes),
        der: matches!(expected, ExpectedKey::Ecdsa(_)).then(|| signature::der(signature)),
        public_key: hex::encode(expected.to_bytes()),
    })
}

/// A session as callers see it.
pub(crate) fn session_view(
    session: &ReconciledSession,
    events: Vec<(PublicKey, ComponentEvent)>,
) -> Result<SessionView, Problem> {
    let signatures = match &session.signed {
        Some(SignedResult { key, result }) => signature_views(&session.order, key, result)?,
        None => vec![],
    };
    let error = session.failure.as_ref().map(|failure| ErrorView {
        code: failure.code.clone(),
        reason: failure.reason.clone(),
        culprits: party_numbers(&known_parties(&failure.culprits)),
    });
    Ok(SessionView {
        id: session.id.to_string(),
        account_id: session.order.spec.account.to_string(),
        operation: match session.order.operation {
            Operation::Keygen => OperationView::Keygen,
            Operation::Sign(_) => OperationView::Sign,
            Operation::Refresh => OperationView::Refresh,
            Operation::Presign { .. } => OperationView::Presign,
            Operation::Repair(_) => OperationView::Repair,
            Operation::Auxiliary { .. } | Operation::Prepare { .. } => {
                return Err(Problem::internal("an order that is not implemented"));
            }
        },
        status: match session.status {
            ReconciledStatus::Running => StatusView::Running,
            ReconciledStatus::Completed => StatusView::Completed,
            ReconciledStatus::Failed => StatusView::Failed,
        },
        signers: party_numbers(&session.signers),
        plugin_digest: session.digest.to_string(),
        created_at_ms: session.created.0,
        deadline_at_ms: session.deadline.0,
        ended_at_ms: session.ended.map(|ended| ended.0),
        signatures,
        error,
        events: events.into_iter().filter_map(|(by, event)| event_view(&session.order, by, event)).collect(),
    })
}

/// What a party's component says; `None` for a party that is none of the order's.
fn event_view(order: &Order, by: PublicKey, event: ComponentEvent) -> Option<EventView> {
    let party = order.spec.index_of(&by)?.number();
    let view = |kind| EventView { party, kind, step: None, of: None, level: None, code: None };
    Some(match event {
        ComponentEvent::Progress { step, of } => {
            EventView { step: Some(step), of: Some(of), ..view(EventKindView::Progress) }
        }
        ComponentEvent::PoolLevel(level) => {
            EventView { level: Some(level), ..view(EventKindView::PoolLevel) }
        }
        ComponentEvent::Note(code) => EventView { code: Some(code), ..view(EventKindView::Note) },
    })
}

/// The signatures of a session, as the answer to the request that it was made for; `None` if it has made none.
pub(crate) fn session_signing(
    request: &SignRequest,
    session: &ReconciledSession,
) -> Result<Option<SigningView>, Problem> {
    let Some(SignedResult { key, result }) = &session.signed else { return Ok(None) };
    let took = session.ended.map_or(Duration::ZERO, |ended| ended.since(session.created));
    signing_view(request, &session.order, key, result, took).map(Some)
}

/// Whether the account waits for its user to confirm the first share.
pub(crate) fn is_pending(account: &Account) -> bool {
    account.user_party.is_some() && account.state == AccountState::Creating
}

/// The indices of parties as callers see them.
pub(crate) fn party_numbers(parties: &[PartyIndex]) -> Vec<u16> {
    parties.iter().map(|party| party.number()).collect()
}
