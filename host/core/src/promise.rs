//! A promised share: durable, not yet usable, and not to be deleted by any timeout (rule 9).
//!
//! A [`Promise`] begins when a party has stored its pending share together with the promise, and ends in one of two
//! ways: with the certificate (activate), or with a peer's signed word that it never promised and never will (release).

use std::collections::BTreeMap;

use crate::PartyIndex;
use crate::abort::SignedAbort;
use crate::certificate::{Activation, Certificate, Ready};
use crate::identity::{PublicKey, SecretKey};

/// A party that waits for the promises of the others.
#[derive(Clone, Debug)]
pub struct Promise {
    own: Ready,
    parties: Vec<PublicKey>,
    readies: BTreeMap<PartyIndex, Ready>,
}

/// How a promise ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// All n have promised the same: activate the share, and store the certificate in the same transaction.
    Activate(Certificate),
    /// A party never promised and never will: the pending share can never become active, delete it.
    Release {
        /// Who said so.
        by: PartyIndex,
    },
}

impl Promise {
    /// Signs the promise. The pending share is durable by now; what this returns must be stored before it is sent.
    #[must_use]
    pub fn make(activation: Activation, me: PartyIndex, key: &SecretKey, parties: Vec<PublicKey>) -> Self {
        let own = Ready::sign(activation, me, key);
        Self { readies: [(me, own.clone())].into(), own, parties }
    }

    /// A promise that was stored earlier, after a restart.
    #[must_use]
    pub fn restore(own: Ready, parties: Vec<PublicKey>) -> Self {
        Self { readies: [(own.by, own.clone())].into(), own, parties }
    }

    /// Our own promise, to be sent to all others for as long as this lasts.
    #[must_use]
    pub fn own(&self) -> &Ready {
        &self.own
    }

    /// Takes in another party's promise. One that does not verify or does not match ours is ignored: it can be
    /// anybody's doing, and a party that really promised something else has made this activation impossible anyway.
    #[must_use]
    pub fn ready(&mut self, ready: Ready) -> Option<Kept> {
        let key = self.key(ready.by)?;
        if ready.activation != self.own.activation || ready.verify(&key).is_err() {
            return None;
        }
        self.readies.insert(ready.by, ready);
        let all: Vec<Ready> = self.readies.values().cloned().collect();
        Certificate::of(&all, &self.parties).map(Kept::Activate)
    }

    /// Takes in a certificate, from whomever.
    #[must_use]
    pub fn certificate(&self, certificate: Certificate) -> Option<Kept> {
        let ours = certificate.activation == self.own.activation;
        (ours && certificate.verify(&self.parties).is_ok()).then_some(Kept::Activate(certificate))
    }

    /// Takes in another party's notice that it has ended the session without a promise.
    #[must_use]
    pub fn abort(&self, abort: &SignedAbort) -> Option<Kept> {
        let by = abort.notice.by;
        let key = self.key(by)?;
        // A party that has promised can't take it back: whoever has its promise may already have activated.
        let promised = self.readies.contains_key(&by);
        let this = abort.notice.plan == self.own.activation.plan;
        (this && !promised && abort.verify(&key).is_ok()).then_some(Kept::Release { by })
    }

    fn key(&self, party: PartyIndex) -> Option<PublicKey> {
        self.parties.get(usize::from(party.number()) - 1).copied()
    }
}
