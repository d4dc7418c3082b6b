//! The party API: makes users' shares and hands them over, and signs with shares that users bring. It keeps none of
//! them.
//!
//! Users' backends call it over HTTP (`routes`) to get a share and to confirm it; the account service calls it over
//! gRPC (`service`) with what users seal for it. What it does with a plan is in `user`.

mod grpc;
mod http;

use std::sync::Arc;

use hkdf::Hkdf;
use quorate_core::sealed_box::RecipientKey;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::user::shares::UserShares;

pub use grpc::service;
pub use http::routes;

/// The party API. Clones share it.
#[derive(Clone)]
pub struct PartyApi(Arc<PartyApiState>);

struct PartyApiState {
    shares: Arc<UserShares>,
    /// The key to which users seal their shares.
    key: RecipientKey,
    /// Whether shares are handed out unsealed to callers that give no key.
    unsealed: bool,
}

impl PartyApi {
    /// A party API. All its replicas have the same identity, and with it the same key to seal to.
    #[must_use]
    pub fn new(shares: Arc<UserShares>, identity: &Zeroizing<[u8; 32]>, unsealed: bool) -> Self {
        let mut material = Zeroizing::new([0; 32]);
        // 32 bytes are not too many for HKDF to give.
        let _ = Hkdf::<Sha256>::new(None, identity.as_slice())
            .expand(b"quorate 1 user share key", material.as_mut_slice());
        Self(Arc::new(PartyApiState { shares, key: RecipientKey::derive(&material), unsealed }))
    }
}
