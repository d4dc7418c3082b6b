//! A user's share together with what the user gives it for. The formats are in [`user_share`](crate::user_share).

use zeroize::Zeroizing;

use crate::codec::{Malformed, Reader, Wire, decode, encode, wire_struct};
use crate::ids::{AccountId, SealingKeyId};
use crate::order::SignItems;
use crate::sealed_box::{OpenError, RecipientKey, open, seal};
use crate::sealing_key::SealingKey;
use crate::time::UnixSeconds;
use crate::user_share::{UserShare, part};

const SEALED_REQUEST_MAGIC: &[u8; 4] = b"qur1";

/// The length of the header of a sealed request: its kind, and the id of the key that it was sealed to.
const SEALED_HEADER_BYTES: usize = 4 + 16;

const REQUEST_INFO: &[u8] = b"quorate 1 user share request";

/// The purpose and the time for which a user gives a share. The grant is valid for exactly this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantHeader {
    /// Never used twice.
    pub nonce: [u8; 32],
    /// When it ends.
    pub expires_at: UnixSeconds,
    /// The account.
    pub account: AccountId,
    /// The version of the account's shares.
    pub epoch: u32,
    /// For what.
    pub purpose: Purpose,
}

wire_struct!(GrantHeader { nonce, expires_at, account, epoch, purpose });

/// The purpose for which a user gives a share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To sign exactly this.
    Sign(SignItems),
    /// To be replaced by a new share.
    Refresh(NewShareTerms),
}

/// Who gets a user's new share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewShareTerms {
    /// The X25519 key that it is sealed to.
    pub recipient: [u8; 32],
    /// SHA-256 of the claim with which it is confirmed.
    pub claim_hash: [u8; 32],
}

wire_struct!(NewShareTerms { recipient, claim_hash });

impl Wire for Purpose {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Sign(items) => {
                1_u8.put(out);
                items.put(out);
            }
            Self::Refresh(terms) => {
                2_u8.put(out);
                terms.put(out);
            }
        }
    }

    fn take(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        match u8::take(input)? {
            1 => Wire::take(input).map(Self::Sign),
            2 => Wire::take(input).map(Self::Refresh),
            _ => Err(Malformed),
        }
    }
}

/// A user's share and what it is given for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareGrant {
    /// The purpose and time of the grant.
    pub header: GrantHeader,
    /// The share.
    pub share: UserShare,
}

impl ShareGrant {
    /// Seals it to a key of the party API. `seed` is fresh randomness.
    ///
    /// # Errors
    /// When nothing can be sealed to the key.
    pub fn seal(&self, to: &SealingKey, seed: &[u8; 32]) -> Result<Vec<u8>, OpenError> {
        let header = encode(&self.header);
        let mut plain = Zeroizing::new(Vec::with_capacity(4 + header.len() + self.share.bytes().len()));
        plain.extend_from_slice(&u32::try_from(header.len()).unwrap_or(u32::MAX).to_be_bytes());
        plain.extend_from_slice(&header);
        plain.extend_from_slice(self.share.bytes());
        let sealed_header = [SEALED_REQUEST_MAGIC.as_slice(), to.id.as_bytes()].concat();
        seal(&to.key, REQUEST_INFO, sealed_header, &plain, seed)
    }

    /// The id of the key that a request was sealed to.
    ///
    /// # Errors
    /// [`OpenError::Malformed`] when it is no sealed request.
    pub fn sealing_key(sealed: &[u8]) -> Result<SealingKeyId, OpenError> {
        sealed_header(sealed).map(|(_, id, _)| id)
    }

    /// Opens what was sealed to this key.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(sealed: &[u8], key: &RecipientKey) -> Result<Self, OpenError> {
        let (header, _, rest) = sealed_header(sealed)?;
        let plain = open(key, REQUEST_INFO, header, rest)?;
        let (header, share) = part(&plain)?;
        let header = decode(header)?;
        Ok(Self { header, share: UserShare::read(Zeroizing::new(share.to_vec()))? })
    }
}

/// Splits a sealed request into its header, the id of the key in it, and the rest.
fn sealed_header(sealed: &[u8]) -> Result<(&[u8], SealingKeyId, &[u8]), OpenError> {
    let (header, rest) = sealed.split_at_checked(SEALED_HEADER_BYTES).ok_or(OpenError::Malformed)?;
    let id = header.strip_prefix(SEALED_REQUEST_MAGIC).ok_or(OpenError::Malformed)?;
    Ok((header, decode(id)?, rest))
}
