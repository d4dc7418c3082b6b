//! The facts that a party stores about a key beside its share.

use crate::certificate::KeyOutputs;
use crate::codec::wire_struct;
use crate::key_spec::KeySpec;
use crate::order::Version;

/// The facts that a party seals together with a share when it promises the share. They contain no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// The properties that were fixed when the key was made.
    pub spec: KeySpec,
    /// The epoch of the share.
    pub epoch: u32,
    /// The public key and all else that is public about it.
    pub key: KeyOutputs,
    /// The version of the plugin that wrote the share.
    pub written_by: Version,
    /// The format of the share: a plugin says which formats it reads.
    pub share_format: u32,
}

wire_struct!(KeyRecord { spec, epoch, key, written_by, share_format });
