//! A user who keeps a share.

use std::time::Duration;

use quorate_core::codec::Bytes;
use quorate_core::order::{HashFunction, SignItem};
use quorate_core::sealed_box::RecipientKey;
use quorate_core::sealing_key::SealingKey;
use quorate_core::share_claim::ShareClaim;
use quorate_core::share_grant::{GrantHeader, NewShareTerms, Purpose, ShareGrant};
use quorate_core::user_share::UserShare;
use quorate_kit::random32;
use quorate_net::clock::{Clock, SystemClock};
use quorate_party::api::SealingKeyView;
use zeroize::Zeroizing;

use crate::embedded::Reply;

/// How long a request of a user is good for, in seconds.
const REQUEST_LIFETIME: Duration = Duration::from_secs(120);

/// A user: a key that shares are sealed to, a claim to one, and the share that was.
pub struct User {
    key: RecipientKey,
    claim: Zeroizing<[u8; 32]>,
    share: Option<UserShare>,
}

impl Default for User {
    fn default() -> Self {
        Self { key: RecipientKey::derive(&random32()), claim: random32().into(), share: None }
    }
}

impl User {
    /// The key to seal to, in hex.
    #[must_use]
    pub fn recipient(&self) -> String {
        hex::encode(self.key.public())
    }

    /// The claim to the share, in hex.
    #[must_use]
    pub fn claim(&self) -> String {
        hex::encode(self.claim.as_slice())
    }

    /// The hash of the claim, in hex.
    #[must_use]
    pub fn claim_hash(&self) -> String {
        hex::encode(ShareClaim::new(self.claim.clone()).hash())
    }

    /// Opens a share and keeps it.
    pub fn keep(&mut self, sealed: &str) {
        self.share = Some(UserShare::open(&hex::decode(sealed).unwrap(), &self.key).unwrap());
    }

    /// Seals the share for the signature of a digest, to a key of the party API.
    #[must_use]
    pub fn for_signing(&self, to: &SealingKey, digest: [u8; 32]) -> String {
        self.seal(
            to,
            Purpose::Sign(
                SignItem {
                    message: Bytes(digest.to_vec()),
                    hash: HashFunction::None,
                    path: vec![],
                    merkle_root: None,
                    presignatures: false,
                }
                .into(),
            ),
        )
    }

    /// Seals the share for a refresh whose new share goes to `next`.
    #[must_use]
    pub fn for_refresh(&self, to: &SealingKey, next: &Self) -> String {
        self.seal(
            to,
            Purpose::Refresh(NewShareTerms {
                recipient: next.key.public(),
                claim_hash: ShareClaim::new(next.claim.clone()).hash(),
            }),
        )
    }

    fn seal(&self, to: &SealingKey, purpose: Purpose) -> String {
        let share = self.share.clone().unwrap();
        let share_id = share.id().unwrap();
        let now = SystemClock.seconds();
        let header = GrantHeader {
            nonce: random32()[..].try_into().unwrap(),
            expires_at: now + REQUEST_LIFETIME,
            account: share_id.account,
            epoch: share_id.epoch,
            purpose,
        };
        hex::encode(ShareGrant { header, share }.seal(to, &random32()).unwrap())
    }
}

/// The key in the answer of a party API to `GET /api/v1/shares/key`.
#[must_use]
pub fn sealing_key(reply: &Reply) -> SealingKey {
    let view: SealingKeyView = serde_json::from_value(reply.body.clone()).unwrap();
    view.signed_key().unwrap().key
}
