//! Chooses the parties of a session and their component. No party relies on the choice.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use quorate_core::admission::PluginFacts;
use quorate_core::code::Code;
use quorate_core::identity::PublicKey;
use quorate_core::order::{Order, Repair};
use quorate_core::{Digest, PartyIndex, Threshold};

use super::verdict::Verdict;

/// A quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Quorum {
    pub(super) signers: Vec<PartyIndex>,
    pub(super) digest: Digest,
    /// Whether the component makes presignatures.
    pub(super) presigns: bool,
    /// The parties that help to repair a share, ascending; empty in every other operation.
    pub(super) helpers: Vec<PartyIndex>,
}

/// Why there is no quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoQuorum {
    /// These parties are not online, and too few others are.
    Missing(Vec<PartyIndex>),
    /// The parties that are online have no active component in common that the order allows.
    NoPlugin,
    /// The parties that are online have banned each other.
    Banned,
    /// The requested signers can't sign this order.
    Requested,
}

impl From<NoQuorum> for Verdict {
    fn from(why: NoQuorum) -> Self {
        match why {
            NoQuorum::Missing(parties) => {
                let list: Vec<String> = parties.iter().map(|party| format!("party {party}")).collect();
                Self::of(
                    Code::PartiesUnavailable,
                    format!(
                        "offline, or not known to the coordinator (QUORATE_PARTY_KEYS, QUORATE_USER_PARTY_KEY): {}; try again \
                         later, or have their operators start them",
                        list.join(", ")
                    ),
                )
            }
            NoQuorum::NoPlugin => Self::of(
                Code::PluginUnavailable,
                "the parties that are online have no active plugin in common that the order allows: their operators compare \
                 `quorate admin registry`",
            ),
            NoQuorum::Banned => Self::of(
                Code::BlockedByBan,
                "every quorum of the parties that are online has two parties of which one banned the other: the operators start \
                 the other parties, and find out which party was banned",
            ),
            NoQuorum::Requested => Self::of(
                Code::InvalidSigners,
                "name exactly t different parties of the account in ascending order, all mandatory ones among them",
            ),
        }
    }
}

/// The input of the choice besides the order.
pub(super) struct QuorumInput<'a> {
    /// The parties that are online, with their active components.
    pub(super) online: &'a HashMap<PublicKey, Vec<PluginFacts>>,
    /// Pairs that refuse each other on this account.
    pub(super) banned: &'a BTreeSet<(PartyIndex, PartyIndex)>,
    /// Suspects of earlier sessions of this order, and how often: other parties are preferred.
    pub(super) failures: &'a BTreeMap<PartyIndex, u32>,
    /// Signers who hold presignatures for the whole order: they are preferred among those that are as good otherwise.
    pub(super) prepared: &'a [Vec<PartyIndex>],
    /// Counts up: spreads work over quorums that are equally good.
    pub(super) rotation: u64,
}

/// Chooses the signers and the newest component that they have in common.
pub(super) fn choose(
    order: &Order,
    requested: &[PartyIndex],
    input: &QuorumInput<'_>,
) -> Result<Quorum, NoQuorum> {
    let n = order.spec.threshold.parties();
    let required = usize::from(order.session_parties());
    if !requested.is_empty() && !is_possible(order, requested, required) {
        return Err(NoQuorum::Requested);
    }
    // Fewer than are required: these, and any others that are online.
    let wanted = |party: &PartyIndex| requested.len() < required || requested.contains(party);
    let (online, missing): (Vec<PartyIndex>, Vec<PartyIndex>) = PartyIndex::all(n)
        .filter(wanted)
        .partition(|&party| order.spec.party(party).is_some_and(|key| input.online.contains_key(key)));
    let essential = |party: &PartyIndex| order.spec.mandatory.contains(party) || requested.contains(party);
    if online.len() < required || missing.iter().any(essential) {
        return Err(NoQuorum::Missing(missing));
    }
    let mut best = None;
    let mut obstacle = NoQuorum::Banned;
    for (number, signers) in subsets(&online, required).enumerate() {
        if PartyIndex::all(n).any(|p| essential(&p) && !signers.contains(&p))
            || has_ban(&signers, input.banned)
        {
            continue;
        }
        let Some(plugin) = newest_in_common(order, &signers, input.online) else {
            obstacle = NoQuorum::NoPlugin;
            continue;
        };
        let failures: u32 = signers.iter().filter_map(|party| input.failures.get(party)).sum();
        let rotation = (number as u64).wrapping_add(input.rotation).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let rank = (failures, !input.prepared.contains(&signers), rotation);
        if best.as_ref().is_none_or(|(least, _)| rank < *least) {
            let repair = order.operation.repair().map(Repair::target_parties);
            let helpers = repair.map(|lost| helpers(order.spec.threshold, &lost, input.rotation));
            let helpers = helpers.unwrap_or_default();
            let (digest, presigns) = (plugin.digest, plugin.presigns);
            best = Some((rank, Quorum { signers, digest, presigns, helpers }));
        }
    }
    best.map(|(_, choice)| choice).ok_or(obstacle)
}

/// The helpers of a repair: t parties that have their shares, and another set of them with the next rotation. Nobody can tell which
/// helper has caused a repair to fail.
fn helpers(threshold: Threshold, targets: &[PartyIndex], rotation: u64) -> Vec<PartyIndex> {
    let able: Vec<PartyIndex> =
        PartyIndex::all(threshold.parties()).filter(|party| !targets.contains(party)).collect();
    let sets = || subsets(&able, threshold.required().into());
    let number = rotation.checked_rem(sets().count() as u64).unwrap_or_default();
    sets().nth(usize::try_from(number).unwrap_or_default()).unwrap_or_default()
}

fn is_possible(order: &Order, requested: &[PartyIndex], required: usize) -> bool {
    requested.len() <= required
        && requested.is_sorted_by(|a, b| a < b)
        && requested.iter().all(|party| party.number() <= order.spec.threshold.parties())
        && (requested.len() < required || order.spec.mandatory.iter().all(|party| requested.contains(party)))
}

fn has_ban(signers: &[PartyIndex], banned: &BTreeSet<(PartyIndex, PartyIndex)>) -> bool {
    banned.iter().any(|(a, b)| signers.contains(a) && signers.contains(b))
}

fn newest_in_common<'a>(
    order: &Order,
    signers: &[PartyIndex],
    online: &'a HashMap<PublicKey, Vec<PluginFacts>>,
) -> Option<&'a PluginFacts> {
    let plugins = |party: &PartyIndex| order.spec.party(*party).and_then(|key| online.get(key));
    let usable = |plugin: &&PluginFacts| {
        plugin.protocol == order.spec.protocol
            && plugin.schemes.contains(&order.spec.scheme)
            && plugin.version >= order.minimum_plugin
            && plugin.max_parties >= order.spec.threshold.parties()
    };
    let everybody_has = |digest: Digest| {
        signers.iter().all(|s| plugins(s).is_some_and(|all| all.iter().any(|p| p.digest == digest)))
    };
    let first = plugins(signers.first()?)?;
    let common = first.iter().filter(usable).filter(|plugin| everybody_has(plugin.digest));
    common.max_by_key(|plugin| (plugin.version, plugin.digest))
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
    use quorate_core::order::{HashFunction, MAX_ORDER_LIFETIME, Operation, OrderTerms, SignItem, Version};
    use quorate_core::{AccountId, KeySpec, OrderId, PlanHash, UnixSeconds};

    use super::*;

    fn party(index: u16) -> PartyIndex {
        PartyIndex::try_from(index).unwrap()
    }

    fn key(index: u16) -> PublicKey {
        PublicKey([u8::try_from(index).unwrap(); 32])
    }

    fn order(operation: Operation, mandatory: &[u16]) -> Order {
        let keygen = operation == Operation::Keygen;
        let terms = OrderTerms {
            operation,
            spec: KeySpec {
                account: AccountId([0; 16]),
                scheme: "ecdsa-secp256k1".into(),
                protocol: "dkls23".into(),
                threshold: Threshold::new(2, 3).unwrap(),
                parties: (1..=3).map(key).collect(),
                mandatory: mandatory.iter().map(|&m| party(m)).collect(),
            },
            minimum_plugin: "0.2.0".parse().unwrap(),
            epoch: u32::from(!keygen),
            share_set: (!keygen).then_some(PlanHash([1; 32])),
            public_key: if keygen { vec![] } else { vec![2; 33] },
            recipient: None,
        };
        Order::new(OrderId([0; 32]), terms, UnixSeconds(0), MAX_ORDER_LIFETIME)
    }

    fn sign() -> Operation {
        Operation::Sign(
            SignItem {
                message: Bytes(vec![0; 32]),
                hash: HashFunction::None,
                path: vec![],
                merkle_root: None,
                presignatures: false,
            }
            .into(),
        )
    }

    fn plugin(digest: u8, version: &str) -> PluginFacts {
        PluginFacts {
            digest: Digest([digest; 32]),
            protocol: "dkls23".into(),
            version: version.parse().unwrap(),
            schemes: vec!["ecdsa-secp256k1".into()],
            max_parties: 16,
            open_signings: Some(16),
            share_formats: vec![1],
            presigns: false,
        }
    }

    struct World {
        online: HashMap<PublicKey, Vec<PluginFacts>>,
        banned: BTreeSet<(PartyIndex, PartyIndex)>,
        failures: BTreeMap<PartyIndex, u32>,
        prepared: Vec<Vec<PartyIndex>>,
    }

    fn world(online: &[u16]) -> World {
        let online = online.iter().map(|&p| (key(p), vec![plugin(1, "0.2.0")])).collect();
        World { online, banned: BTreeSet::new(), failures: BTreeMap::new(), prepared: vec![] }
    }

    impl World {
        fn choose(&self, order: &Order, requested: &[u16], rotation: u64) -> Result<Quorum, NoQuorum> {
            let requested: Vec<PartyIndex> = requested.iter().map(|&w| party(w)).collect();
            let Self { online, banned, failures, prepared } = self;
            choose(order, &requested, &QuorumInput { online, banned, failures, prepared, rotation })
        }

        fn signers(&self, order: &Order, rotation: u64) -> Vec<u16> {
            let quorum = self.choose(order, &[], rotation).unwrap();
            quorum.signers.into_iter().map(PartyIndex::number).collect()
        }
    }

    #[test]
    fn work_is_spread_over_all_quorums_and_requested_signers_are_chosen() {
        let order = order(sign(), &[]);
        let quorums: BTreeSet<_> =
            (0..20).map(|rotation| world(&[1, 2, 3]).signers(&order, rotation)).collect();
        assert_eq!(quorums, [vec![1, 2], vec![1, 3], vec![2, 3]].into());
        let chosen = world(&[1, 2, 3]).choose(&order, &[1, 3], 7).unwrap();
        assert_eq!(chosen.signers, [party(1), party(3)]);
        // A request that names fewer than t signers is part of every quorum: the users' party and any other.
        let with_3: BTreeSet<_> = (0..20)
            .map(|rotation| world(&[1, 2, 3]).choose(&order, &[3], rotation).unwrap().signers)
            .collect();
        assert_eq!(with_3, [vec![party(1), party(3)], vec![party(2), party(3)]].into());
        for bad in [&[1_u16, 2, 3][..], &[3, 1], &[1, 1], &[1, 4], &[4]] {
            assert_eq!(world(&[1, 2, 3]).choose(&order, bad, 0), Err(NoQuorum::Requested), "{bad:?}");
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
        for rotation in 0..10 {
            assert!(banned.signers(&order(sign(), &[]), rotation).contains(&3));
        }
        assert_eq!(banned.choose(&order(Operation::Refresh, &[]), &[], 0), Err(NoQuorum::Banned));
        let failed = World { failures: [(party(3), 1)].into(), ..world(&[1, 2, 3]) };
        assert!((0..10).all(|rotation| failed.signers(&order(sign(), &[]), rotation) == [1, 2]));
        let all_failed =
            World { failures: [(party(1), 1), (party(2), 1), (party(3), 2)].into(), ..world(&[1, 2, 3]) };
        assert!((0..10).all(|rotation| all_failed.signers(&order(sign(), &[]), rotation) == [1, 2]));
    }

    #[test]
    fn those_who_hold_presignatures_are_preferred_to_others_that_are_as_good() {
        let prepared = vec![vec![party(1), party(3)]];
        let holding = World { prepared, ..world(&[1, 2, 3]) };
        assert!((0..10).all(|rotation| holding.signers(&order(sign(), &[]), rotation) == [1, 3]));
        let failed = World { failures: [(party(3), 1)].into(), ..holding };
        assert!((0..10).all(|rotation| failed.signers(&order(sign(), &[]), rotation) == [1, 2]));
    }

    #[test]
    fn the_newest_component_in_common_is_taken_and_never_one_too_old() {
        let mut world = world(&[1, 2]);
        world.online.get_mut(&key(1)).unwrap().push(plugin(2, "0.3.0"));
        assert_eq!(world.choose(&order(sign(), &[]), &[], 0).unwrap().digest, Digest([1; 32]));
        world.online.get_mut(&key(2)).unwrap().push(plugin(2, "0.3.0"));
        assert_eq!(world.choose(&order(sign(), &[]), &[], 0).unwrap().digest, Digest([2; 32]));
        let old = plugin(3, "0.1.9");
        world.online = [1, 2].map(|p| (key(p), vec![old.clone()])).into();
        assert_eq!(world.choose(&order(sign(), &[]), &[], 0), Err(NoQuorum::NoPlugin));
        assert!("0.1.9".parse::<Version>().unwrap() < "0.2.0".parse().unwrap());
    }

    #[test]
    fn each_repair_has_other_helpers_and_none_that_has_lost_its_share() {
        let threshold = Threshold::new(3, 6).unwrap();
        let lost = [party(2), party(6)];
        let sets: BTreeSet<Vec<PartyIndex>> =
            (7..11).map(|rotation| helpers(threshold, &lost, rotation)).collect();
        assert_eq!(sets.len(), 4, "all sets of 3 of the 4 others");
        assert!(sets.iter().all(|set| set.len() == 3 && !set.iter().any(|helper| lost.contains(helper))));
        // Fewer than t are left.
        assert!(helpers(threshold, &PartyIndex::all(4).collect::<Vec<_>>(), 1).is_empty());
    }
}
