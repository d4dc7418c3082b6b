//! Where a party's share is stored: in the party's own database, or with a user who sends it sealed with each request.

use std::time::Duration;

use parking_lot::Mutex;
use quorate_backends::database::StoreError;
use quorate_core::AccountId;
use quorate_core::user_share::ShareEntries;
use quorate_core::user_share::UserShare;
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use crate::party::Party;

/// The name under which the hash of a user's share is kept.
const SHARE_HASH_ENTRY: &str = "hash of the user's share";

/// Where the share is stored that a session uses or makes.
pub(crate) enum Custody {
    /// In this party's database.
    Own,
    /// With a user.
    User(UserShareContext),
}

/// The facts about a user's share that a session needs.
pub(crate) struct UserShareContext {
    /// The share that the user has sent; none in a keygen.
    pub(crate) share: Option<UserShare>,
    /// The key that a new share is sealed to. Without one it is given out as it is, once.
    pub(crate) recipient: Option<[u8; 32]>,
    /// How long the user may take to confirm a new share.
    pub(crate) confirm_within: Duration,
    /// Where a new share goes that is not sealed.
    pub(crate) unsealed: Mutex<Option<oneshot::Sender<UserShare>>>,
}

impl UserShareContext {
    /// Hands out a share that is not sealed, if a request waits for it.
    pub(crate) fn hand_out(&self, share: UserShare) {
        if let Some(sender) = self.unsealed.lock().take() {
            let _ = sender.send(share);
        }
    }
}

/// The hash of a user's share. It is stored, to recognise the share.
pub(crate) fn hash_of(share: &UserShare) -> ShareEntries {
    let hash = Sha256::digest(share.bytes()).to_vec();
    [(SHARE_HASH_ENTRY.to_owned(), Zeroizing::new(hash))].into()
}

/// Whether a share is the one that was delivered to its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShareMatch {
    /// It is.
    Matches,
    /// It is another one.
    Foreign,
    /// This party has not heard of shares of this epoch.
    Unknown,
}

impl Party {
    /// Whether this is the share that this party has delivered to the account's user.
    pub(crate) async fn match_user_share(
        &self,
        account: AccountId,
        epoch: u32,
        share: &UserShare,
    ) -> Result<ShareMatch, StoreError> {
        let Some(share_set) = self.store.active_share_set(account, epoch).await? else {
            return Ok(ShareMatch::Unknown);
        };
        let Some(kept) = self.store.entries(account, share_set).await? else {
            return Ok(ShareMatch::Unknown);
        };
        Ok(if kept == hash_of(share) { ShareMatch::Matches } else { ShareMatch::Foreign })
    }
}
