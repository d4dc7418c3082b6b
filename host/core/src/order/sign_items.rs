//! What an order asks to sign: one or more items, each a message and the child of the key that signs it.

use crate::codec::{Bytes, Malformed, Reader, Wire, wire_struct};

/// The most items of one order.
pub const MAX_SIGN_ITEMS: usize = 64;

/// A message to sign, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignItem {
    /// A digest or a message, by `hash`.
    pub message: Bytes,
    /// How the parties hash the message.
    pub hash: HashFunction,
    /// BIP-32 child numbers, all below 2³¹.
    pub path: Vec<u32>,
    /// The merkle root of a Taproot output's scripts (BIP-341), of which the account's key is the internal key then.
    pub merkle_root: Option<[u8; 32]>,
    /// Whether a presignature may be used.
    pub presignatures: bool,
}

wire_struct!(SignItem { message, hash, path, merkle_root, presignatures });

impl SignItem {
    /// Why the item can't be signed with this scheme, if so.
    #[must_use]
    pub fn objection(&self, scheme: &str) -> Option<ItemObjection> {
        let is_ecdsa = !matches!(scheme, "ed25519" | "bip340");
        if self.path.iter().any(|&child| child >= 1 << 31) {
            return Some(ItemObjection::HardenedPath);
        }
        if !self.path.is_empty() && !is_ecdsa {
            return Some(ItemObjection::NoChildren);
        }
        if self.hash != HashFunction::None && scheme == "ed25519" {
            return Some(ItemObjection::NoHash);
        }
        if self.merkle_root.is_some() && scheme != "bip340" {
            return Some(ItemObjection::NoMerkleRoot);
        }
        // Whoever chooses an ECDSA digest, or a child of the key, after the presignature is made chooses among more
        // equations than the scheme's proof allows. A Schnorr signature hashes nonce, key and message together.
        let known_message = self.hash != HashFunction::None;
        if self.presignatures && is_ecdsa && !(known_message && self.path.is_empty()) {
            return Some(ItemObjection::Presignature);
        }
        None
    }
}

/// Why an item can't be signed with a scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemObjection {
    /// A whole private key would be needed to take a hardened step.
    HardenedPath,
    /// The scheme's keys have no children.
    NoChildren,
    /// Ed25519 signs the message itself.
    NoHash,
    /// A merkle root belongs to Taproot.
    NoMerkleRoot,
    /// An ECDSA presignature is used with a known message and the account's own key only.
    Presignature,
}

impl ItemObjection {
    /// What is wrong, to be read after the item's name.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::HardenedPath => "its path has hardened child numbers",
            Self::NoChildren => "it has a path, and keys of the scheme have no children",
            Self::NoHash => "it names a hash function, and ed25519 signs the message itself",
            Self::NoMerkleRoot => "it has a merkle root, which belongs to bip340 only",
            Self::Presignature => "presignatures of ECDSA go with a known message and the account's own key",
        }
    }
}

/// 1 to [`MAX_SIGN_ITEMS`] items, which are signed together or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignItems(Vec<SignItem>);

impl SignItems {
    /// These items; `None` if there are none, or more than [`MAX_SIGN_ITEMS`].
    #[must_use]
    pub fn new(items: Vec<SignItem>) -> Option<Self> {
        (1..=MAX_SIGN_ITEMS).contains(&items.len()).then_some(Self(items))
    }

    /// The same items, each of which may use a presignature where the scheme allows it.
    #[must_use]
    pub fn allowing_presignatures(mut self, scheme: &str) -> Self {
        for item in &mut self.0 {
            item.presignatures = true;
            item.presignatures = item.objection(scheme).is_none();
        }
        self
    }

    /// The items, in the order of their signatures.
    #[must_use]
    pub fn all(&self) -> &[SignItem] {
        &self.0
    }
}

impl From<SignItem> for SignItems {
    fn from(item: SignItem) -> Self {
        Self(vec![item])
    }
}

impl Wire for SignItems {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }

    fn take(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        Self::new(Wire::take(input)?).ok_or(Malformed)
    }
}

/// How a message becomes a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashFunction {
    /// The message is the digest: 32 bytes.
    None,
    /// Keccak-256, as Ethereum hashes.
    Keccak256,
    /// SHA-256 (FIPS 180-4).
    Sha256,
    /// SHA-256 of SHA-256, as Bitcoin hashes.
    Sha256d,
}

impl Wire for HashFunction {
    fn put(&self, out: &mut Vec<u8>) {
        (*self as u8).put(out);
    }

    fn take(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        match u8::take(input)? {
            0 => Ok(Self::None),
            1 => Ok(Self::Keccak256),
            2 => Ok(Self::Sha256),
            3 => Ok(Self::Sha256d),
            _ => Err(Malformed),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::codec::{decode, encode};
    use crate::order::tests::item;

    #[test]
    fn an_order_has_1_to_64_items() {
        for (count, fits) in [(0, false), (1, true), (64, true), (65, false)] {
            let items = SignItems::new(vec![item(); count]);
            assert_eq!(items.is_some(), fits, "{count} items");
            assert_eq!(decode::<SignItems>(&encode(&vec![item(); count])).ok(), items, "{count} items");
        }
        assert_eq!(SignItems::from(item()).all(), [item()]);
    }

    #[test]
    fn a_presignature_is_used_for_ecdsa_only_with_a_known_message_and_the_own_key() {
        let with = |item: SignItem| SignItem { presignatures: true, ..item };
        let known = SignItem { hash: HashFunction::Sha256, ..item() };
        let child = SignItem { path: vec![1], ..known.clone() };
        let refused = Some(ItemObjection::Presignature);
        for (item, objection) in [(with(item()), refused), (with(known), None), (with(child), refused)] {
            assert_eq!(item.objection("ecdsa-secp256k1"), objection, "{item:?}");
        }
        for schnorr in ["ed25519", "bip340"] {
            assert_eq!(with(item()).objection(schnorr), None, "{schnorr}");
        }
    }

    #[test]
    fn items_allow_presignatures_where_their_scheme_does() {
        let known = SignItem { hash: HashFunction::Sha256, ..item() };
        let items = SignItems::new(vec![item(), known]).unwrap();
        let allowed = |scheme: &str| {
            let items = items.clone().allowing_presignatures(scheme);
            items.all().iter().map(|item| item.presignatures).collect::<Vec<_>>()
        };
        assert_eq!(allowed("ecdsa-secp256k1"), [false, true]);
        assert_eq!(allowed("bip340"), [true, true]);
    }

    #[test]
    fn an_item_fits_the_scheme_that_it_is_signed_with() {
        use ItemObjection::{HardenedPath, NoChildren, NoHash, NoMerkleRoot};
        let plain = item();
        let hashed = SignItem { hash: HashFunction::Sha256, ..item() };
        let child = SignItem { path: vec![1], ..item() };
        let hardened = SignItem { path: vec![0, 1 << 31], ..item() };
        let with_root = SignItem { merkle_root: Some([1; 32]), ..item() };
        for (item, ecdsa, ed25519, bip340) in [
            (plain, None, None, None),
            (hashed, None, Some(NoHash), None),
            (child, None, Some(NoChildren), Some(NoChildren)),
            (hardened, Some(HardenedPath), Some(HardenedPath), Some(HardenedPath)),
            (with_root, Some(NoMerkleRoot), Some(NoMerkleRoot), None),
        ] {
            assert_eq!(item.objection("ecdsa-secp256k1"), ecdsa, "{item:?}");
            assert_eq!(item.objection("ed25519"), ed25519, "{item:?}");
            assert_eq!(item.objection("bip340"), bip340, "{item:?}");
        }
    }
}
