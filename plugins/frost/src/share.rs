//! The stored form of a party's part of a key.

use std::collections::BTreeMap;

use frost_core::keys::{KeyPackage, PublicKeyPackage, SigningShare, VerifyingShare};
use frost_core::{Ciphersuite, Error, Identifier, VerifyingKey};
use quorate_plugin_sdk::{
    Failure, Host, KeyOutputs, PartyIndex, PublicKeyInfo, Roster, Scope, decode, encode,
};
use serde::{Deserialize, Serialize};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::failure::{Refusal, bad_result, identifier, refused, stored_share};
use crate::polynomial::{lie_on_polynomial, point};
use crate::suite::{Packages, Suite};

/// The format that this version writes. A later version gets a new number and goes on reading this one.
pub(crate) const FORMAT: u32 = 1;

/// The vault entry of a key's share.
const NAME: &str = "share";

/// A key share as it is kept: postcard, the format number first, so that a reader can tell formats apart before it decodes. The
/// library's own encodings are not used, because they differ between its versions.
#[derive(Serialize, Deserialize, ZeroizeOnDrop)]
struct StoredShare {
    format: u32,
    party: u16,
    threshold: u16,
    /// The scalar, as the ciphersuite serializes it.
    signing_share: [u8; 32],
    /// The group's public key, and the public share of each party in index order: points as the ciphersuite serializes them.
    group_key: Vec<u8>,
    verifying_shares: Vec<Vec<u8>>,
}

/// A key share: this party's part of the key, and the public shares of the session's signers.
pub(crate) struct Share<S: Suite> {
    packages: Packages<S>,
}

impl<S: Suite> Share<S> {
    /// Loads the share of this key. It must be of the roster's party, t and n, the public shares of the signers must interpolate to
    /// the key, and this party's must be the one of its secret.
    pub(crate) fn load(host: &dyn Host, roster: &Roster) -> Result<Self, Failure> {
        let bytes = host.vault_get(Scope::Key, NAME)?.ok_or_else(|| stored_share("is missing"))?;
        let stored = StoredShare::read(&bytes)?;
        if stored.party != roster.me().number()
            || stored.threshold != roster.threshold()
            || stored.verifying_shares.len() != usize::from(roster.parties())
        {
            return Err(stored_share("is not this party's share of this key"));
        }
        let packages = stored.packages(roster).map_err(|error: Error<S>| stored_share(&error.to_string()))?;
        check(&packages, roster.signers(), roster).map_err(stored_share)?;
        Ok(Self { packages })
    }

    /// The packages of this key.
    pub(crate) fn packages(&self) -> Packages<S> {
        Packages { key: self.packages.key.clone(), public: self.packages.public.clone() }
    }
}

/// Checks new packages, stages the share and gives its public side.
pub(crate) fn save<S: Suite>(
    host: &mut dyn Host,
    roster: &Roster,
    packages: &Packages<S>,
) -> Result<PublicKeyInfo, Failure> {
    check(packages, roster.signers(), roster).map_err(bad_result)?;
    let encoding = |error: Error<S>| bad_result(&error.to_string());
    let Packages { key, public } = packages;
    let secret = Zeroizing::new(key.signing_share().serialize());
    let mut stored = StoredShare {
        format: FORMAT,
        party: roster.me().number(),
        threshold: roster.threshold(),
        signing_share: [0; 32],
        group_key: public.verifying_key().serialize().map_err(encoding)?,
        verifying_shares: public
            .verifying_shares()
            .values()
            .map(VerifyingShare::serialize)
            .collect::<Result<_, _>>()
            .map_err(encoding)?,
    };
    if secret.len() != stored.signing_share.len() {
        return Err(bad_result("have no scalar of 32 bytes"));
    }
    stored.signing_share.copy_from_slice(&secret);
    host.vault_put(Scope::Key, NAME, &encode(&stored)?)?;
    Ok(PublicKeyInfo {
        scheme: S::SCHEME.into(),
        public_key: S::public_key(stored.group_key.clone()),
        chain_code: None,
        verifying_shares: stored.verifying_shares.clone(),
        share_format: FORMAT,
    })
}

/// The public side of a share set, of the outputs that all parties have promised.
pub(crate) fn promised<S: Suite>(
    outputs: &KeyOutputs,
    roster: &Roster,
) -> Result<PublicKeyPackage<S>, Failure> {
    if outputs.scheme != S::SCHEME || outputs.chain_code.is_some() {
        return Err(refused(Refusal::Scheme));
    }
    let undecodable = |_: Error<S>| refused(Refusal::Outputs);
    let mut verifying_shares = BTreeMap::new();
    for (number, encoded) in (1..).zip(&outputs.verifying_shares) {
        let id = Identifier::try_from(number).map_err(undecodable)?;
        verifying_shares.insert(id, VerifyingShare::deserialize(encoded).map_err(undecodable)?);
    }
    let key = VerifyingKey::deserialize(&S::library_key(&outputs.public_key)).map_err(undecodable)?;
    Ok(PublicKeyPackage::new(verifying_shares, key, Some(roster.threshold())))
}

impl StoredShare {
    fn read(bytes: &[u8]) -> Result<Self, Failure> {
        let Ok((format, _)) = postcard::take_from_bytes::<u32>(bytes) else {
            return Err(stored_share("is empty"));
        };
        if format != FORMAT {
            let text = format!("has format {format}, and this version reads {FORMAT}");
            return Err(stored_share(&text));
        }
        decode(bytes).ok_or_else(|| stored_share("does not decode"))
    }

    /// The library's packages, with the public shares of the roster's signers.
    fn packages<S: Ciphersuite>(&self, roster: &Roster) -> Result<Packages<S>, Error<S>> {
        let me = Identifier::try_from(self.party)?;
        let mut verifying_shares = BTreeMap::new();
        for signer in roster.signers() {
            let number = signer.number();
            let encoded =
                self.verifying_shares.get(usize::from(number) - 1).ok_or(Error::UnknownIdentifier)?;
            verifying_shares.insert(Identifier::try_from(number)?, VerifyingShare::deserialize(encoded)?);
        }
        let own = *verifying_shares.get(&me).ok_or(Error::UnknownIdentifier)?;
        let group_key = VerifyingKey::deserialize(&self.group_key)?;
        let signing_share = SigningShare::deserialize(&self.signing_share)?;
        Ok(Packages {
            key: KeyPackage::new(me, signing_share, own, group_key, self.threshold),
            public: PublicKeyPackage::new(verifying_shares, group_key, Some(self.threshold)),
        })
    }
}

/// Checks that packages are in the form in which they are kept, that this party's secret is the one of its public share, and that
/// the public shares of `parties` interpolate to the key.
pub(crate) fn check<S: Suite>(
    packages: &Packages<S>,
    parties: &[PartyIndex],
    roster: &Roster,
) -> Result<(), &'static str> {
    let Packages { key, public } = packages;
    let me = identifier::<S>(roster.me()).map_err(|_| "have an impossible party")?;
    let own = VerifyingShare::from(*key.signing_share());
    if *key.identifier() != me
        || public.verifying_shares().get(&me) != Some(&own)
        || own != *key.verifying_share()
        || public.verifying_key() != key.verifying_key()
    {
        return Err("are not of one party and key");
    }
    if !S::is_normal(packages) {
        return Err("have a key with an odd y");
    }
    let undecodable = "have a point that does not decode";
    let mut points = Vec::new();
    for party in parties {
        let id = identifier::<S>(*party).map_err(|_| undecodable)?;
        let share = public.verifying_shares().get(&id).ok_or("lack a party's public share")?;
        let encoded = share.serialize().map_err(|_| undecodable)?;
        points.push((party.number(), point::<S>(&encoded).map_err(|_| undecodable)?));
    }
    let encoded = public.verifying_key().serialize().map_err(|_| undecodable)?;
    let group_key = point::<S>(&encoded).map_err(|_| undecodable)?;
    if lie_on_polynomial::<S>(&points, roster.threshold(), group_key) {
        Ok(())
    } else {
        Err("do not interpolate to the key")
    }
}
