//! Complete key refresh: new shares of the same key, and new oblivious transfers, for all n parties. Whoever
//! holds only shares from before it holds nothing.
//!
//! The rounds are those of [`keygen`](crate::keygen) with a polynomial whose constant term is zero and without a
//! chain code. The library returns the refreshed party but not the others' new public shares: those are the old
//! ones plus the points that the proofs are about.

use std::collections::BTreeMap;

use dkls23_core::protocols::PartyIndex as LibraryIndex;
use dkls23_core::protocols::dkg::{
    KeepInitMulPhase3to4, KeepInitZeroSharePhase2to3, KeepInitZeroSharePhase3to4, ProofCommitment,
};
use dkls23_core::utilities::hashes::HashOutput;
use dkls23_core::utilities::proofs::DLogProof;
use k256::{ProjectivePoint, Scalar};
use quorate_plugin_sdk::{
    Delivery, Failure, Host, Inbox, Message, Outbox, Outcome, PartyIndex, PublicKeyInfo, Roster, Rounds, Slot,
};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::failure::failure;
use crate::init::{
    Fragment, PairInit, Round2, ZeroCommitment, proofs_with_commitments, received_fragments,
    require_distinct, require_proper_shares, send_each, send_fragments, send_pair_inits, split_fragments,
    split_pair_inits,
};
use crate::scheme::Curve;
use crate::share::Share;

/// Round 2, to all: the commitment to the proof.
#[derive(Serialize, Deserialize)]
pub(crate) struct Commitment(HashOutput);

impl Message for Commitment {
    const ROUND: u16 = 2;
    const DELIVERY: Delivery = Delivery::ReliableBroadcast;
    const MAX_BYTES: usize = 64;
}

/// Round 3, to all: the proof.
#[derive(Serialize, Deserialize)]
pub(crate) struct Opening(DLogProof<Curve>);

impl Message for Opening {
    const ROUND: u16 = 3;
    const DELIVERY: Delivery = Delivery::Broadcast;
    const MAX_BYTES: usize = 8_000;
}

/// A refresh of one party, or the refresh in a [`repair`](crate::repair).
pub(crate) struct Refresh {
    roster: Roster,
    /// The share that is refreshed. That of a repaired party is known only after the first round, in which it is not used.
    pub(crate) share: Share,
    own_fragment: Zeroizing<Scalar>,
    kept2: Option<Kept2>,
    kept3: Option<Kept3>,
}

/// The data of each peer that the library returns and does not wipe by itself outside its keygen session.
struct Wiped<T: Wipe>(BTreeMap<LibraryIndex, T>);

impl<T: Wipe> Drop for Wiped<T> {
    fn drop(&mut self) {
        self.0.values_mut().for_each(Wipe::wipe);
    }
}

trait Wipe {
    fn wipe(&mut self);
}

impl Wipe for KeepInitZeroSharePhase2to3 {
    fn wipe(&mut self) {
        self.seed.zeroize();
        self.salt.zeroize();
    }
}

impl Wipe for KeepInitZeroSharePhase3to4 {
    fn wipe(&mut self) {
        self.seed.zeroize();
    }
}

impl Wipe for KeepInitMulPhase3to4<Curve> {
    fn wipe(&mut self) {
        self.ot_sender.s.zeroize();
        self.ot_receiver.seed.zeroize();
        self.nonce.zeroize();
        self.vec_r.zeroize();
        self.correlation.zeroize();
    }
}

/// Kept from round 2 to round 3.
struct Kept2 {
    correction: Zeroizing<Scalar>,
    proof: ProofCommitment<Curve>,
    zero: Wiped<KeepInitZeroSharePhase2to3>,
}

/// Kept from round 3 to the end.
struct Kept3 {
    correction: Zeroizing<Scalar>,
    proof: ProofCommitment<Curve>,
    received: Round2,
    zero: Wiped<KeepInitZeroSharePhase3to4>,
    mul: Wiped<KeepInitMulPhase3to4<Curve>>,
}

impl Refresh {
    pub(crate) fn new(roster: &Roster, share: Share) -> Self {
        Self {
            roster: roster.clone(),
            share,
            own_fragment: Zeroizing::new(Scalar::ZERO),
            kept2: None,
            kept3: None,
        }
    }

    fn id(&self) -> &[u8] {
        self.roster.execution_id()
    }

    /// What each peer gets of a polynomial of this party.
    pub(crate) fn fragments(&mut self) -> Result<Vec<(PartyIndex, Scalar)>, Failure> {
        let fragments = Zeroizing::new(self.share.party.refresh_complete_phase1());
        let (own, of_peers) = split_fragments(&self.roster, &fragments)?;
        *self.own_fragment = own;
        Ok(of_peers)
    }

    /// Commits, once the fragments of all peers are here.
    pub(crate) fn commit(&mut self, of_peers: &[Scalar], out: &mut Outbox) -> Result<(), Failure> {
        let fragments = Zeroizing::new([of_peers, &[*self.own_fragment]].concat());
        self.own_fragment.zeroize();
        let (correction, proof, zero, transmit) =
            self.share.party.refresh_complete_phase2(self.id(), &fragments);
        out.broadcast(&Commitment(proof.commitment))?;
        send_each(transmit, |m| m.parties.receiver, ZeroCommitment, out)?;
        self.kept2 = Some(Kept2 { correction: Zeroizing::new(correction), proof, zero: Wiped(zero) });
        Ok(())
    }

    pub(crate) fn open(&mut self, inbox: &mut Inbox, out: &mut Outbox) -> Result<(), Failure> {
        let Kept2 { correction, proof, zero } = self.kept2.take().ok_or_else(out_of_order)?;
        let commitments: BTreeMap<_, _> =
            inbox.take::<Commitment>()?.into_iter().map(|(p, c)| (p, c.0)).collect();
        require_distinct(&proof.commitment, commitments.iter().map(|(&p, &c)| (p, c)))?;
        let received = Round2 {
            commitments,
            zero: inbox.take::<ZeroCommitment>()?.into_values().map(|m| m.0).collect(),
        };
        let (zero, zero_openings, mul, mul_inits) =
            self.share.party.refresh_complete_phase3(self.id(), &zero.0);
        out.broadcast(&Opening(proof.proof.clone()))?;
        send_pair_inits(zero_openings, mul_inits, out)?;
        self.kept3 = Some(Kept3 { correction, proof, received, zero: Wiped(zero), mul: Wiped(mul) });
        Ok(())
    }

    pub(crate) fn finish(
        &mut self,
        host: &mut dyn Host,
        inbox: &mut Inbox,
    ) -> Result<PublicKeyInfo, Failure> {
        let Kept3 { correction, proof, received, zero, mul } = self.kept3.take().ok_or_else(out_of_order)?;
        let openings = inbox.take::<Opening>()?.into_iter().map(|(party, o)| (party, o.0));
        let proofs = proofs_with_commitments(proof, &received.commitments, openings)?;
        let (zero_received, mul_received) = split_pair_inits(inbox.take::<PairInit>()?);
        let party = self
            .share
            .party
            .refresh_complete_phase4(
                self.id(),
                &correction,
                &proofs,
                &zero.0,
                &received.zero,
                &zero_received,
                &mul.0,
                &mul_received,
            )
            .map_err(failure)?;
        // `proofs` is in index order, and complete: the phase has just checked both.
        let verifying_shares = self
            .share
            .verifying_shares
            .iter()
            .zip(&proofs)
            .map(|(old, p)| (ProjectivePoint::from(*old) + p.proof.point).to_affine())
            .collect::<Vec<_>>();
        require_proper_shares(&self.roster, &verifying_shares)?;
        Share::new(party, verifying_shares).save(host)
    }
}

impl Rounds for Refresh {
    const SCHEDULE: &'static [Slot] = &[
        Slot::of::<Fragment>(),
        Slot::of::<ZeroCommitment>(),
        Slot::of::<Commitment>(),
        Slot::of::<PairInit>(),
        Slot::of::<Opening>(),
    ];

    fn begin(&mut self, _: &mut dyn Host, out: &mut Outbox) -> Result<(), Failure> {
        send_fragments(self.fragments()?, out)
    }

    fn round(
        &mut self,
        host: &mut dyn Host,
        round: u16,
        mut inbox: Inbox,
        out: &mut Outbox,
    ) -> Result<Option<Outcome>, Failure> {
        match round {
            1 => self.commit(&received_fragments(&mut inbox)?, out).map(|()| None),
            2 => self.open(&mut inbox, out).map(|()| None),
            _ => Ok(Some(Outcome::Refreshed(self.finish(host, &mut inbox)?))),
        }
    }
}

/// The rounds come in order and once each ([`Rounds`]), so this is never seen.
fn out_of_order() -> Failure {
    Failure::Internal("refresh rounds out of order".into())
}
