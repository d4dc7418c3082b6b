//! Heartbeats: what a party says of itself, again and again, so that coordinators choose among parties that are there.

use crate::admission::PluginFacts;
use crate::codec::{Malformed, Reader, Wire, encode, wire_struct};
use crate::identity::{BadSignature, PublicKey, SecretKey, Signature, Tag};
use crate::{PoolId, UnixMillis};

/// A heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The party.
    pub identity: PublicKey,
    /// The name of the replica.
    pub replica: String,
    /// The pool of this process. It is random: it tells the process from earlier ones of the same name.
    pub process: PoolId,
    /// Rises with every heartbeat of the process.
    pub number: u64,
    /// The time by the party's clock.
    pub at: UnixMillis,
    /// A public name of the party's master key, and its proof, which only a holder of the master key can give.
    pub key_name: PublicKey,
    /// See [`Tag::KeyName`].
    pub key_proof: Signature,
    /// Why the party can't do its work, if it can't.
    pub trouble: Option<Trouble>,
    /// The components that it has active.
    pub plugins: Vec<PluginFacts>,
}

wire_struct!(Heartbeat { identity, replica, process, number, at, key_name, key_proof, trouble, plugins });

/// Why a party that is there can't do its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Its database does not answer, or refuses to store a ban.
    Store,
    /// No router takes it in.
    Router,
    /// Its clock is behind the latest time that it has seen.
    Clock,
    /// It was set back to an earlier state.
    SetBack,
}

impl Wire for Trouble {
    fn put(&self, out: &mut Vec<u8>) {
        (*self as u8).put(out);
    }

    fn take(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        match u8::take(input)? {
            0 => Ok(Self::Store),
            1 => Ok(Self::Router),
            2 => Ok(Self::Clock),
            3 => Ok(Self::SetBack),
            _ => Err(Malformed),
        }
    }
}

/// A heartbeat as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedHeartbeat {
    /// The signed content.
    pub heartbeat: Heartbeat,
    signature: Signature,
}

wire_struct!(SignedHeartbeat { heartbeat, signature });

impl Heartbeat {
    /// Signs the heartbeat with the party's key.
    #[must_use]
    pub fn sign(self, key: &SecretKey) -> SignedHeartbeat {
        let signature = key.sign(Tag::Heartbeat, &encode(&self));
        SignedHeartbeat { heartbeat: self, signature }
    }
}

impl SignedHeartbeat {
    /// Verifies that the party it is about said it, and that it holds the master key that it names.
    ///
    /// # Errors
    /// When one of the two is not so.
    pub fn verify(&self) -> Result<(), BadSignature> {
        let Heartbeat { identity, key_name, key_proof, .. } = &self.heartbeat;
        identity.verify(Tag::Heartbeat, &encode(&self.heartbeat), &self.signature)?;
        key_name.verify(Tag::KeyName, &identity.0, key_proof)
    }
}
