//! The account service: knows accounts, states in signed orders what callers ask for, and believes only what proves
//! itself.

pub mod api;

mod limits;
mod lookup;
mod operations;
mod order_status;
mod present;
mod recover;
mod request;
mod submit;
mod user_share;
mod views;

use std::sync::Arc;
use std::time::Duration;

use quorate_control_store::AccountStore;
use quorate_core::code::Code;
use quorate_core::codec::{decode, encode};
use quorate_core::identity::{PublicKey, SecretKey};
use quorate_core::{AccountId, OrderId, Threshold};
use quorate_net::clock::Clock;
use quorate_net::problem::Problem;
use quorate_net::replicas::Replicas;
use tokio::sync::{Semaphore, SemaphorePermit};
use zeroize::Zeroizing;

pub use limits::TimeLimits;
pub use recover::Interrupted;
pub use request::{Creation, RefreshRequest, SignRequest};
pub use user_share::{UserParty, UserTerms};
pub use views::{
    AccountStateView, AccountView, ErrorView, KeyView, OperationView, SessionView, SignatureView, StatusView,
    ThresholdView,
};

/// The scheme of an account whose creator names none.
pub const DEFAULT_SCHEME: &str = "ecdsa-secp256k1";

/// Requests at a time that take a session. More would wait for the same processors until their deadline.
const REQUESTS: usize = 256;

/// What an [`AccountService`] is given.
pub struct AccountSetup {
    /// Where accounts are kept.
    pub store: AccountStore,
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
    store: AccountStore,
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
        let waiting_for_users = Arc::new(Semaphore::new(user_share::WAITING_FOR_USERS));
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
    pub fn store(&self) -> &AccountStore {
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
        let (account, order) = decode(bytes).ok()?;
        Some(Self { account, order, again: true })
    }
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N], Problem> {
    let mut bytes = [0; N];
    let none = |_| Problem::new(Code::Internal, "the machine has no randomness");
    getrandom::fill(&mut bytes).map_err(none)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_read_as_it_was_written() {
        let subject = Subject { account: AccountId([1; 16]), order: OrderId([2; 32]), again: true };
        assert_eq!(Subject::read(&subject.bytes()), Some(subject));
        assert_eq!(Subject::read(&[1; 47]), None);
    }
}
