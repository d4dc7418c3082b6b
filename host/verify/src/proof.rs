//! The proof that a report contains, independent of its way: a signature that verifies, or a certificate that all n
//! parties have signed. Everything else in a report is the claim of one party.

use std::collections::BTreeMap;

use quorate_core::certificate::{Certificate, KeyOutputs, Ready};
use quorate_core::order::{Operation, Order};
use quorate_core::presignatures::MadePresignatures;
use quorate_core::report::Outcome;
use quorate_core::{KeySpec, PartyIndex, SchemeSignature};

use crate::expected_key::is_canonical_key;
use crate::signature::verify_all;

/// A result that needs no trust.
// One of it is passed on, once: a box would only be one more allocation.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proved {
    /// Every item of the order is signed: the signatures, in their order.
    Signatures(Vec<SchemeSignature>),
    /// The order's key has new shares, and all n parties have promised to keep theirs.
    Shares {
        /// Their promises.
        certificate: Certificate,
        /// The key that they promised.
        key: KeyOutputs,
    },
    /// Presignatures were made. That is only the word of all signers: a session that uses them shows whether they are there.
    Presignatures(MadePresignatures),
}

/// The proof that an outcome contains about an order; `chain_code` is that of the account's key.
#[must_use]
pub fn proved(order: &Order, chain_code: Option<&[u8; 32]>, outcome: &Outcome) -> Option<Proved> {
    match (outcome, &order.operation) {
        (Outcome::Signed(signatures), Operation::Sign(items)) => {
            verify_all(order, chain_code, items, signatures).ok()?;
            Some(Proved::Signatures(signatures.clone()))
        }
        (Outcome::Activated { certificate, key }, _) => {
            shares(order, chain_code, certificate.clone(), key.clone())
        }
        _ => None,
    }
}

/// The proof that the reports of a session's signers make together: promises, or presignatures that all of them have.
#[must_use]
pub fn proved_together(
    order: &Order,
    chain_code: Option<&[u8; 32]>,
    signers: &[PartyIndex],
    outcomes: &BTreeMap<PartyIndex, Outcome>,
) -> Option<Proved> {
    if let Some(made) = MadePresignatures::of(order, signers, outcomes) {
        return Some(Proved::Presignatures(made));
    }
    let promises = outcomes.values().filter_map(|outcome| match outcome {
        Outcome::Promised { ready, key } => Some((ready.clone(), key.clone())),
        _ => None,
    });
    let (readies, keys): (Vec<Ready>, Vec<KeyOutputs>) = promises.unzip();
    // One party may say something else: the others' word stands or falls by the certificate.
    readies.iter().zip(keys).find_map(|(own, key)| {
        let same: Vec<Ready> = readies.iter().filter(|r| r.activation == own.activation).cloned().collect();
        shares(order, chain_code, Certificate::of(&same, &order.spec.parties)?, key)
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
        Operation::Refresh | Operation::Repair(_) => order.epoch.checked_add(1)?,
        _ => return None,
    };
    let is_next = activation.epoch == epoch
        && (epoch == 1 || key.public_key == order.public_key && key.chain_code.as_ref() == chain_code);
    (is_next && certifies(&order.spec, &certificate, &key)).then_some(Proved::Shares { certificate, key })
}

/// Whether a certificate makes a key that of an account: all its parties have promised to keep their shares of this very key,
/// which has the account's scheme and threshold.
#[must_use]
pub fn certifies(spec: &KeySpec, certificate: &Certificate, key: &KeyOutputs) -> bool {
    let activation = &certificate.activation;
    activation.account == spec.account
        && activation.threshold == spec.threshold
        && activation.epoch > 0
        && activation.outputs == key.hash()
        && key.scheme == spec.scheme
        && is_canonical_key(&spec.scheme, &key.public_key.0)
        && certificate.verify(&spec.parties).is_ok()
}

#[cfg(test)]
mod tests {
    use quorate_core::certificate::Activation;
    use quorate_core::codec::Bytes;
    use quorate_core::identity::SecretKey;
    use quorate_core::order::{MAX_ORDER_LIFETIME, OrderTerms, Version};
    use quorate_core::{AccountId, Digest, ExecutionId, OrderId, PlanHash, Threshold, UnixSeconds};

    use super::*;

    const CODE: [u8; 32] = [6; 32];

    fn keys() -> Vec<SecretKey> {
        (1..=2).map(|seed| SecretKey::from_seed(&[seed; 32])).collect()
    }

    fn refresh() -> Order {
        let terms = OrderTerms {
            operation: Operation::Refresh,
            spec: KeySpec {
                account: AccountId([1; 16]),
                scheme: "ecdsa-secp256k1".into(),
                protocol: "dkls23".into(),
                threshold: Threshold::new(2, 2).unwrap(),
                parties: keys().iter().map(SecretKey::public).collect(),
                mandatory: vec![],
            },
            minimum_plugin: Version::default(),
            epoch: 1,
            share_set: Some(PlanHash([5; 32])),
            public_key: vec![2; 33],
            recipient: None,
        };
        Order::new(OrderId([2; 32]), terms, UnixSeconds(0), MAX_ORDER_LIFETIME)
    }

    fn outputs() -> KeyOutputs {
        KeyOutputs {
            scheme: "ecdsa-secp256k1".into(),
            public_key: Bytes(vec![2; 33]),
            chain_code: Some(CODE),
            verifying_shares: vec![],
        }
    }

    fn activation(key: &KeyOutputs) -> Activation {
        Activation {
            plan: PlanHash([1; 32]),
            execution: ExecutionId([2; 32]),
            account: AccountId([1; 16]),
            epoch: 2,
            threshold: Threshold::new(2, 2).unwrap(),
            digest: Digest([4; 32]),
            outputs: key.hash(),
        }
    }

    fn promises(activation: &Activation, key: &KeyOutputs) -> BTreeMap<PartyIndex, Outcome> {
        let keys = keys();
        let all = PartyIndex::all(2).zip(&keys).map(|(by, secret)| {
            let ready = Ready::sign(activation.clone(), by, secret);
            (by, Outcome::Promised { ready, key: key.clone() })
        });
        all.collect()
    }

    #[test]
    fn new_shares_are_proved_only_of_the_same_key_account_and_next_epoch() {
        let proves = |activation: Activation, key: KeyOutputs| {
            proved_together(&refresh(), Some(&CODE), &[], &promises(&activation, &key)).is_some()
        };
        let good = activation(&outputs());
        assert!(proves(good.clone(), outputs()));
        let mut one = promises(&good, &outputs());
        one.pop_last();
        assert_eq!(proved_together(&refresh(), Some(&CODE), &[], &one), None);
        for (activation, key) in [
            (Activation { account: AccountId([9; 16]), ..good.clone() }, outputs()),
            (Activation { epoch: 3, ..good.clone() }, outputs()),
            (good, KeyOutputs { chain_code: None, ..outputs() }),
        ] {
            assert!(!proves(activation, key));
        }
        for other in [
            KeyOutputs { chain_code: Some([7; 32]), ..outputs() },
            KeyOutputs { public_key: Bytes(vec![3; 33]), ..outputs() },
            KeyOutputs { scheme: "ed25519".into(), ..outputs() },
        ] {
            assert!(!proves(activation(&other), other.clone()), "{other:?}");
        }
    }

    /// All parties have promised this key, and the record of the account says something else.
    #[test]
    fn a_certificate_is_of_one_account_scheme_and_set_of_parties() {
        let certificate = |key: &KeyOutputs| {
            let parties: Vec<_> = keys().iter().map(SecretKey::public).collect();
            let readies: Vec<Ready> = PartyIndex::all(2)
                .zip(&keys())
                .map(|(by, secret)| Ready::sign(activation(key), by, secret))
                .collect();
            Certificate::of(&readies, &parties).unwrap()
        };
        let (spec, key) = (refresh().spec, outputs());
        assert!(certifies(&spec, &certificate(&key), &key));
        let mut other_parties = spec.parties.clone();
        other_parties.reverse();
        for other in [
            KeySpec { account: AccountId([9; 16]), ..spec.clone() },
            KeySpec { scheme: "bip340".into(), ..spec.clone() },
            KeySpec { threshold: Threshold::new(2, 3).unwrap(), ..spec.clone() },
            KeySpec { parties: other_parties, ..spec.clone() },
        ] {
            assert!(!certifies(&other, &certificate(&key), &key), "{other:?}");
        }
        // In another encoding than the one of its scheme.
        let uncompressed = KeyOutputs { public_key: Bytes(vec![4; 65]), ..outputs() };
        assert!(!certifies(&spec, &certificate(&uncompressed), &uncompressed));
        // Two schemes whose keys have 32 bytes.
        let of_32_bytes =
            KeyOutputs { scheme: "ed25519".into(), public_key: Bytes(vec![2; 32]), ..outputs() };
        let spec = KeySpec { scheme: "bip340".into(), ..spec };
        assert!(!certifies(&spec, &certificate(&of_32_bytes), &of_32_bytes));
        let same = KeyOutputs { scheme: "bip340".into(), ..of_32_bytes };
        assert!(certifies(&spec, &certificate(&same), &same));
        assert!(!certifies(
            &spec,
            &certificate(&same),
            &KeyOutputs { scheme: "ed25519".into(), ..same.clone() }
        ));
    }
}
