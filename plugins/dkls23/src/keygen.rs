//! Distributed key generation.
//!
//! | round | to each | to all |
//! |---|---|---|
//! | 1 | polynomial fragment | |
//! | 2 | commitment to a zero-share seed | commitments to the proof and to the chain code (reliably) |
//! | 3 | opened seed, start of the oblivious transfers | proof, opened chain code |
//!
//! The proof of round 3 opens the commitment of round 2; it leaves only once all commitments have been delivered
//! reliably, or the last to commit could choose the key.

use std::collections::BTreeMap;

use dkls23_core::DkgSession;
use dkls23_core::protocols::dkg::{
    BroadcastDerivationPhase2to4, BroadcastDerivationPhase3to4, ProofCommitment,
};
use dkls23_core::protocols::{Parameters, PartyIndex as LibraryIndex};
use dkls23_core::utilities::hashes::HashOutput;
use dkls23_core::utilities::proofs::DLogProof;
use k256::Scalar;
use quorate_plugin_sdk::{
    Delivery, Failure, Host, Inbox, Message, Outbox, Outcome, PartyIndex, Roster, Rounds, Slot,
};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::failure::{failure, library_index};
use crate::init::{
    Fragment, PairInit, Round2, ZeroCommitment, proofs_with_commitments, received_fragments,
    require_distinct, require_proper_shares, send_each, send_fragments, send_pair_inits, split_fragments,
    split_pair_inits,
};
use crate::scheme::Curve;
use crate::share::Share;

/// Round 2, to all.
#[derive(Serialize, Deserialize)]
struct Commitments {
    proof: HashOutput,
    chain_code: BroadcastDerivationPhase2to4,
}

impl Message for Commitments {
    const ROUND: u16 = 2;
    const DELIVERY: Delivery = Delivery::ReliableBroadcast;
    const MAX_BYTES: usize = 128;

    fn is_between(&self, from: PartyIndex, _: PartyIndex) -> bool {
        u16::from(self.chain_code.sender_index.as_u8()) == from.number()
    }
}

/// Round 3, to all.
#[derive(Serialize, Deserialize)]
struct Openings {
    proof: DLogProof<Curve>,
    chain_code: BroadcastDerivationPhase3to4,
}

impl Message for Openings {
    const ROUND: u16 = 3;
    const DELIVERY: Delivery = Delivery::Broadcast;
    const MAX_BYTES: usize = 8_000;

    fn is_between(&self, from: PartyIndex, _: PartyIndex) -> bool {
        u16::from(self.chain_code.sender_index.as_u8()) == from.number()
    }
}

/// A keygen of one party.
pub(crate) struct Keygen {
    roster: Roster,
    /// Gone once the last phase has consumed it.
    session: Option<DkgSession<Curve>>,
    own_fragment: Zeroizing<Scalar>,
    own: Option<Own>,
    round2: Option<(Round2, BTreeMap<LibraryIndex, BroadcastDerivationPhase2to4>)>,
}

/// This party's broadcast, which the last phase needs beside the others'.
struct Own {
    proof: ProofCommitment<Curve>,
    chain_code_commitment: BroadcastDerivationPhase2to4,
    chain_code_opening: Option<BroadcastDerivationPhase3to4>,
}

impl Keygen {
    pub(crate) fn new(roster: &Roster) -> Result<Self, Failure> {
        let small =
            |x: u16| u8::try_from(x).map_err(|_| Failure::InvalidTask("t and n are at most 255".into()));
        let parameters = Parameters::new(small(roster.threshold())?, small(roster.parties())?)
            .map_err(|e| Failure::InvalidTask(e.to_string().into()))?;
        let me = library_index(roster.me())?;
        Ok(Self {
            roster: roster.clone(),
            session: Some(DkgSession::new(parameters, me, roster.execution_id().to_vec())),
            own_fragment: Zeroizing::new(Scalar::ZERO),
            own: None,
            round2: None,
        })
    }

    fn session(&mut self) -> Result<&mut DkgSession<Curve>, Failure> {
        self.session.as_mut().ok_or_else(out_of_order)
    }

    fn commit(&mut self, inbox: &mut Inbox, out: &mut Outbox) -> Result<(), Failure> {
        let of_peers = received_fragments(inbox)?;
        let fragments = Zeroizing::new([&of_peers[..], &[*self.own_fragment]].concat());
        self.own_fragment.zeroize();
        let (proof, zero, chain_code) = self.session()?.phase2(&fragments).map_err(failure)?;
        out.broadcast(&Commitments { proof: proof.commitment, chain_code: chain_code.clone() })?;
        send_each(zero, |m| m.parties.receiver, ZeroCommitment, out)?;
        self.own = Some(Own { proof, chain_code_commitment: chain_code, chain_code_opening: None });
        Ok(())
    }

    fn open(&mut self, inbox: &mut Inbox, out: &mut Outbox) -> Result<(), Failure> {
        let commitments = inbox.take::<Commitments>()?;
        let own = self.own.as_ref().ok_or_else(out_of_order)?;
        require_distinct(&own.proof.commitment, commitments.iter().map(|(&p, c)| (p, c.proof)))?;
        let chain_codes = commitments.iter().map(|(&p, c)| (p, c.chain_code.cc_commitment));
        require_distinct(&own.chain_code_commitment.cc_commitment, chain_codes)?;
        let zero = inbox.take::<ZeroCommitment>()?.into_values().map(|m| m.0).collect();
        let (zero_openings, mul, chain_code) = self.session()?.phase3().map_err(failure)?;
        let own = self.own.as_mut().ok_or_else(out_of_order)?;
        out.broadcast(&Openings { proof: own.proof.proof.clone(), chain_code: chain_code.clone() })?;
        send_pair_inits(zero_openings, mul, out)?;
        own.chain_code_opening = Some(chain_code);
        let proofs = commitments.iter().map(|(&party, c)| (party, c.proof)).collect();
        let chain_codes =
            commitments.into_values().map(|c| (c.chain_code.sender_index, c.chain_code)).collect();
        self.round2 = Some((Round2 { commitments: proofs, zero }, chain_codes));
        Ok(())
    }

    fn finish(&mut self, host: &mut dyn Host, inbox: &mut Inbox) -> Result<Outcome, Failure> {
        let session = self.session.take().ok_or_else(out_of_order)?;
        let own = self.own.take().ok_or_else(out_of_order)?;
        let (round2, mut committed) = self.round2.take().ok_or_else(out_of_order)?;
        let mut proofs = Vec::new();
        let mut opened = BTreeMap::new();
        for (party, openings) in inbox.take::<Openings>()? {
            proofs.push((party, openings.proof));
            opened.insert(openings.chain_code.sender_index, openings.chain_code);
        }
        let proofs = proofs_with_commitments(own.proof, &round2.commitments, proofs)?;
        let me = library_index(self.roster.me())?;
        committed.insert(me, own.chain_code_commitment);
        opened.insert(me, own.chain_code_opening.ok_or_else(out_of_order)?);
        let (zero, mul) = split_pair_inits(inbox.take::<PairInit>()?);
        let (party, package) = session
            .phase4(&proofs, &round2.zero, &zero, &mul, &committed, &opened, |_| String::new())
            .map_err(failure)?;
        let verifying_shares = self
            .roster
            .signers()
            .iter()
            .map(|&p| package.verifying_share(library_index(p)?).copied().ok_or_else(out_of_order))
            .collect::<Result<Vec<_>, _>>()?;
        require_proper_shares(&self.roster, &verifying_shares)?;
        Ok(Outcome::Key(Share::new(party, verifying_shares).save(host)?))
    }
}

impl Rounds for Keygen {
    const SCHEDULE: &'static [Slot] = &[
        Slot::of::<Fragment>(),
        Slot::of::<ZeroCommitment>(),
        Slot::of::<Commitments>(),
        Slot::of::<PairInit>(),
        Slot::of::<Openings>(),
    ];

    fn begin(&mut self, _: &mut dyn Host, out: &mut Outbox) -> Result<(), Failure> {
        let fragments = Zeroizing::new(self.session()?.phase1());
        let (own, of_peers) = split_fragments(&self.roster, &fragments)?;
        *self.own_fragment = own;
        send_fragments(of_peers, out)
    }

    fn round(
        &mut self,
        host: &mut dyn Host,
        round: u16,
        mut inbox: Inbox,
        out: &mut Outbox,
    ) -> Result<Option<Outcome>, Failure> {
        match round {
            1 => self.commit(&mut inbox, out).map(|()| None),
            2 => self.open(&mut inbox, out).map(|()| None),
            _ => self.finish(host, &mut inbox).map(Some),
        }
    }
}

/// The rounds come in order and once each ([`Rounds`]), so this is never seen.
fn out_of_order() -> Failure {
    Failure::Internal("keygen rounds out of order".into())
}
