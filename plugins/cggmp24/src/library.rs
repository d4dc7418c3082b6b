//! The parameters of the library, and the encoding of its types.

use quorate_plugin_sdk::Failure;

/// The name of the scheme in the contract.
pub(crate) const SCHEME: &str = "ecdsa-secp256k1";

/// The format of shares.
pub(crate) const FORMAT: u32 = 1;

/// The proof of a Blum modulus makes the largest message, about 150 kB with real parameters.
pub(crate) const MESSAGE_BYTES: usize = 1 << 20;

/// Parameters that are large enough for the protocol to be correct (its proof of no small factor wants moduli of
/// 4 · 256 bits) and far too small for it to be secure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Toy;

cggmp24::define_security_level!(Toy {
    kappa_bits: 256,
    rsa_prime_bitlen: 516,
    rsa_pubkey_bitlen: 1030,
    epsilon: 320,
    ell: 256,
    ell_prime: 600,
    m: 128,
});

/// The library's types are written with `flatten`, which needs a format that describes itself.
pub(crate) fn to_json<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(value).map_err(|e| Failure::Internal(e.to_string().into()))
}

pub(crate) fn from_json<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(bytes).map_err(|_| Failure::InvalidShare("it does not decode".into()))
}
