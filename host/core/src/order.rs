//! Orders: what the account service asks for, signed with its originator key. A party does nothing without one (rule
//! 1).

use core::time::Duration;

use crate::codec::{Bytes, Malformed, Reader, Wire, decode, encode, wire_struct};
use crate::identity::{PublicKey, SecretKey, Signature, Tag};
use crate::ids::OrderId;
use crate::key_spec::KeySpec;
use crate::time::UnixSeconds;

/// The version of orders that we write, and the only one that we read.
const ORDER_VERSION: u8 = 1;

/// How long an order may live.
pub const MAX_ORDER_LIFETIME: Duration = Duration::from_secs(600);

/// How far an order may lie in the future by a party's clock: clocks differ.
pub const MAX_CLOCK_SKEW: Duration = Duration::from_secs(60);

/// An order. Every field is checked by every party before it acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    version: u8,
    /// Never used twice.
    pub id: OrderId,
    /// The operation to carry out.
    pub operation: Operation,
    /// The key that it is about.
    pub spec: KeySpec,
    /// The oldest plugin version that may be used.
    pub minimum_plugin: Version,
    /// The epoch of the key's shares; 0 in a keygen.
    pub epoch: u32,
    /// The account's public key; empty in a keygen.
    pub public_key: Bytes,
    /// The key that a user's new share is sealed to (X25519). It is signed, so that no part on the way can replace
    /// it. Only in a keygen or refresh.
    pub recipient: Option<[u8; 32]>,
    /// When it was signed.
    pub issued_at: UnixSeconds,
    /// When it ends: at most [`MAX_ORDER_LIFETIME`] later.
    pub expires_at: UnixSeconds,
}

wire_struct!(Order {
    version,
    id,
    operation,
    spec,
    minimum_plugin,
    epoch,
    public_key,
    recipient,
    issued_at,
    expires_at,
});

/// The operations that an order can ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Make a key.
    Keygen,
    /// Sign.
    Sign(Signing),
    /// New shares of the same key for all n parties.
    Refresh,
}

/// A message to sign, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signing {
    /// A digest or a message, by `hash`.
    pub message: Bytes,
    /// How the parties hash the message.
    pub hash: HashFunction,
    /// BIP-32 child numbers, all below 2³¹.
    pub path: Vec<u32>,
    /// Additive shift (Taproot).
    pub tweak: Option<[u8; 32]>,
    /// Whether a presignature may be used.
    pub presignatures: bool,
}

wire_struct!(Signing { message, hash, path, tweak, presignatures });

/// How a message becomes a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashFunction {
    /// The message is the digest: 32 bytes.
    None,
    /// Keccak-256, as Ethereum hashes.
    Keccak256,
    /// SHA-256 (FIPS 180-4).
    Sha256,
    /// SHA-256 of SHA-256, as Bitcoin hashes.
    Sha256d,
}

impl Wire for Operation {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Keygen => 1_u8.put(out),
            Self::Sign(signing) => {
                2_u8.put(out);
                signing.put(out);
            }
            Self::Refresh => 3_u8.put(out),
        }
    }

    fn take(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        match u8::take(input)? {
            1 => Ok(Self::Keygen),
            2 => Signing::take(input).map(Self::Sign),
            3 => Ok(Self::Refresh),
            _ => Err(Malformed),
        }
    }
}

impl Wire for HashFunction {
    fn put(&self, out: &mut Vec<u8>) {
        (*self as u8).put(out);
    }

    fn take(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        match u8::take(input)? {
            0 => Ok(Self::None),
            1 => Ok(Self::Keccak256),
            2 => Ok(Self::Sha256),
            3 => Ok(Self::Sha256d),
            _ => Err(Malformed),
        }
    }
}

/// A plugin version, `major.minor.patch`. Names of pre-releases do not count in comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

wire_struct!(Version { major, minor, patch });

impl core::fmt::Display for Version {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl core::str::FromStr for Version {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let numbers = text.split_once('-').map_or(text, |(numbers, _)| numbers);
        let mut parts = numbers.split('.').map(|part| part.parse().map_err(|_| Malformed));
        let mut next = || parts.next().unwrap_or(Err(Malformed));
        let version = Self { major: next()?, minor: next()?, patch: next()? };
        if parts.next().is_none() { Ok(version) } else { Err(Malformed) }
    }
}

/// The fields of an order that its maker chooses; [`Order::new`] adds the rest.
#[derive(Clone, Debug)]
pub struct OrderTerms {
    /// See [`Order::operation`].
    pub operation: Operation,
    /// See [`Order::spec`].
    pub spec: KeySpec,
    /// See [`Order::minimum_plugin`].
    pub minimum_plugin: Version,
    /// See [`Order::epoch`].
    pub epoch: u32,
    /// See [`Order::public_key`].
    pub public_key: Vec<u8>,
    /// See [`Order::recipient`].
    pub recipient: Option<[u8; 32]>,
}

/// Why an order is refused: its maker must act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderRefused {
    /// Not signed by an originator that this party pins, or changed after it was signed.
    #[error(
        "the order is not signed by an originator that this party pins: the operators compare QUORATE_ORIGINATORS with the \
         account service's key"
    )]
    NotSigned,
    /// Not exactly the encoding of an order of a version that we know.
    #[error("the order is malformed or of an unknown version")]
    Malformed,
    /// It contradicts itself.
    #[error("the order contradicts itself: {0}")]
    Inconsistent(&'static str),
    /// It lives too long, or ends before it begins.
    #[error("the order's lifetime is longer than {} seconds or less than nothing", MAX_ORDER_LIFETIME.as_secs())]
    Lifetime,
    /// By this party's clock it has not been issued yet.
    #[error("the order was issued in the future: compare the clocks of account service and party")]
    NotYet,
    /// By this party's clock it is over.
    #[error("the order has expired")]
    Expired,
}

impl Order {
    /// An order that is issued now, with this lifetime (at most [`MAX_ORDER_LIFETIME`]).
    #[must_use]
    pub fn new(id: OrderId, terms: OrderTerms, now: UnixSeconds, lifetime: Duration) -> Self {
        let OrderTerms { operation, spec, minimum_plugin, epoch, public_key, recipient } = terms;
        Self {
            version: ORDER_VERSION,
            id,
            operation,
            spec,
            minimum_plugin,
            epoch,
            public_key: Bytes(public_key),
            recipient,
            issued_at: now,
            expires_at: now + lifetime.min(MAX_ORDER_LIFETIME),
        }
    }

    /// Signs the order.
    #[must_use]
    pub fn sign(&self, originator: &SecretKey) -> SignedOrder {
        let bytes = encode(self);
        let signature = originator.sign(Tag::Order, &bytes);
        SignedOrder { bytes: Bytes(bytes), signature }
    }

    /// Whether the order makes sense by itself.
    fn check(&self) -> Result<(), OrderRefused> {
        let wrong = |what| Err(OrderRefused::Inconsistent(what));
        if self.version != ORDER_VERSION {
            return Err(OrderRefused::Malformed);
        }
        if self.spec.parties.len() != usize::from(self.spec.threshold.parties()) {
            return wrong("it does not name n parties");
        }
        let mut sorted = self.spec.parties.clone();
        sorted.sort_unstable();
        if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
            return wrong("a party has two indices");
        }
        let ascending = self.spec.mandatory.is_sorted_by(|a, b| a < b);
        let inside = self.spec.mandatory.iter().all(|p| p.number() <= self.spec.threshold.parties());
        if !ascending || !inside || self.spec.mandatory.len() > usize::from(self.spec.threshold.required()) {
            return wrong("its mandatory parties are not at most t of the parties, ascending");
        }
        let keygen = self.operation == Operation::Keygen;
        if keygen != (self.epoch == 0) || keygen != self.public_key.0.is_empty() {
            return wrong("epoch and public key belong to every order but a keygen");
        }
        if self.recipient.is_some() && matches!(self.operation, Operation::Sign(_)) {
            return wrong("only new shares have a recipient");
        }
        if let Operation::Sign(signing) = &self.operation {
            if signing.path.iter().any(|&child| child >= 1 << 31) {
                return wrong("its path has hardened child numbers");
            }
            let known_message = signing.hash != HashFunction::None;
            let own_key = signing.path.is_empty() && signing.tweak.is_none();
            if signing.presignatures && !(known_message && own_key) {
                return wrong("presignatures go with a known message and the account's own key");
            }
        }
        Ok(())
    }
}

/// An order as it travels: its bytes and the originator's signature over them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedOrder {
    bytes: Bytes,
    signature: Signature,
}

wire_struct!(SignedOrder { bytes, signature });

impl SignedOrder {
    /// The bytes that were signed.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes.0
    }

    /// Verifies, decodes and checks the order, whatever the time is: for reading what became of it.
    ///
    /// # Errors
    /// See [`OrderRefused`].
    pub fn read(&self, originators: &[PublicKey]) -> Result<Order, OrderRefused> {
        let signed =
            originators.iter().any(|key| key.verify(Tag::Order, &self.bytes.0, &self.signature).is_ok());
        if !signed {
            return Err(OrderRefused::NotSigned);
        }
        let order: Order = decode(&self.bytes.0).map_err(|_| OrderRefused::Malformed)?;
        order.check()?;
        Ok(order)
    }

    /// Verifies, decodes and checks the order, by the time `now`.
    ///
    /// # Errors
    /// See [`OrderRefused`].
    pub fn open(&self, originators: &[PublicKey], now: UnixSeconds) -> Result<Order, OrderRefused> {
        let order = self.read(originators)?;
        if order.expires_at < order.issued_at || order.expires_at.since(order.issued_at) > MAX_ORDER_LIFETIME
        {
            return Err(OrderRefused::Lifetime);
        }
        if order.issued_at > now + MAX_CLOCK_SKEW {
            return Err(OrderRefused::NotYet);
        }
        if now > order.expires_at {
            return Err(OrderRefused::Expired);
        }
        Ok(order)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;
    use crate::{AccountId, PartyIndex, Threshold};

    const SECOND: Duration = Duration::from_secs(1);
    pub(crate) const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

    pub(crate) fn identities(parties: u8) -> Vec<SecretKey> {
        (1..=parties).map(|p| SecretKey::from_seed(&[p; 32])).collect()
    }

    pub(crate) fn originator() -> SecretKey {
        SecretKey::from_seed(&[200; 32])
    }

    pub(crate) fn terms(operation: Operation) -> OrderTerms {
        let keygen = operation == Operation::Keygen;
        OrderTerms {
            operation,
            spec: KeySpec {
                account: AccountId([7; 16]),
                scheme: "ecdsa-secp256k1".into(),
                protocol: "dkls23".into(),
                threshold: Threshold::new(2, 3).unwrap(),
                parties: identities(3).iter().map(SecretKey::public).collect(),
                mandatory: vec![],
            },
            minimum_plugin: Version::default(),
            epoch: u32::from(!keygen),
            public_key: if keygen { vec![] } else { vec![2; 33] },
            recipient: None,
        }
    }

    pub(crate) fn signing() -> Operation {
        Operation::Sign(Signing {
            message: Bytes(vec![9; 32]),
            hash: HashFunction::None,
            path: vec![],
            tweak: None,
            presignatures: false,
        })
    }

    fn order(operation: Operation) -> Order {
        Order::new(OrderId([3; 32]), terms(operation), NOW, MAX_ORDER_LIFETIME)
    }

    #[test]
    fn an_order_opens_for_those_who_pin_its_originator() {
        let signed = order(signing()).sign(&originator());
        assert_eq!(signed.open(&[originator().public()], NOW), Ok(order(signing())));
        assert_eq!(signed.open(&[identities(1)[0].public()], NOW), Err(OrderRefused::NotSigned));
        assert_eq!(signed.open(&[], NOW), Err(OrderRefused::NotSigned));
    }

    #[test]
    fn any_flipped_bit_is_refused() {
        let signed = order(signing()).sign(&originator());
        for bit in 0..signed.bytes.0.len() * 8 {
            let mut flipped = signed.clone();
            flipped.bytes.0[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                flipped.open(&[originator().public()], NOW),
                Err(OrderRefused::NotSigned),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn an_unknown_version_or_field_is_refused_even_when_signed() {
        let originator = originator();
        let mut bytes = encode(&order(signing()));
        bytes.push(0);
        let mut newer = order(signing());
        newer.version = 2;
        for bytes in [bytes, encode(&newer)] {
            let signature = originator.sign(Tag::Order, &bytes);
            let signed = SignedOrder { bytes: Bytes(bytes), signature };
            assert_eq!(signed.open(&[originator.public()], NOW), Err(OrderRefused::Malformed));
        }
    }

    #[test]
    fn an_order_is_taken_only_in_its_time() {
        let signed = order(Operation::Keygen).sign(&originator());
        let at = |now| signed.open(&[originator().public()], now).err();
        assert_eq!(at(NOW - MAX_CLOCK_SKEW - SECOND), Some(OrderRefused::NotYet));
        assert_eq!(at(NOW - MAX_CLOCK_SKEW), None);
        assert_eq!(at(NOW + MAX_ORDER_LIFETIME), None);
        assert_eq!(at(NOW + MAX_ORDER_LIFETIME + SECOND), Some(OrderRefused::Expired));
        for (issued_at, expires_at) in [(NOW, NOW + MAX_ORDER_LIFETIME + SECOND), (NOW, NOW - SECOND)] {
            let long = Order { issued_at, expires_at, ..order(Operation::Keygen) };
            let refused = long.sign(&originator()).open(&[originator().public()], NOW);
            assert_eq!(refused, Err(OrderRefused::Lifetime));
        }
    }

    #[test]
    fn an_order_that_contradicts_itself_is_refused() {
        let good = order(signing());
        let third = PartyIndex::try_from(3).unwrap();
        let Operation::Sign(signing) = &good.operation else { unreachable!() };
        let with = |signing: Signing| Order { operation: Operation::Sign(signing), ..good.clone() };
        let spec = &good.spec;
        let of = |spec: KeySpec| Order { spec, ..good.clone() };
        for bad in [
            of(KeySpec { parties: spec.parties[..2].to_vec(), ..spec.clone() }),
            of(KeySpec { parties: vec![spec.parties[0]; 3], ..spec.clone() }),
            of(KeySpec { mandatory: vec![third, third], ..spec.clone() }),
            of(KeySpec { mandatory: vec![PartyIndex::try_from(4).unwrap()], ..spec.clone() }),
            of(KeySpec { mandatory: PartyIndex::all(3).collect(), ..spec.clone() }),
            Order { epoch: 0, ..good.clone() },
            Order { recipient: Some([1; 32]), ..good.clone() },
            Order { public_key: Bytes(vec![]), ..good.clone() },
            Order { epoch: 1, ..order(Operation::Keygen) },
            with(Signing { path: vec![1 << 31], ..signing.clone() }),
            with(Signing { presignatures: true, ..signing.clone() }),
            with(Signing {
                presignatures: true,
                hash: HashFunction::Sha256,
                path: vec![1],
                ..signing.clone()
            }),
        ] {
            let opened = bad.sign(&originator()).open(&[originator().public()], NOW);
            assert!(matches!(opened, Err(OrderRefused::Inconsistent(_))), "{bad:?}");
        }
    }
}
