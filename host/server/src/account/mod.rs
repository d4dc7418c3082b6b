//! The account service: knows accounts, states in signed orders what callers ask for, and believes only what proves
//! itself.

mod keys;
mod request;
mod results;
mod submit;
mod user;
mod views;

use std::sync::Arc;
use std::time::Duration;

use quorate_broker::store::{Account, AccountState, ControlStore, OpenOrder};
use quorate_core::certificate::{Certificate, KeyOutputs};
use quorate_core::codec::encode;
use quorate_core::identity::{PublicKey, SecretKey};
use quorate_core::order::{LIFETIME, Operation, Order, Terms, Version};
use quorate_core::submission::ABORTS;
use quorate_core::{AccountId, OrderId, PartyIndex, SessionId, Threshold};
use quorate_proto::v1::PartiesRequest;
use quorate_proto::v1::coordinator_client::CoordinatorClient;
use tokio::sync::{Semaphore, SemaphorePermit};
use tonic::transport::Channel;
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::code::Code;
use crate::grpc::{MESSAGE_BYTES, Replicas};
use crate::problem::Problem;
use crate::proof::Proved;
use results::Settled;
use submit::Errand;

pub use request::{Creation, RefreshRequest, SignRequest, account_id, recipient_key, sealed, session_id};
pub use results::Interrupted;
pub use user::{UserParty, UserTerms};
pub use views::{
    AccountStateView, AccountView, ErrorView, KeyView, OperationView, SessionView, SignatureView, StatusView,
    ThresholdView,
};

/// The scheme of an account whose creator names none.
pub const DEFAULT_SCHEME: &str = "ecdsa-secp256k1";

/// Schemes whose signatures this host can verify and whose keys it can show.
const SCHEMES: [&str; 1] = [DEFAULT_SCHEME];

/// The protocol that is taken where several serve a scheme and the caller names none.
const DEFAULT_PROTOCOL: &str = "dkls23";

/// Requests at a time that take a session. More would wait for the same processors until their deadline.
const REQUESTS: usize = 256;

/// How often a signing is tried again for which a party has newer shares than the order, and after how long each time: a
/// refresh is over at one party before it is at another, and before anybody here hears of it.
const STALE_TRIES: usize = 5;
const STALE_AGAIN: Duration = Duration::from_millis(300);

/// How long after its end an order may still be good for something somewhere, in seconds: clocks of parties may be a minute
/// behind, and that of the coordinator too.
const CLOCKS_APART: u64 = 120;

/// Time limits of operations. A keygen takes longer the more parties there are: every pair exchanges proofs.
#[derive(Clone, Copy, Debug)]
pub struct TimeLimits {
    /// Of a signing.
    pub sign: Duration,
    /// Of a keygen or refresh, for each of its parties.
    pub shares_per_party: Duration,
}

impl Default for TimeLimits {
    fn default() -> Self {
        Self { sign: Duration::from_secs(10), shares_per_party: Duration::from_secs(20) }
    }
}

/// What an [`AccountService`] is given.
pub struct AccountSetup {
    /// Where accounts are kept.
    pub store: ControlStore,
    /// Who carries out orders.
    pub coordinators: Replicas,
    /// The seed of the originator key.
    pub originator: Zeroizing<[u8; 32]>,
    /// The originator keys of other account services on the same database, and earlier ones: what they have ordered is
    /// looked after too.
    pub originators: Vec<PublicKey>,
    /// The identity keys of the parties of this deployment.
    pub parties: Vec<PublicKey>,
    /// The party whose shares users keep, if there is one.
    pub user_party: Option<UserParty>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How long operations may take.
    pub limits: TimeLimits,
}

/// The account service.
pub struct AccountService {
    store: ControlStore,
    coordinators: Replicas,
    originator: Zeroizing<[u8; 32]>,
    /// Its own and those of the others.
    originators: Vec<PublicKey>,
    parties: Vec<PublicKey>,
    user_party: Option<UserParty>,
    clock: Arc<dyn Clock>,
    limits: TimeLimits,
    slots: Semaphore,
    waiting_for_users: Arc<Semaphore>,
}

/// Ids for what an operation is about to make, chosen before it begins so that an interrupted one can be looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The account.
    pub account: AccountId,
    /// The order.
    pub order: OrderId,
    /// Whether somebody has begun with it before, and may still be at it.
    pub again: bool,
}

impl AccountService {
    /// An account service.
    #[must_use]
    pub fn new(setup: AccountSetup) -> Self {
        let AccountSetup {
            store,
            coordinators,
            originator,
            mut originators,
            parties,
            user_party,
            clock,
            limits,
        } = setup;
        originators.push(SecretKey::from_seed(&originator).public());
        let slots = Semaphore::new(REQUESTS);
        let waiting_for_users = Arc::new(Semaphore::new(user::WAITING_FOR_USERS));
        Self {
            store,
            coordinators,
            originator,
            originators,
            parties,
            user_party,
            clock,
            limits,
            slots,
            waiting_for_users,
        }
    }

    /// The public side of the originator key, which parties pin.
    #[must_use]
    pub fn originator(&self) -> PublicKey {
        self.originator_key().public()
    }

    /// What only account services know.
    pub(crate) fn originator_seed(&self) -> &Zeroizing<[u8; 32]> {
        &self.originator
    }

    /// The store, for what belongs to requests and not to accounts.
    #[must_use]
    pub fn store(&self) -> &ControlStore {
        &self.store
    }

    /// The time.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The longest that an operation may take.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.shares_limit(Threshold::MAX_PARTIES).max(self.limits.sign)
    }

    /// A new subject about an account.
    ///
    /// # Errors
    /// When the machine has no randomness.
    pub fn subject(&self, account: AccountId) -> Result<Subject, Problem> {
        Ok(Subject { account, order: OrderId(random()?), again: false })
    }

    /// A new account's subject.
    ///
    /// # Errors
    /// When the machine has no randomness.
    pub fn new_account(&self) -> Result<Subject, Problem> {
        self.subject(AccountId(uuid::Builder::from_random_bytes(random()?).into_uuid().into_bytes()))
    }

    /// Creates an account: a distributed key generation.
    ///
    /// # Errors
    /// A problem for the caller.
    pub async fn create(&self, subject: Subject, creation: Creation) -> Result<AccountView, Problem> {
        let _slot = self.slot()?;
        let scheme = creation.scheme.unwrap_or_else(|| DEFAULT_SCHEME.into());
        if !SCHEMES.contains(&scheme.as_str()) {
            let detail = format!("scheme: this deployment serves {}", SCHEMES.join(", "));
            return Err(Problem::new(Code::UnknownScheme, detail));
        }
        let user = creation.user;
        let (threshold, parties) = match &user {
            Some(_) => self.parties_with_user(creation.threshold)?,
            None => {
                let threshold = self.threshold(creation.threshold)?;
                let parties = self.parties.iter().take(usize::from(threshold.parties())).copied();
                (threshold, parties.collect())
            }
        };
        let user_party = user.as_ref().and_then(|_| PartyIndex::try_from(threshold.parties()).ok());
        let mandatory = user.as_ref().is_some_and(|user| user.mandatory);
        let protocol = self.protocol(&scheme, creation.protocol).await?;
        let account = Account {
            id: subject.account,
            user_id: creation.user_id,
            state: AccountState::Creating,
            scheme,
            protocol,
            threshold,
            parties,
            user_party,
            mandatory: user_party.filter(|_| mandatory).into_iter().collect(),
            open: vec![self.open_order(subject.order)],
            created: self.clock.millis(),
        };
        self.store.create_account(&account).await?;
        // Whoever began with it before has chosen.
        let account = self.find(subject.account).await?;
        let threshold = account.threshold;
        let recipient = user.and_then(|user| user.recipient);
        let mut order = self.order(subject.order, &account, Operation::Keygen, None);
        order.recipient = recipient;
        let with_user = account.user_party.is_some();
        let limit =
            if with_user { self.user_limit(recipient) } else { self.shares_limit(threshold.parties()) };
        let again = subject.again;
        let errand = Errand { order, key: None, signers: vec![], aborts: vec![], limit, again };
        let made = if with_user {
            match self.hand_over(errand).await {
                Ok(session) => self.waits_for_user(account.id, session).await,
                Err(problem) => Err(problem),
            }
        } else {
            match self.submit(errand).await {
                Ok(result) => self.activated(result.proved).await,
                Err(problem) => Err(problem),
            }
        };
        match made {
            Ok(view) => Ok(view),
            Err(problem) => {
                let begun = self.close_what_was_not_begun(&account, subject.order, &problem).await?;
                // What comes in late still makes it active. What waits for its user may still be waiting.
                if !begun || !with_user {
                    self.store.fail_account(account.id).await?;
                }
                Err(problem)
            }
        }
    }

    /// An account.
    ///
    /// # Errors
    /// A problem for the caller.
    pub async fn account(&self, id: AccountId) -> Result<AccountView, Problem> {
        view(&self.look_again(self.find(id).await?).await?)
    }

    /// Signs with an account.
    ///
    /// # Errors
    /// A problem for the caller.
    pub async fn sign(&self, subject: Subject, request: SignRequest) -> Result<SignatureView, Problem> {
        let _slot = self.slot()?;
        let mut last = self.sign_now(subject, &request).await;
        for _ in 0..STALE_TRIES {
            // A refresh that ended in between: the same order, with the epoch of now. What a user has sealed is for one epoch.
            if request.user_share.is_some() || !matches!(&last, Err(problem) if problem.code == Code::Busy) {
                break;
            }
            tokio::time::sleep(STALE_AGAIN).await;
            last = self.sign_now(subject, &request).await;
        }
        last
    }

    async fn sign_now(&self, subject: Subject, request: &SignRequest) -> Result<SignatureView, Problem> {
        let (account, current) = self.active(subject.account).await?;
        let signers = user::signers(&account, request.signers.clone(), request.user_share.is_some())?;
        let signing = Operation::Sign(request.signing.clone());
        let order = self.order(subject.order, &account, signing, Some(&current));
        if let Some(share) = &request.user_share {
            self.lend(&order, share, self.limits.sign).await?;
        }
        let began = self.clock.millis();
        let key = current.1.clone();
        let errand = Errand {
            order,
            key: Some(current),
            signers,
            aborts: vec![],
            limit: self.limits.sign,
            again: subject.again,
        };
        let order = errand.order.clone();
        let result = self.submit(errand).await?;
        results::signature_view(&order, &key, &result, self.clock.millis().saturating_sub(began))
    }

    /// Gives all parties of an account new shares of the same key.
    ///
    /// # Errors
    /// A problem for the caller.
    pub async fn refresh(&self, subject: Subject, request: RefreshRequest) -> Result<AccountView, Problem> {
        let _slot = self.slot()?;
        let (account, current) = self.active(subject.account).await?;
        let recipient = request.check(&account)?;
        let mut order = self.order(subject.order, &account, Operation::Refresh, Some(&current));
        order.recipient = recipient;
        let limit = self.shares_limit(account.threshold.parties());
        // A refresh that came to nothing may still hold promises at some parties: others' word frees them.
        let mut aborts = Vec::new();
        for open in account.open.iter().rev() {
            aborts.extend(self.aborts_of(open.id).await?);
        }
        // What holds the account is most likely the latest.
        aborts.truncate(ABORTS);
        self.store.open_order(account.id, self.open_order(subject.order)).await?;
        let again = subject.again;
        if let Some(share) = &request.user_share
            && let Err(problem) = self.lend(&order, share, limit).await
        {
            // Whoever was at it before may have begun.
            if !again {
                self.store.close_order(account.id, subject.order).await?;
            }
            return Err(problem);
        }
        let errand = Errand { order, key: Some(current), signers: vec![], aborts, limit, again };
        let made = if account.user_party.is_some() {
            match self.hand_over(errand).await {
                Ok(session) => self.waits_for_user(account.id, session).await,
                Err(problem) => Err(problem),
            }
        } else {
            match self.submit(errand).await {
                Ok(result) => self.activated(result.proved).await,
                Err(problem) => Err(problem),
            }
        };
        match made {
            Ok(view) => Ok(view),
            Err(problem) => {
                self.close_what_was_not_begun(&account, subject.order, &problem).await?;
                Err(problem)
            }
        }
    }

    /// A session. What it has led to is taken note of.
    ///
    /// # Errors
    /// A problem for the caller.
    pub async fn session(&self, id: SessionId) -> Result<SessionView, Problem> {
        let state = self.session_state(id).await?;
        self.settle(state).await
    }

    fn originator_key(&self) -> SecretKey {
        SecretKey::from_seed(&self.originator)
    }

    fn slot(&self) -> Result<SemaphorePermit<'_>, Problem> {
        let overloaded =
            |_| Problem::new(Code::Overloaded, "too many requests are being worked on: try again later");
        self.slots.try_acquire().map_err(overloaded)
    }

    fn shares_limit(&self, parties: u16) -> Duration {
        self.limits.shares_per_party * u32::from(parties)
    }

    fn threshold(&self, wanted: Option<Threshold>) -> Result<Threshold, Problem> {
        let there = u16::try_from(self.parties.len()).unwrap_or(u16::MAX);
        let threshold = match wanted {
            Some(threshold) => threshold,
            None => Threshold::new(2, there.clamp(2, 3))
                .map_err(|e| Problem::new(Code::InvalidThreshold, e.to_string()))?,
        };
        if threshold.parties() > there {
            let detail = format!("threshold: this deployment has {there} parties, so n is at most {there}");
            return Err(Problem::new(Code::InvalidThreshold, detail));
        }
        Ok(threshold)
    }

    /// The protocol for a scheme, among those that the parties that are there have a plugin of.
    async fn protocol(&self, scheme: &str, wanted: Option<String>) -> Result<String, Problem> {
        let asking = self
            .coordinators
            .call(submit::ANSWER, |channel| async { client(channel).parties(PartiesRequest {}).await });
        let parties = asking.await.map_err(|status| submit::problem(&status))?;
        let parties = parties.into_inner().parties;
        let plugins = parties.iter().flat_map(|party| &party.plugins);
        let serving = plugins.filter(|plugin| plugin.schemes.iter().any(|s| s == scheme));
        let mut protocols: Vec<&str> = serving.map(|plugin| plugin.protocol.as_str()).collect();
        protocols.sort_unstable();
        protocols.dedup();
        if protocols.is_empty() {
            // The parties may be about to start: whether they come in time is for the coordinator to see.
            return Ok(wanted.unwrap_or_else(|| DEFAULT_PROTOCOL.into()));
        }
        match wanted {
            Some(wanted) if protocols.contains(&wanted.as_str()) => Ok(wanted),
            Some(_) => {
                let detail = format!("protocol: for {scheme} this deployment has {}", protocols.join(", "));
                Err(Problem::new(Code::UnknownProtocol, detail))
            }
            None if protocols.contains(&DEFAULT_PROTOCOL) => Ok(DEFAULT_PROTOCOL.into()),
            None => Ok(protocols[0].to_owned()),
        }
    }

    fn order(
        &self,
        id: OrderId,
        account: &Account,
        operation: Operation,
        current: Option<&(Certificate, KeyOutputs)>,
    ) -> Order {
        let terms = Terms {
            operation,
            account: account.id,
            scheme: account.scheme.clone(),
            protocol: account.protocol.clone(),
            threshold: account.threshold,
            parties: account.parties.clone(),
            mandatory: account.mandatory.clone(),
            minimum_plugin: Version::default(),
            epoch: current.map_or(0, |(certificate, _)| certificate.activation.epoch),
            public_key: current.map(|(_, key)| key.public_key.0.clone()).unwrap_or_default(),
            recipient: None,
        };
        Order::new(id, terms, self.clock.seconds(), LIFETIME)
    }

    /// Closes an order that was turned away before any session was made for it; says whether there may be one.
    async fn close_what_was_not_begun(
        &self,
        account: &Account,
        order: OrderId,
        problem: &Problem,
    ) -> Result<bool, Problem> {
        // With any other problem, or when the answer was lost, there may be a session.
        let begun = !submit::is_turned_away(problem);
        if !begun {
            self.store.close_order(account.id, order).await?;
        }
        Ok(begun)
    }

    /// An order that is about to be given, as what is open of an account.
    fn open_order(&self, id: OrderId) -> OpenOrder {
        let over = self.clock.seconds().saturating_add(LIFETIME + CLOCKS_APART);
        OpenOrder { id, expires: over.saturating_mul(1_000) }
    }

    /// The answer to a keygen or refresh may have been lost: looks at what has come of it. What can't be looked at now is
    /// looked at next time; the account goes on as it is known.
    async fn look_again(&self, account: Account) -> Result<Account, Problem> {
        if account.open.is_empty() {
            return Ok(account);
        }
        for &OpenOrder { id: order, expires } in &account.open {
            match self.settle_order(order).await {
                Ok(Settled { session: None, in_hand: false, .. }) if self.clock.millis() > expires => {
                    tracing::info!(%order, "no session was made for an order, and none can be any more");
                    self.store.close_order(account.id, order).await?;
                    self.store.fail_account(account.id).await?;
                }
                Ok(_) => {}
                Err(problem) => {
                    tracing::warn!(%order, %problem, "what came of an order could not be looked at");
                }
            }
        }
        self.find(account.id).await
    }

    async fn find(&self, id: AccountId) -> Result<Account, Problem> {
        let account = self.store.account(id).await?;
        account.ok_or_else(|| Problem::new(Code::AccountNotFound, "no account has this id"))
    }

    async fn active(&self, id: AccountId) -> Result<(Account, (Certificate, KeyOutputs)), Problem> {
        let account = self.look_again(self.find(id).await?).await?;
        match &account.state {
            AccountState::Active { certificate, key } => {
                let current = (certificate.clone(), key.clone());
                Ok((account, current))
            }
            AccountState::Creating if user::is_pending(&account) => Err(Problem::new(
                Code::AccountNotActive,
                "the account waits for its user to confirm the share",
            )),
            AccountState::Creating => Err(Problem::new(
                Code::AccountNotActive,
                "the account's key is still being made: ask for it later",
            )),
            AccountState::Failed => Err(Problem::new(
                Code::AccountNotActive,
                "the account's key generation has failed: create another account",
            )),
        }
    }

    /// An account whose new share the user has still to confirm.
    async fn waits_for_user(&self, account: AccountId, session: SessionId) -> Result<AccountView, Problem> {
        let session_id = Some(session.to_string());
        Ok(AccountView { session_id, ..view(&self.find(account).await?)? })
    }

    /// Takes note of new shares.
    async fn activated(&self, proved: Proved) -> Result<AccountView, Problem> {
        let Proved::Shares { certificate, key } = proved else {
            return Err(Problem::new(Code::Internal, "a signature where a key was asked for"));
        };
        self.store.activate_account(&certificate, &key).await?;
        view(&self.find(certificate.activation.account).await?)
    }
}

fn client(channel: Channel) -> CoordinatorClient<Channel> {
    CoordinatorClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES)
        .max_encoding_message_size(MESSAGE_BYTES)
}

impl Subject {
    /// The subject as bytes, to be kept with an idempotency key.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        encode(&(self.account, self.order))
    }

    /// What was kept, of somebody who has begun with it.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (account, order) = quorate_core::codec::decode(bytes).ok()?;
        Some(Self { account, order, again: true })
    }
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N], Problem> {
    let mut bytes = [0; N];
    let none = |_| Problem::new(Code::Internal, "the machine has no randomness");
    getrandom::fill(&mut bytes).map_err(none)?;
    Ok(bytes)
}

fn view(account: &Account) -> Result<AccountView, Problem> {
    let (state, epoch, key) = match &account.state {
        AccountState::Creating if user::is_pending(account) => (AccountStateView::Pending, 0, None),
        AccountState::Creating => (AccountStateView::Creating, 0, None),
        AccountState::Failed => (AccountStateView::Failed, 0, None),
        AccountState::Active { certificate, key } => {
            let shown = keys::key_view(certificate, key);
            let shown = shown.ok_or_else(|| Problem::new(Code::Internal, "the account's key is no point"))?;
            (AccountStateView::Active, certificate.activation.epoch, Some(shown))
        }
    };
    Ok(AccountView {
        id: uuid::Uuid::from_bytes(account.id.0).to_string(),
        user_id: account.user_id.clone(),
        state,
        scheme: account.scheme.clone(),
        protocol: account.protocol.clone(),
        threshold: ThresholdView { t: account.threshold.required(), n: account.threshold.parties() },
        epoch,
        user_share_mandatory: account.user_party.map(|user| account.mandatory.contains(&user)),
        session_id: None,
        user_share: None,
        created_at_ms: account.created,
        key,
    })
}

#[cfg(test)]
mod tests {
    use quorate_core::certificate::{Activation, Ready};
    use quorate_core::{Digest, ExecutionId, PlanHash};

    use super::*;

    /// A certificate for a key, of two parties.
    pub(super) fn certificate(key: &KeyOutputs) -> Certificate {
        let secrets: Vec<SecretKey> = (1..=2).map(|seed| SecretKey::from_seed(&[seed; 32])).collect();
        let activation = Activation {
            plan: PlanHash([1; 32]),
            execution: ExecutionId([2; 32]),
            account: AccountId([3; 16]),
            epoch: 1,
            threshold: Threshold::new(2, 2).unwrap(),
            digest: Digest([4; 32]),
            outputs: key.hash(),
        };
        let readies: Vec<Ready> = PartyIndex::all(2)
            .zip(&secrets)
            .map(|(p, key)| Ready::sign(activation.clone(), p, key))
            .collect();
        let parties: Vec<PublicKey> = secrets.iter().map(SecretKey::public).collect();
        Certificate::of(&readies, &parties).unwrap()
    }

    #[test]
    fn a_subject_is_read_as_it_was_written() {
        let subject = Subject { account: AccountId([1; 16]), order: OrderId([2; 32]), again: true };
        assert_eq!(Subject::read(&subject.bytes()), Some(subject));
        assert_eq!(Subject::read(&[1; 47]), None);
    }
}
