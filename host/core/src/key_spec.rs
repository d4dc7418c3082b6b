//! The properties of a key that are fixed when it is made.

use crate::codec::wire_struct;
use crate::identity::{PublicKey, key_of};
use crate::ids::AccountId;
use crate::{PartyIndex, Threshold};

/// The properties of an account's key that are fixed when the key is made. Orders name them, parties seal them with
/// their shares, and the two must be equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// The account.
    pub account: AccountId,
    /// The signature scheme.
    pub scheme: String,
    /// The protocol that holds the shares.
    pub protocol: String,
    /// t of n.
    pub threshold: Threshold,
    /// The identity keys of all n parties, in index order.
    pub parties: Vec<PublicKey>,
    /// Parties that must be among the signers, in ascending order.
    pub mandatory: Vec<PartyIndex>,
}

wire_struct!(KeySpec { account, scheme, protocol, threshold, parties, mandatory });

/// A field in which an order and a party's record of the key can differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyField {
    /// The id of the account.
    Account,
    /// The signature scheme.
    Scheme,
    /// The protocol.
    Protocol,
    /// t or n.
    Threshold,
    /// The identity keys.
    Parties,
    /// The parties without which nothing is signed.
    Mandatory,
    /// The version of the share set.
    Epoch,
    /// The share set itself.
    ShareSet,
    /// The public key.
    PublicKey,
}

impl core::fmt::Display for KeyField {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Account => "account",
            Self::Scheme => "scheme",
            Self::Protocol => "protocol",
            Self::Threshold => "t or n",
            Self::Parties => "parties",
            Self::Mandatory => "mandatory parties",
            Self::Epoch => "epoch",
            Self::ShareSet => "share set",
            Self::PublicKey => "public key",
        })
    }
}

impl KeySpec {
    /// The identity key of a party.
    #[must_use]
    pub fn party(&self, index: PartyIndex) -> Option<&PublicKey> {
        key_of(&self.parties, index)
    }

    /// The index of the party with an identity key.
    #[must_use]
    pub fn index_of(&self, key: &PublicKey) -> Option<PartyIndex> {
        self.indexed_parties().find(|(_, party)| *party == key).map(|(index, _)| index)
    }

    /// All parties by index.
    pub fn indexed_parties(&self) -> impl Iterator<Item = (PartyIndex, &PublicKey)> {
        PartyIndex::all(self.threshold.parties()).zip(&self.parties)
    }

    /// Whether it is of the same key, whatever identities its parties have: a repair may have replaced some.
    #[must_use]
    pub fn is_of_same_key(&self, other: &Self) -> bool {
        Self { parties: other.parties.clone(), ..self.clone() } == *other
    }

    /// The first field in which two specifications differ.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<KeyField> {
        let fields = [
            (self.account == other.account, KeyField::Account),
            (self.scheme == other.scheme, KeyField::Scheme),
            (self.protocol == other.protocol, KeyField::Protocol),
            (self.threshold == other.threshold, KeyField::Threshold),
            (self.parties == other.parties, KeyField::Parties),
            (self.mandatory == other.mandatory, KeyField::Mandatory),
        ];
        fields.into_iter().find(|(equal, _)| !equal).map(|(_, field)| field)
    }
}
