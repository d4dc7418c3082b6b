//! The packages of a key generation or refresh: commitments to all in round 1, a secret share to each in round 2.
//!
//! The library's packages name neither a session nor a sender. Each is sent behind a prefix that binds it to both
//! ([`Binding`]), so that one of another session is a fault of its sender.

use std::collections::{BTreeMap, BTreeSet};

use frost_core::keys::dkg::round1::Package;
use frost_core::keys::dkg::round2;
use frost_core::{Ciphersuite, Identifier};
use quorate_plugin_sdk::{
    Binding, Delivery, Failure, Inbox, Outbox, Outgoing, PartyIndex, Recipient, Roster, Slot, decode, encode,
};
use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use crate::failure::{copied_package, failure, identifier, out_of_order, wrong_degree};

/// 16 commitments of 33 bytes, a proof and a prefix.
pub(crate) const COMMITMENTS: Slot = Slot::new(1, Delivery::ReliableBroadcast, 1_000);

pub(crate) const SECRET_SHARE: Slot = Slot::new(2, Delivery::PointToPoint, 200);

/// What a party keeps from round 1 to the end.
pub(crate) struct Committed<S: Ciphersuite> {
    pub(crate) secret: round2::SecretPackage<S>,
    pub(crate) packages: BTreeMap<Identifier<S>, Package<S>>,
}

/// Sends and receives the packages of one session.
pub(crate) struct PackageExchange {
    roster: Roster,
    binding: Binding,
    /// What the session makes.
    kind: &'static str,
}

impl PackageExchange {
    pub(crate) fn new(roster: &Roster, kind: &'static str) -> Self {
        Self { roster: roster.clone(), binding: Binding::new(roster), kind }
    }

    pub(crate) fn broadcast(&self, package: &impl Serialize, out: &mut Outbox) -> Result<(), Failure> {
        self.send(COMMITMENTS, Recipient::ReliableBroadcast, package, out)
    }

    /// Sends each peer its secret share.
    pub(crate) fn send_secret_shares<S: Ciphersuite>(
        &self,
        shares: &BTreeMap<Identifier<S>, round2::Package<S>>,
        out: &mut Outbox,
    ) -> Result<(), Failure> {
        self.roster.peers().try_for_each(|peer| {
            let share = shares.get(&identifier(peer)?).ok_or_else(out_of_order)?;
            self.send(SECRET_SHARE, Recipient::Party(peer), share, out)
        })
    }

    pub(crate) fn send(
        &self,
        slot: Slot,
        to: Recipient,
        package: &impl Serialize,
        out: &mut Outbox,
    ) -> Result<(), Failure> {
        let payload = self.binding.seal(slot.round(), self.kind, self.roster.me(), &encode(package)?);
        out.push_raw(Outgoing { round: slot.round(), to, payload });
        Ok(())
    }

    /// Every peer's package of a slot.
    pub(crate) fn receive<S: Ciphersuite, T: DeserializeOwned>(
        &self,
        slot: Slot,
        inbox: &mut Inbox,
    ) -> Result<BTreeMap<Identifier<S>, T>, Failure> {
        let open = |(from, payload): (PartyIndex, Zeroizing<Vec<u8>>)| {
            let package = self.binding.open(slot.round(), self.kind, from, &payload)?;
            let package =
                decode(&package).ok_or_else(|| Failure::fault(from, "a package that does not decode"))?;
            Ok((identifier(from)?, package))
        };
        inbox.take_raw(slot).map(open).collect()
    }

    /// Checks that each peer has committed to so many coefficients.
    pub(crate) fn check_degrees<S: Ciphersuite>(
        &self,
        coefficients: u16,
        received: &BTreeMap<Identifier<S>, Package<S>>,
    ) -> Result<(), Failure> {
        for peer in self.roster.peers() {
            let Some(package) = received.get(&identifier(peer)?) else { continue };
            if self.commitments(package)?.len() != usize::from(coefficients) {
                return Err(wrong_degree(peer));
            }
        }
        Ok(())
    }

    /// Checks that each party has committed to a polynomial of its own.
    pub(crate) fn check_distinct<S: Ciphersuite>(
        &self,
        own: &Package<S>,
        received: &BTreeMap<Identifier<S>, Package<S>>,
    ) -> Result<(), Failure> {
        let own = self.commitments(own)?;
        let mut of_peers = Vec::new();
        for peer in self.roster.peers() {
            let Some(package) = received.get(&identifier(peer)?) else { continue };
            let commitments = self.commitments(package)?;
            if commitments.first() == own.first() {
                return Err(copied_package(Some(peer)));
            }
            of_peers.push(commitments);
        }
        let firsts: BTreeSet<_> = of_peers.iter().map(|commitments| commitments.first()).collect();
        if firsts.len() < of_peers.len() { Err(copied_package(None)) } else { Ok(()) }
    }

    fn commitments<S: Ciphersuite>(&self, package: &Package<S>) -> Result<Vec<Vec<u8>>, Failure> {
        package.commitment().serialize().map_err(|error| failure(&self.roster, &error))
    }
}
