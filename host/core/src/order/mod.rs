//! Orders: what the account service asks for, signed with its originator key. A party does nothing without one (rule
//! 1).

mod authorisations;
mod check;
mod operation;
mod repair;
mod sign_items;
mod version;

use core::time::Duration;

pub use authorisations::{Authorisation, Authorisations};
pub use operation::Operation;
pub use repair::{Repair, RepairTarget, RepairedParty};
pub use sign_items::{HashFunction, ItemObjection, MAX_SIGN_ITEMS, SignItem, SignItems};
pub use version::Version;

use crate::codec::{Bytes, decode, encode, wire_struct};
use crate::identity::{PublicKey, SecretKey, Signature, Tag};
use crate::ids::{Digest, OrderId, PlanHash, SealingKeyId};
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
    /// The share set of that epoch, by the plan that made it; none in a keygen.
    pub share_set: Option<PlanHash>,
    /// The account's public key; empty in a keygen.
    pub public_key: Bytes,
    /// The key that a user's new share is sealed to (X25519). It is signed, so that no part on the way can replace
    /// it. Only where new shares are made.
    pub recipient: Option<[u8; 32]>,
    /// SHA-256 of the claim with which the user fetches the new share. Only where new shares are made.
    pub claim_hash: Option<[u8; 32]>,
    /// The key that the user has sealed the share to that comes with this order.
    pub sealing_key: Option<SealingKeyId>,
    /// What callers themselves have signed.
    pub authorisations: Option<Authorisations>,
    /// The policy that every party must find satisfied.
    pub policy: Option<Digest>,
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
    share_set,
    public_key,
    recipient,
    claim_hash,
    sealing_key,
    authorisations,
    policy,
    issued_at,
    expires_at,
});

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
    /// See [`Order::share_set`].
    pub share_set: Option<PlanHash>,
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
    /// It asks for something that orders have room for and this version does not do.
    #[error(
        "the order asks for what this version does not do: {0}; the operators bring all roles to one version"
    )]
    NotImplemented(&'static str),
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
        let OrderTerms { operation, spec, minimum_plugin, epoch, share_set, public_key, recipient } = terms;
        Self {
            version: ORDER_VERSION,
            id,
            operation,
            spec,
            minimum_plugin,
            epoch,
            share_set,
            public_key: Bytes(public_key),
            recipient,
            claim_hash: None,
            sealing_key: None,
            authorisations: None,
            policy: None,
            issued_at: now,
            expires_at: now + lifetime.min(MAX_ORDER_LIFETIME),
        }
    }

    /// How many parties its sessions have: all n where shares or material of the whole group are made, exactly t where
    /// something is signed or a presignature made.
    #[must_use]
    pub fn session_parties(&self) -> u16 {
        match self.operation {
            Operation::Sign(_) | Operation::Presign { .. } => self.spec.threshold.required(),
            _ => self.spec.threshold.parties(),
        }
    }

    /// Whether both ask for the same. An order that is submitted again has other times, may have come with a share that
    /// was sealed anew, and may allow other plugins than before.
    #[must_use]
    pub fn asks_for_the_same(&self, other: &Self) -> bool {
        let Self { issued_at, expires_at, sealing_key, minimum_plugin, .. } = *other;
        Self { issued_at, expires_at, sealing_key, minimum_plugin, ..self.clone() } == *other
    }

    /// Signs the order.
    #[must_use]
    pub fn sign(&self, originator: &SecretKey) -> SignedOrder {
        let bytes = encode(self);
        let signature = originator.sign(Tag::Order, &bytes);
        SignedOrder { bytes: Bytes(bytes), signature }
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
    use crate::certificate::{Activation, Certificate, KeyOutputs, Ready};
    use crate::{AccountId, ExecutionId, PartyIndex, Threshold};

    const SECOND: Duration = Duration::from_secs(1);
    pub(crate) const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
    pub(crate) const SHARE_SET: PlanHash = PlanHash([8; 32]);

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
            share_set: (!keygen).then_some(SHARE_SET),
            public_key: if keygen { vec![] } else { vec![2; 33] },
            recipient: None,
        }
    }

    pub(crate) fn item() -> SignItem {
        SignItem {
            message: Bytes(vec![9; 32]),
            hash: HashFunction::None,
            path: vec![],
            merkle_root: None,
            presignatures: false,
        }
    }

    pub(crate) fn signing() -> Operation {
        Operation::Sign(item().into())
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
    fn two_orders_ask_for_the_same_whenever_they_were_signed() {
        let first =
            Order { claim_hash: Some([1; 32]), recipient: Some([2; 32]), ..order(Operation::Refresh) };
        let sealing_key = Some(SealingKeyId([3; 16]));
        let later = Order { issued_at: NOW + SECOND, expires_at: NOW, sealing_key, ..first.clone() };
        assert!(first.asks_for_the_same(&later) && later.asks_for_the_same(&first));
        for other in [
            Order { id: OrderId([4; 32]), ..first.clone() },
            Order { operation: signing(), ..first.clone() },
            Order { operation: Operation::Keygen, ..first.clone() },
            Order { epoch: 2, ..first.clone() },
            Order { share_set: Some(PlanHash([4; 32])), ..first.clone() },
            Order { public_key: Bytes(vec![3; 33]), ..first.clone() },
            Order { recipient: Some([4; 32]), ..first.clone() },
            Order { claim_hash: Some([4; 32]), ..first.clone() },
            Order { spec: KeySpec { account: AccountId([4; 16]), ..first.spec.clone() }, ..first.clone() },
        ] {
            assert!(!first.asks_for_the_same(&other), "{other:?}");
        }
        let other_message = SignItem { message: Bytes(vec![8; 32]), ..item() };
        let other_message = order(Operation::Sign(other_message.into()));
        assert!(!order(signing()).asks_for_the_same(&other_message));
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
        let with = |item: SignItem| Order { operation: Operation::Sign(item.into()), ..good.clone() };
        let spec = &good.spec;
        let of = |spec: KeySpec| Order { spec, ..good.clone() };
        for bad in [
            of(KeySpec { parties: spec.parties[..2].to_vec(), ..spec.clone() }),
            of(KeySpec { parties: vec![spec.parties[0]; 3], ..spec.clone() }),
            of(KeySpec { mandatory: vec![third, third], ..spec.clone() }),
            of(KeySpec { mandatory: vec![PartyIndex::try_from(4).unwrap()], ..spec.clone() }),
            of(KeySpec { mandatory: PartyIndex::all(3).collect(), ..spec.clone() }),
            Order { epoch: 0, ..good.clone() },
            Order { share_set: None, ..good.clone() },
            Order { public_key: Bytes(vec![]), ..good.clone() },
            Order { recipient: Some([1; 32]), ..good.clone() },
            Order { claim_hash: Some([1; 32]), ..good.clone() },
            Order { recipient: Some([1; 32]), ..order(Operation::Refresh) },
            Order { sealing_key: Some(SealingKeyId([1; 16])), ..order(Operation::Keygen) },
            Order { epoch: 1, ..order(Operation::Keygen) },
            Order { share_set: Some(SHARE_SET), ..order(Operation::Keygen) },
            with(SignItem { path: vec![1 << 31], ..item() }),
            with(SignItem { presignatures: true, ..item() }),
            order(Operation::Presign { at_most: 0 }),
            order(Operation::Auxiliary { at_most: 0 }),
            order(Operation::Prepare { at_most: 0 }),
        ] {
            let opened = bad.sign(&originator()).open(&[originator().public()], NOW);
            assert!(matches!(opened, Err(OrderRefused::Inconsistent(_))), "{bad:?}");
        }
    }

    /// Orders have room for all of this, and no part takes one that asks for it.
    #[test]
    fn an_order_for_what_is_not_implemented_is_refused() {
        let good = order(signing());
        let authorisation =
            Authorisation { algorithm: "EdDSA".into(), key: Bytes(vec![1; 32]), signature: None };
        for (future, what) in [
            (order(Operation::Auxiliary { at_most: 1 }), "auxiliary information"),
            (order(Operation::Prepare { at_most: 1 }), "prepared material"),
            (
                Order {
                    authorisations: Some(Authorisations { required: 1, keys: vec![authorisation] }),
                    ..good.clone()
                },
                "authorisations of callers",
            ),
            (Order { policy: Some(Digest([1; 32])), ..good.clone() }, "a policy"),
        ] {
            assert_eq!(decode(&encode(&future)), Ok(future.clone()));
            let opened = future.sign(&originator()).open(&[originator().public()], NOW);
            assert_eq!(opened, Err(OrderRefused::NotImplemented(what)));
        }
    }

    /// A repair of party 1, which has a new identity, of a key in the share set that [`terms`] name.
    pub(crate) fn repair() -> Repair {
        let mut keys = identities(3);
        keys[0] = SecretKey::from_seed(&[99; 32]);
        repair_of(&[1], &keys)
    }

    /// A repair of these parties' shares of a key that parties with these identities have made, 2 of n.
    fn repair_of(targets: &[u16], keys: &[SecretKey]) -> Repair {
        let parties: Vec<PublicKey> = keys.iter().map(SecretKey::public).collect();
        let n = u16::try_from(keys.len()).unwrap();
        let outputs = KeyOutputs {
            scheme: "ecdsa-secp256k1".into(),
            public_key: Bytes(terms(signing()).public_key),
            chain_code: Some([9; 32]),
            verifying_shares: vec![Bytes(vec![2; 33]); keys.len()],
        };
        let activation = Activation {
            plan: SHARE_SET,
            execution: ExecutionId([2; 32]),
            account: AccountId([7; 16]),
            epoch: 1,
            threshold: Threshold::new(2, n).unwrap(),
            digest: Digest([5; 32]),
            outputs: outputs.hash(),
        };
        let ready = |(by, key)| Ready::sign(activation.clone(), by, key);
        let readies: Vec<Ready> = PartyIndex::all(n).zip(keys).map(ready).collect();
        let target = |party: &u16| RepairTarget {
            party: PartyIndex::try_from(*party).unwrap(),
            former_identity: parties[usize::from(*party) - 1],
        };
        Repair {
            targets: targets.iter().map(target).collect(),
            certificate: Certificate::of(&readies, &parties).unwrap(),
            outputs,
        }
    }

    /// Two parties that have lost their shares do not get each other's: one that still has its own would have two.
    #[test]
    fn a_repair_moves_no_party_to_another_index() {
        let keys = identities(4);
        let with = |places: [usize; 4]| {
            let mut order = order(Operation::Repair(repair_of(&[1, 3], &keys)));
            order.spec.threshold = Threshold::new(2, 4).unwrap();
            order.spec.parties = places.map(|place| keys[place].public()).into();
            order.sign(&originator()).open(&[originator().public()], NOW)
        };
        with([0, 1, 2, 3]).unwrap();
        assert!(matches!(with([2, 1, 0, 3]), Err(OrderRefused::Inconsistent(_))));
    }

    #[test]
    fn a_repair_is_of_the_share_set_that_all_parties_have_promised() {
        let open = |order: Order| order.sign(&originator()).open(&[originator().public()], NOW);
        let with = |change: fn(&mut Repair)| {
            let mut repair = repair();
            change(&mut repair);
            order(Operation::Repair(repair))
        };
        let good = with(|_| {});
        open(good.clone()).unwrap();
        let second = RepairTarget {
            party: PartyIndex::try_from(2).unwrap(),
            former_identity: identities(3)[1].public(),
        };
        for (what, bad) in [
            ("nobody's share is lost", with(|repair| repair.targets.clear())),
            ("more than n − t shares are lost", {
                let mut repair = repair();
                repair.targets.push(second);
                order(Operation::Repair(repair))
            }),
            (
                "a party that there is not",
                with(|repair| repair.targets[0].party = PartyIndex::try_from(4).unwrap()),
            ),
            ("another party had the former identity", {
                with(|repair| repair.targets[0].former_identity = identities(3)[1].public())
            }),
            ("the promise is of another identity", {
                with(|repair| repair.targets[0].former_identity = originator().public())
            }),
            ("a verifying share was changed", with(|repair| repair.outputs.verifying_shares[2].0[1] ^= 1)),
            ("the chain code was changed", with(|repair| repair.outputs.chain_code = None)),
            ("another share set", Order { share_set: Some(PlanHash([77; 32])), ..good.clone() }),
            ("another epoch", Order { epoch: 2, ..good.clone() }),
            ("another key", Order { public_key: Bytes(vec![3; 33]), ..good.clone() }),
        ] {
            assert!(matches!(open(bad), Err(OrderRefused::Inconsistent(_))), "{what}");
        }
    }
}
