//! The claim to a user's new share. Whoever asks for an account or a refresh makes the claim, keeps it, and sends its hash;
//! the order carries the hash, and the party that makes the share hands it over to whoever shows the claim.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// The claim to one new share: 32 random bytes.
pub struct ShareClaim(Zeroizing<[u8; 32]>);

impl ShareClaim {
    /// The claim of these bytes.
    #[must_use]
    pub fn new(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    /// SHA-256 of the claim: what the order carries.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_slice()).into()
    }

    /// Whether it is the claim of this hash. It takes the same time whatever the hash is.
    #[must_use]
    pub fn is_of(&self, hash: &[u8; 32]) -> bool {
        self.hash().ct_eq(hash).into()
    }
}

impl core::fmt::Debug for ShareClaim {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("ShareClaim")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_of_its_own_hash_only() {
        let claim = ShareClaim::new(Zeroizing::new([1; 32]));
        let hash = claim.hash();
        assert_eq!(hash, <[u8; 32]>::from(Sha256::digest([1; 32])));
        assert!(claim.is_of(&hash));
        for bit in 0..256 {
            let mut other = hash;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!claim.is_of(&other), "bit {bit}");
        }
        assert_eq!(format!("{claim:?}"), "ShareClaim");
    }
}
