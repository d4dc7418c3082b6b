//! Envelopes: protocol messages on their way (rule 4), and the statements of a reliable broadcast (rule 5).

use crate::PartyIndex;
use crate::codec::{Bytes, Malformed, Reader, Wire, encode, wire_struct};
use crate::identity::{BadSignature, PublicKey, SecretKey, Signature, Tag};
use crate::ids::{ExecutionId, hash};

/// The version of envelopes that we write, and the only one that we read.
pub(crate) const ENVELOPE_VERSION: u8 = 1;

/// How a message travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PayloadKind {
    /// To one party, sealed.
    PointToPoint,
    /// To all, with no promise that all got the same.
    Broadcast,
    /// To all, delivered only once all are known to have got the same.
    ReliableBroadcast,
}

impl Wire for PayloadKind {
    fn put(&self, out: &mut Vec<u8>) {
        (*self as u8).put(out);
    }

    fn take(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        match u8::take(input)? {
            0 => Ok(Self::PointToPoint),
            1 => Ok(Self::Broadcast),
            2 => Ok(Self::ReliableBroadcast),
            _ => Err(Malformed),
        }
    }
}

/// The plain part of an envelope. It is the associated data of sealed payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub(crate) version: u8,
    /// The session.
    pub execution: ExecutionId,
    /// The sender.
    pub from: PartyIndex,
    /// The receiver.
    pub to: PartyIndex,
    /// From 0, counting everything from this sender to this receiver.
    pub sequence: u32,
    /// The sender's round.
    pub round: u16,
    /// How the payload travels.
    pub kind: PayloadKind,
}

wire_struct!(Header { version, execution, from, to, sequence, round, kind });

/// A signed envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The outside.
    pub header: Header,
    /// The inside: sealed for one party, in the clear for all.
    pub payload: Bytes,
    /// A reliable broadcast's own signature, the same for all receivers: what proves equivocation.
    pub statement: Option<Signature>,
    signature: Signature,
}

wire_struct!(Envelope { header, payload, statement, signature });

impl Envelope {
    pub(crate) fn sign(
        header: Header,
        payload: Vec<u8>,
        statement: Option<Signature>,
        key: &SecretKey,
    ) -> Self {
        let payload = Bytes(payload);
        let signature = key.sign(Tag::Envelope, &signed_bytes(&header, &payload, statement));
        Self { header, payload, statement, signature }
    }

    pub(crate) fn verify(&self, key: &PublicKey) -> Result<(), BadSignature> {
        if self.header.version != ENVELOPE_VERSION {
            return Err(BadSignature);
        }
        let statement = signed_bytes(&self.header, &self.payload, self.statement);
        key.verify(Tag::Envelope, &statement, &self.signature)
    }
}

/// The payload by its hash: Ed25519 reads what it signs twice, with SHA-512, which no processor of ours has
/// instructions for.
fn signed_bytes(header: &Header, payload: &Bytes, statement: Option<Signature>) -> Vec<u8> {
    let payload = hash("quorate 1 envelope payload", &[&payload.0]);
    [encode(header), payload.to_vec(), encode(&statement)].concat()
}

/// The statement that the sender of a reliable broadcast signs: the session, itself, the round, and the hash of the
/// payload.
pub(crate) fn broadcast_statement(
    execution: ExecutionId,
    from: PartyIndex,
    round: u16,
    payload_hash: &[u8; 32],
) -> Vec<u8> {
    [encode(&execution), encode(&from), encode(&round), payload_hash.to_vec()].concat()
}

pub(crate) fn payload_hash(payload: &[u8]) -> [u8; 32] {
    hash("quorate 1 broadcast payload", &[payload])
}

/// The hash that one signer received from one sender of a reliable broadcast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) from: PartyIndex,
    pub(crate) hash: [u8; 32],
    pub(crate) statement: Signature,
}

wire_struct!(Received { from, hash, statement });

/// A signer's word on all reliable broadcasts of a round, its own among them, in index order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Echo {
    pub(crate) execution: ExecutionId,
    pub(crate) by: PartyIndex,
    pub(crate) round: u16,
    pub(crate) received: Vec<Received>,
}

wire_struct!(Echo { execution, by, round, received });

/// An echo as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedEcho {
    pub(crate) echo: Echo,
    signature: Signature,
}

wire_struct!(SignedEcho { echo, signature });

impl Echo {
    pub(crate) fn sign(self, key: &SecretKey) -> SignedEcho {
        let signature = key.sign(Tag::Echo, &encode(&self));
        SignedEcho { echo: self, signature }
    }
}

impl SignedEcho {
    pub(crate) fn verify(&self, key: &PublicKey) -> Result<(), BadSignature> {
        key.verify(Tag::Echo, &encode(&self.echo), &self.signature)
    }
}
