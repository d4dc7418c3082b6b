//! Sealing of point-to-point payloads (rule 4): HPKE (RFC 9180) with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and
//! ChaCha20-Poly1305, one context per ordered pair and session.
//!
//! The first sealed payload of a pair carries the encapsulated key in front. Payloads of a pair must be opened in the
//! order in which they were sealed; the session's streams see to that.

use chacha20::ChaCha20Rng;
use hpke::aead::{AeadCtxR, AeadCtxS};
use hpke::{Deserializable, OpModeR, OpModeS, Serializable, setup_receiver, setup_sender_with_rng};
use zeroize::Zeroizing;

use crate::PartyIndex;
use crate::codec::encode;
use crate::hpke_suite::{
    ChaCha20Poly1305, ENCAPSULATED_KEY_BYTES, EncapsulatedKey, HkdfSha256, Kem, PrivateKey,
    RecipientPublicKey, X25519HkdfSha256,
};
use crate::ids::ExecutionId;
use crate::wiped_stack::on_wiped_stack;

/// A payload that does not open, or a malformed key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the payload does not open")]
pub struct Unopenable;

/// A party's ephemeral key of one session.
pub struct Ephemeral {
    /// On the heap, so that no copy stays behind where it was moved from. The library wipes it when it is dropped.
    secret: Box<PrivateKey>,
    public: [u8; 32],
}

impl Ephemeral {
    /// A fresh key.
    pub(crate) fn new(random: &mut ChaCha20Rng) -> Self {
        on_wiped_stack(|| {
            let (secret, public) = X25519HkdfSha256::gen_keypair_with_rng(random);
            Self { secret: Box::new(secret), public: public.to_bytes().into() }
        })
    }

    /// The public key, for the hello.
    pub(crate) fn public(&self) -> [u8; 32] {
        self.public
    }
}

/// The binding of a context: the execution and the ordered pair.
fn info(execution: ExecutionId, from: PartyIndex, to: PartyIndex) -> Vec<u8> {
    [b"quorate 1 seal".to_vec(), encode(&execution), encode(&from), encode(&to)].concat()
}

/// Seals what one party sends to another.
pub(crate) struct Sealer {
    context: Box<AeadCtxS<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>>,
    /// Sent in front of the first payload, then gone.
    encapsulated: Option<Vec<u8>>,
}

impl Sealer {
    pub(crate) fn new(
        execution: ExecutionId,
        from: PartyIndex,
        to: PartyIndex,
        recipient: &[u8; 32],
        random: &mut ChaCha20Rng,
    ) -> Result<Self, Unopenable> {
        let recipient = RecipientPublicKey::from_bytes(recipient).map_err(|_| Unopenable)?;
        let info = info(execution, from, to);
        on_wiped_stack(|| {
            let (encapsulated, context) =
                setup_sender_with_rng(&OpModeS::Base, &recipient, &info, random).map_err(|_| Unopenable)?;
            Ok(Self { context: Box::new(context), encapsulated: Some(encapsulated.to_bytes().to_vec()) })
        })
    }

    pub(crate) fn seal(&mut self, payload: &[u8], header: &[u8]) -> Result<Vec<u8>, Unopenable> {
        let sealed = on_wiped_stack(|| self.context.seal(payload, header)).map_err(|_| Unopenable)?;
        Ok(match self.encapsulated.take() {
            Some(first) => [first, sealed].concat(),
            None => sealed,
        })
    }
}

/// Opens what one party sends to another.
pub(crate) struct Opener {
    info: Vec<u8>,
    context: Option<Box<AeadCtxR<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>>>,
}

impl Opener {
    pub(crate) fn new(execution: ExecutionId, from: PartyIndex, to: PartyIndex) -> Self {
        Self { info: info(execution, from, to), context: None }
    }

    pub(crate) fn open(
        &mut self,
        ephemeral: &Ephemeral,
        sealed: &[u8],
        header: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Unopenable> {
        let mut rest = sealed;
        let context = match &mut self.context {
            Some(context) => context,
            none => {
                let (first, others) = sealed.split_at_checked(ENCAPSULATED_KEY_BYTES).ok_or(Unopenable)?;
                rest = others;
                let encapsulated = EncapsulatedKey::from_bytes(first).map_err(|_| Unopenable)?;
                let context = on_wiped_stack(|| {
                    setup_receiver(&OpModeR::Base, ephemeral.secret.as_ref(), &encapsulated, &self.info)
                        .map(Box::new)
                        .map_err(|_| Unopenable)
                });
                none.insert(context?)
            }
        };
        on_wiped_stack(|| context.open(rest, header)).map(Zeroizing::new).map_err(|_| Unopenable)
    }
}
