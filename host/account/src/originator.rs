//! The key that signs this deployment's orders.

use std::sync::Arc;

use quorate_core::identity::{PublicKey, SecretKey};
use zeroize::Zeroizing;

/// The originator key of this account service, and those whose orders count as its own. Clones share it.
#[derive(Clone)]
pub(crate) struct Originator {
    seed: Arc<Zeroizing<[u8; 32]>>,
    known: Arc<[PublicKey]>,
}

impl Originator {
    /// An originator of this seed. `others` are the keys of other account services on the same database, and earlier
    /// keys.
    pub(crate) fn new(seed: Zeroizing<[u8; 32]>, others: Vec<PublicKey>) -> Self {
        let mut known = others;
        known.push(SecretKey::from_seed(&seed).public());
        Self { seed: Arc::new(seed), known: known.into() }
    }

    /// The key that signs.
    pub(crate) fn key(&self) -> SecretKey {
        SecretKey::from_seed(&self.seed)
    }

    /// All keys whose orders count as this deployment's.
    pub(crate) fn known(&self) -> &[PublicKey] {
        &self.known
    }
}
