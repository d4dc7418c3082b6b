//! The common part of keygen and refresh: their messages and the order of their checks.
//!
//! Both run the same three rounds; a refresh leaves the chain code out. The commitment to the proof is broadcast
//! reliably: two parties that saw different commitments must not both finish.

use std::collections::BTreeMap;

use dkls23_core::protocols::dkg::{
    ProofCommitment, TransmitInitMulPhase3to4, TransmitInitZeroSharePhase2to4, TransmitInitZeroSharePhase3to4,
};
use dkls23_core::protocols::{PartiesMessage, PartyIndex as LibraryIndex};
use dkls23_core::utilities::hashes::HashOutput;
use dkls23_core::utilities::proofs::DLogProof;
use k256::{AffinePoint, Scalar};
use quorate_plugin_sdk::{Delivery, Detail, Failure, Inbox, Message, Outbox, PartyIndex, Roster};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::codes;
use crate::failure::library_index;
use crate::scheme::Curve;

/// Round 1: the sender's polynomial at the receiver's index.
#[derive(Serialize, Deserialize)]
pub(crate) struct Fragment(pub(crate) Scalar);

impl Message for Fragment {
    const ROUND: u16 = 1;
    const DELIVERY: Delivery = Delivery::PointToPoint;
    const MAX_BYTES: usize = 40;
}

impl Drop for Fragment {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

/// Round 2, to each: a commitment to the seed of a pairwise zero share.
#[derive(Serialize, Deserialize)]
pub(crate) struct ZeroCommitment(pub(crate) TransmitInitZeroSharePhase2to4);

impl Message for ZeroCommitment {
    const ROUND: u16 = 2;
    const DELIVERY: Delivery = Delivery::PointToPoint;
    const MAX_BYTES: usize = 64;

    fn is_between(&self, from: PartyIndex, to: PartyIndex) -> bool {
        between(&self.0.parties, from, to)
    }
}

/// Round 3, to each: the opened zero-share seed and the start of the pairwise oblivious transfers.
#[derive(Serialize, Deserialize)]
pub(crate) struct PairInit {
    pub(crate) zero: TransmitInitZeroSharePhase3to4,
    pub(crate) mul: TransmitInitMulPhase3to4<Curve>,
}

impl Message for PairInit {
    const ROUND: u16 = 3;
    const DELIVERY: Delivery = Delivery::PointToPoint;
    const MAX_BYTES: usize = 160_000;

    fn is_between(&self, from: PartyIndex, to: PartyIndex) -> bool {
        between(&self.zero.parties, from, to) && between(&self.mul.parties, from, to)
    }
}

/// Whether a message's inner sender and receiver are those of its envelope.
pub(crate) fn between(parties: &PartiesMessage, from: PartyIndex, to: PartyIndex) -> bool {
    u16::from(parties.sender.as_u8()) == from.number() && u16::from(parties.receiver.as_u8()) == to.number()
}

/// This party's own fragment, and those for its peers.
pub(crate) fn split_fragments(
    roster: &Roster,
    fragments: &[Scalar],
) -> Result<(Scalar, Vec<(PartyIndex, Scalar)>), Failure> {
    let at = |party: PartyIndex| {
        fragments
            .get(usize::from(party.number()) - 1)
            .copied()
            .ok_or_else(|| Failure::Internal("the library gave too few fragments".into()))
    };
    let of_peers = roster.peers().map(|peer| Ok((peer, at(peer)?))).collect::<Result<_, Failure>>()?;
    Ok((at(roster.me())?, of_peers))
}

/// Sends each peer its fragment.
pub(crate) fn send_fragments(
    fragments: impl IntoIterator<Item = (PartyIndex, Scalar)>,
    out: &mut Outbox,
) -> Result<(), Failure> {
    fragments.into_iter().try_for_each(|(peer, fragment)| out.send(peer, &Fragment(fragment)))
}

/// The fragments of all peers. The library does not count them, and takes this party's own beside them.
pub(crate) fn received_fragments(inbox: &mut Inbox) -> Result<Zeroizing<Vec<Scalar>>, Failure> {
    let received = inbox.take::<Fragment>()?;
    Ok(Zeroizing::new(received.values().map(|fragment| fragment.0).collect()))
}

/// The commitment and messages of round 2, of a peer and of this party.
pub(crate) struct Round2 {
    pub(crate) commitments: BTreeMap<PartyIndex, HashOutput>,
    pub(crate) zero: Vec<TransmitInitZeroSharePhase2to4>,
}

/// Sends a list of the library's messages, each to the receiver that it names.
pub(crate) fn send_each<T, M: Message>(
    messages: impl IntoIterator<Item = T>,
    receiver: impl Fn(&T) -> LibraryIndex,
    wrap: impl Fn(T) -> M,
    out: &mut Outbox,
) -> Result<(), Failure> {
    for message in messages {
        let to = PartyIndex::new(receiver(&message).as_u8().into())
            .ok_or_else(|| Failure::Internal("the library sends to party 0".into()))?;
        out.send(to, &wrap(message))?;
    }
    Ok(())
}

/// Pairs the two lists that the library makes for round 3, both in index order of their receivers.
pub(crate) fn send_pair_inits(
    zero: Vec<TransmitInitZeroSharePhase3to4>,
    mul: Vec<TransmitInitMulPhase3to4<Curve>>,
    out: &mut Outbox,
) -> Result<(), Failure> {
    let mismatch = || Failure::Internal("the library's round-3 lists do not fit".into());
    if zero.len() != mul.len() {
        return Err(mismatch());
    }
    for (zero, mul) in zero.into_iter().zip(mul) {
        if zero.parties.receiver != mul.parties.receiver {
            return Err(mismatch());
        }
        send_each([PairInit { zero, mul }], |m| m.zero.parties.receiver, |m| m, out)?;
    }
    Ok(())
}

/// Refuses commitments that repeat one another.
///
/// The library's commitments are bound to the session but not to their sender: whoever repeats another party's
/// commitment, and later its opening, passes every check without knowing what it committed to. With t = n that lets
/// t − 1 parties choose the key. A commitment is deterministic in what it opens to, so an opening that was chosen after
/// another became visible has another commitment; what is distinct here was fixed independently.
pub(crate) fn require_distinct(
    own: &HashOutput,
    others: impl IntoIterator<Item = (PartyIndex, HashOutput)>,
) -> Result<(), Failure> {
    let mut seen = Vec::new();
    for (party, commitment) in others {
        if commitment == *own {
            let detail = Detail::new(codes::COPIED_COMMITMENT, "a copy of this party's commitment");
            return Err(Failure::fault(party, detail));
        }
        if seen.contains(&commitment) {
            // One of the two copied; nobody can prove which.
            let detail = Detail::new(codes::COPIED_COMMITMENT, "two parties sent the same commitment");
            return Err(Failure::Fault { culprits: vec![], ban: false, detail });
        }
        seen.push(commitment);
    }
    Ok(())
}

/// Refuses public shares at infinity: a party that waits for all fragments before it sends its own can make its share
/// zero. Only that party knows the fragment that it keeps, so only it can have done so.
pub(crate) fn require_proper_shares(roster: &Roster, shares: &[AffinePoint]) -> Result<(), Failure> {
    for (&party, share) in roster.signers().iter().zip(shares) {
        if *share == AffinePoint::IDENTITY {
            return Err(if party == roster.me() {
                Failure::Internal("this party's share is zero".into())
            } else {
                Failure::fault(party, "its public share is the point at infinity")
            });
        }
    }
    Ok(())
}

/// Puts the proofs of round 3 beside the commitments of round 2, which they must open, and adds our own.
pub(crate) fn proofs_with_commitments(
    own: ProofCommitment<Curve>,
    commitments: &BTreeMap<PartyIndex, HashOutput>,
    proofs: impl IntoIterator<Item = (PartyIndex, DLogProof<Curve>)>,
) -> Result<Vec<ProofCommitment<Curve>>, Failure> {
    let mut all = vec![own];
    for (party, proof) in proofs {
        let commitment = *commitments
            .get(&party)
            .ok_or_else(|| Failure::Internal(format!("no commitment of party {party}").into()))?;
        all.push(ProofCommitment { index: library_index(party)?, proof, commitment });
    }
    all.sort_by_key(|entry| entry.index);
    Ok(all)
}

/// The messages of round 3, by the library's types.
pub(crate) fn split_pair_inits(
    inits: BTreeMap<PartyIndex, PairInit>,
) -> (Vec<TransmitInitZeroSharePhase3to4>, Vec<TransmitInitMulPhase3to4<Curve>>) {
    inits.into_values().map(|init| (init.zero, init.mul)).unzip()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_public_share_at_infinity_is_a_fault_of_its_party() {
        let roster = Roster::new(1, &[1, 2, 3], 3, 2, &[0; 32], &[0; 32]).unwrap();
        let (good, zero) = (AffinePoint::GENERATOR, AffinePoint::IDENTITY);
        assert_eq!(require_proper_shares(&roster, &[good, good, good]), Ok(()));
        match require_proper_shares(&roster, &[good, good, zero]).unwrap_err() {
            Failure::Fault { culprits, ban: false, .. } => assert_eq!(culprits[0].number(), 3),
            other => panic!("{other:?}"),
        }
        assert!(matches!(require_proper_shares(&roster, &[zero, good, good]), Err(Failure::Internal(_))));
    }
}
