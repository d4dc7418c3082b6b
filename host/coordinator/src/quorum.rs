//! Who takes part in a session, and on which component: a choice among what is possible, that no party relies on.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use quorate_core::admission::Plugin;
use quorate_core::identity::{self, PublicKey};
use quorate_core::order::{Operation, Order};
use quorate_core::{Digest, PartyIndex};

/// A quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) signers: Vec<PartyIndex>,
    pub(super) digest: Digest,
}

/// Why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoQuorum {
    /// These parties are not there, and too few others are.
    Missing(Vec<PartyIndex>),
    /// Those that are there have no component in common that the order allows.
    NoPlugin,
    /// Those that are there have banned each other.
    Banned,
    /// The wished signers can't sign this order.
    Wish,
}

/// What is known besides the order.
pub(super) struct Known<'a> {
    /// The parties that are there, with their active components.
    pub(super) there: &'a HashMap<PublicKey, Vec<Plugin>>,
    /// Pairs that refuse each other on this account.
    pub(super) banned: &'a BTreeSet<(PartyIndex, PartyIndex)>,
    /// Parties to do without if possible: how often they had trouble in earlier sessions of this order, or made some.
    pub(super) trouble: &'a BTreeMap<PartyIndex, u32>,
    /// Counts up: spreads work over quorums that are equally good.
    pub(super) turn: u64,
}

/// Chooses the signers and the newest component that they have in common.
pub(super) fn choose(order: &Order, wish: &[PartyIndex], known: &Known<'_>) -> Result<Choice, NoQuorum> {
    let n = order.threshold.parties();
    let required = match order.operation {
        Operation::Sign(_) => usize::from(order.threshold.required()),
        Operation::Keygen | Operation::Refresh => usize::from(n),
    };
    if !wish.is_empty() && !is_possible(order, wish, required) {
        return Err(NoQuorum::Wish);
    }
    // Fewer than are required: these, and whoever else is there.
    let wanted = |party: &PartyIndex| wish.len() < required || wish.contains(party);
    let (there, missing): (Vec<PartyIndex>, Vec<PartyIndex>) = PartyIndex::all(n)
        .filter(wanted)
        .partition(|&party| key_of(order, party).is_some_and(|key| known.there.contains_key(key)));
    let essential = |party: &PartyIndex| order.mandatory.contains(party) || wish.contains(party);
    if there.len() < required || missing.iter().any(essential) {
        return Err(NoQuorum::Missing(missing));
    }
    let mut best = None;
    let mut obstacle = NoQuorum::Banned;
    for (number, signers) in subsets(&there, required).enumerate() {
        if PartyIndex::all(n).any(|p| essential(&p) && !signers.contains(&p))
            || has_ban(&signers, known.banned)
        {
            continue;
        }
        let Some(digest) = newest_in_common(order, &signers, known.there) else {
            obstacle = NoQuorum::NoPlugin;
            continue;
        };
        let trouble: u32 = signers.iter().filter_map(|party| known.trouble.get(party)).sum();
        let turn = (number as u64).wrapping_add(known.turn).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let rank = (trouble, turn);
        if best.as_ref().is_none_or(|(least, _)| rank < *least) {
            best = Some((rank, Choice { signers, digest }));
        }
    }
    best.map(|(_, choice)| choice).ok_or(obstacle)
}

fn is_possible(order: &Order, wish: &[PartyIndex], required: usize) -> bool {
    wish.len() <= required
        && wish.is_sorted_by(|a, b| a < b)
        && wish.iter().all(|party| party.number() <= order.threshold.parties())
        && (wish.len() < required || order.mandatory.iter().all(|party| wish.contains(party)))
}

fn key_of(order: &Order, party: PartyIndex) -> Option<&PublicKey> {
    identity::key_of(&order.parties, party)
}

fn has_ban(signers: &[PartyIndex], banned: &BTreeSet<(PartyIndex, PartyIndex)>) -> bool {
    banned.iter().any(|(a, b)| signers.contains(a) && signers.contains(b))
}

fn newest_in_common(
    order: &Order,
    signers: &[PartyIndex],
    there: &HashMap<PublicKey, Vec<Plugin>>,
) -> Option<Digest> {
    let plugins = |party: &PartyIndex| key_of(order, *party).and_then(|key| there.get(key));
    let usable = |plugin: &&Plugin| {
        plugin.protocol == order.protocol
            && plugin.schemes.contains(&order.scheme)
            && plugin.version >= order.minimum_plugin
            && plugin.max_parties >= order.threshold.parties()
    };
    let everybody_has = |digest: Digest| {
        signers.iter().all(|s| plugins(s).is_some_and(|all| all.iter().any(|p| p.digest == digest)))
    };
    let first = plugins(signers.first()?)?;
    let common = first.iter().filter(usable).filter(|plugin| everybody_has(plugin.digest));
    common.max_by_key(|plugin| (plugin.version, plugin.digest)).map(|plugin| plugin.digest)
}

/// All subsets of `size`, each in the order of `all`. With 16 parties there are at most 12,870.
fn subsets(all: &[PartyIndex], size: usize) -> impl Iterator<Item = Vec<PartyIndex>> {
    (0_u32..1 << all.len().min(16)).filter(move |bits| bits.count_ones() as usize == size).map(|bits| {
        all.iter().enumerate().filter(|(i, _)| bits & (1 << i) != 0).map(|(_, party)| *party).collect()
    })
}

#[cfg(test)]
mod tests {
    use quorate_core::codec::Bytes;
    use quorate_core::order::{HashFunction, LIFETIME, Signing, Terms, Version};
    use quorate_core::{AccountId, OrderId, Threshold};

    use super::*;

    fn party(index: u16) -> PartyIndex {
        PartyIndex::try_from(index).unwrap()
    }

    fn key(index: u16) -> PublicKey {
        PublicKey([u8::try_from(index).unwrap(); 32])
    }

    fn order(operation: Operation, mandatory: &[u16]) -> Order {
        let keygen = operation == Operation::Keygen;
        let terms = Terms {
            operation,
            account: AccountId([0; 16]),
            scheme: "ecdsa-secp256k1".into(),
            protocol: "dkls23".into(),
            threshold: Threshold::new(2, 3).unwrap(),
            parties: (1..=3).map(key).collect(),
            mandatory: mandatory.iter().map(|&m| party(m)).collect(),
            minimum_plugin: "0.2.0".parse().unwrap(),
            epoch: u32::from(!keygen),
            public_key: if keygen { vec![] } else { vec![2; 33] },
            recipient: None,
        };
        Order::new(OrderId([0; 32]), terms, 0, LIFETIME)
    }

    fn sign() -> Operation {
        Operation::Sign(Signing {
            message: Bytes(vec![0; 32]),
            hash: HashFunction::None,
            path: vec![],
            tweak: None,
            presignatures: false,
        })
    }

    fn plugin(digest: u8, version: &str) -> Plugin {
        Plugin {
            digest: Digest([digest; 32]),
            protocol: "dkls23".into(),
            version: version.parse().unwrap(),
            schemes: vec!["ecdsa-secp256k1".into()],
            max_parties: 16,
        }
    }

    struct World {
        there: HashMap<PublicKey, Vec<Plugin>>,
        banned: BTreeSet<(PartyIndex, PartyIndex)>,
        trouble: BTreeMap<PartyIndex, u32>,
    }

    fn world(there: &[u16]) -> World {
        let there = there.iter().map(|&p| (key(p), vec![plugin(1, "0.2.0")])).collect();
        World { there, banned: BTreeSet::new(), trouble: BTreeMap::new() }
    }

    impl World {
        fn choose(&self, order: &Order, wish: &[u16], turn: u64) -> Result<Choice, NoQuorum> {
            let wish: Vec<PartyIndex> = wish.iter().map(|&w| party(w)).collect();
            let Self { there, banned, trouble } = self;
            choose(order, &wish, &Known { there, banned, trouble, turn })
        }

        fn signers(&self, order: &Order, turn: u64) -> Vec<u16> {
            let choice = self.choose(order, &[], turn).unwrap();
            choice.signers.into_iter().map(PartyIndex::number).collect()
        }
    }

    #[test]
    fn work_is_spread_over_all_quorums_and_a_wish_is_followed() {
        let order = order(sign(), &[]);
        let quorums: BTreeSet<_> = (0..20).map(|turn| world(&[1, 2, 3]).signers(&order, turn)).collect();
        assert_eq!(quorums, [vec![1, 2], vec![1, 3], vec![2, 3]].into());
        let chosen = world(&[1, 2, 3]).choose(&order, &[1, 3], 7).unwrap();
        assert_eq!(chosen.signers, [party(1), party(3)]);
        // A wish that is shorter than a quorum is part of every choice: a user's party and any other.
        let with_3: BTreeSet<_> =
            (0..20).map(|turn| world(&[1, 2, 3]).choose(&order, &[3], turn).unwrap().signers).collect();
        assert_eq!(with_3, [vec![party(1), party(3)], vec![party(2), party(3)]].into());
        for bad in [&[1_u16, 2, 3][..], &[3, 1], &[1, 1], &[1, 4], &[4]] {
            assert_eq!(world(&[1, 2, 3]).choose(&order, bad, 0), Err(NoQuorum::Wish), "{bad:?}");
        }
    }

    #[test]
    fn a_party_that_is_away_is_done_without_where_possible() {
        assert_eq!(world(&[1, 3]).signers(&order(sign(), &[]), 0), [1, 3]);
        let missing = Err(NoQuorum::Missing(vec![party(2)]));
        assert_eq!(world(&[1, 3]).choose(&order(Operation::Keygen, &[]), &[], 0), missing);
        assert_eq!(world(&[1, 3]).choose(&order(sign(), &[2]), &[], 0), missing);
        assert_eq!(
            world(&[1, 2, 3]).choose(&order(Operation::Refresh, &[]), &[], 0).unwrap().signers.len(),
            3
        );
    }

    #[test]
    fn banned_pairs_are_kept_apart_and_failed_parties_avoided() {
        let banned = World { banned: [(party(1), party(2))].into(), ..world(&[1, 2, 3]) };
        for turn in 0..10 {
            assert!(banned.signers(&order(sign(), &[]), turn).contains(&3));
        }
        assert_eq!(banned.choose(&order(Operation::Refresh, &[]), &[], 0), Err(NoQuorum::Banned));
        let failed = World { trouble: [(party(3), 1)].into(), ..world(&[1, 2, 3]) };
        assert!((0..10).all(|turn| failed.signers(&order(sign(), &[]), turn) == [1, 2]));
        let all_failed =
            World { trouble: [(party(1), 1), (party(2), 1), (party(3), 2)].into(), ..world(&[1, 2, 3]) };
        assert!((0..10).all(|turn| all_failed.signers(&order(sign(), &[]), turn) == [1, 2]));
    }

    #[test]
    fn the_newest_component_in_common_is_taken_and_never_one_too_old() {
        let mut world = world(&[1, 2]);
        world.there.get_mut(&key(1)).unwrap().push(plugin(2, "0.3.0"));
        assert_eq!(world.choose(&order(sign(), &[]), &[], 0).unwrap().digest, Digest([1; 32]));
        world.there.get_mut(&key(2)).unwrap().push(plugin(2, "0.3.0"));
        assert_eq!(world.choose(&order(sign(), &[]), &[], 0).unwrap().digest, Digest([2; 32]));
        let old = plugin(3, "0.1.9");
        world.there = [1, 2].map(|p| (key(p), vec![old.clone()])).into();
        assert_eq!(world.choose(&order(sign(), &[]), &[], 0), Err(NoQuorum::NoPlugin));
        assert!("0.1.9".parse::<Version>().unwrap() < "0.2.0".parse().unwrap());
    }
}
