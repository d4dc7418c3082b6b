//! Hellos: what makes a session fresh (rule 3).

use crate::PartyIndex;
use crate::codec::{encode, wire_struct};
use crate::identity::{BadSignature, PublicKey, SecretKey, Signature, Tag};
use crate::ids::{DatabaseId, ExecutionId, PlanHash, hash};

/// A signer's contribution to the execution id, and its ephemeral key for this session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The plan that the signer has taken on.
    pub plan: PlanHash,
    /// The party that speaks.
    pub index: PartyIndex,
    /// X25519 public key that messages to it are sealed to.
    pub ephemeral: [u8; 32],
    /// Random bytes.
    pub fresh: [u8; 32],
    /// The party's durable state counter (rule 10).
    pub counter: u64,
    /// The database that the party's state is in: two processes with one identity and different databases show.
    pub database: DatabaseId,
}

wire_struct!(Hello { plan, index, ephemeral, fresh, counter, database });

/// A hello as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedHello {
    /// The signed content.
    pub hello: Hello,
    signature: Signature,
}

wire_struct!(SignedHello { hello, signature });

impl Hello {
    /// Signs the hello.
    #[must_use]
    pub fn sign(self, key: &SecretKey) -> SignedHello {
        let signature = key.sign(Tag::Hello, &encode(&self));
        SignedHello { hello: self, signature }
    }
}

impl SignedHello {
    /// Verifies that `key` said it.
    ///
    /// # Errors
    /// When it did not.
    pub fn verify(&self, key: &PublicKey) -> Result<(), BadSignature> {
        key.verify(Tag::Hello, &encode(&self.hello), &self.signature)
    }
}

/// H(tag ‖ plan hash ‖ all hellos in index order).
#[must_use]
pub fn execution_id<'a>(plan: PlanHash, hellos: impl IntoIterator<Item = &'a Hello>) -> ExecutionId {
    let encoded: Vec<Vec<u8>> = hellos.into_iter().map(encode).collect();
    let mut parts: Vec<&[u8]> = vec![plan.as_bytes()];
    parts.extend(encoded.iter().map(Vec::as_slice));
    ExecutionId(hash("quorate 1 execution", &parts))
}
