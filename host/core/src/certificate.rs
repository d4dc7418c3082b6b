//! Activation (rule 9): a key becomes usable only when all n parties have promised, by signature, that their shares
//! of it are durable.

use crate::codec::{Bytes, encode, wire_struct};
use crate::identity::{BadSignature, PublicKey, SecretKey, Signature, Tag};
use crate::ids::{AccountId, Digest, ExecutionId, OutputHash, PlanHash, hash};
use crate::{PartyIndex, Threshold};

/// The statement to which all n parties must agree before a key is activated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activation {
    /// The plan of the session that made the shares.
    pub plan: PlanHash,
    /// The session.
    pub execution: ExecutionId,
    /// The account.
    pub account: AccountId,
    /// The epoch of the new shares.
    pub epoch: u32,
    /// t of n.
    pub threshold: Threshold,
    /// The component that made them.
    pub digest: Digest,
    /// A hash of every public output: key, chain code, all verifying shares.
    pub outputs: OutputHash,
}

wire_struct!(Activation { plan, execution, account, epoch, threshold, digest, outputs });

/// The public results of a keygen or refresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyOutputs {
    /// The signature scheme.
    pub scheme: String,
    /// The public key, in the scheme's usual encoding (33 bytes of compressed SEC 1 for ECDSA, 32 bytes for Ed25519 and BIP-340).
    pub public_key: Bytes,
    /// The BIP-32 chain code, where the protocol has one.
    pub chain_code: Option<[u8; 32]>,
    /// The verifying shares of all n parties, in index order.
    pub verifying_shares: Vec<Bytes>,
}

wire_struct!(KeyOutputs { scheme, public_key, chain_code, verifying_shares });

impl KeyOutputs {
    /// The hash to which parties promise. It covers every field.
    #[must_use]
    pub fn hash(&self) -> OutputHash {
        OutputHash(hash("quorate 1 outputs", &[&encode(self)]))
    }
}

/// One party's promise: its share is durable, and it will keep it until it sees the certificate or a peer's signed
/// abort. It says so only after both are true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The content of the promise.
    pub activation: Activation,
    /// The party that promises.
    pub by: PartyIndex,
    signature: Signature,
}

wire_struct!(Ready { activation, by, signature });

impl Ready {
    /// Signs the promise.
    #[must_use]
    pub fn sign(activation: Activation, by: PartyIndex, key: &SecretKey) -> Self {
        let signature = key.sign(Tag::Ready, &statement(&activation, by));
        Self { activation, by, signature }
    }

    /// Verifies that `key` promised it.
    ///
    /// # Errors
    /// When it did not.
    pub fn verify(&self, key: &PublicKey) -> Result<(), BadSignature> {
        key.verify(Tag::Ready, &statement(&self.activation, self.by), &self.signature)
    }
}

fn statement(activation: &Activation, by: PartyIndex) -> Vec<u8> {
    [encode(activation), encode(&by)].concat()
}

/// All n promises of one activation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The content of the promises.
    pub activation: Activation,
    /// The signatures, in index order.
    signatures: Vec<Signature>,
}

wire_struct!(Certificate { activation, signatures });

impl Certificate {
    /// The certificate of these promises; `None` unless they are n matching ones, verified, by all parties.
    #[must_use]
    pub fn of(readies: &[Ready], parties: &[PublicKey]) -> Option<Self> {
        let activation = readies.first()?.activation.clone();
        let signatures = PartyIndex::all(activation.threshold.parties())
            .map(|party| readies.iter().find(|r| r.by == party && r.activation == activation))
            .map(|ready| ready.map(|r| r.signature))
            .collect::<Option<Vec<_>>>()?;
        let certificate = Self { activation, signatures };
        certificate.verify(parties).is_ok().then_some(certificate)
    }

    /// The promise of one party.
    #[must_use]
    pub fn promise_of(&self, by: PartyIndex) -> Option<Ready> {
        let signature = *self.signatures.get(usize::from(by.number()) - 1)?;
        Some(Ready { activation: self.activation.clone(), by, signature })
    }

    /// Verifies that all n parties, by their identity keys in index order, have promised this.
    ///
    /// # Errors
    /// When one has not.
    pub fn verify(&self, parties: &[PublicKey]) -> Result<(), BadSignature> {
        let n = usize::from(self.activation.threshold.parties());
        if parties.len() != n || self.signatures.len() != n {
            return Err(BadSignature);
        }
        PartyIndex::all(self.activation.threshold.parties())
            .zip(parties.iter().zip(&self.signatures))
            .try_for_each(|(by, (key, signature))| {
                key.verify(Tag::Ready, &statement(&self.activation, by), signature)
            })
    }
}
