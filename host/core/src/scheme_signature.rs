//! A signature of an account's key, as protocols make it and as the host verifies it.

/// A signature under a signature scheme, such as `ecdsa-secp256k1`. It has not been verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemeSignature {
    /// The signature in the scheme's fixed-length form: r ‖ s for ECDSA, R ‖ S for Ed25519.
    pub bytes: [u8; 64],
    /// ECDSA only, 0 to 3: which of the public keys that fit the signature is the right one.
    pub recovery_id: Option<u8>,
}
