//! The routes that give an account new shares: refreshes and repairs.

use std::borrow::Cow;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, Response, StatusCode};
use quorate_core::code::Code;
use quorate_core::{AccountId, PartyIndex};
use quorate_net::problem::Problem;
use quorate_net::web::body::{Body, Fields, MAX_BODY_WITH_SHARE_BYTES};
use quorate_net::web::params;
use quorate_net::web::problem_document::ProblemDocument;
use serde::Deserialize;
use utoipa::ToSchema;

use super::accounts::with_share;
use super::idempotency::{IdempotentOperation, RequestFingerprint, respond, without_sealed_share};
use super::state::Api;
use crate::{AccountView, LostShare, Recovery, RefreshRequest, RepairRequest, RequestIds, SealedShare};

/// The body of a refresh. It is empty unless a user keeps a share.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRefresh {
    /// The user's share, sealed together with `recipient_key`, in hex.
    user_share: Option<String>,
    /// The X25519 key that the user's new share is sealed to: 64 hex characters.
    recipient_key: Option<String>,
    /// SHA-256 of the claim with which the user's new share is confirmed: 64 hex characters. A new claim for each share.
    claim_hash: Option<String>,
}

impl NewRefresh {
    fn read(self) -> Result<RefreshRequest, Problem> {
        Ok(RefreshRequest {
            user_share: self.user_share.as_deref().map(SealedShare::read).transpose()?,
            recipient: self.recipient_key.as_deref().map(params::recipient_key).transpose()?,
            claim_hash: self.claim_hash.as_deref().map(params::claim_hash).transpose()?,
        })
    }
}

impl Fields for NewRefresh {
    const MAX_BODY_BYTES: usize = MAX_BODY_WITH_SHARE_BYTES;
}

struct Refresh(AccountId, RefreshRequest);

impl IdempotentOperation for Refresh {
    type Answer = AccountView;
    const STATUS: StatusCode = StatusCode::OK;

    fn new_ids(&self) -> Result<RequestIds, Problem> {
        RequestIds::for_account(self.0)
    }

    async fn recover(&self, api: &Api, earlier: RequestIds) -> Result<Recovery<AccountView>, Problem> {
        api.accounts.recoverer().recover_refresh(earlier, &self.1).await
    }

    async fn run(self, api: &Api, ids: RequestIds) -> Result<AccountView, Problem> {
        api.accounts.refresh(ids, self.1).await
    }

    async fn complete(api: &Api, answer: String) -> Result<String, Problem> {
        with_share(api, answer).await
    }
}

/// Refresh an account's shares
///
/// All parties get new shares of the same key; the old ones are erased when all parties have said that they have the
/// new ones, within seconds if all are there: what was stolen of them is of no use from then on.
#[utoipa::path(
    post, path = "/api/v1/accounts/{id}/refresh", tag = "accounts",
    params(
        ("id" = String, Path, description = "The account's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters. The same key and body give the same answer for 24 hours; a request that failed is repeated with its key. `user_share` may be sealed anew."),
    ),
    request_body = Option<NewRefresh>,
    responses(
        (status = 200, description = "The account, one epoch later; where a user keeps a share, with the new one in `user_share`: the next epoch begins when it is confirmed", body = AccountView),
        (status = "4XX", description = "What you have to change", body = ProblemDocument, content_type = "application/problem+json"),
        (status = "5XX", description = "What went wrong, and whether to try again", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn refresh(
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body<NewRefresh>,
) -> Result<Response<axum::body::Body>, Problem> {
    let request = body.value.read()?;
    let body = match request.user_share {
        Some(_) => without_sealed_share(&body.bytes)?,
        None => Cow::Borrowed(&*body.bytes),
    };
    let account = params::account_id(&id)?;
    let fingerprint = RequestFingerprint { headers: &headers, operation: ["refresh", &id], body: &body };
    respond(&api, fingerprint, Refresh(account, request)).await
}

/// Lost shares to repair: `party`, or `parties` if several are lost.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRepair {
    /// The index of the party whose share is lost.
    #[schema(example = 2)]
    party: Option<u16>,
    /// The identity key that the party has now, if it is a new one: 64 hex characters. It may be left out where it is clear.
    identity: Option<String>,
    /// The parties whose shares are lost, in ascending order.
    parties: Option<Vec<NewLostShare>>,
    /// The user's share, sealed for a refresh together with `recipient_key`, in hex.
    user_share: Option<String>,
    /// The X25519 key that the user's new share is sealed to: 64 hex characters.
    recipient_key: Option<String>,
    /// SHA-256 of the claim with which the user's new share is confirmed: 64 hex characters. A new claim for each share.
    claim_hash: Option<String>,
}

/// A share that is lost.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewLostShare {
    /// The index of its party.
    party: u16,
    /// The identity key that the party has now, if it is a new one: 64 hex characters.
    identity: Option<String>,
}

impl NewRepair {
    fn read(self) -> Result<RepairRequest, Problem> {
        let Self { party, identity, parties, user_share, recipient_key, claim_hash } = self;
        let wrong = |detail: &str| Problem::new(Code::InvalidBody, detail);
        let lost = match (party, parties) {
            (Some(party), None) => vec![NewLostShare { party, identity }],
            (None, Some(parties)) if identity.is_none() => parties,
            (None, None) => return Err(wrong("party: say whose share is lost")),
            _ => return Err(wrong("parties: party and identity stand in it, and not beside it")),
        };
        let lost = lost.into_iter().map(|NewLostShare { party, identity }| {
            let party =
                PartyIndex::try_from(party).map_err(|_| wrong("party: parties are numbered from 1 to 16"))?;
            let identity = identity.map(|key| key.parse().map_err(|_| wrong("identity: 64 hex characters")));
            Ok(LostShare { party, identity: identity.transpose()? })
        });
        let refresh = NewRefresh { user_share, recipient_key, claim_hash }.read()?;
        Ok(RepairRequest { lost: lost.collect::<Result<_, Problem>>()?, refresh })
    }
}

impl Fields for NewRepair {
    const MAX_BODY_BYTES: usize = MAX_BODY_WITH_SHARE_BYTES;
}

struct Repair(AccountId, RepairRequest);

impl IdempotentOperation for Repair {
    type Answer = AccountView;
    const STATUS: StatusCode = StatusCode::OK;

    fn new_ids(&self) -> Result<RequestIds, Problem> {
        RequestIds::for_account(self.0)
    }

    async fn recover(&self, api: &Api, earlier: RequestIds) -> Result<Recovery<AccountView>, Problem> {
        api.accounts.recoverer().recover_refresh(earlier, &self.1.refresh).await
    }

    async fn run(self, api: &Api, ids: RequestIds) -> Result<AccountView, Problem> {
        api.accounts.repair(ids, self.1).await
    }

    async fn complete(api: &Api, answer: String) -> Result<String, Problem> {
        with_share(api, answer).await
    }
}

/// Repair lost shares of an account
///
/// Parties that have lost their databases get shares of the same key again, and all others are refreshed: what was lost is worth nothing
/// from then on. The operators of all other parties must have permitted it (`quorate admin permit-repair`): the API key alone repairs
/// nothing. A party that also has a new identity is named with it.
#[utoipa::path(
    post, path = "/api/v1/accounts/{id}/repair", tag = "accounts",
    params(
        ("id" = String, Path, description = "The account's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters. The same key and body give the same answer for 24 hours; a request that failed is repeated with its key. `user_share` may be sealed anew."),
    ),
    request_body = NewRepair,
    responses(
        (status = 200, description = "The account, one epoch later; where a user keeps a share, with the new one in `user_share`: the next epoch begins when it is confirmed", body = AccountView),
        (status = "4XX", description = "What you or the parties' operators have to change", body = ProblemDocument, content_type = "application/problem+json"),
        (status = "5XX", description = "What went wrong, and whether to try again", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn repair(
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body<NewRepair>,
) -> Result<Response<axum::body::Body>, Problem> {
    let request = body.value.read()?;
    let body = match request.refresh.user_share {
        Some(_) => without_sealed_share(&body.bytes)?,
        None => Cow::Borrowed(&*body.bytes),
    };
    let account = params::account_id(&id)?;
    let fingerprint = RequestFingerprint { headers: &headers, operation: ["repair", &id], body: &body };
    respond(&api, fingerprint, Repair(account, request)).await
}
