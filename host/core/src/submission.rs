//! Submissions: an account service hands a coordinator an order, with what it takes to carry it out. It is signed, so
//! that only account services keep coordinators busy: every party sees orders, and could submit them again.

use crate::PartyIndex;
use crate::abort::SignedAbort;
use crate::certificate::Certificate;
use crate::codec::{Bytes, Malformed, decode, encode, wire_struct};
use crate::identity::{PublicKey, SecretKey, Signature, Tag};
use crate::order::SignedOrder;

/// Aborts that go with an order: of a few earlier sessions, one of each party.
pub const MAX_ABORTS: usize = 64;

/// The request of an account service to a coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// The order.
    pub order: SignedOrder,
    /// How long the whole may take.
    pub time_limit_ms: u64,
    /// Which parties should sign; empty: whichever are there.
    pub signers: Vec<PartyIndex>,
    /// The certificate that made the account's current share set active, for parties that have not heard of it.
    pub certificate: Option<Certificate>,
    /// The chain code of the account's key, where it has one: with it a coordinator tells a signature from a lie.
    pub chain_code: Option<[u8; 32]>,
    /// Parties' signed word that they have ended earlier sessions of the account without a promise; at most
    /// [`MAX_ABORTS`].
    pub aborts: Vec<SignedAbort>,
    /// The order was submitted before, perhaps to another coordinator that is gone: a session that runs for it goes on.
    pub resubmitted: bool,
}

wire_struct!(Submission { order, time_limit_ms, signers, certificate, chain_code, aborts, resubmitted });

/// A submission as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedSubmission {
    bytes: Bytes,
    signature: Signature,
}

wire_struct!(SignedSubmission { bytes, signature });

/// Why a submission is refused: its account service must act, or an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmissionRefused {
    /// Not signed by an originator that this coordinator trusts: it is forged, or a setting is wrong.
    #[error("the submission is not signed by an originator in QUORATE_ORIGINATORS")]
    NotSigned,
    /// Not the encoding of a submission.
    #[error("the submission is malformed")]
    Malformed,
    /// It carries more than a coordinator passes on.
    #[error("the submission carries more than {MAX_ABORTS} aborts")]
    TooMuch,
}

impl From<Malformed> for SubmissionRefused {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

impl Submission {
    /// Signs the submission.
    #[must_use]
    pub fn sign(&self, originator: &SecretKey) -> SignedSubmission {
        let bytes = encode(self);
        let signature = originator.sign(Tag::Submission, &bytes);
        SignedSubmission { bytes: Bytes(bytes), signature }
    }
}

impl SignedSubmission {
    /// The bytes that were signed.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes.0
    }

    /// Verifies and decodes the submission. The order in it is still to be opened.
    ///
    /// # Errors
    /// See [`SubmissionRefused`].
    pub fn open(&self, originators: &[PublicKey]) -> Result<Submission, SubmissionRefused> {
        let by = |key: &PublicKey| key.verify(Tag::Submission, &self.bytes.0, &self.signature).is_ok();
        if !originators.iter().any(by) {
            return Err(SubmissionRefused::NotSigned);
        }
        let submission: Submission = decode(&self.bytes.0)?;
        if submission.aborts.len() > MAX_ABORTS { Err(SubmissionRefused::TooMuch) } else { Ok(submission) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::{MAX_ORDER_LIFETIME, Operation, Order, OrderTerms, Version};
    use crate::{AccountId, KeySpec, OrderId, Threshold, UnixSeconds};

    fn submission(originator: &SecretKey) -> Submission {
        let parties = (1..=2).map(|seed| SecretKey::from_seed(&[seed; 32]).public()).collect();
        let terms = OrderTerms {
            operation: Operation::Keygen,
            spec: KeySpec {
                account: AccountId([1; 16]),
                scheme: "ecdsa-secp256k1".into(),
                protocol: "dkls23".into(),
                threshold: Threshold::new(2, 2).unwrap(),
                parties,
                mandatory: vec![],
            },
            minimum_plugin: Version::default(),
            epoch: 0,
            share_set: None,
            public_key: vec![],
            recipient: None,
        };
        let order = Order::new(OrderId([2; 32]), terms, UnixSeconds(0), MAX_ORDER_LIFETIME).sign(originator);
        let signers = PartyIndex::all(2).collect();
        Submission {
            order,
            time_limit_ms: 10_000,
            signers,
            certificate: None,
            chain_code: Some([3; 32]),
            aborts: vec![],
            resubmitted: true,
        }
    }

    #[test]
    fn only_what_an_originator_has_signed_is_taken() {
        let (ours, another) = (SecretKey::from_seed(&[9; 32]), SecretKey::from_seed(&[8; 32]));
        let pinned = [ours.public()];
        let submitted = submission(&ours);
        assert_eq!(submitted.sign(&ours).open(&pinned), Ok(submitted.clone()));
        assert_eq!(submitted.sign(&another).open(&pinned), Err(SubmissionRefused::NotSigned));
        // A party that has the order has not the submission.
        let order = SignedSubmission {
            bytes: Bytes(submitted.order.bytes().to_vec()),
            signature: ours.sign(Tag::Order, submitted.order.bytes()),
        };
        assert_eq!(order.open(&pinned), Err(SubmissionRefused::NotSigned));
        let genuine = encode(&submitted.sign(&ours));
        for bit in 0..genuine.len() * 8 {
            let mut flipped = genuine.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let opened = decode::<SignedSubmission>(&flipped).map(|signed| signed.open(&pinned));
            assert!(!matches!(opened, Ok(Ok(_))), "bit {bit} was flipped");
        }
    }
}
