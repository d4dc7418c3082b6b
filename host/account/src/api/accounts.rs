//! The routes under `/api/v1/accounts`: creates, shows and signs with accounts. [`new_shares`](super::new_shares) has the others.

use std::borrow::Cow;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Response, StatusCode};
use quorate_core::AccountId;
use quorate_core::code::Code;
use quorate_net::problem::Problem;
use quorate_net::web::body::{Body, Fields, MAX_BODY_WITH_SHARE_BYTES};
use quorate_net::web::params;
use quorate_net::web::problem_document::ProblemDocument;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::idempotency::{IdempotentOperation, RequestFingerprint, respond, without_sealed_share};
use super::state::Api;
use crate::request::{read_merkle_root, read_threshold};
use crate::{
    AccountView, Creation, ItemText, Recovery, RequestIds, SealedShare, SignRequest, SigningView,
    UserShareOptions,
};

/// An account to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewAccount {
    /// The user, in your words: 1 to 256 bytes.
    #[schema(example = "user123")]
    user_id: String,
    /// The signature scheme: `ecdsa-secp256k1`, `ed25519` or `bip340`; the first one if you name none.
    scheme: Option<String>,
    /// The protocol that holds the shares; if you name none `dkls23`, `frost-ed25519` or `frost-secp256k1-tr`, by the scheme.
    protocol: Option<String>,
    /// t of n; if you name none 2 of 3, or 2 of 2 where there are only two parties.
    threshold: Option<NewThreshold>,
    /// Whether a user keeps one of the shares: 2 of 3, of two parties of this deployment and the user.
    #[serde(default)]
    user_share: bool,
    /// The X25519 key that the user's share is sealed to: 64 hex characters. Without it the share is to be asked for at
    /// the party API.
    recipient_key: Option<String>,
    /// SHA-256 of the claim to the user's share: 64 hex characters. The claim is 32 random bytes, which you keep: the
    /// party API asks for it. Required with `user_share`.
    claim_hash: Option<String>,
    /// Whether nothing is signed without the user's share.
    #[serde(default)]
    user_share_mandatory: bool,
}

impl Fields for NewAccount {}

/// t of n.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewThreshold {
    /// How many parties are required to sign: 2 or more.
    t: u16,
    /// How many there are: at most 16, and at most as many as this deployment has.
    n: u16,
}

struct Create(Creation);

impl IdempotentOperation for Create {
    type Answer = AccountView;
    const STATUS: StatusCode = StatusCode::CREATED;

    fn new_ids(&self) -> Result<RequestIds, Problem> {
        RequestIds::for_new_account()
    }

    async fn recover(&self, api: &Api, earlier: RequestIds) -> Result<Recovery<AccountView>, Problem> {
        api.accounts.recoverer().recover_account(earlier, &self.0).await
    }

    async fn run(self, api: &Api, ids: RequestIds) -> Result<AccountView, Problem> {
        api.accounts.create(ids, self.0).await
    }

    async fn complete(api: &Api, answer: String) -> Result<String, Problem> {
        with_share(api, answer).await
    }
}

/// Create an account
///
/// Makes a key that no process ever holds. Answers when all parties have promised to keep their shares.
#[utoipa::path(
    post, path = "/api/v1/accounts", tag = "accounts",
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters. The same key and body give the same answer for 24 hours; a request that failed is repeated with its key.")),
    request_body = NewAccount,
    responses(
        (status = 201, description = "The account, with its key and addresses; where a user keeps a share it is `pending`, with the sealed share in `user_share` if a recipient_key was given", body = AccountView),
        (status = "4XX", description = "What you have to change", body = ProblemDocument, content_type = "application/problem+json"),
        (status = "5XX", description = "What went wrong, and whether to try again", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn create(
    State(api): State<Api>,
    headers: HeaderMap,
    body: Body<NewAccount>,
) -> Result<Response<axum::body::Body>, Problem> {
    let NewAccount {
        user_id,
        scheme,
        protocol,
        threshold,
        user_share,
        recipient_key,
        claim_hash,
        user_share_mandatory,
    } = body.value;
    let creation = Creation::read(user_id, scheme, protocol)?;
    let threshold = threshold.map(|t| read_threshold(t.t, t.n)).transpose()?;
    let recipient = recipient_key.as_deref().map(params::recipient_key).transpose()?;
    let claim_hash = claim_hash.as_deref().map(params::claim_hash).transpose()?;
    if !user_share && (recipient.is_some() || claim_hash.is_some() || user_share_mandatory) {
        let detail =
            "user_share: recipient_key, claim_hash and user_share_mandatory go with \"user_share\": true";
        return Err(Problem::new(Code::InvalidBody, detail));
    }
    let options = |claim_hash| UserShareOptions { recipient, mandatory: user_share_mandatory, claim_hash };
    let user = match claim_hash {
        None if user_share => {
            let detail = "claim_hash: say with which claim the user's share is fetched and confirmed; `quorate share new-claim` makes one";
            return Err(Problem::new(Code::ClaimRequired, detail));
        }
        claim_hash => claim_hash.map(options),
    };
    let creation = Creation { threshold, user, ..creation };
    let fingerprint = RequestFingerprint { headers: &headers, operation: ["create", ""], body: &body.bytes };
    respond(&api, fingerprint, Create(creation)).await
}

/// Read an account
#[utoipa::path(
    get, path = "/api/v1/accounts/{id}", tag = "accounts",
    params(
        ("id" = String, Path, description = "The account's id"),
        ("merkle_root" = Option<String>, Query, description = "Of `bip340` only, in hex: the merkle root of scripts, 32 bytes. The answer has the output that the key makes with them."),
    ),
    responses(
        (status = 200, description = "The account", body = AccountView),
        (status = "4XX", description = "What you have to change", body = ProblemDocument, content_type = "application/problem+json"),
        (status = "5XX", description = "What went wrong, and whether to try again", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn read(
    State(api): State<Api>,
    Path(id): Path<String>,
    query: Result<Query<AccountQuery>, QueryRejection>,
) -> Result<Json<AccountView>, Problem> {
    let detail = "merkle_root: give this parameter once, in hex, and no other";
    let Query(query) = query.map_err(|_| Problem::new(Code::InvalidMerkleRoot, detail))?;
    let id = params::account_id(&id)?;
    Ok(Json(match query.merkle_root {
        Some(root) => api.accounts.account_with_taproot_output(id, read_merkle_root(&root)?).await?,
        None => api.accounts.account(id).await?,
    }))
}

/// The query of [`read`]. A parameter that is misspelt is refused: the address of another output would be shown.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AccountQuery {
    merkle_root: Option<String>,
}

/// What to sign, and how: `message`, or `items` for several that are signed together.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewSignature {
    /// In hex: a digest of 32 bytes; with `hash`, and with the scheme `ed25519`, the message itself.
    message: Option<String>,
    /// `keccak256`, `sha256` or `sha256d`: how the parties hash the message. Leave it out for a digest, and with `ed25519`.
    hash: Option<String>,
    /// BIP-32 without hardened steps, relative to the account's key: `m/0/7`.
    #[schema(example = "m/0/7")]
    path: Option<String>,
    /// Of `bip340` only, in hex: the merkle root of a Taproot output's scripts, 32 bytes. The signature is under the key of that output.
    merkle_root: Option<String>,
    /// 1 to 64 messages, instead of `message`: all of them are signed, in one session, or none.
    #[schema(min_items = 1, max_items = 64)]
    items: Option<Vec<ItemText>>,
    /// Which parties should sign: exactly t indices, ascending. Leave it out for whichever are there.
    signers: Option<Vec<u16>>,
    /// The user's share, sealed together with what is to be signed, in hex: the user signs with one other party.
    user_share: Option<String>,
}

impl NewSignature {
    fn read(self) -> Result<SignRequest, Problem> {
        let Self { message, hash, path, merkle_root, items, signers, user_share } = self;
        let user_share = user_share.as_deref().map(SealedShare::read).transpose()?;
        let signers = signers.as_deref();
        let wrong = |detail: &str| Err(Problem::new(Code::InvalidBody, detail));
        let request = match (message, items) {
            (Some(message), None) => {
                SignRequest::read(&ItemText { message, hash, path, merkle_root }, signers)?
            }
            (None, Some(items)) if hash.is_none() && path.is_none() && merkle_root.is_none() => {
                SignRequest::read_batch(&items, signers)?
            }
            (None, None) => return wrong("message: say what to sign, here or in items"),
            (_, Some(_)) => {
                return wrong(
                    "items: message, hash, path and merkle_root stand in the items, and not beside them",
                );
            }
        };
        Ok(SignRequest { user_share, ..request })
    }
}

impl Fields for NewSignature {
    const MAX_BODY_BYTES: usize = MAX_BODY_WITH_SHARE_BYTES;
}

struct Sign(AccountId, SignRequest);

impl IdempotentOperation for Sign {
    type Answer = SigningView;
    const STATUS: StatusCode = StatusCode::OK;

    fn new_ids(&self) -> Result<RequestIds, Problem> {
        RequestIds::for_account(self.0)
    }

    async fn recover(&self, api: &Api, earlier: RequestIds) -> Result<Recovery<SigningView>, Problem> {
        api.accounts.recoverer().recover_signature(earlier, &self.1).await
    }

    async fn run(self, api: &Api, ids: RequestIds) -> Result<SigningView, Problem> {
        api.accounts.sign(ids, self.1).await
    }
}

/// Sign with an account
#[utoipa::path(
    post, path = "/api/v1/accounts/{id}/sign", tag = "accounts",
    params(
        ("id" = String, Path, description = "The account's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters. The same key and body give the same answer for 24 hours; a request that failed is repeated with its key. `user_share` may be sealed anew."),
    ),
    request_body = NewSignature,
    responses(
        (status = 200, description = "The signature of `message`, or the `signatures` of `items` in their order, all of them verified", body = SigningView),
        (status = "4XX", description = "What you have to change", body = ProblemDocument, content_type = "application/problem+json"),
        (status = "5XX", description = "What went wrong, and whether to try again", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn sign(
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body<NewSignature>,
) -> Result<Response<axum::body::Body>, Problem> {
    let account = params::account_id(&id)?;
    let request = body.value.read()?;
    let body = match request.user_share {
        Some(_) => without_sealed_share(&body.bytes)?,
        None => Cow::Borrowed(&*body.bytes),
    };
    let fingerprint = RequestFingerprint { headers: &headers, operation: ["sign", &id], body: &body };
    respond(&api, fingerprint, Sign(account, request)).await
}

/// Adds the user's new share to an answer, for as long as it waits to be confirmed. It is never kept with the answer.
pub(super) async fn with_share(api: &Api, answer: String) -> Result<String, Problem> {
    let unreadable = |_| Problem::internal("a stored answer is not JSON");
    let mut fields: serde_json::Map<String, Value> = serde_json::from_str(&answer).map_err(unreadable)?;
    let Some(session) = fields.get("session_id").and_then(Value::as_str) else { return Ok(answer) };
    let Some(share) = api.accounts.sealed_share(params::session_id(session)?).await? else {
        return Ok(answer);
    };
    fields.insert("user_share".into(), share.into());
    serde_json::to_string(&fields).map_err(unreadable)
}
