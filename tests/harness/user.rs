//! A user who keeps a share.

use std::time::{SystemTime, UNIX_EPOCH};

use quorate_core::codec::Bytes;
use quorate_core::order::{HashFunction, Signing};
use quorate_core::user_share::{Head, Purpose, RecipientKey, UserRequest, UserShare};
use quorate_kit::random32;

/// How long a request of a user is good for, in seconds.
const GOOD_FOR: u64 = 120;

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
    /// What to seal to, in hex.
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
            Purpose::Sign(Signing {
                message: Bytes(digest.to_vec()),
                hash: HashFunction::None,
                path: vec![],
                tweak: None,
                presignatures: false,
            }),
        )
    }

    /// Seals the share for a refresh whose new share goes to `next`.
    #[must_use]
    pub fn for_refresh(&self, to: &str, next: &Self) -> String {
        self.seal(to, Purpose::Refresh(next.key.public()))
    }

    fn seal(&self, to: &str, purpose: Purpose) -> String {
        let share = self.share.clone().unwrap();
        let whose = share.whose().unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let head = Head {
            nonce: random32()[..].try_into().unwrap(),
            expires_at: now + GOOD_FOR,
            account: whose.account,
            epoch: whose.epoch,
            purpose,
        };
        let to: [u8; 32] = hex::decode(to).unwrap().try_into().unwrap();
        hex::encode(UserRequest { head, share }.seal(&to, &random32()).unwrap())
    }
}
