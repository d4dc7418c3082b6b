//! Authorisations: what the callers themselves have signed, beside what the account service states.

use crate::codec::{Bytes, wire_struct};

/// The callers of whom some must have signed a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorisations {
    /// How many of the keys must have signed.
    pub required: u8,
    /// The keys, and the signatures so far.
    pub keys: Vec<Authorisation>,
}

wire_struct!(Authorisations { required, keys });

/// One caller's key, and its signature if it has signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorisation {
    /// The signature algorithm, by its name in JWS (RFC 7518, RFC 8037): `EdDSA`, `ES256`.
    pub algorithm: String,
    /// The public key.
    pub key: Bytes,
    /// The signature over the request.
    pub signature: Option<Bytes>,
}

wire_struct!(Authorisation { algorithm, key, signature });
