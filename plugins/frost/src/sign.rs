//! FROST signing: nonce commitments to all, then signature shares to all; every signer combines.

use std::collections::BTreeMap;

use frost_ed25519::keys::{KeyPackage, PublicKeyPackage};
use frost_ed25519::round1::{SigningCommitments, SigningNonces, commit};
use frost_ed25519::round2::SignatureShare;
use frost_ed25519::{Identifier, SigningPackage, aggregate, round2};
use quorate_plugin_sdk::{
    Delivery, Failure, HashFunction, Host, Inbox, Message, OldRng, Outbox, Outcome, PartyIndex, Roster,
    Rounds, Scope, SignItem, Signature, Slot, load,
};
use serde::{Deserialize, Serialize};

use crate::library::{FORMAT, failure, identifier};

#[derive(Serialize, Deserialize)]
struct Commitments(SigningCommitments);

impl Message for Commitments {
    const ROUND: u16 = 1;
    const DELIVERY: Delivery = Delivery::ReliableBroadcast;
    const MAX_BYTES: usize = 200;
}

#[derive(Serialize, Deserialize)]
struct Partial(SignatureShare);

impl Message for Partial {
    const ROUND: u16 = 2;
    const DELIVERY: Delivery = Delivery::Broadcast;
    const MAX_BYTES: usize = 200;
}

pub(crate) struct Sign {
    roster: Roster,
    message: Vec<u8>,
    key: KeyPackage,
    public: PublicKeyPackage,
    nonces: Option<(SigningNonces, SigningCommitments)>,
    own: Option<(SigningPackage, SignatureShare)>,
}

impl Sign {
    pub(crate) fn new(host: &dyn Host, roster: &Roster, item: &SignItem) -> Result<Self, Failure> {
        if item.hash != HashFunction::None
            || !item.path.is_empty()
            || item.tweak.is_some()
            || item.presignature.is_some()
        {
            return Err(Failure::InvalidTask("ed25519 signs the message itself".into()));
        }
        let (format, key, public): (u32, KeyPackage, PublicKeyPackage) = load(host, Scope::Key, "share")?;
        if format != FORMAT || *key.identifier() != identifier(roster.me())? {
            return Err(Failure::InvalidShare("not this party's share".into()));
        }
        let message = item.message.clone();
        Ok(Self { roster: roster.clone(), message, key, public, nonces: None, own: None })
    }

    fn by_identifier<T>(
        &self,
        received: BTreeMap<PartyIndex, T>,
        own: T,
    ) -> Result<BTreeMap<Identifier, T>, Failure> {
        received
            .into_iter()
            .chain([(self.roster.me(), own)])
            .map(|(party, value)| Ok((identifier(party)?, value)))
            .collect()
    }
}

impl Rounds for Sign {
    const SCHEDULE: &'static [Slot] = &[Slot::of::<Commitments>(), Slot::of::<Partial>()];

    fn begin(&mut self, _: &mut dyn Host, out: &mut Outbox) -> Result<(), Failure> {
        let (nonces, commitments) = commit(self.key.signing_share(), &mut OldRng);
        self.nonces = Some((nonces, commitments));
        out.broadcast(&Commitments(commitments))
    }

    fn round(
        &mut self,
        _: &mut dyn Host,
        round: u16,
        mut inbox: Inbox,
        out: &mut Outbox,
    ) -> Result<Option<Outcome>, Failure> {
        let order = || Failure::Internal("sign rounds out of order".into());
        if round == 1 {
            let (nonces, own) = self.nonces.take().ok_or_else(order)?;
            let received = inbox.take::<Commitments>()?.into_iter().map(|(p, c)| (p, c.0)).collect();
            let package = SigningPackage::new(self.by_identifier(received, own)?, &self.message);
            let share = round2::sign(&package, &nonces, &self.key).map_err(|e| failure(&self.roster, &e))?;
            out.broadcast(&Partial(share))?;
            self.own = Some((package, share));
            return Ok(None);
        }
        let (package, own) = self.own.take().ok_or_else(order)?;
        let received = inbox.take::<Partial>()?.into_iter().map(|(p, s)| (p, s.0)).collect();
        let shares = self.by_identifier(received, own)?;
        let signature = aggregate(&package, &shares, &self.public).map_err(|e| failure(&self.roster, &e))?;
        let bytes = signature
            .serialize()
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| Failure::Internal("a signature that is not 64 bytes long".into()))?;
        Ok(Some(Outcome::Signatures(vec![Signature { bytes, recovery_id: None }])))
    }
}
