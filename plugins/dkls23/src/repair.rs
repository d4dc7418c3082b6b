//! Repair: t helpers give other parties their lost shares again, and all n parties refresh in the same session.
//!
//! A helper's term is what it adds to a lost share, masked with the zero shares that helpers have with each other. What a target
//! makes of them has the key and no oblivious transfers, so it could not sign; it takes part in a complete refresh
//! ([`refresh`](crate::refresh)) and only the refreshed share is stored.

use std::collections::BTreeMap;

use dkls23_core::protocols::derivation::DerivData;
use dkls23_core::protocols::repair::{RepairError, RepairTerm, repair_assemble};
use dkls23_core::protocols::{Parameters, Party, PublicKeyPackage};
use dkls23_core::utilities::zero_shares::ZeroShare;
use k256::elliptic_curve::sec1::FromSec1Point;
use k256::{AffinePoint, Scalar};
use quorate_plugin_sdk::{
    Delivery, Detail, Failure, Host, Inbox, KeyOutputs, Message, Outbox, Outcome, PartyIndex, RepairTask,
    Roster, Rounds, Slot,
};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::codes;
use crate::failure::library_index;
use crate::init::{PairInit, ZeroCommitment};
use crate::refresh::{Commitment, Opening, Refresh};
use crate::scheme::{Curve, SCHEME};
use crate::share::Share;

/// Round 1: the sender's polynomial of the refresh at the receiver's index, and from a helper to a target its term.
#[derive(Serialize, Deserialize)]
struct FragmentAndTerm {
    fragment: Scalar,
    term: Option<RepairTerm<Curve>>,
}

impl Message for FragmentAndTerm {
    const ROUND: u16 = 1;
    const DELIVERY: Delivery = Delivery::PointToPoint;
    const MAX_BYTES: usize = 300;

    fn is_between(&self, from: PartyIndex, to: PartyIndex) -> bool {
        let are = |term: &RepairTerm<Curve>| {
            u16::from(term.helper.as_u8()) == from.number() && u16::from(term.target.as_u8()) == to.number()
        };
        self.term.as_ref().is_none_or(are)
    }
}

impl Drop for FragmentAndTerm {
    fn drop(&mut self) {
        self.fragment.zeroize();
    }
}

/// A repair at one party.
pub(crate) struct Repair {
    roster: Roster,
    task: RepairTask,
    /// The public side of the share set, as all parties have promised it.
    package: PublicKeyPackage<Curve>,
    refresh: Refresh,
}

impl Repair {
    pub(crate) fn new(host: &dyn Host, roster: &Roster, task: RepairTask) -> Result<Self, Failure> {
        let (package, verifying_shares) = promised(&task.outputs, roster)?;
        let share = if task.is_target(roster.me()) {
            Share::new(without_share(&package, roster)?, verifying_shares)
        } else {
            let share = Share::load(host, roster)?;
            if share.outputs() != task.outputs {
                let detail = Detail::new(codes::OTHER_SHARE_SET, "the stored share is of another share set");
                return Err(Failure::InvalidShare(detail));
            }
            share
        };
        Ok(Self { roster: roster.clone(), task, package, refresh: Refresh::new(roster, share) })
    }

    /// What a helper adds to a target's lost share.
    fn term(&self, target: PartyIndex) -> Result<Option<RepairTerm<Curve>>, Failure> {
        if !self.task.is_helper(self.roster.me()) || !self.task.is_target(target) {
            return Ok(None);
        }
        let helpers: Result<Vec<_>, _> =
            self.task.helpers.iter().map(|helper| library_index(*helper)).collect();
        let party = &self.refresh.share.party;
        let term = party.repair_term(&helpers?, library_index(target)?, self.roster.execution_id());
        term.map(Some).map_err(failure)
    }

    fn commit(&mut self, inbox: &mut Inbox, out: &mut Outbox) -> Result<(), Failure> {
        let mut fragments = Zeroizing::new(Vec::new());
        let mut terms = Vec::new();
        let is_target = self.task.is_target(self.roster.me());
        for (from, mut message) in inbox.take::<FragmentAndTerm>()? {
            let term = message.term.take();
            if term.is_some() != (is_target && self.task.is_helper(from)) {
                let detail = Detail::new(codes::REPAIR_PART, "another part of the repair than the party has");
                return Err(Failure::fault(from, detail));
            }
            terms.extend(term);
            fragments.push(message.fragment);
        }
        if is_target {
            self.refresh.share.party = self.repaired(&terms)?;
        }
        self.refresh.commit(&fragments, out)
    }

    /// This party with its share, and without what else it needs to sign.
    fn repaired(&self, terms: &[RepairTerm<Curve>]) -> Result<Party<Curve>, Failure> {
        let me = library_index(self.roster.me())?;
        let party = repair_assemble(&self.package, me, terms, |_| String::new()).map_err(failure)?;
        if Some(*party.chain_code()) == self.task.outputs.chain_code {
            Ok(party)
        } else {
            Err(wrong_repair("another chain code"))
        }
    }
}

/// The public side of a share set, of the outputs that all parties have promised.
fn promised(
    outputs: &KeyOutputs,
    roster: &Roster,
) -> Result<(PublicKeyPackage<Curve>, Vec<AffinePoint>), Failure> {
    let invalid = |what: &str| {
        let text = format!("the outputs of the share set to repair have {what}");
        Failure::InvalidTask(Detail::new(codes::OUTPUTS, text))
    };
    if outputs.scheme != SCHEME || outputs.chain_code.is_none() {
        return Err(invalid("another scheme, or no chain code"));
    }
    let point = |bytes: &Vec<u8>| {
        AffinePoint::from_sec1_bytes(bytes).map_err(|_| invalid("a point that does not decode"))
    };
    let shares = outputs.verifying_shares.iter().map(point).collect::<Result<Vec<_>, _>>()?;
    let mut by_party = BTreeMap::new();
    for (&party, share) in roster.signers().iter().zip(&shares) {
        by_party.insert(library_index(party)?, *share);
    }
    let package = PublicKeyPackage::new(point(&outputs.public_key)?, by_party, parameters(roster)?);
    Ok((package, shares))
}

fn parameters(roster: &Roster) -> Result<Parameters, Failure> {
    let small = |number: u16| {
        u8::try_from(number).map_err(|_| Failure::InvalidTask("t or n is too large for dkls23".into()))
    };
    Parameters::new(small(roster.threshold())?, small(roster.parties())?)
        .map_err(|_| Failure::InvalidTask("t and n do not fit each other".into()))
}

/// What a target begins with: the library's first phase of a refresh looks at t and n only.
fn without_share(package: &PublicKeyPackage<Curve>, roster: &Roster) -> Result<Party<Curve>, Failure> {
    let pk = *package.verifying_key();
    Ok(Party {
        parameters: parameters(roster)?,
        party_index: library_index(roster.me())?,
        session_id: vec![],
        poly_point: Scalar::ZERO,
        pk,
        zero_share: ZeroShare::initialize(vec![]),
        mul_senders: BTreeMap::new(),
        mul_receivers: BTreeMap::new(),
        derivation_data: DerivData {
            depth: 0,
            child_number: 0,
            parent_fingerprint: [0; 4],
            poly_point: Scalar::ZERO,
            pk,
            chain_code: [0; 32],
        },
        address: String::new(),
    })
}

/// Any of the helpers may have caused it.
fn wrong_repair(what: &str) -> Failure {
    let text = format!("the helpers' terms do not make the lost share: {what}");
    Failure::Fault { culprits: vec![], ban: false, detail: Detail::new(codes::REPAIRED_SHARE, text) }
}

fn failure(error: RepairError) -> Failure {
    match error {
        RepairError::ShareMismatch | RepairError::InconsistentTerms | RepairError::NotEnoughTerms => {
            wrong_repair(&error.to_string())
        }
        RepairError::MissingSeed { .. } => {
            Failure::InvalidShare(Detail::new(codes::INCOMPLETE_SHARE, error.to_string()))
        }
        RepairError::DerivedShare => Failure::InvalidShare(Detail::new(codes::BAD_SHARE, error.to_string())),
        _ => Failure::Internal(Detail::new(codes::CALLED_WRONGLY, error.to_string())),
    }
}

impl Rounds for Repair {
    const SCHEDULE: &'static [Slot] = &[
        Slot::of::<FragmentAndTerm>(),
        Slot::of::<ZeroCommitment>(),
        Slot::of::<Commitment>(),
        Slot::of::<PairInit>(),
        Slot::of::<Opening>(),
    ];

    fn begin(&mut self, _: &mut dyn Host, out: &mut Outbox) -> Result<(), Failure> {
        for (peer, fragment) in self.refresh.fragments()? {
            let term = self.term(peer)?;
            out.send(peer, &FragmentAndTerm { fragment, term })?;
        }
        Ok(())
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
            2 => self.refresh.open(&mut inbox, out).map(|()| None),
            _ => Ok(Some(Outcome::Repaired(self.refresh.finish(host, &mut inbox)?))),
        }
    }
}
