//! The account service: knows accounts, states in signed orders what callers ask for, and accepts only results that
//! prove themselves.
//!
//! | part | does |
//! |---|---|
//! | `StoredAccounts` | reads accounts from the database and verifies them |
//! | `Accounts` | reads accounts, and reconciles their open orders first |
//! | `AccountDefaults` | decides what a request for a new account leaves open |
//! | `Submitter` | signs an order, submits it and waits for a result |
//! | `Orders` | reads what orders and sessions have led to, now or later |
//! | `UserShareRequests` | asks the users' party to take or hand out a user's share |
//! | `FewPresignatures` | says which accounts need presignatures |
//! | `SessionEvents` | keeps what components say of sessions |
//! | `Recoverer` | finds what an interrupted request has led to |
//! | [`AccountService`] | the operations, made of these parts |

pub mod api;

mod accounts;
mod coordinators;
mod creation;
mod current_key;
mod limits;
mod new_shares;
mod operations;
mod order_status;
mod originator;
mod pinned_parties;
mod present;
mod presigner;
mod presigning;
mod recover;
mod request;
mod request_ids;
mod sealed_share;
mod session_events;
mod session_reader;
mod stored_accounts;
mod submit;
mod user_share;
mod views;

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_control_store::AccountStore;
use quorate_core::identity::PublicKey;
use quorate_core::order::Version;
use quorate_net::clock::Clock;
use quorate_net::replicas::Replicas;
use zeroize::Zeroizing;

pub use limits::TimeLimits;
pub use new_shares::{LostShare, RepairRequest};
pub use operations::AccountService;
pub use presigning::PresignatureMarks;
pub use recover::{Recoverer, Recovery};
pub use request::{Creation, ItemText, RefreshRequest, SignRequest};
pub use request_ids::RequestIds;
pub use sealed_share::SealedShare;
pub use user_share::{UserParty, UserShareOptions};
pub use views::{
    AccountStateView, AccountView, ErrorView, EventKindView, EventView, KeyView, OperationView, SessionView,
    SignatureView, SigningView, StatusView, ThresholdView,
};

/// The scheme of an account whose creator names none.
pub const DEFAULT_SCHEME: &str = "ecdsa-secp256k1";

/// The parts of an [`AccountService`].
pub struct AccountSetup {
    /// Where accounts are stored.
    pub store: AccountStore,
    /// The coordinators that run sessions for orders.
    pub coordinators: Replicas,
    /// The seed of the originator key.
    pub originator: Zeroizing<[u8; 32]>,
    /// The originator keys of other account services on the same database, and earlier ones: orders signed with
    /// them are reconciled too.
    pub originators: Vec<PublicKey>,
    /// The identity keys of the parties of this deployment.
    pub parties: Vec<PublicKey>,
    /// Identity keys of parties that are no longer in use: what they have signed is still verified.
    pub former_parties: Vec<PublicKey>,
    /// The oldest version of each protocol's plugin that orders allow, by the protocol's name.
    pub minimum_plugins: BTreeMap<String, Version>,
    /// The party whose shares users keep, if there is one.
    pub user_party: Option<UserParty>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How long operations may take.
    pub limits: TimeLimits,
    /// When presignatures are ordered.
    pub presignatures: PresignatureMarks,
}
