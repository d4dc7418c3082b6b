//! Identities: Ed25519 keys of parties and originators, and a tag for every kind of statement.
//!
//! Invariant: every signature is over `tag ‖ statement`, with the tags of [`Tag`], so that a signature of one kind
//! never counts as one of another.

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};

use crate::PartyIndex;
use crate::codec::{Malformed, Reader, Wire};
use crate::ids::{GroupId, InvalidId, hash};

/// The kinds of statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// An order of an account service.
    Order,
    /// A hello of a party.
    Hello,
    /// The hash of all hellos that a party has.
    HelloEcho,
    /// An envelope between parties.
    Envelope,
    /// A message of a reliable broadcast.
    Broadcast,
    /// The hash of a round's reliable broadcasts that a party has.
    Echo,
    /// The promise of a share.
    Ready,
    /// The notice that a party has ended a session and promises nothing.
    Abort,
    /// The report of a session to a coordinator.
    Report,
    /// That a party has activated its share.
    Acknowledgement,
    /// The request of an account service to a coordinator.
    Submission,
    /// The public name of a party's master key.
    KeyName,
    /// That a party never works with another again.
    Ban,
    /// The bans that a party keeps for another one.
    BanExport,
    /// That a party is there.
    Heartbeat,
    /// The answer to a router's challenge.
    Join,
    /// A key that users seal their shares to.
    SealingKey,
    /// What a component says while its session runs.
    Event,
}

impl Tag {
    fn bytes(self) -> &'static [u8] {
        match self {
            Self::Order => b"quorate 1 order\0",
            Self::Hello => b"quorate 1 hello\0",
            Self::HelloEcho => b"quorate 1 hello echo\0",
            Self::Envelope => b"quorate 1 envelope\0",
            Self::Broadcast => b"quorate 1 broadcast\0",
            Self::Echo => b"quorate 1 echo\0",
            Self::Ready => b"quorate 1 ready\0",
            Self::Abort => b"quorate 1 abort\0",
            Self::Report => b"quorate 1 report\0",
            Self::Acknowledgement => b"quorate 1 acknowledgement\0",
            Self::Submission => b"quorate 1 submission\0",
            Self::KeyName => b"quorate 1 key name\0",
            Self::Ban => b"quorate 1 ban\0",
            Self::BanExport => b"quorate 1 ban export\0",
            Self::Heartbeat => b"quorate 1 heartbeat\0",
            Self::Join => b"quorate 1 join\0",
            Self::SealingKey => b"quorate 1 sealing key\0",
            Self::Event => b"quorate 1 event\0",
        }
    }

    fn over(self, statement: &[u8]) -> Vec<u8> {
        [self.bytes(), statement].concat()
    }
}

/// A public key of a party or an originator, in its 32-byte encoding. That it is a point shows when it verifies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

/// A signature.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Signature(pub [u8; 64]);

/// A signature that does not verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct BadSignature;

impl PublicKey {
    /// Verifies a statement (RFC 8032, and strictly: no weak keys, no malleable signatures).
    ///
    /// # Errors
    /// When it does not verify.
    pub fn verify(&self, tag: Tag, statement: &[u8], signature: &Signature) -> Result<(), BadSignature> {
        let key = VerifyingKey::from_bytes(&self.0).map_err(|_| BadSignature)?;
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        key.verify_strict(&tag.over(statement), &signature).map_err(|_| BadSignature)
    }
}

impl core::fmt::Display for PublicKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl core::str::FromStr for PublicKey {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let mut key = [0; 32];
        let read = hex::decode_to_slice(text, &mut key);
        read.map_err(|_| InvalidId("a public key of 64 hexadecimal characters"))?;
        Ok(Self(key))
    }
}

impl core::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// A party's identity key or the originator key. Wiped when dropped, never shown.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// The key of a 32-byte seed.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// Its public side.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs a statement.
    #[must_use]
    pub fn sign(&self, tag: Tag, statement: &[u8]) -> Signature {
        Signature(self.0.sign(&tag.over(statement)).to_bytes())
    }
}

impl core::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "SecretKey of {}", self.public())
    }
}

/// The identity key of a party, of these in index order.
#[must_use]
pub fn key_of(parties: &[PublicKey], party: PartyIndex) -> Option<&PublicKey> {
    parties.get(usize::from(party.number()) - 1)
}

/// The group of parties with these identity keys, in index order.
#[must_use]
pub fn group_id(parties: &[PublicKey]) -> GroupId {
    let keys: Vec<&[u8]> = parties.iter().map(|key| key.0.as_slice()).collect();
    GroupId(hash("quorate 1 group", &keys))
}

impl Wire for PublicKey {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }

    fn take(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        Wire::take(input).map(Self)
    }
}

impl Wire for Signature {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }

    fn take(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        Wire::take(input).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_of_one_kind_is_none_of_another() {
        let key = SecretKey::from_seed(&[1; 32]);
        let signature = key.sign(Tag::Hello, b"statement");
        assert_eq!(key.public().verify(Tag::Hello, b"statement", &signature), Ok(()));
        assert_eq!(key.public().verify(Tag::Envelope, b"statement", &signature), Err(BadSignature));
        assert_eq!(key.public().verify(Tag::Hello, b"another", &signature), Err(BadSignature));
        let other = SecretKey::from_seed(&[2; 32]).public();
        assert_eq!(other.verify(Tag::Hello, b"statement", &signature), Err(BadSignature));
    }
}
