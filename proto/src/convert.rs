//! Conversions between messages and the types of `quorate-core`, in one place for all roles.

use bytes::Bytes;
use quorate_core::admission::PluginFacts;
use quorate_core::{Digest, OrderId, PartyIndex, SessionId, Threshold};

use crate::v1;

/// A message with a field that has no meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a malformed field in a message")]
pub struct MalformedField;

impl From<&PluginFacts> for v1::Plugin {
    fn from(plugin: &PluginFacts) -> Self {
        Self {
            digest: Bytes::copy_from_slice(plugin.digest.as_bytes()),
            protocol: plugin.protocol.clone(),
            version: plugin.version.to_string(),
            schemes: plugin.schemes.clone(),
            max_parties: plugin.max_parties.into(),
            open_signings: plugin.open_signings.map(u32::from),
            share_formats: plugin.share_formats.clone(),
            presigns: plugin.presigns,
        }
    }
}

impl TryFrom<v1::Plugin> for PluginFacts {
    type Error = MalformedField;

    fn try_from(plugin: v1::Plugin) -> Result<Self, MalformedField> {
        Ok(Self {
            digest: digest(&plugin.digest)?,
            protocol: plugin.protocol,
            version: plugin.version.parse().map_err(|_| MalformedField)?,
            schemes: plugin.schemes,
            max_parties: u16::try_from(plugin.max_parties).unwrap_or(Threshold::MAX_PARTIES),
            open_signings: plugin.open_signings.map(|most| u16::try_from(most).unwrap_or(u16::MAX)),
            share_formats: plugin.share_formats,
            presigns: plugin.presigns,
        })
    }
}

/// Reads a fixed number of bytes.
///
/// # Errors
/// When there are more or fewer.
pub fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N], MalformedField> {
    bytes.try_into().map_err(|_| MalformedField)
}

/// Reads the id of a session.
///
/// # Errors
/// When it is not 32 bytes long.
pub fn session_id(bytes: &[u8]) -> Result<SessionId, MalformedField> {
    array(bytes).map(SessionId)
}

/// Reads the id of an order.
///
/// # Errors
/// When it is not 32 bytes long.
pub fn order_id(bytes: &[u8]) -> Result<OrderId, MalformedField> {
    array(bytes).map(OrderId)
}

/// Reads the digest of a component.
///
/// # Errors
/// When it is not 32 bytes long.
pub fn digest(bytes: &[u8]) -> Result<Digest, MalformedField> {
    array(bytes).map(Digest)
}

/// Writes indices of parties.
#[must_use]
pub fn numbers(indices: &[PartyIndex]) -> Vec<u32> {
    indices.iter().map(|index| index.number().into()).collect()
}

/// Reads an index of a party.
///
/// # Errors
/// When it is 0, or too large.
pub fn party_index(number: u32) -> Result<PartyIndex, MalformedField> {
    let index = u16::try_from(number).map_err(|_| MalformedField)?;
    PartyIndex::try_from(index).map_err(|_| MalformedField)
}

/// Reads indices of parties.
///
/// # Errors
/// When one of them is malformed.
pub fn party_indices(numbers: &[u32]) -> Result<Vec<PartyIndex>, MalformedField> {
    numbers.iter().map(|&number| party_index(number)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_keeps_all_its_fields_on_the_way() {
        let plugin = PluginFacts {
            digest: Digest([1; 32]),
            protocol: "dkls23".into(),
            version: "1.2.3".parse().unwrap(),
            schemes: vec!["ecdsa-secp256k1".into()],
            max_parties: 16,
            open_signings: Some(16),
            share_formats: vec![1, 2],
            presigns: true,
        };
        assert_eq!(PluginFacts::try_from(v1::Plugin::from(&plugin)), Ok(plugin.clone()));
        let message = v1::Plugin::from(&plugin);
        for bad in [
            v1::Plugin { digest: Bytes::from_static(&[1; 31]), ..message.clone() },
            v1::Plugin { version: "one".into(), ..message.clone() },
        ] {
            assert_eq!(PluginFacts::try_from(bad), Err(MalformedField));
        }
    }

    #[test]
    fn indices_begin_at_one() {
        let all: Vec<PartyIndex> = PartyIndex::all(3).collect();
        assert_eq!(party_indices(&numbers(&all)), Ok(all));
        for bad in [&[0][..], &[1, 70_000]] {
            assert_eq!(party_indices(bad), Err(MalformedField));
        }
    }
}
