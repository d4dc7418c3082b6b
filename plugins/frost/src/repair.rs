//! Repair: t helpers give other parties their lost shares again, without any of them learning one, and all n parties refresh in the
//! same session.
//!
//! The helpers' part is the library's repairable threshold scheme ([Laing and Stinson](https://eprint.iacr.org/2017/1155)): each
//! helper splits what it would add to a lost share into one random delta for each helper, and sends the target the sum of the
//! deltas that it got for it. The refresh ([`refresh`](crate::refresh)) runs in the same two rounds. A target verifies its share against
//! the public share that all parties once promised, and only the refreshed one is stored.

use std::collections::BTreeMap;

use frost_core::Identifier;
use frost_core::keys::dkg::round2;
use frost_core::keys::repairable::{
    Delta, Sigma, repair_share_part1, repair_share_part2, repair_share_part3,
};
use frost_core::keys::{KeyPackage, PublicKeyPackage};
use quorate_plugin_sdk::{
    Delivery, Failure, Host, Inbox, OldRng, Outbox, Outcome, PartyIndex, Recipient, RepairTask, Roster,
    Rounds, Slot,
};

use crate::failure::{failure, identifier, out_of_order, repair_part, stored_share, wrong_repair};
use crate::package::COMMITMENTS;
use crate::refresh::Refreshing;
use crate::share::{Share, check, promised, save};
use crate::suite::{Packages, Suite};

/// A delta for each target, in their order; none where not both are helpers.
const DELTAS: Slot = Slot::new(1, Delivery::PointToPoint, 600);

/// A secret share of the refresh, and from a helper to a target its sigma.
const SHARE_AND_SIGMA: Slot = Slot::new(2, Delivery::PointToPoint, 300);

/// The content of such a message.
type ShareAndSigma<S> = (round2::Package<S>, Option<Sigma<S>>);

/// A repair at one party.
pub(crate) struct Repair<S: Suite> {
    roster: Roster,
    task: RepairTask,
    /// The public side of the share set, as all parties have promised it.
    public: PublicKeyPackage<S>,
    /// This party's part of the key: a target has none.
    share: Option<Share<S>>,
    /// A helper's own, for each target.
    own_deltas: Vec<Delta<S>>,
    refreshing: Refreshing<S>,
}

impl<S: Suite> Repair<S> {
    pub(crate) fn new(host: &dyn Host, roster: &Roster, task: RepairTask) -> Result<Self, Failure> {
        let public = promised(&task.outputs, roster)?;
        let mut share = None;
        if !task.is_target(roster.me()) {
            let own = Share::load(host, roster)?;
            if own.packages().public != public {
                return Err(stored_share("is not of the share set to repair"));
            }
            share = Some(own);
        }
        let refreshing = Refreshing::new(roster, "repair");
        Ok(Self { roster: roster.clone(), task, public, share, own_deltas: vec![], refreshing })
    }

    fn helpers(&self) -> Result<Vec<Identifier<S>>, Failure> {
        self.task.helpers.iter().map(|helper| identifier(*helper)).collect()
    }

    /// What this party adds to each lost share, split among the helpers.
    fn deltas(&mut self) -> Result<BTreeMap<Identifier<S>, Vec<Delta<S>>>, Failure> {
        let me = self.roster.me();
        let mut of_helpers = BTreeMap::<_, Vec<_>>::new();
        let Some(share) = self.share.as_ref().filter(|_| self.task.is_helper(me)) else {
            return Ok(of_helpers);
        };
        let (key, helpers) = (share.packages().key, self.helpers()?);
        for target in &self.task.targets {
            let deltas = repair_share_part1(&helpers, &key, &mut OldRng, identifier(*target)?)
                .map_err(|error| failure(&self.roster, &error))?;
            for (helper, delta) in deltas {
                of_helpers.entry(helper).or_default().push(delta);
            }
        }
        self.own_deltas = of_helpers.remove(&identifier(me)?).unwrap_or_default();
        Ok(of_helpers)
    }

    /// A helper's sum of the deltas for each target; none if this party is no helper.
    fn sigmas(&mut self, inbox: &mut Inbox) -> Result<BTreeMap<PartyIndex, Sigma<S>>, Failure> {
        let mut received: BTreeMap<Identifier<S>, Vec<Delta<S>>> =
            self.refreshing.exchange.receive(DELTAS, inbox)?;
        let helps = self.task.is_helper(self.roster.me());
        let mut all = vec![std::mem::take(&mut self.own_deltas)];
        for peer in self.roster.peers() {
            let deltas = received.remove(&identifier(peer)?).ok_or_else(out_of_order)?;
            let expected = if helps && self.task.is_helper(peer) { self.task.targets.len() } else { 0 };
            if deltas.len() != expected {
                return Err(repair_part(peer));
            }
            all.push(deltas);
        }
        let sum = |(number, target): (usize, &PartyIndex)| {
            let deltas: Vec<_> = all.iter().filter_map(|deltas| deltas.get(number)).copied().collect();
            (*target, repair_share_part2(&deltas))
        };
        Ok(self.task.targets.iter().enumerate().filter(|_| helps).map(sum).collect())
    }

    fn send_shares(&mut self, inbox: &mut Inbox, out: &mut Outbox) -> Result<(), Failure> {
        let sigmas = self.sigmas(inbox)?;
        let shares = self.refreshing.secret_shares(inbox)?;
        for peer in self.roster.peers() {
            let share = shares.get(&identifier(peer)?).ok_or_else(out_of_order)?;
            let message = (share, sigmas.get(&peer));
            self.refreshing.exchange.send(SHARE_AND_SIGMA, Recipient::Party(peer), &message, out)?;
        }
        Ok(())
    }

    fn finish(&mut self, host: &mut dyn Host, inbox: &mut Inbox) -> Result<Outcome, Failure> {
        let mut received: BTreeMap<Identifier<S>, ShareAndSigma<S>> =
            self.refreshing.exchange.receive(SHARE_AND_SIGMA, inbox)?;
        let is_target = self.task.is_target(self.roster.me());
        let (mut shares, mut sigmas) = (BTreeMap::new(), vec![]);
        for peer in self.roster.peers() {
            let id = identifier(peer)?;
            let (share, sigma) = received.remove(&id).ok_or_else(out_of_order)?;
            if sigma.is_some() != (is_target && self.task.is_helper(peer)) {
                return Err(repair_part(peer));
            }
            shares.insert(id, share);
            sigmas.extend(sigma);
        }
        let old = match &self.share {
            Some(share) => share.packages(),
            None => Packages { key: self.repaired(&sigmas)?, public: self.public.clone() },
        };
        let packages = self.refreshing.finish(old, &shares)?;
        Ok(Outcome::Repaired(save(host, &self.roster, &packages)?))
    }

    /// A target's lost share. The library does not check it.
    fn repaired(&self, sigmas: &[Sigma<S>]) -> Result<KeyPackage<S>, Failure> {
        let me = identifier(self.roster.me())?;
        let key =
            repair_share_part3(sigmas, me, &self.public).map_err(|error| failure(&self.roster, &error))?;
        let packages = Packages { key, public: self.public.clone() };
        check(&packages, self.roster.signers(), &self.roster).map_err(|_| wrong_repair())?;
        Ok(packages.key)
    }
}

impl<S: Suite> Rounds for Repair<S> {
    const SCHEDULE: &'static [Slot] = &[DELTAS, COMMITMENTS, SHARE_AND_SIGMA];

    fn begin(&mut self, _: &mut dyn Host, out: &mut Outbox) -> Result<(), Failure> {
        let deltas = self.deltas()?;
        for peer in self.roster.peers() {
            let deltas = deltas.get(&identifier(peer)?).map_or(&[][..], Vec::as_slice);
            self.refreshing.exchange.send(DELTAS, Recipient::Party(peer), &deltas, out)?;
        }
        self.refreshing.begin(out)
    }

    fn round(
        &mut self,
        host: &mut dyn Host,
        round: u16,
        mut inbox: Inbox,
        out: &mut Outbox,
    ) -> Result<Option<Outcome>, Failure> {
        match round {
            1 => self.send_shares(&mut inbox, out).map(|()| None),
            _ => self.finish(host, &mut inbox).map(Some),
        }
    }
}
