//! Accounts as the database has them, verified whoever wrote them.
//!
//! The store has checked that an account service wrote what never changes. Here the rest is held against what its
//! parties have signed: an active account's key is believed because all n parties, whose identities the operator has
//! pinned, have promised to keep shares of it.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;
use quorate_backends::database::StoreError;
use quorate_control_store::{Account, AccountState, AccountStore};
use quorate_core::AccountId;
use quorate_core::codec::encode;
use quorate_net::problem::Problem;
use quorate_verify::proof::certifies;
use sha2::{Digest, Sha256};

use super::pinned_parties::PinnedParties;

/// How many verified accounts are remembered. When they are more, all are verified anew.
const MAX_VERIFIED_REMEMBERED: usize = 4_096;

/// Reads accounts and verifies them. Clones share what they have verified.
#[derive(Clone)]
pub(crate) struct StoredAccounts {
    store: AccountStore,
    pinned: Arc<PinnedParties>,
    /// Hashes of accounts with the certificates and keys that were verified for them.
    verified: Arc<Mutex<HashSet<[u8; 32]>>>,
}

impl StoredAccounts {
    pub(crate) fn new(store: AccountStore, pinned: PinnedParties) -> Self {
        Self { store, pinned: Arc::new(pinned), verified: Arc::default() }
    }

    /// The store, for writing.
    pub(crate) fn store(&self) -> &AccountStore {
        &self.store
    }

    /// The identities that are pinned.
    pub(crate) fn pinned(&self) -> &PinnedParties {
        &self.pinned
    }

    /// An account.
    ///
    /// # Errors
    /// The database failed, or what it has does not prove itself.
    pub(crate) async fn account(&self, id: AccountId) -> Result<Option<Account>, Problem> {
        let account = self.store.account(id).await?;
        if let Some(account) = &account {
            self.check(account)?;
        }
        Ok(account)
    }

    fn check(&self, account: &Account) -> Result<(), Problem> {
        self.pinned.check_known(&account.spec.parties)?;
        let AccountState::Active { certificate, key } = &account.state else { return Ok(()) };
        let mut hash = Sha256::new();
        for part in [encode(&account.spec), encode(certificate), encode(key)] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let hash = hash.finalize().into();
        if self.verified.lock().contains(&hash) {
            return Ok(());
        }
        if !certifies(&account.spec, certificate, key) {
            return Err(StoreError::Altered("accounts").into());
        }
        let mut verified = self.verified.lock();
        if verified.len() >= MAX_VERIFIED_REMEMBERED {
            verified.clear();
        }
        verified.insert(hash);
        Ok(())
    }
}
