//! Distributed key generation: commitments and a proof of knowledge to all, then a secret share to each.

use frost_core::keys::dkg::{part1, part2, part3, round1};
use quorate_plugin_sdk::{Failure, Host, Inbox, OldRng, Outbox, Outcome, Roster, Rounds, Slot};

use crate::failure::{failure, identifier, out_of_order};
use crate::package::{COMMITMENTS, Committed, PackageExchange, SECRET_SHARE};
use crate::share::save;
use crate::suite::{Packages, Suite};

/// A key generation of one party.
pub(crate) struct Keygen<S: Suite> {
    roster: Roster,
    exchange: PackageExchange,
    begun: Option<(round1::SecretPackage<S>, round1::Package<S>)>,
    committed: Option<Committed<S>>,
}

impl<S: Suite> Keygen<S> {
    pub(crate) fn new(roster: &Roster) -> Self {
        let exchange = PackageExchange::new(roster, "keygen");
        Self { roster: roster.clone(), exchange, begun: None, committed: None }
    }

    fn send_secret_shares(&mut self, inbox: &mut Inbox, out: &mut Outbox) -> Result<(), Failure> {
        let (secret, own) = self.begun.take().ok_or_else(out_of_order)?;
        let packages = self.exchange.receive(COMMITMENTS, inbox)?;
        self.exchange.check_degrees(self.roster.threshold(), &packages)?;
        // It verifies the proofs, and a copied package has none of its sender's: everybody names whoever copies.
        let (secret, shares) = part2(secret, &packages).map_err(|error| failure(&self.roster, &error))?;
        self.exchange.check_distinct(&own, &packages)?;
        self.exchange.send_secret_shares(&shares, out)?;
        self.committed = Some(Committed { secret, packages });
        Ok(())
    }

    fn finish(&mut self, host: &mut dyn Host, inbox: &mut Inbox) -> Result<Outcome, Failure> {
        let Committed { secret, packages } = self.committed.take().ok_or_else(out_of_order)?;
        let shares = self.exchange.receive(SECRET_SHARE, inbox)?;
        let (key, public) =
            part3(&secret, &packages, &shares).map_err(|error| failure(&self.roster, &error))?;
        let packages = S::normalise(Packages { key, public });
        Ok(Outcome::Key(save(host, &self.roster, &packages)?))
    }
}

impl<S: Suite> Rounds for Keygen<S> {
    const SCHEDULE: &'static [Slot] = &[COMMITMENTS, SECRET_SHARE];

    fn begin(&mut self, _: &mut dyn Host, out: &mut Outbox) -> Result<(), Failure> {
        let me = identifier(self.roster.me())?;
        let (secret, package) = part1(me, self.roster.parties(), self.roster.threshold(), OldRng)
            .map_err(|error| failure(&self.roster, &error))?;
        self.exchange.broadcast(&package, out)?;
        self.begun = Some((secret, package));
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
            1 => self.send_secret_shares(&mut inbox, out).map(|()| None),
            _ => self.finish(host, &mut inbox).map(Some),
        }
    }
}
