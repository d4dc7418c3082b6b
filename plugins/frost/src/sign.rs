//! Signing one item with exactly t parties: nonce commitments to all, then signature shares to all. Every signer aggregates. With nonces
//! that were made ahead of time there is only the second round.

use std::collections::BTreeMap;

use frost_core::round1::{SigningCommitments, SigningNonces, commit};
use frost_core::round2::{self, SignatureShare};
use frost_core::{CheaterDetection, Ciphersuite, Identifier, SigningPackage, aggregate_custom};
use quorate_plugin_sdk::{
    Delivery, Failure, Host, Inbox, Message, OldRng, Outbox, Outcome, PartyIndex, Roster, Rounds, SignItem,
    Signature, Slot, encode,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::failure::{
    Refusal, bad_result, different_commitments, failure, identifier, out_of_order, refused,
};
use crate::presign::PreparedNonces;
use crate::share::Share;
use crate::suite::{Packages, Suite};

/// Round 1: the commitments to a party's nonces.
#[derive(Serialize, Deserialize)]
#[serde(bound = "S: Ciphersuite")]
struct Commitments<S: Ciphersuite>(SigningCommitments<S>);

impl<S: Ciphersuite> Message for Commitments<S> {
    const ROUND: u16 = 1;
    const DELIVERY: Delivery = Delivery::ReliableBroadcast;
    const MAX_BYTES: usize = 200;
}

/// Round 2: a party's share of the signature, and which commitments it is for.
#[derive(Serialize, Deserialize)]
#[serde(bound = "S: Ciphersuite")]
struct BoundSignatureShare<S: Ciphersuite> {
    share: SignatureShare<S>,
    /// SHA-256 of a label, the execution id of the item and the commitments of all signers.
    commitments: [u8; 32],
}

impl<S: Ciphersuite> Message for BoundSignatureShare<S> {
    const ROUND: u16 = 2;
    const DELIVERY: Delivery = Delivery::Broadcast;
    const MAX_BYTES: usize = 200;
}

/// A signing of one item by one party.
pub(crate) struct Sign<S: Suite> {
    roster: Roster,
    message: Vec<u8>,
    packages: Packages<S>,
    nonces: Option<(SigningNonces<S>, SigningCommitments<S>)>,
    signed: Option<Signed<S>>,
}

/// Kept from round 1 to the end.
struct Signed<S: Suite> {
    package: SigningPackage<S>,
    share: SignatureShare<S>,
    commitments: [u8; 32],
}

impl<S: Suite> Sign<S> {
    pub(crate) fn new(share: &Share<S>, roster: &Roster, item: &SignItem) -> Result<Self, Failure> {
        if !item.path.is_empty() {
            return Err(refused(Refusal::Path));
        }
        let message = S::message(item)?;
        let packages = S::for_item(share.packages(), item);
        Ok(Self { roster: roster.clone(), message, packages, nonces: None, signed: None })
    }

    /// This party's value and those of its peers.
    fn by_identifier<T>(
        &self,
        received: BTreeMap<PartyIndex, T>,
        own: T,
    ) -> Result<BTreeMap<Identifier<S>, T>, Failure> {
        let all = received.into_iter().chain([(self.roster.me(), own)]);
        all.map(|(party, value)| Ok((identifier(party)?, value))).collect()
    }

    fn sign(&mut self, inbox: &mut Inbox, out: &mut Outbox) -> Result<(), Failure> {
        let (nonces, own) = self.nonces.take().ok_or_else(out_of_order)?;
        let received = inbox.take::<Commitments<S>>()?.into_iter().map(|(party, c)| (party, c.0));
        let all = self.by_identifier(received.collect(), own)?;
        self.sign_with(&nonces, all, out)
    }

    fn sign_with(
        &mut self,
        nonces: &SigningNonces<S>,
        all: BTreeMap<Identifier<S>, SigningCommitments<S>>,
        out: &mut Outbox,
    ) -> Result<(), Failure> {
        let commitments = Sha256::new()
            .chain_update(b"quorate frost commitments 1")
            .chain_update(self.roster.execution_id())
            .chain_update(&*encode(&all)?)
            .finalize()
            .into();
        let package = SigningPackage::new(all, &self.message);
        let share = round2::sign(&package, nonces, &self.packages.key)
            .map_err(|error| failure(&self.roster, &error))?;
        out.broadcast(&BoundSignatureShare::<S> { share, commitments })?;
        self.signed = Some(Signed { package, share, commitments });
        Ok(())
    }

    fn aggregate(&mut self, inbox: &mut Inbox) -> Result<Signature, Failure> {
        let Signed { package, share, commitments } = self.signed.take().ok_or_else(out_of_order)?;
        let received = inbox.take::<BoundSignatureShare<S>>()?;
        if received.values().any(|partial| partial.commitments != commitments) {
            return Err(different_commitments());
        }
        let received = received.into_iter().map(|(party, partial)| (party, partial.share));
        let shares = self.by_identifier(received.collect(), share)?;
        let public = &self.packages.public;
        let signature = aggregate_custom(&package, &shares, public, CheaterDetection::AllCheaters)
            .map_err(|error| failure(&self.roster, &error))?;
        let bytes = signature.serialize().map_err(|error| failure(&self.roster, &error))?;
        let bytes = bytes.try_into().map_err(|_| bad_result("make no signature of 64 bytes"))?;
        Ok(Signature { bytes, recovery_id: None })
    }
}

impl<S: Suite> Rounds for Sign<S> {
    const SCHEDULE: &'static [Slot] = &[Slot::of::<Commitments<S>>(), Slot::of::<BoundSignatureShare<S>>()];

    fn begin(&mut self, _: &mut dyn Host, out: &mut Outbox) -> Result<(), Failure> {
        let (nonces, commitments) = commit(self.packages.key.signing_share(), &mut OldRng);
        out.broadcast(&Commitments::<S>(commitments))?;
        self.nonces = Some((nonces, commitments));
        Ok(())
    }

    fn round(
        &mut self,
        _: &mut dyn Host,
        round: u16,
        mut inbox: Inbox,
        out: &mut Outbox,
    ) -> Result<Option<Outcome>, Failure> {
        match round {
            1 => self.sign(&mut inbox, out).map(|()| None),
            _ => Ok(Some(Outcome::Signatures(vec![self.aggregate(&mut inbox)?]))),
        }
    }
}

/// A signing of one item with nonces that were made ahead of time.
pub(crate) struct SignPrepared<S: Suite> {
    sign: Sign<S>,
    /// The name of the nonces in the pool.
    name: String,
}

impl<S: Suite> SignPrepared<S> {
    pub(crate) fn new(share: &Share<S>, roster: &Roster, item: &SignItem) -> Result<Self, Failure> {
        let name = item.presignature.clone().ok_or_else(|| refused(Refusal::PreparedNonces))?;
        Ok(Self { sign: Sign::new(share, roster, item)?, name })
    }
}

impl<S: Suite> Rounds for SignPrepared<S> {
    const SCHEDULE: &'static [Slot] = &[Slot::of::<BoundSignatureShare<S>>()];

    fn begin(&mut self, host: &mut dyn Host, out: &mut Outbox) -> Result<(), Failure> {
        let prepared = PreparedNonces::<S>::take(host, &self.sign.roster, &self.name)?;
        self.sign.sign_with(&prepared.nonces, prepared.commitments, out)
    }

    fn round(
        &mut self,
        _: &mut dyn Host,
        _: u16,
        mut inbox: Inbox,
        _: &mut Outbox,
    ) -> Result<Option<Outcome>, Failure> {
        Ok(Some(Outcome::Signatures(vec![self.sign.aggregate(&mut inbox)?])))
    }
}
