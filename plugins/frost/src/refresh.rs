//! Complete key refresh: all n parties add a sharing of zero to their shares, so that the key stays and the old shares are worth
//! nothing beside the new ones.

use std::collections::BTreeMap;

use frost_core::Identifier;
use frost_core::keys::VerifyingShare;
use frost_core::keys::dkg::{round1, round2};
use frost_core::keys::refresh::{refresh_dkg_part1, refresh_dkg_part2, refresh_dkg_shares};
use quorate_plugin_sdk::{Failure, Host, Inbox, OldRng, Outbox, Outcome, Roster, Rounds, Slot};

use crate::failure::{bad_result, bad_secret_share, failure, identifier, out_of_order};
use crate::package::{COMMITMENTS, Committed, PackageExchange, SECRET_SHARE};
use crate::polynomial::{committed_value, point};
use crate::share::{Share, save};
use crate::suite::{Packages, Suite};

/// A sharing of zero of one party, before anybody's share is needed: what a refresh and a repair have in common.
pub(crate) struct Refreshing<S: Suite> {
    roster: Roster,
    pub(crate) exchange: PackageExchange,
    begun: Option<(round1::SecretPackage<S>, round1::Package<S>)>,
    committed: Option<Committed<S>>,
}

impl<S: Suite> Refreshing<S> {
    pub(crate) fn new(roster: &Roster, kind: &'static str) -> Self {
        let exchange = PackageExchange::new(roster, kind);
        Self { roster: roster.clone(), exchange, begun: None, committed: None }
    }

    /// Commits to a polynomial without constant term.
    pub(crate) fn begin(&mut self, out: &mut Outbox) -> Result<(), Failure> {
        let me = identifier(self.roster.me())?;
        let (secret, package) = refresh_dkg_part1(me, self.roster.parties(), self.roster.threshold(), OldRng)
            .map_err(|error| failure(&self.roster, &error))?;
        self.exchange.broadcast(&package, out)?;
        self.begun = Some((secret, package));
        Ok(())
    }

    /// Each peer's value of it.
    pub(crate) fn secret_shares(
        &mut self,
        inbox: &mut Inbox,
    ) -> Result<BTreeMap<Identifier<S>, round2::Package<S>>, Failure> {
        let (secret, own) = self.begun.take().ok_or_else(out_of_order)?;
        let packages = self.exchange.receive(COMMITMENTS, inbox)?;
        // The coefficient of degree 0 is zero and is not sent.
        self.exchange.check_degrees(self.roster.threshold() - 1, &packages)?;
        self.exchange.check_distinct(&own, &packages)?;
        let (secret, shares) =
            refresh_dkg_part2(secret, &packages).map_err(|error| failure(&self.roster, &error))?;
        self.committed = Some(Committed { secret, packages });
        Ok(shares)
    }

    /// The new packages of the key, of the old ones and what peers have sent.
    pub(crate) fn finish(
        &mut self,
        old: Packages<S>,
        shares: &BTreeMap<Identifier<S>, round2::Package<S>>,
    ) -> Result<Packages<S>, Failure> {
        let Committed { secret, packages } = self.committed.take().ok_or_else(out_of_order)?;
        self.check_secret_shares(&packages, shares)?;
        let group_key = *old.public.verifying_key();
        let (key, public) = refresh_dkg_shares(&secret, &packages, shares, old.public, old.key)
            .map_err(|error| failure(&self.roster, &error))?;
        if *public.verifying_key() == group_key {
            Ok(Packages { key, public })
        } else {
            Err(bad_result("are of another key"))
        }
    }

    /// Checks each peer's secret share against its commitments. The library checks it too, but names nobody.
    fn check_secret_shares(
        &self,
        packages: &BTreeMap<Identifier<S>, round1::Package<S>>,
        shares: &BTreeMap<Identifier<S>, round2::Package<S>>,
    ) -> Result<(), Failure> {
        for peer in self.roster.peers() {
            let id = identifier(peer)?;
            let (Some(package), Some(share)) = (packages.get(&id), shares.get(&id)) else {
                return Err(out_of_order());
            };
            let commitments =
                package.commitment().serialize().map_err(|error| failure(&self.roster, &error))?;
            let points: Result<Vec<_>, _> = commitments.iter().map(|bytes| point::<S>(bytes)).collect();
            let points = points.map_err(|error| failure(&self.roster, &error))?;
            let expected = committed_value::<S>(&points, self.roster.me());
            let public = VerifyingShare::<S>::from(*share.signing_share());
            let public = public.serialize().and_then(|bytes| point::<S>(&bytes));
            if public.ok() != Some(expected) {
                return Err(bad_secret_share(peer));
            }
        }
        Ok(())
    }
}

/// A refresh of one party.
pub(crate) struct Refresh<S: Suite> {
    roster: Roster,
    share: Share<S>,
    refreshing: Refreshing<S>,
}

impl<S: Suite> Refresh<S> {
    pub(crate) fn new(host: &dyn Host, roster: &Roster) -> Result<Self, Failure> {
        let share = Share::load(host, roster)?;
        Ok(Self { roster: roster.clone(), share, refreshing: Refreshing::new(roster, "refresh") })
    }

    fn finish(&mut self, host: &mut dyn Host, inbox: &mut Inbox) -> Result<Outcome, Failure> {
        let shares = self.refreshing.exchange.receive(SECRET_SHARE, inbox)?;
        let packages = self.refreshing.finish(self.share.packages(), &shares)?;
        Ok(Outcome::Refreshed(save(host, &self.roster, &packages)?))
    }
}

impl<S: Suite> Rounds for Refresh<S> {
    const SCHEDULE: &'static [Slot] = &[COMMITMENTS, SECRET_SHARE];

    fn begin(&mut self, _: &mut dyn Host, out: &mut Outbox) -> Result<(), Failure> {
        self.refreshing.begin(out)
    }

    fn round(
        &mut self,
        host: &mut dyn Host,
        round: u16,
        mut inbox: Inbox,
        out: &mut Outbox,
    ) -> Result<Option<Outcome>, Failure> {
        if round > 1 {
            return self.finish(host, &mut inbox).map(Some);
        }
        let shares = self.refreshing.secret_shares(&mut inbox)?;
        self.refreshing.exchange.send_secret_shares(&shares, out)?;
        Ok(None)
    }
}
