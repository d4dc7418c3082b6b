//! The part of the party API that users' backends call.

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use quorate_core::code::Code;
use quorate_core::share_claim::ShareClaim;
use quorate_net::problem::Problem;
use quorate_net::web::body::{Body, Fields};
use quorate_net::web::guard;
use quorate_net::web::guard::Guard;
use quorate_net::web::headers::IDEMPOTENCY_KEY_HEADER;
use quorate_net::web::params::{recipient_key, session_id, share_claim};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::sealing_key_view::SealingKeyView;
use super::{PartyApi, PartyApiState};
use crate::user::shares::DeliveredShare;

/// The routes, behind the guard.
pub fn routes(api: PartyApi, guarded_by: Guard) -> Router {
    Router::new()
        .route("/api/v1/shares/key", get(key))
        .route("/api/v1/shares/generate", post(generate))
        .route("/api/v1/shares/confirm", post(confirm))
        .with_state(api)
        .layer(from_fn_with_state(guarded_by, guard::guard))
}

async fn key(State(api): State<PartyApi>) -> Result<Json<SealingKeyView>, Problem> {
    let PartyApiState { shares, sealing_key_period, .. } = &*api.0;
    let signed = shares.sealing_key(*sealing_key_period).await?;
    Ok(Json(SealingKeyView::of(&signed, &shares.party.identity())))
}

/// A share to be made for a user.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GenerateRequest {
    session_id: String,
    claim: Option<String>,
    recipient_key: Option<String>,
}

impl Fields for GenerateRequest {}

#[derive(Serialize)]
struct ShareView {
    session_id: String,
    account_id: String,
    epoch: u32,
    /// The user's index among the parties.
    party: u16,
    /// The key that `user_share` is sealed to; without it the share is not sealed.
    #[serde(skip_serializing_if = "Option::is_none")]
    recipient_key: Option<String>,
    user_share: String,
}

async fn generate(State(api): State<PartyApi>, body: Body<GenerateRequest>) -> Result<Response, Problem> {
    let Body { bytes, value: GenerateRequest { session_id: id, claim, recipient_key: recipient }, room } =
        body;
    // The claim is in it, and a key generation takes a while.
    drop((bytes, room));
    let claim = required_claim(claim)?;
    let session = session_id(&id)?;
    let recipient = recipient.as_deref().map(recipient_key).transpose()?;
    if recipient.is_none() && !api.0.unsealed {
        let detail = "recipient_key: give the X25519 key that the share is to be sealed to; `quorate share new-recipient` makes one";
        return Err(Problem::new(Code::RecipientKeyRequired, detail));
    }
    let (delivery, recipient, share) = match api.0.shares.generate_share(session, &claim, recipient).await? {
        DeliveredShare::Sealed(delivery, recipient, sealed) => {
            (delivery, Some(recipient), hex::encode(sealed))
        }
        DeliveredShare::Unsealed(delivery, share) => (delivery, None, hex::encode(share.bytes())),
    };
    let activation = &delivery.certificate.activation;
    let view = ShareView {
        session_id: id,
        account_id: activation.account.to_string(),
        epoch: activation.epoch,
        party: delivery.started.me.number(),
        recipient_key: recipient.map(hex::encode),
        user_share: share,
    };
    // No proxy may store the answer.
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(view)).into_response())
}

fn required_claim(claim: Option<String>) -> Result<ShareClaim, Problem> {
    let missing = || {
        let detail = "claim: show the claim whose hash went as claim_hash into the request for this share, 64 hex characters";
        Problem::new(Code::ClaimRequired, detail)
    };
    share_claim(&Zeroizing::new(claim.ok_or_else(missing)?))
}

/// A share that is in good hands.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewConfirmation {
    session_id: String,
    claim: Option<String>,
}

impl Fields for NewConfirmation {}

#[derive(Serialize)]
struct ConfirmationView {
    session_id: String,
    account_id: String,
    /// The epoch of the account's shares from now on.
    epoch: u32,
    state: &'static str,
}

async fn confirm(
    State(api): State<PartyApi>,
    headers: HeaderMap,
    body: Body<NewConfirmation>,
) -> Result<Json<ConfirmationView>, Problem> {
    let Body { value: NewConfirmation { session_id: id, claim }, .. } = body;
    let claim = required_claim(claim)?;
    let session = session_id(&id)?;
    let by = headers.get(IDEMPOTENCY_KEY_HEADER).map(|key| Sha256::digest(key.as_bytes()).into());
    let delivery = api.0.shares.confirm(session, &claim, by).await?;
    let activation = &delivery.certificate.activation;
    Ok(Json(ConfirmationView {
        session_id: id,
        account_id: activation.account.to_string(),
        epoch: activation.epoch,
        state: "active",
    }))
}
