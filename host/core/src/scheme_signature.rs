//! A signature of an account's key, as protocols make it and as the host verifies it.

use crate::codec::{Bytes, Malformed, Reader, Wire};

/// A signature under a signature scheme, such as `ecdsa-secp256k1`. It has not been verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemeSignature {
    /// The signature in the scheme's fixed-length form: r ‖ s for ECDSA, R ‖ s for Ed25519 and BIP-340.
    pub bytes: [u8; 64],
    /// ECDSA only, 0 to 3: which of the public keys that fit the signature is the right one.
    pub recovery_id: Option<u8>,
}

/// The signature carries its length, so that schemes with longer ones find room.
impl Wire for SchemeSignature {
    fn put(&self, out: &mut Vec<u8>) {
        Bytes(self.bytes.to_vec()).put(out);
        self.recovery_id.put(out);
    }

    fn take(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        let bytes = Bytes::take(input)?.0.try_into().map_err(|_| Malformed)?;
        Ok(Self { bytes, recovery_id: Wire::take(input)? })
    }
}
