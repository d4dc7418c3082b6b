//! The stored form of a party's key.

use dkls23_core::protocols::Party;
use k256::AffinePoint;
use k256::elliptic_curve::sec1::ToSec1Point;
use quorate_plugin_sdk::{Failure, Host, KeyOutputs, PublicKeyInfo, Roster, Scope, decode, encode};
use serde::{Deserialize, Serialize};

use crate::scheme::{Curve, SCHEME};

/// The format that this version writes. A later version gets a new number and goes on reading this one.
pub(crate) const FORMAT: u32 = 1;

/// The vault entry of a key's share.
const NAME: &str = "share";

/// A key share: the library's party and what it does not keep, the public shares of all parties.
///
/// Stored as postcard: the format number first, so that a reader can tell formats apart before it decodes.
#[derive(Serialize, Deserialize)]
pub(crate) struct Share {
    format: u32,
    pub(crate) party: Party<Curve>,
    /// `poly_point · G` of every party, in index order.
    pub(crate) verifying_shares: Vec<AffinePoint>,
}

impl Share {
    pub(crate) fn new(party: Party<Curve>, verifying_shares: Vec<AffinePoint>) -> Self {
        Self { format: FORMAT, party, verifying_shares }
    }

    /// Loads the share of this key and checks that it belongs to the roster's party, t and n.
    pub(crate) fn load(host: &dyn Host, roster: &Roster) -> Result<Self, Failure> {
        let invalid = |what: &str| Failure::InvalidShare(format!("the stored share {what}").into());
        let bytes = host.vault_get(Scope::Key, NAME)?.ok_or_else(|| invalid("is missing"))?;
        match postcard::take_from_bytes::<u32>(&bytes) {
            Ok((FORMAT, _)) => {}
            Ok((other, _)) => {
                return Err(invalid(&format!("has format {other}, and this version reads {FORMAT}")));
            }
            Err(_) => return Err(invalid("is empty")),
        }
        let share: Self = decode(&bytes).ok_or_else(|| invalid("does not decode"))?;
        let parameters = &share.party.parameters;
        if u16::from(share.party.party_index.as_u8()) != roster.me().number()
            || u16::from(parameters.threshold) != roster.threshold()
            || u16::from(parameters.share_count) != roster.parties()
            || share.verifying_shares.len() != usize::from(roster.parties())
        {
            return Err(invalid("is not this party's share of this key"));
        }
        Ok(share)
    }

    /// The public side of the share.
    pub(crate) fn outputs(&self) -> KeyOutputs {
        KeyOutputs {
            scheme: SCHEME.into(),
            public_key: compressed(&self.party.pk),
            chain_code: Some(*self.party.chain_code()),
            verifying_shares: self.verifying_shares.iter().map(compressed).collect(),
        }
    }

    /// Stages the share and gives the public side of it.
    pub(crate) fn save(&self, host: &mut dyn Host) -> Result<PublicKeyInfo, Failure> {
        let bytes = encode(self)?;
        host.vault_put(Scope::Key, NAME, &bytes)?;
        let KeyOutputs { scheme, public_key, chain_code, verifying_shares } = self.outputs();
        Ok(PublicKeyInfo { scheme, public_key, chain_code, verifying_shares, share_format: FORMAT })
    }
}

fn compressed(point: &AffinePoint) -> Vec<u8> {
    point.to_sec1_point(true).as_bytes().to_vec()
}
