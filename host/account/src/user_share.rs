//! Accounts of which a user keeps a share. The users' party takes the user's share for one order, and hands out new
//! ones.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_control_store::Account;
use quorate_core::code::Code;
use quorate_core::codec::encode;
use quorate_core::identity::PublicKey;
use quorate_core::order::Order;
use quorate_core::time::whole_millis;
use quorate_core::{OrderId, PartyIndex, SessionId, Threshold};
use quorate_net::grpc::MAX_GRPC_MESSAGE_BYTES;
use quorate_net::problem::Problem;
use quorate_net::replicas::Replicas;
use quorate_proto::convert::session_id;
use quorate_proto::v1::share_request::Which;
use quorate_proto::v1::user_party_client::UserPartyClient;
use quorate_proto::v1::{Failure, ShareRequest, SubmitUserShareRequest};
use tokio::sync::{Semaphore, oneshot};
use tonic::Status;
use tonic::transport::Channel;

use super::coordinators::deadline_passed;
use super::limits::TimeLimits;
use super::originator::Originator;
use super::sealed_share::SealedShare;
use super::submit::{ANSWER_GRACE_PERIOD, OrderSubmission, Submitter};

/// How long a keygen waits for a user who collects the share by a call of their own.
const COLLECT_TIMEOUT: Duration = Duration::from_secs(120);

/// How long the party API may take to acknowledge a share for an order.
const SUBMIT_SHARE_TIMEOUT: Duration = Duration::from_secs(3);

/// The most keygens at a time that wait for such users: each takes room at the parties until its user comes.
const MAX_UNCOLLECTED_KEYGENS: usize = 32;

/// The only threshold with a user's share: two parties of this deployment, and the user.
const THRESHOLD: (u16, u16) = (2, 3);

/// The party whose shares users keep.
pub struct UserParty {
    /// Its identity key.
    pub key: PublicKey,
    /// Where it is.
    pub replicas: Replicas,
}

/// How a user keeps a share of a new account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserShareOptions {
    /// The key that the share is sealed to; without one the user asks the party API for the share.
    pub recipient: Option<[u8; 32]>,
    /// Whether nothing is signed without it.
    pub mandatory: bool,
    /// SHA-256 of the claim to the share.
    pub claim_hash: [u8; 32],
}

/// The index of the account's user party.
pub(crate) fn user_index(account: &Account) -> Result<PartyIndex, Problem> {
    let none = || Problem::new(Code::NoUserShare, "user_share: no user has a share of this account");
    account.user_party.ok_or_else(none)
}

/// The parties that should sign: those that the caller requested, and the user if and only if the user's share is
/// there.
pub(crate) fn signers(
    account: &Account,
    requested: Vec<PartyIndex>,
    has_share: bool,
) -> Result<Vec<PartyIndex>, Problem> {
    let wrong = |detail: &str| Err(Problem::new(Code::InvalidSigners, format!("signers: {detail}")));
    if !requested.is_empty() && requested.len() != usize::from(account.spec.threshold.required()) {
        return wrong("name exactly t different parties of the account in ascending order");
    }
    let Some(user) = account.user_party else {
        return if has_share { user_index(account).map(|_| requested) } else { Ok(requested) };
    };
    if !has_share && account.spec.mandatory.contains(&user) {
        let detail = "user_share: this account signs only with its user's share: seal it for this request";
        return Err(Problem::new(Code::UserShareRequired, detail));
    }
    match (requested.is_empty(), requested.contains(&user), has_share) {
        (true, _, true) => Ok(vec![user]),
        (true, _, false) => {
            Ok(PartyIndex::all(account.spec.threshold.parties()).filter(|party| *party != user).collect())
        }
        (_, true, false) => wrong("the users' party signs only with user_share"),
        (_, false, true) => wrong("with user_share the users' party is one of them"),
        _ => Ok(requested),
    }
}

/// The answers of the users' party to a request for a new share.
pub(crate) enum ShareAnswer {
    /// The share, sealed to its user, and the session that made it.
    Sealed {
        session: SessionId,
        sealed: Bytes,
    },
    Refused(Failure),
}

/// Asks the users' party on behalf of users.
#[derive(Clone)]
pub(crate) struct UserShareRequests {
    party: Option<Arc<UserParty>>,
    originator: Originator,
    limits: TimeLimits,
    uncollected: Arc<Semaphore>,
}

impl UserShareRequests {
    pub(crate) fn new(party: Option<UserParty>, originator: Originator, limits: TimeLimits) -> Self {
        let uncollected = Arc::new(Semaphore::new(MAX_UNCOLLECTED_KEYGENS));
        Self { party: party.map(Arc::new), originator, limits, uncollected }
    }

    fn party(&self) -> Result<&UserParty, Problem> {
        let none = || {
            let detail = "user_share: this deployment has no party API: ask its operator";
            Problem::new(Code::NoUserShare, detail)
        };
        self.party.as_deref().ok_or_else(none)
    }

    /// The threshold and the parties of a new account with a user's share.
    pub(crate) fn parties(
        &self,
        deployed: &[PublicKey],
        requested: Option<Threshold>,
    ) -> Result<(Threshold, Vec<PublicKey>), Problem> {
        let user = self.party()?;
        let threshold = Threshold::new(THRESHOLD.0, THRESHOLD.1);
        let threshold = threshold.map_err(|e| Problem::internal(e.to_string()))?;
        let mut parties: Vec<PublicKey> = deployed.iter().take(2).copied().collect();
        if requested.is_some_and(|requested| requested != threshold) || parties.len() != 2 {
            let detail =
                "threshold: with a user's share it is 2 of 3, two of them parties of this deployment";
            return Err(Problem::new(Code::InvalidThreshold, detail));
        }
        parties.push(user.key);
        Ok((threshold, parties))
    }

    /// How long the keygen of an account with a user's share may take.
    pub(crate) fn keygen_limit(&self, recipient: Option<[u8; 32]>) -> Duration {
        let limit = self.limits.shares(THRESHOLD.1);
        if recipient.is_some() { limit } else { limit.max(COLLECT_TIMEOUT) }
    }

    /// Submits a user's sealed share for one order to the users' party.
    pub(crate) async fn submit_user_share(
        &self,
        order: &Order,
        share: &SealedShare,
        limit: Duration,
    ) -> Result<(), Problem> {
        let request = SubmitUserShareRequest {
            order: encode(&order.sign(&self.originator.key())).into(),
            request: Bytes::copy_from_slice(&share.bytes),
            time_limit_ms: whole_millis(limit),
        };
        let accepting = self.party()?.replicas.call(SUBMIT_SHARE_TIMEOUT, |channel| {
            let request = request.clone();
            async { client(channel).submit_user_share(request).await }
        });
        let accepted = accepting.await.map_err(|status| unavailable(&status))?.into_inner();
        accepted.refused.map_or(Ok(()), |failure| Err(refused(failure)))
    }

    /// Submits a keygen or refresh, and waits until the user's new share is there, or until the user may collect it.
    pub(crate) async fn submit_until_delivered(
        &self,
        submitter: &Submitter,
        submission: OrderSubmission,
    ) -> Result<SessionId, Problem> {
        let (order, recipient, limit) = (submission.order.id, submission.order.recipient, submission.limit);
        let permit = if recipient.is_none() {
            let overloaded =
                |_| Problem::new(Code::Overloaded, "too many accounts wait for their users: try again later");
            Some(Arc::clone(&self.uncollected).try_acquire_owned().map_err(overloaded)?)
        } else {
            None
        };
        let (announce, started) = oneshot::channel();
        let delivered = async {
            if recipient.is_none() {
                let session = started.await.map_err(|_| deadline_passed())?;
                tokio::spawn(async move {
                    tokio::time::sleep(limit).await;
                    drop(permit);
                });
                return Ok(session);
            }
            match self.fetch_by_order(order, limit).await? {
                ShareAnswer::Sealed { session, .. } => Ok(session),
                ShareAnswer::Refused(failure) => Err(refused(failure)),
            }
        };
        tokio::select! {
            session = delivered => session,
            result = submitter.submit_and_announce(submission, Some(announce)) => Ok(result?.session),
        }
    }

    /// Fetches a new share, sealed to its user, for as long as the user has not confirmed it. In hex.
    pub(crate) async fn sealed_share(&self, session: SessionId) -> Result<Option<String>, Problem> {
        let which = Which::Session(Bytes::copy_from_slice(session.as_bytes()));
        Ok(match self.fetch(which, Duration::ZERO).await? {
            ShareAnswer::Sealed { sealed, .. } => Some(hex::encode(sealed)),
            ShareAnswer::Refused(_) => None,
        })
    }

    /// Fetches the new share that an order made; waits for it no longer than `wait`.
    pub(crate) async fn fetch_by_order(
        &self,
        order: OrderId,
        wait: Duration,
    ) -> Result<ShareAnswer, Problem> {
        self.fetch(Which::Order(Bytes::copy_from_slice(order.as_bytes())), wait).await
    }

    async fn fetch(&self, which: Which, wait: Duration) -> Result<ShareAnswer, Problem> {
        let wait_ms = whole_millis(wait);
        let request = ShareRequest { which: Some(which), wait_ms };
        let asking = self.party()?.replicas.call(wait + ANSWER_GRACE_PERIOD, |channel| {
            let request = request.clone();
            async { client(channel).share(request).await }
        });
        let answer = asking.await.map_err(|status| unavailable(&status))?.into_inner();
        if let Some(failure) = answer.refused {
            return Ok(ShareAnswer::Refused(failure));
        }
        let session = session_id(&answer.session)
            .map_err(|_| Problem::internal("the party API returned an invalid session id"))?;
        Ok(ShareAnswer::Sealed { session, sealed: answer.sealed })
    }
}

fn client(channel: Channel) -> UserPartyClient<Channel> {
    UserPartyClient::new(channel)
        .max_decoding_message_size(MAX_GRPC_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_GRPC_MESSAGE_BYTES)
}

fn unavailable(status: &Status) -> Problem {
    tracing::warn!(%status, "the party API did not answer");
    Problem::new(Code::Unavailable, "the party API does not answer: try again later")
}

/// Translates a refusal of the users' party for a caller.
pub(crate) fn refused(failure: Failure) -> Problem {
    // The caller has named no session: the one that was made for the request has ended, or not come so far, at the users' party.
    if Code::of(&failure.code) == Some(Code::SessionNotFound) {
        let detail = "the party API has no session of this request: it may have been restarted; try again";
        return Problem::new(Code::DeadlinePassed, detail);
    }
    Problem::new(Code::of(&failure.code).unwrap_or(Code::Internal), failure.reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_the_caller_has_not_named_is_a_matter_of_time() {
        let told = |code: &str| {
            let problem = refused(Failure { code: code.into(), reason: "why".into(), culprits: vec![] });
            (problem.code, problem.detail)
        };
        let (code, detail) = told("session_not_found");
        assert!(code == Code::DeadlinePassed && detail.ends_with("try again"), "{code:?} {detail}");
        assert_eq!(told("user_share_replayed"), (Code::UserShareReplayed, "why".into()));
        assert_eq!(told("no such code").0, Code::Internal);
    }
}
