//! What a report proves by itself, whoever passed it on: a signature that verifies, a certificate that all n parties
//! have signed. Everything else in it is only somebody's word.

use quorate_core::certificate::{Certificate, KeyOutputs, Ready};
use quorate_core::order::{Operation, Order};
use quorate_core::report::Outcome;
use quorate_runtime::Signature;

use crate::verify;

/// A result that needs no trust.
// One of it is passed on, once: a box would only be one more allocation.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proved {
    /// The order's message is signed.
    Signature(Signature),
    /// The order's key has new shares, and all n parties have promised to keep theirs.
    Shares {
        /// Their promises.
        certificate: Certificate,
        /// What they promised.
        key: KeyOutputs,
    },
}

/// What an outcome proves about an order; `chain_code` is that of the account's key.
#[must_use]
pub fn proved(order: &Order, chain_code: Option<&[u8; 32]>, outcome: &Outcome) -> Option<Proved> {
    match (outcome, &order.operation) {
        (Outcome::Signed { signature, recovery_id }, Operation::Sign(signing)) => {
            let bytes = signature.0.as_slice().try_into().ok()?;
            let signature = Signature { bytes, recovery_id: *recovery_id };
            verify::verify(&order.scheme, &order.public_key.0, chain_code, signing, &signature).ok()?;
            Some(Proved::Signature(signature))
        }
        (Outcome::Activated { certificate, key }, _) => {
            shares(order, chain_code, certificate.clone(), key.clone())
        }
        _ => None,
    }
}

/// What the promises of several reports prove together.
#[must_use]
pub fn proved_by_promises<'a>(
    order: &Order,
    chain_code: Option<&[u8; 32]>,
    outcomes: impl IntoIterator<Item = &'a Outcome>,
) -> Option<Proved> {
    let promises = outcomes.into_iter().filter_map(|outcome| match outcome {
        Outcome::Promised { ready, key } => Some((ready.clone(), key.clone())),
        _ => None,
    });
    let (readies, keys): (Vec<Ready>, Vec<KeyOutputs>) = promises.unzip();
    // One party may say something else: the others' word stands or falls by the certificate.
    readies.iter().zip(keys).find_map(|(own, key)| {
        let same: Vec<Ready> = readies.iter().filter(|r| r.activation == own.activation).cloned().collect();
        shares(order, chain_code, Certificate::of(&same, &order.parties)?, key)
    })
}

fn shares(
    order: &Order,
    chain_code: Option<&[u8; 32]>,
    certificate: Certificate,
    key: KeyOutputs,
) -> Option<Proved> {
    let activation = &certificate.activation;
    let epoch = match order.operation {
        Operation::Keygen => 1,
        Operation::Refresh => order.epoch.checked_add(1)?,
        Operation::Sign(_) => return None,
    };
    let fits = activation.account == order.account
        && activation.threshold == order.threshold
        && activation.epoch == epoch
        && activation.outputs == key.hash()
        && key.scheme == order.scheme
        && (epoch == 1 || key.public_key == order.public_key && key.chain_code.as_ref() == chain_code);
    (fits && certificate.verify(&order.parties).is_ok()).then_some(Proved::Shares { certificate, key })
}
