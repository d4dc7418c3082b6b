//! Nonces made ahead of time: exactly t parties exchange the commitments to many pairs. Each pair signs one item later, in one
//! round, with the same parties (RFC 9591, section 5.1: the first round does not depend on the message).

use std::collections::BTreeMap;

use frost_core::round1::{SigningCommitments, SigningNonces, commit};
use frost_core::{Ciphersuite, Identifier};
use quorate_plugin_sdk::{
    Delivery, Failure, Host, Inbox, Message, OldRng, Outbox, Outcome, PartyIndex, Roster, Rounds, Scope,
    Slot, decode, encode,
};
use serde::{Deserialize, Serialize};

use crate::failure::{Refusal, identifier, out_of_order, prepared_nonces, refused, wrong_count};
use crate::share::Share;
use crate::suite::Suite;

/// The most pairs that one session makes.
const MAX_PAIRS: u16 = 256;

/// The form in which a pair is kept. A version that changes it gets a new number: what is left of the old one is not used.
const FORMAT: u32 = 1;

/// Round 1: the commitments to all pairs of a party.
#[derive(Serialize, Deserialize)]
#[serde(bound = "S: Ciphersuite")]
struct ManyCommitments<S: Ciphersuite>(Vec<SigningCommitments<S>>);

impl<S: Ciphersuite> Message for ManyCommitments<S> {
    const ROUND: u16 = 1;
    const DELIVERY: Delivery = Delivery::ReliableBroadcast;
    const MAX_BYTES: usize = 200 * MAX_PAIRS as usize;
}

/// A pair of nonces, with the commitments of all signers.
#[derive(Serialize, Deserialize)]
#[serde(bound = "S: Ciphersuite")]
pub(crate) struct PreparedNonces<S: Ciphersuite> {
    format: u32,
    signers: Vec<u16>,
    pub(crate) nonces: SigningNonces<S>,
    pub(crate) commitments: BTreeMap<Identifier<S>, SigningCommitments<S>>,
}

impl<S: Ciphersuite> PreparedNonces<S> {
    /// Takes a pair out of the pool: nobody ever gets it again.
    pub(crate) fn take(host: &mut dyn Host, roster: &Roster, name: &str) -> Result<Self, Failure> {
        let bytes = host.vault_take(Scope::Key, name)?;
        let bytes = bytes.ok_or_else(|| prepared_nonces("are not in the pool"))?;
        let prepared: Self = decode(&bytes).ok_or_else(|| prepared_nonces("do not decode"))?;
        if prepared.format != FORMAT || prepared.signers != numbers(roster) {
            return Err(prepared_nonces("are not these signers', or another version's"));
        }
        Ok(prepared)
    }
}

fn numbers(roster: &Roster) -> Vec<u16> {
    roster.signers().iter().map(|party| party.number()).collect()
}

/// A presigning by one party.
pub(crate) struct Presign<S: Suite> {
    roster: Roster,
    share: Share<S>,
    count: u16,
    pairs: Vec<(SigningNonces<S>, SigningCommitments<S>)>,
}

impl<S: Suite> Presign<S> {
    pub(crate) fn new(share: Share<S>, roster: &Roster, count: u16) -> Result<Self, Failure> {
        if !(1..=MAX_PAIRS).contains(&count) {
            return Err(refused(Refusal::PreparedNonces));
        }
        Ok(Self { roster: roster.clone(), share, count, pairs: vec![] })
    }

    fn stock(&mut self, host: &mut dyn Host, inbox: &mut Inbox) -> Result<Outcome, Failure> {
        let received = inbox.take::<ManyCommitments<S>>()?;
        let pairs = std::mem::take(&mut self.pairs);
        if let Some((sender, _)) = received.iter().find(|(_, many)| many.0.len() != pairs.len()) {
            return Err(wrong_count(*sender));
        }
        let signers = numbers(&self.roster);
        for (index, (nonces, own)) in pairs.into_iter().enumerate() {
            let of_peer = |(party, many): (&PartyIndex, &ManyCommitments<S>)| {
                Ok((identifier(*party)?, *many.0.get(index).ok_or_else(out_of_order)?))
            };
            let mut commitments =
                received.iter().map(of_peer).collect::<Result<BTreeMap<_, _>, Failure>>()?;
            commitments.insert(identifier(self.roster.me())?, own);
            let prepared = PreparedNonces { format: FORMAT, signers: signers.clone(), nonces, commitments };
            host.vault_stock(Scope::Key, &index.to_string(), &encode(&prepared)?)?;
        }
        Ok(Outcome::Presignatures(self.count))
    }
}

impl<S: Suite> Rounds for Presign<S> {
    const SCHEDULE: &'static [Slot] = &[Slot::of::<ManyCommitments<S>>()];

    fn begin(&mut self, _: &mut dyn Host, out: &mut Outbox) -> Result<(), Failure> {
        let packages = self.share.packages();
        let signing_share = packages.key.signing_share();
        self.pairs = (0..self.count).map(|_| commit(signing_share, &mut OldRng)).collect();
        out.broadcast(&ManyCommitments::<S>(self.pairs.iter().map(|(_, commitments)| *commitments).collect()))
    }

    fn round(
        &mut self,
        host: &mut dyn Host,
        _: u16,
        mut inbox: Inbox,
        _: &mut Outbox,
    ) -> Result<Option<Outcome>, Failure> {
        self.stock(host, &mut inbox).map(Some)
    }
}
