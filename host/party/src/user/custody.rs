//! Who keeps a party's shares: the party itself, or a user to whom this party only lends its hands.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use quorate_backends::database::StoreError;
use quorate_core::AccountId;
use quorate_core::user_share::UserShare;
use quorate_party_store::Entries;
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use crate::Party;

/// The name under which the hash of a user's share is kept.
const HASH: &str = "hash of the user's share";

/// Who keeps the share that a session uses or makes.
pub(crate) enum Custody {
    /// This party.
    Own,
    /// A user.
    User(UserPart),
}

/// A user's part in a session.
pub(crate) struct UserPart {
    /// What the user came with; nothing in a keygen.
    pub(crate) share: Option<UserShare>,
    /// Whom a new share is sealed to; without one it is handed over as it is, once.
    pub(crate) recipient: Option<[u8; 32]>,
    /// How long the user may take to confirm a new share.
    pub(crate) confirm_within: Duration,
    /// Where a new share that is not sealed goes.
    pub(crate) unsealed: Mutex<Option<oneshot::Sender<UserShare>>>,
}

impl UserPart {
    pub(crate) fn hand_out(&self, share: UserShare) {
        if let Some(sender) = self.unsealed.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = sender.send(share);
        }
    }
}

/// What is kept of a user's share: enough to know it again.
pub(crate) fn hash_of(share: &UserShare) -> Entries {
    let hash = Sha256::digest(share.bytes()).to_vec();
    [(HASH.to_owned(), Zeroizing::new(hash))].into()
}

/// Whether a share is the one that was handed to its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recognised {
    Yes,
    No,
    /// This party has not heard of shares of this epoch.
    NotYet,
}

impl Party {
    /// Whether this is the share that this party has handed to the account's user.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn recognises(
        &self,
        account: AccountId,
        epoch: u32,
        share: &UserShare,
    ) -> Result<Recognised, StoreError> {
        let Some(kept) = self.store.active_entries(account, epoch).await? else {
            return Ok(Recognised::NotYet);
        };
        Ok(if kept == hash_of(share) { Recognised::Yes } else { Recognised::No })
    }
}
