//! A promised share: durable, not yet usable, and not to be deleted by any timeout (rule 9).
//!
//! A [`Promise`] begins when a party has stored its pending share together with the promise. It ends with the
//! certificate (activate), or with a peer's signed word that it never promised and never will (release).
//!
//! A release gives up the waiting, not the share: a peer that promised to some and denied it to others would otherwise
//! make the latter delete what the former have activated. A certificate that turns up later still activates.

use std::collections::BTreeMap;

use crate::PartyIndex;
use crate::abort::SignedAbort;
use crate::certificate::{Activation, Certificate, Ready};
use crate::identity::{PublicKey, SecretKey, key_of};

/// A party that waits for the promises of the others.
#[derive(Clone, Debug)]
pub struct Promise {
    own: Ready,
    parties: Vec<PublicKey>,
    readies: BTreeMap<PartyIndex, Ready>,
    /// What parties have said that they never promised.
    aborts: BTreeMap<PartyIndex, SignedAbort>,
}

/// A party's promise together with its word that it never promised and never will. It proves that the party lies: an honest
/// one signs one of the two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// The promise.
    pub ready: Ready,
    /// The denial, about the same plan.
    pub abort: SignedAbort,
}

impl Contradiction {
    /// The party that contradicts itself, if `key` is its key and has signed both.
    #[must_use]
    pub fn of(ready: Ready, abort: SignedAbort, key: &PublicKey) -> Option<Self> {
        let same = ready.by == abort.notice.by && ready.activation.plan == abort.notice.plan;
        (same && ready.verify(key).is_ok() && abort.verify(key).is_ok()).then_some(Self { ready, abort })
    }

    /// The party that contradicts itself.
    #[must_use]
    pub fn by(&self) -> PartyIndex {
        self.ready.by
    }
}

/// How a promise ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PromiseEvent {
    /// All n have promised the same: activate the share, and store the certificate in the same transaction.
    Activate(Certificate),
    /// A party says that it never promised and never will: the lock on the account is free again. Keep the share, and
    /// keep listening for a certificate: if one turns up, that party has lied.
    Release {
        /// The party that said so.
        by: PartyIndex,
    },
}

impl Promise {
    /// Signs the promise. The pending share is durable by now; what this returns must be stored before it is sent.
    #[must_use]
    pub fn make(activation: Activation, me: PartyIndex, key: &SecretKey, parties: Vec<PublicKey>) -> Self {
        let own = Ready::sign(activation, me, key);
        let readies = [(me, own.clone())].into();
        Self { readies, own, parties, aborts: BTreeMap::new() }
    }

    /// A promise that was stored earlier, after a restart.
    #[must_use]
    pub fn restore(own: Ready, parties: Vec<PublicKey>) -> Self {
        let readies = [(own.by, own.clone())].into();
        Self { readies, own, parties, aborts: BTreeMap::new() }
    }

    /// Our own promise, to be sent to all others for as long as this lasts.
    #[must_use]
    pub fn own(&self) -> &Ready {
        &self.own
    }

    /// Takes in another party's promise. One that does not verify or does not match ours is ignored: it may
    /// be forged, and a party that really promised something else has made this activation impossible anyway.
    #[must_use]
    pub fn on_ready(&mut self, ready: Ready) -> Option<PromiseEvent> {
        let key = self.key(ready.by)?;
        if ready.activation != self.own.activation || ready.verify(&key).is_err() {
            return None;
        }
        self.readies.insert(ready.by, ready);
        let all: Vec<Ready> = self.readies.values().cloned().collect();
        Certificate::of(&all, &self.parties).map(PromiseEvent::Activate)
    }

    /// Takes in a certificate, from whomever.
    #[must_use]
    pub fn on_certificate(&mut self, certificate: Certificate) -> Option<PromiseEvent> {
        let ours = certificate.activation == self.own.activation;
        if !ours || certificate.verify(&self.parties).is_err() {
            return None;
        }
        for &by in self.aborts.keys() {
            self.readies.extend(certificate.promise_of(by).map(|ready| (by, ready)));
        }
        Some(PromiseEvent::Activate(certificate))
    }

    /// Takes in another party's notice that it has ended the session without a promise.
    #[must_use]
    pub fn on_abort(&mut self, abort: &SignedAbort) -> Option<PromiseEvent> {
        let by = abort.notice.by;
        let key = self.key(by)?;
        if abort.notice.plan != self.own.activation.plan || abort.verify(&key).is_err() {
            return None;
        }
        self.aborts.entry(by).or_insert_with(|| abort.clone());
        // A promise can't be withdrawn: a peer that received it may already have activated.
        (!self.readies.contains_key(&by)).then_some(PromiseEvent::Release { by })
    }

    /// The proofs against parties that have both promised and denied it, so far. They are to be kept.
    pub fn contradictions(&self) -> impl Iterator<Item = Contradiction> + '_ {
        let both = self.aborts.iter().filter_map(|(by, abort)| Some((self.readies.get(by)?, abort)));
        both.map(|(ready, abort)| Contradiction { ready: ready.clone(), abort: abort.clone() })
    }

    fn key(&self, party: PartyIndex) -> Option<PublicKey> {
        key_of(&self.parties, party).copied()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::Threshold;
    use crate::abort::{AbortCode, AbortNotice};
    use crate::ids::{AccountId, Digest, ExecutionId, OutputHash, PlanHash};
    use crate::order::tests::identities;

    fn activation(outputs: u8) -> Activation {
        Activation {
            plan: PlanHash([1; 32]),
            execution: ExecutionId([2; 32]),
            account: AccountId([3; 16]),
            epoch: 1,
            threshold: Threshold::new(2, 3).unwrap(),
            digest: Digest([4; 32]),
            outputs: OutputHash([outputs; 32]),
        }
    }

    fn party(index: u16) -> PartyIndex {
        PartyIndex::try_from(index).unwrap()
    }

    fn keys() -> Vec<PublicKey> {
        identities(3).iter().map(SecretKey::public).collect()
    }

    fn ready(index: u16, outputs: u8) -> Ready {
        Ready::sign(activation(outputs), party(index), &identities(3)[usize::from(index) - 1])
    }

    fn abort(index: u16, plan: u8) -> SignedAbort {
        let notice = AbortNotice { plan: PlanHash([plan; 32]), by: party(index), code: AbortCode::Timeout };
        notice.sign(&identities(3)[usize::from(index) - 1])
    }

    fn promise() -> Promise {
        Promise::make(activation(0), party(1), &identities(3)[0], keys())
    }

    #[test]
    fn only_n_matching_promises_activate() {
        let mut promise = promise();
        assert_eq!(promise.on_ready(ready(2, 0)), None);
        assert_eq!(promise.on_ready(ready(2, 0)), None, "one promise counted twice");
        assert_eq!(promise.on_ready(ready(3, 9)), None, "a promise of other outputs counted");
        let forged = Ready::sign(activation(0), party(3), &identities(3)[1]);
        assert_eq!(promise.on_ready(forged), None, "another party's signature counted");
        let Some(PromiseEvent::Activate(certificate)) = promise.on_ready(ready(3, 0)) else { panic!() };
        assert_eq!(certificate.verify(&keys()), Ok(()));
    }

    #[test]
    fn a_certificate_needs_every_party() {
        let all = [ready(1, 0), ready(2, 0), ready(3, 0)];
        let good = Certificate::of(&all, &keys()).unwrap();
        assert!(Certificate::of(&all[..2], &keys()).is_none());
        assert!(Certificate::of(&[ready(1, 0), ready(2, 0), ready(3, 9)], &keys()).is_none());
        assert!(good.verify(&keys()[..2]).is_err());
        let other_order = [keys()[1], keys()[0], keys()[2]];
        assert!(good.verify(&other_order).is_err());
        let bytes = crate::codec::encode(&good);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let accepted =
                crate::codec::decode::<Certificate>(&flipped).is_ok_and(|c| c.verify(&keys()).is_ok());
            assert!(!accepted, "bit {bit}");
        }
        assert_eq!(promise().on_certificate(good.clone()), Some(PromiseEvent::Activate(good)));
    }

    #[test]
    fn a_certificate_of_another_activation_is_ignored() {
        let all = [ready(1, 9), ready(2, 9), ready(3, 9)];
        assert_eq!(promise().on_certificate(Certificate::of(&all, &keys()).unwrap()), None);
    }

    #[test]
    fn only_the_signed_word_of_a_party_that_has_not_promised_releases() {
        let mut promise = promise();
        assert_eq!(promise.on_abort(&abort(2, 9)), None, "a notice about another plan");
        let forged = abort(2, 1).notice.sign(&identities(3)[2]);
        assert_eq!(promise.on_abort(&forged), None, "another party's signature");
        assert_eq!(promise.on_ready(ready(2, 0)), None);
        assert_eq!(promise.on_abort(&abort(2, 1)), None, "a promise taken back");
        assert_eq!(promise.on_abort(&abort(3, 1)), Some(PromiseEvent::Release { by: party(3) }));
        // It lied: the certificate still counts.
        assert!(matches!(promise.on_ready(ready(3, 0)), Some(PromiseEvent::Activate(_))));
    }

    #[test]
    fn a_promise_and_a_denial_of_one_party_name_it_in_whatever_order_they_come() {
        let by = |promise: &Promise| promise.contradictions().map(|found| found.by()).collect::<Vec<_>>();
        let (mut first, mut second, mut third) = (promise(), promise(), promise());
        let _ = first.on_ready(ready(2, 0));
        assert_eq!(by(&first), []);
        let _ = first.on_abort(&abort(2, 1));
        let _ = second.on_abort(&abort(2, 1));
        assert_eq!(by(&second), []);
        let _ = second.on_ready(ready(2, 0));
        let _ = third.on_abort(&abort(2, 1));
        let all = [ready(1, 0), ready(2, 0), ready(3, 0)];
        let _ = third.on_certificate(Certificate::of(&all, &keys()).unwrap());
        for promise in [&first, &second, &third] {
            assert_eq!(by(promise), [party(2)]);
        }
        assert!(Contradiction::of(ready(2, 0), abort(2, 1), &keys()[1]).is_some());
        for (ready, abort, key) in
            [(ready(2, 0), abort(2, 9), 1), (ready(2, 0), abort(3, 1), 1), (ready(2, 0), abort(2, 1), 2)]
        {
            assert_eq!(Contradiction::of(ready, abort, &keys()[key]), None);
        }
    }
}
