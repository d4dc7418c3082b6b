//! The signature scheme of all keys here.

/// The curve.
pub(crate) type Curve = k256::Secp256k1;

/// The name of the scheme in the contract.
pub(crate) const SCHEME: &str = "ecdsa-secp256k1";
