//! The operations that callers ask for: create an account, sign; [`new_shares`](super::new_shares) has the others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quorate_control_store::{Account, AccountStore};
use quorate_core::code::Code;
use quorate_core::identity::PublicKey;
use quorate_core::order::{MAX_ORDER_LIFETIME, Operation, Order, OrderTerms, Version};
use quorate_core::{AccountId, OrderId, SessionId};
use quorate_net::clock::Clock;
use quorate_net::problem::Problem;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::accounts::Accounts;
use super::coordinators::Coordinators;
use super::creation::AccountDefaults;
use super::current_key::CurrentKey;
use super::limits::TimeLimits;
use super::order_status::Orders;
use super::originator::Originator;
use super::pinned_parties::PinnedParties;
use super::present::{signing_view, taproot_output, view};
use super::presigning::FewPresignatures;
use super::recover::Recoverer;
use super::request::{Creation, SignRequest};
use super::session_events::SessionEvents;
use super::stored_accounts::StoredAccounts;
use super::submit::{OrderSubmission, Submitter};
use super::user_share::{self, UserShareRequests};
use super::views::{AccountView, SigningView};
use super::{AccountSetup, RequestIds};

/// The most requests at a time that run a session. More would wait for the same processors until their deadline.
const MAX_CONCURRENT_REQUESTS: usize = 256;

/// Attempts at a signing after a party has answered that it holds newer shares than the order names, and the delay
/// between them. A refresh ends at one party before it ends at another, and before the account service hears of it.
const STALE_RETRIES: usize = 5;
const STALE_RETRY_DELAY: Duration = Duration::from_millis(300);

/// The account service.
pub struct AccountService {
    pub(crate) stored: StoredAccounts,
    pub(crate) accounts: Accounts,
    pub(crate) submitter: Submitter,
    pub(crate) orders: Orders,
    pub(crate) users: UserShareRequests,
    recoverer: Recoverer,
    defaults: AccountDefaults,
    originator: Originator,
    minimum_plugins: BTreeMap<String, Version>,
    clock: Arc<dyn Clock>,
    pub(crate) limits: TimeLimits,
    permits: Semaphore,
    pub(crate) few_presignatures: FewPresignatures,
    pub(crate) events: SessionEvents,
}

impl AccountService {
    /// An account service.
    #[must_use]
    pub fn new(setup: AccountSetup) -> Self {
        let AccountSetup {
            store,
            coordinators,
            originator,
            originators,
            parties,
            former_parties,
            minimum_plugins,
            user_party,
            clock,
            limits,
            presignatures,
        } = setup;
        let user = user_party.as_ref().map(|user| user.key);
        let events = SessionEvents::new(parties.iter().copied().chain(user).collect());
        let pinned = PinnedParties { current: parties.clone(), user, former: former_parties };
        let stored = StoredAccounts::new(store, pinned);
        let originator = Originator::new(originator, originators);
        let coordinators = Coordinators::new(coordinators);
        let orders = Orders::new(stored.clone(), coordinators.clone(), originator.clone());
        let accounts = Accounts::new(stored.clone(), orders.clone(), Arc::clone(&clock));
        let users = UserShareRequests::new(user_party, originator.clone(), limits);
        let recoverer = Recoverer {
            accounts: accounts.clone(),
            orders: orders.clone(),
            users: users.clone(),
            clock: Arc::clone(&clock),
            limits,
        };
        Self {
            stored,
            accounts,
            submitter: Submitter::new(coordinators.clone(), originator.clone()),
            orders,
            defaults: AccountDefaults { parties, users: users.clone(), coordinators },
            users,
            recoverer,
            originator,
            minimum_plugins,
            clock,
            limits,
            permits: Semaphore::new(MAX_CONCURRENT_REQUESTS),
            few_presignatures: FewPresignatures::new(presignatures),
            events,
        }
    }

    /// The public side of the originator key, which parties pin.
    #[must_use]
    pub fn originator(&self) -> PublicKey {
        self.originator.key().public()
    }

    /// The store, for what belongs to requests and not to accounts.
    #[must_use]
    pub fn store(&self) -> &AccountStore {
        self.stored.store()
    }

    /// The time.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The longest that an operation may take.
    #[must_use]
    pub fn max_timeout(&self) -> Duration {
        self.limits.max()
    }

    /// Finds what interrupted requests have led to.
    #[must_use]
    pub fn recoverer(&self) -> &Recoverer {
        &self.recoverer
    }

    /// Reads an account.
    ///
    /// # Errors
    /// [`Code::AccountNotFound`], or a problem of the deployment.
    pub async fn account(&self, id: AccountId) -> Result<AccountView, Problem> {
        view(&self.accounts.read(id).await?)
    }

    /// Reads an account, and the Taproot output that its key makes with the merkle root of scripts.
    ///
    /// # Errors
    /// Those of [`Self::account`]; [`Code::InvalidMerkleRoot`] where the account's scheme knows none, [`Code::AccountNotActive`] where it
    /// has no key yet.
    pub async fn account_with_taproot_output(
        &self,
        id: AccountId,
        root: [u8; 32],
    ) -> Result<AccountView, Problem> {
        let account = self.accounts.read(id).await?;
        let output = taproot_output(&account, root)?;
        let mut shown = view(&account)?;
        if let Some(key) = &mut shown.key {
            key.taproot_output = Some(output);
        }
        Ok(shown)
    }

    /// Fetches a new share, sealed to its user, for as long as the user has not confirmed it. In hex.
    ///
    /// # Errors
    /// [`Code::Unavailable`] if the party API does not answer.
    pub async fn sealed_share(&self, session: SessionId) -> Result<Option<String>, Problem> {
        self.users.sealed_share(session).await
    }

    /// Creates an account: a distributed key generation.
    ///
    /// # Errors
    /// A problem that the caller can mend, or the reason why the parties made no key.
    pub async fn create(&self, ids: RequestIds, creation: Creation) -> Result<AccountView, Problem> {
        let _permit = self.permit()?;
        let recipient = creation.user.as_ref().and_then(|user| user.recipient);
        let open = self.accounts.open_order(ids.order);
        if let Some(user) = &creation.user
            && self.stored.store().claim_is_taken(user.claim_hash, ids.account).await?
        {
            let detail = "claim_hash: another account has this claim: make a new one for each share";
            return Err(Problem::new(Code::ClaimUsed, detail));
        }
        let account = self.defaults.account(ids.account, creation, open, self.clock.millis()).await?;
        self.stored.store().create_account(&account).await?;
        // An earlier run with the same ids may have stored its own choice.
        let account = self.accounts.find(ids.account).await?;
        let mut order = self.order(ids.order, &account, Operation::Keygen, None)?;
        order.recipient = recipient;
        order.claim_hash = account.claim_hash;
        let with_user = account.user_party.is_some();
        let limit = if with_user {
            self.users.keygen_limit(recipient)
        } else {
            self.limits.shares(account.spec.threshold.parties())
        };
        let submission = OrderSubmission {
            order,
            key: None,
            signers: vec![],
            aborts: vec![],
            limit,
            resubmitted: ids.resubmitted,
        };
        match self.make_shares(submission, &account).await {
            Ok(view) => Ok(view),
            Err(problem) => {
                let may_run = self.close_if_not_started(&account, ids.order, &problem).await?;
                // A late result still activates the account. A keygen that waits for its user may still be waiting.
                if !may_run || !with_user {
                    self.stored.store().fail_account(account.spec.account).await?;
                }
                Err(problem)
            }
        }
    }

    /// Signs with an account.
    ///
    /// # Errors
    /// A problem that the caller can mend, or the reason why there is no signature.
    pub async fn sign(&self, ids: RequestIds, request: SignRequest) -> Result<SigningView, Problem> {
        let _permit = self.permit()?;
        let mut last = self.sign_once(ids, &request).await;
        for _ in 0..STALE_RETRIES {
            // A refresh may have ended in between: the same order, with the current epoch. A user's share is sealed
            // for one epoch and is not tried again.
            if request.user_share.is_some() || !matches!(&last, Err(problem) if problem.code == Code::Busy) {
                break;
            }
            tokio::time::sleep(STALE_RETRY_DELAY).await;
            last = self.sign_once(ids, &request).await;
        }
        last
    }

    async fn sign_once(&self, ids: RequestIds, request: &SignRequest) -> Result<SigningView, Problem> {
        let (account, current) = self.accounts.active(ids.account).await?;
        request.check_scheme(&account.spec.scheme)?;
        let signers = user_share::signers(&account, request.signers.clone(), request.user_share.is_some())?;
        let signing = match request.user_share {
            // The user has sealed a share for these very items.
            Some(_) => Operation::Sign(request.items.clone()),
            None => Operation::Sign(request.items.clone().allowing_presignatures(&account.spec.scheme)),
        };
        let mut order = self.order(ids.order, &account, signing, Some(&current))?;
        order.sealing_key = request.user_share.as_ref().map(|share| share.sealing_key);
        if let Some(share) = &request.user_share {
            self.users.submit_user_share(&order, share, self.limits.sign).await?;
        }
        let began = self.clock.millis();
        let submission = OrderSubmission {
            order: order.clone(),
            key: Some(current.clone()),
            signers,
            aborts: vec![],
            limit: self.limits.sign,
            resubmitted: ids.resubmitted,
        };
        let result = self.submitter.submit(submission).await?;
        let took = self.clock.millis().since(began);
        if request.user_share.is_none() {
            self.few_presignatures.note(account.spec.account, &result);
        }
        signing_view(request, &order, &current.outputs, &result, took)
    }

    pub(crate) fn permit(&self) -> Result<SemaphorePermit<'_>, Problem> {
        self.permits.try_acquire().map_err(|_| Problem::overloaded())
    }

    /// An order about an account, with its current key.
    pub(crate) fn order(
        &self,
        id: OrderId,
        account: &Account,
        operation: Operation,
        current: Option<&CurrentKey>,
    ) -> Result<Order, Problem> {
        self.stored.pinned().check_for_order(&account.spec.parties)?;
        let terms = OrderTerms {
            operation,
            spec: account.spec.clone(),
            minimum_plugin: self.minimum_plugins.get(&account.spec.protocol).copied().unwrap_or_default(),
            epoch: current.map_or(0, |current| current.certificate.activation.epoch),
            share_set: current.map(|current| current.certificate.activation.plan),
            public_key: current.map(|current| current.outputs.public_key.0.clone()).unwrap_or_default(),
            recipient: None,
        };
        Ok(Order::new(id, terms, self.clock.seconds(), MAX_ORDER_LIFETIME))
    }
}
