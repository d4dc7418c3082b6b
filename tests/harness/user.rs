//! A user who keeps a share.

use std::time::Duration;

use quorate_core::codec::Bytes;
use quorate_core::order::{HashFunction, SignItem};
use quorate_core::sealed_box::RecipientKey;
use quorate_core::share_grant::{GrantHeader, Purpose, ShareGrant};
use quorate_core::user_share::UserShare;
use quorate_kit::random32;
use quorate_net::clock::{Clock, SystemClock};

/// How long a request of a user is good for, in seconds.
const REQUEST_LIFETIME: Duration = Duration::from_secs(120);

/// A user: a key that shares are sealed to, and the share that was.
pub struct User {
    key: RecipientKey,
    share: Option<UserShare>,
}

impl Default for User {
    fn default() -> Self {
        Self { key: RecipientKey::derive(&random32()), share: None }
    }
}

impl User {
    /// The key to seal to, in hex.
    #[must_use]
    pub fn recipient(&self) -> String {
        hex::encode(self.key.public())
    }

    /// Opens a share and keeps it.
    pub fn keep(&mut self, sealed: &str) {
        self.share = Some(UserShare::open(&hex::decode(sealed).unwrap(), &self.key).unwrap());
    }

    /// Seals the share for the signature of a digest. `to` is the party API's key, in hex.
    #[must_use]
    pub fn for_signing(&self, to: &str, digest: [u8; 32]) -> String {
        self.seal(
            to,
            Purpose::Sign(
                SignItem {
                    message: Bytes(digest.to_vec()),
                    hash: HashFunction::None,
                    path: vec![],
                    tweak: None,
                    presignatures: false,
                }
                .into(),
            ),
        )
    }

    /// Seals the share for a refresh whose new share goes to `next`.
    #[must_use]
    pub fn for_refresh(&self, to: &str, next: &Self) -> String {
        self.seal(to, Purpose::Refresh(next.key.public()))
    }

    fn seal(&self, to: &str, purpose: Purpose) -> String {
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
        let to: [u8; 32] = hex::decode(to).unwrap().try_into().unwrap();
        hex::encode(ShareGrant { header, share }.seal(&to, &random32()).unwrap())
    }
}
