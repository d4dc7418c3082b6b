//! FROST's distributed key generation: commitments to all, then a share to each.

use std::collections::BTreeMap;

use frost_ed25519::Identifier;
use frost_ed25519::keys::dkg::{part1, part2, part3, round1, round2};
use quorate_plugin_sdk::{
    Binding, Delivery, Failure, Host, Inbox, Message, OldRng, Outbox, Outcome, PublicKeyInfo, Roster, Rounds,
    Scope, Slot, decode, encode, save,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::library::{FORMAT, SCHEME, failure, identifier};

/// Bound bytes of the library's round-1 package.
#[derive(Serialize, Deserialize)]
struct First(Vec<u8>);

impl Message for First {
    const ROUND: u16 = 1;
    const DELIVERY: Delivery = Delivery::ReliableBroadcast;
    const MAX_BYTES: usize = 2_000;
}

/// Bound bytes of the library's round-2 package.
#[derive(Serialize, Deserialize)]
struct Second(Vec<u8>);

impl Message for Second {
    const ROUND: u16 = 2;
    const DELIVERY: Delivery = Delivery::PointToPoint;
    const MAX_BYTES: usize = 200;
}

pub(crate) struct Keygen {
    roster: Roster,
    binding: Binding,
    secret1: Option<round1::SecretPackage>,
    secret2: Option<round2::SecretPackage>,
    packages1: BTreeMap<Identifier, round1::Package>,
}

impl Keygen {
    pub(crate) fn new(roster: &Roster) -> Self {
        Self {
            roster: roster.clone(),
            binding: Binding::new(roster),
            secret1: None,
            secret2: None,
            packages1: BTreeMap::new(),
        }
    }

    fn bind<T: Serialize>(&self, round: u16, value: &T) -> Result<Vec<u8>, Failure> {
        Ok(self.binding.seal(round, "dkg", self.roster.me(), &encode(value)?).to_vec())
    }

    fn unbind<T: DeserializeOwned>(
        &self,
        round: u16,
        messages: impl IntoIterator<Item = (quorate_plugin_sdk::PartyIndex, Vec<u8>)>,
    ) -> Result<BTreeMap<Identifier, T>, Failure> {
        let open = |(from, bytes): (_, Vec<u8>)| {
            let payload = self.binding.open(round, "dkg", from, &bytes)?;
            let package =
                decode(&payload).ok_or_else(|| Failure::fault(from, "a package that does not decode"))?;
            Ok((identifier(from)?, package))
        };
        messages.into_iter().map(open).collect()
    }
}

impl Rounds for Keygen {
    const SCHEDULE: &'static [Slot] = &[Slot::of::<First>(), Slot::of::<Second>()];

    fn begin(&mut self, _: &mut dyn Host, out: &mut Outbox) -> Result<(), Failure> {
        let me = identifier(self.roster.me())?;
        let (secret, package) = part1(me, self.roster.parties(), self.roster.threshold(), OldRng)
            .map_err(|e| failure(&self.roster, &e))?;
        self.secret1 = Some(secret);
        out.broadcast(&First(self.bind(1, &package)?))
    }

    fn round(
        &mut self,
        host: &mut dyn Host,
        round: u16,
        mut inbox: Inbox,
        out: &mut Outbox,
    ) -> Result<Option<Outcome>, Failure> {
        let order = || Failure::Internal("keygen rounds out of order".into());
        if round == 1 {
            self.packages1 = self.unbind(1, inbox.take::<First>()?.into_iter().map(|(p, m)| (p, m.0)))?;
            let secret = self.secret1.take().ok_or_else(order)?;
            let (secret, mut packages) =
                part2(secret, &self.packages1).map_err(|e| failure(&self.roster, &e))?;
            self.secret2 = Some(secret);
            for peer in self.roster.peers() {
                let package = packages.remove(&identifier(peer)?).ok_or_else(order)?;
                out.send(peer, &Second(self.bind(2, &package)?))?;
            }
            return Ok(None);
        }
        let packages2 = self.unbind(2, inbox.take::<Second>()?.into_iter().map(|(p, m)| (p, m.0)))?;
        let secret = self.secret2.take().ok_or_else(order)?;
        let (key, public) =
            part3(&secret, &self.packages1, &packages2).map_err(|e| failure(&self.roster, &e))?;
        save(host, Scope::Key, "share", &(FORMAT, key, &public))?;
        let encoding = |e: frost_ed25519::Error| Failure::Internal(e.to_string().into());
        Ok(Some(Outcome::Key(PublicKeyInfo {
            scheme: SCHEME.into(),
            public_key: public.verifying_key().serialize().map_err(encoding)?,
            chain_code: None,
            verifying_shares: public
                .verifying_shares()
                .values()
                .map(|share| share.serialize().map_err(encoding))
                .collect::<Result<_, _>>()?,
            share_format: FORMAT,
        })))
    }
}
