//! Accounts of which a user keeps a share: the user's party is asked for its part, and lends the user its hands.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_control_store::Account;
use quorate_core::code::Code;
use quorate_core::codec::encode;
use quorate_core::identity::PublicKey;
use quorate_core::order::Order;
use quorate_core::{OrderId, PartyIndex, SessionId, Threshold};
use quorate_net::grpc::MESSAGE_BYTES;
use quorate_net::problem::Problem;
use quorate_net::replicas::Replicas;
use quorate_proto::v1::share_request::Which;
use quorate_proto::v1::user_party_client::UserPartyClient;
use quorate_proto::v1::{AcceptRequest, Failure, ShareRequest};
use tokio::sync::oneshot;
use tonic::Status;
use tonic::transport::Channel;

use super::AccountService;
use super::submit::{self, ANSWER, Errand};

/// How long a keygen waits for a user who comes by a call of their own.
const WAIT_FOR_USER: Duration = Duration::from_secs(120);

/// Keygens at a time that wait for such users: each takes room at the parties until its user comes.
pub(super) const WAITING_FOR_USERS: usize = 32;

/// The only threshold with a user's share: two parties of this deployment, and the user.
const THRESHOLD: (u16, u16) = (2, 3);

/// The party whose shares users keep.
pub struct UserParty {
    /// Its identity key.
    pub key: PublicKey,
    /// Where it is.
    pub replicas: Replicas,
}

/// What a user's share of a new account is to be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserTerms {
    /// Whom it is sealed to; without one the user asks the party API for it.
    pub recipient: Option<[u8; 32]>,
    /// Whether nothing is signed without it.
    pub mandatory: bool,
}

/// The index of the account's user party.
pub(super) fn user_index(account: &Account) -> Result<PartyIndex, Problem> {
    let none = || Problem::new(Code::NoUserShare, "user_share: no user has a share of this account");
    account.user_party.ok_or_else(none)
}

/// Who should sign: whoever the caller wishes, and the user if and only if the user's share is there.
pub(super) fn signers(
    account: &Account,
    wish: Vec<PartyIndex>,
    has_share: bool,
) -> Result<Vec<PartyIndex>, Problem> {
    let wrong = |detail: &str| Err(Problem::new(Code::InvalidSigners, format!("signers: {detail}")));
    if !wish.is_empty() && wish.len() != usize::from(account.threshold.required()) {
        return wrong("name exactly t different parties of the account in ascending order");
    }
    let Some(user) = account.user_party else {
        return if has_share { user_index(account).map(|_| wish) } else { Ok(wish) };
    };
    if !has_share && account.mandatory.contains(&user) {
        let detail = "user_share: this account signs only with its user's share: seal it for this request";
        return Err(Problem::new(Code::UserShareRequired, detail));
    }
    match (wish.is_empty(), wish.contains(&user), has_share) {
        (true, _, true) => Ok(vec![user]),
        (true, _, false) => {
            Ok(PartyIndex::all(account.threshold.parties()).filter(|party| *party != user).collect())
        }
        (_, true, false) => wrong("the user's party signs only with user_share"),
        (_, false, true) => wrong("with user_share the user's party is one of them"),
        _ => Ok(wish),
    }
}

impl AccountService {
    fn user_party(&self) -> Result<&UserParty, Problem> {
        let none = || {
            let detail = "user_share: this deployment has no party API: ask its operator";
            Problem::new(Code::NoUserShare, detail)
        };
        self.user_party.as_ref().ok_or_else(none)
    }

    /// The parties of a new account with a user's share.
    pub(super) fn parties_with_user(
        &self,
        wanted: Option<Threshold>,
    ) -> Result<(Threshold, Vec<PublicKey>), Problem> {
        let user = self.user_party()?;
        let threshold = Threshold::new(THRESHOLD.0, THRESHOLD.1);
        let threshold = threshold.map_err(|e| Problem::new(Code::Internal, e.to_string()))?;
        let mut parties: Vec<PublicKey> = self.parties.iter().take(2).copied().collect();
        if wanted.is_some_and(|wanted| wanted != threshold) || parties.len() != 2 {
            let detail =
                "threshold: with a user's share it is 2 of 3, two of them parties of this deployment";
            return Err(Problem::new(Code::InvalidThreshold, detail));
        }
        parties.push(user.key);
        Ok((threshold, parties))
    }

    /// How long the keygen of an account with a user's share may take.
    pub(super) fn user_limit(&self, recipient: Option<[u8; 32]>) -> Duration {
        let limit = self.shares_limit(THRESHOLD.1);
        if recipient.is_some() { limit } else { limit.max(WAIT_FOR_USER) }
    }

    /// Has the user's party take a share for an order.
    pub(super) async fn lend(&self, order: &Order, request: &[u8], limit: Duration) -> Result<(), Problem> {
        let request = AcceptRequest {
            order: encode(&order.sign(&self.originator_key())).into(),
            request: Bytes::copy_from_slice(request),
            time_limit_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
        };
        let accepting = self.user_party()?.replicas.call(ANSWER, |channel| {
            let request = request.clone();
            async { client(channel).accept(request).await }
        });
        let accepted = accepting.await.map_err(|status| away(&status))?.into_inner();
        accepted.refused.map_or(Ok(()), |failure| Err(refused(failure)))
    }

    /// Begins a keygen or refresh, and waits until the user's share is there, or until the user may come for it.
    pub(super) async fn hand_over(&self, errand: Errand) -> Result<SessionId, Problem> {
        let (order, recipient, limit) = (errand.order.id, errand.order.recipient, errand.limit);
        let waiting = if recipient.is_none() {
            let overloaded =
                |_| Problem::new(Code::Overloaded, "too many accounts wait for their users: try again later");
            Some(Arc::clone(&self.waiting_for_users).try_acquire_owned().map_err(overloaded)?)
        } else {
            None
        };
        let (tell, started) = oneshot::channel();
        let handed_over = async {
            if recipient.is_none() {
                let session = started.await.map_err(|_| submit::too_late())?;
                tokio::spawn(async move {
                    tokio::time::sleep(limit).await;
                    drop(waiting);
                });
                return Ok(session);
            }
            let which = Which::Order(order_bytes(order));
            match self.share(which, limit).await? {
                Ok((session, _)) => Ok(session),
                Err(failure) => Err(refused(failure)),
            }
        };
        tokio::select! {
            session = handed_over => session,
            submitted = self.submit_and_tell(errand, Some(tell)) => Ok(submitted?.session),
        }
    }

    /// A new share, sealed to its user, for as long as the user has not confirmed it. In hex.
    ///
    /// # Errors
    /// A problem for the caller.
    pub async fn sealed_share(&self, session: SessionId) -> Result<Option<String>, Problem> {
        let which = Which::Session(Bytes::copy_from_slice(session.as_bytes()));
        let share = self.share(which, Duration::ZERO).await?;
        Ok(share.ok().map(|(_, sealed)| hex::encode(sealed)))
    }

    pub(super) async fn share(
        &self,
        which: Which,
        patience: Duration,
    ) -> Result<Result<(SessionId, Bytes), Failure>, Problem> {
        let wait_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        let request = ShareRequest { which: Some(which), wait_ms };
        let asking = self.user_party()?.replicas.call(patience + submit::LATE, |channel| {
            let request = request.clone();
            async { client(channel).share(request).await }
        });
        let answer = asking.await.map_err(|status| away(&status))?.into_inner();
        if let Some(failure) = answer.refused {
            return Ok(Err(failure));
        }
        let session = answer.session.as_ref().try_into().map(SessionId);
        let session = session
            .map_err(|_| Problem::new(Code::Internal, "the party API returned an invalid session id"))?;
        Ok(Ok((session, answer.sealed)))
    }
}

pub(super) fn order_bytes(order: OrderId) -> Bytes {
    Bytes::copy_from_slice(order.as_bytes())
}

fn client(channel: Channel) -> UserPartyClient<Channel> {
    UserPartyClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES)
        .max_encoding_message_size(MESSAGE_BYTES)
}

fn away(status: &Status) -> Problem {
    tracing::warn!(%status, "the party API did not answer");
    Problem::new(Code::Unavailable, "the party API does not answer: try again later")
}

pub(super) fn refused(failure: Failure) -> Problem {
    Problem::new(Code::of(&failure.code).unwrap_or(Code::Internal), failure.reason)
}
