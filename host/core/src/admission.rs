//! Whether a party takes on a plan (rules 1, 2, 8, 10 and 11).
//!
//! The coordinator is trusted with nothing: the plan is held against the signed order, against what was sealed with the
//! share at key generation, against the party's own registry of plugins, bans and clock. What is admitted here may
//! run; that it runs as often as its order may, and each plan once, is counted durably by the caller, who reads
//! [`Facts::sessions_of_order`] and claims the session in one transaction.

mod repair;

use crate::PartyIndex;
use crate::codec::wire_struct;
use crate::identity::PublicKey;
use crate::ids::{Digest, PlanHash, PoolId, PreparedId};
use crate::key_record::KeyRecord;
use crate::key_spec::KeyField;
use crate::order::{MAX_CLOCK_SKEW, Operation, Order, OrderRefused, RepairedParty, SignItem, Version};
use crate::plan::Plan;
use crate::time::UnixSeconds;

/// The party's own knowledge, against which a plan is admitted.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// This party's identity key.
    pub me: PublicKey,
    /// The originator keys whose orders it takes.
    pub originators: &'a [PublicKey],
    /// Which parties it works with.
    pub pinned: &'a [PublicKey],
    /// The component of the plan, if the registry has it as active.
    pub plugin: Option<&'a PluginFacts>,
    /// Its record of the account's key, if it has a share of it.
    pub record: Option<&'a KeyRecord>,
    /// The share set that it belongs to.
    pub share_set: Option<PlanHash>,
    /// Whether it has promised a share of the account that was never activated.
    pub promised: bool,
    /// Parties that it never works with again on this share set (rule 8).
    pub banned: &'a [PartyIndex],
    /// Those among them with which its operator permits one complete refresh.
    pub lifted: &'a [PartyIndex],
    /// Parties whose lost shares of this account its operator permits to repair.
    pub repairable: &'a [RepairedParty],
    /// How many sessions it has started for this order.
    pub sessions_of_order: u32,
    /// Whether it saw this order succeed.
    pub order_succeeded: bool,
    /// The time.
    pub now: UnixSeconds,
    /// The latest time that it ever stored.
    pub latest_seen: UnixSeconds,
    /// It takes no order that was issued before: its database was made then, or its operator has set the stored time back, and what
    /// was seen before may be forgotten.
    pub orders_from: UnixSeconds,
    /// The pool of this process.
    pub pool: PoolId,
    /// The material in it that was made for this account's share set, with the plan's signers and the share's format.
    pub prepared: &'a [PreparedId],
}

/// A component in the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginFacts {
    /// Which bytes.
    pub digest: Digest,
    /// The protocol.
    pub protocol: String,
    /// Its version.
    pub version: Version,
    /// Signature schemes that it serves.
    pub schemes: Vec<String>,
    /// The largest n.
    pub max_parties: u16,
    /// How many signing sessions of one account may be open with one counterparty at a time; `None` under a protocol that
    /// bans nobody.
    pub open_signings: Option<u16>,
    /// The formats of shares that it reads, ascending.
    pub share_formats: Vec<u32>,
    /// Whether it makes presignatures.
    pub presigns: bool,
}

wire_struct!(PluginFacts {
    digest,
    protocol,
    version,
    schemes,
    max_parties,
    open_signings,
    share_formats,
    presigns,
});

/// A plan that this party takes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// The order.
    pub order: Order,
    /// This party's index.
    pub me: PartyIndex,
}

/// Why a party does not take on a plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The order is not good.
    #[error(transparent)]
    Order(#[from] OrderRefused),
    /// This party's clock stands behind a time that it has already seen: its operator must set it right.
    #[error("this party's clock is behind the latest time that it has seen: set the clock")]
    ClockWentBack,
    /// The order was issued before this party's database was made, or before its stored time was set back or just after.
    #[error(
        "this party's database is new, or its stored time was set back: it takes orders that are issued in {0} seconds or later"
    )]
    ClockSetBack(u64),
    /// The order has had its sessions.
    #[error("this order has had its sessions")]
    TooManySessions,
    /// The order has succeeded.
    #[error("this order has succeeded already, in an earlier session")]
    Succeeded,
    /// This party does not take part by the order.
    #[error("the order does not name this party")]
    NotAParty,
    /// The order names a party that this one does not pin.
    #[error(
        "the order names party {0}, whose identity key this party does not pin: the operators compare QUORATE_PARTY_KEYS and \
         QUORATE_USER_PARTY_KEY of the account service and of this party"
    )]
    NotPinned(PartyIndex),
    /// The signers do not fit the order.
    #[error("the plan's signers do not fit the order: {0}")]
    Signers(&'static str),
    /// A signer is banned for this account.
    #[error(
        "party {0} is banned for this account: other parties sign; this party's operator finds out why (docs/deploy.md)"
    )]
    Banned(PartyIndex),
    /// The component is not active here.
    #[error("the plan's plugin is not active at this party")]
    PluginNotActive,
    /// The plan names presignatures that it may not use.
    #[error("the plan's presignatures do not fit the order: {0}")]
    Presignatures(&'static str),
    /// This process does not have the presignatures that the plan names. The order can be carried out without them.
    #[error("the plan's presignatures are not here: {0}")]
    NoPresignatures(&'static str),
    /// The component does not fit the order.
    #[error("the plan's plugin does not fit the order: {0}")]
    Plugin(&'static str),
    /// The component does not read this party's share of the account (rule 11).
    #[error(
        "this party's share has format {format}, which the plan's plugin does not read: its operator installs {protocol} \
         {written_by}, which wrote the share, or another version that reads this format"
    )]
    ShareFormat {
        /// The format of the share.
        format: u32,
        /// The protocol.
        protocol: String,
        /// The version of the plugin that wrote it.
        written_by: Version,
    },
    /// There is a share, or a promised one, where there must be none.
    #[error("{0}")]
    Share(&'static str),
    /// The share that is to be repaired is there.
    #[error("this party has its share of this account's key: ask for a refresh instead")]
    ShareNotLost,
    /// There is no share.
    #[error(
        "this party has no share of this account's key: if it has lost its database, its share can be repaired (POST \
         /api/v1/accounts/{{id}}/repair)"
    )]
    ShareLost,
    /// The order contradicts what was sealed with the share.
    #[error("the order contradicts what this party has stored with its share: {0}")]
    Contradicts(KeyField),
    /// This party's operator has not permitted the repair.
    #[error(
        "this party's operator has not permitted to repair party {0}: it runs `quorate admin permit-repair`, once it has heard from the \
         party's own operator that the share is lost"
    )]
    RepairNotPermitted(PartyIndex),
    /// The share to repair is one that a user keeps.
    #[error(
        "this party's share is its user's, and is never repaired: whoever could ask for it could take it"
    )]
    UsersShare,
    /// The plan's helpers do not fit the order.
    #[error("the plan's helpers do not fit the order: {0}")]
    Helpers(&'static str),
    /// The plan's deadline has passed, by this party's clock.
    #[error(
        "the plan's deadline has passed by this party's clock: try again; if it happens often, its operator compares \
         the clocks (NTP)"
    )]
    DeadlinePassed,
    /// The plan's deadline lies after the order's end.
    #[error("the plan's deadline lies after the order's end")]
    DeadlineAfterOrder,
}

impl Plan {
    /// Checks the plan against everything that this party knows.
    ///
    /// # Errors
    /// See [`Refused`]. Nothing has been started or stored.
    pub fn admit(&self, facts: &Facts<'_>) -> Result<Admitted, Refused> {
        if facts.now + MAX_CLOCK_SKEW < facts.latest_seen {
            return Err(Refused::ClockWentBack);
        }
        let order = self.order.open(facts.originators, facts.now)?;
        if order.issued_at < facts.orders_from {
            return Err(Refused::ClockSetBack(facts.orders_from.since(facts.now).as_secs()));
        }
        if self.deadline <= facts.now.into() {
            return Err(Refused::DeadlinePassed);
        }
        if self.deadline > order.expires_at.into() {
            return Err(Refused::DeadlineAfterOrder);
        }
        if facts.order_succeeded {
            return Err(Refused::Succeeded);
        }
        if facts.sessions_of_order >= order.operation.max_sessions() {
            return Err(Refused::TooManySessions);
        }
        let me = order.spec.index_of(&facts.me).ok_or(Refused::NotAParty)?;
        for (party, key) in order.spec.indexed_parties() {
            if *key != facts.me && !facts.pinned.contains(key) {
                return Err(Refused::NotPinned(party));
            }
        }
        self.check_signers(&order, me, facts)?;
        self.check_repair(&order, me, facts)?;
        self.check_plugin(&order, facts)?;
        check_record(&order, me, facts)?;
        self.check_presignatures(&order, me, facts)?;
        Ok(Admitted { order, me })
    }

    fn check_signers(&self, order: &Order, me: PartyIndex, facts: &Facts<'_>) -> Result<(), Refused> {
        let parties = order.spec.threshold.parties();
        if self.signers.len() != usize::from(order.session_parties()) {
            return Err(Refused::Signers("new shares take all n parties, a signing exactly t"));
        }
        if !self.signers.is_sorted_by(|a, b| a < b) || self.signers.iter().any(|s| s.number() > parties) {
            return Err(Refused::Signers("they are not ascending indices of the key's parties"));
        }
        if !self.signers.contains(&me) {
            return Err(Refused::Signers("this party is not among them"));
        }
        if order.spec.mandatory.iter().any(|party| !self.signers.contains(party)) {
            return Err(Refused::Signers("a mandatory party is missing"));
        }
        let permitted = if order.operation.is_complete_refresh() { facts.lifted } else { &[] };
        let bars = |party: &&PartyIndex| facts.banned.contains(party) && !permitted.contains(party);
        let banned = self.signers.iter().find(bars);
        banned.map_or(Ok(()), |&party| Err(Refused::Banned(party)))
    }

    /// Checks the plan's presignatures (rule 6) before a component can take one.
    fn check_presignatures(&self, order: &Order, me: PartyIndex, facts: &Facts<'_>) -> Result<(), Refused> {
        if self.pools.is_empty() && self.prepared.is_empty() {
            return Ok(());
        }
        let wrong = |what| Err(Refused::Presignatures(what));
        let items = order.operation.sign_items();
        if self.prepared.len() != items.len() || self.pools.len() != self.signers.len() {
            return wrong("it does not name one for each item, and a pool for each signer");
        }
        let is_allowed = |(item, id): (&SignItem, &Option<PreparedId>)| id.is_none() || item.presignatures;
        if !items.iter().zip(&self.prepared).all(is_allowed) {
            return wrong("the order does not allow them");
        }
        let mut ids: Vec<PreparedId> = self.prepared_ids().collect();
        ids.sort_unstable();
        if ids.is_empty() || ids.windows(2).any(|pair| pair[0] == pair[1]) {
            return wrong("it uses none, or one of them twice");
        }
        let own = self.signers.iter().position(|signer| *signer == me).and_then(|at| self.pools.get(at));
        if own != Some(&facts.pool) {
            return Err(Refused::NoPresignatures("the pool is that of another process of this party"));
        }
        if !ids.iter().all(|id| facts.prepared.contains(id)) {
            return Err(Refused::NoPresignatures("there are no such ones, or not any more"));
        }
        Ok(())
    }

    fn check_plugin(&self, order: &Order, facts: &Facts<'_>) -> Result<(), Refused> {
        let plugin =
            facts.plugin.filter(|plugin| plugin.digest == self.digest).ok_or(Refused::PluginNotActive)?;
        let wrong = |what| Err(Refused::Plugin(what));
        if plugin.protocol != order.spec.protocol {
            return wrong("it implements another protocol");
        }
        if !plugin.schemes.contains(&order.spec.scheme) {
            return wrong("it does not serve the scheme");
        }
        if order.spec.threshold.parties() > plugin.max_parties {
            return wrong("it does not serve as many parties");
        }
        if plugin.version < order.minimum_plugin {
            return wrong("it is older than the order allows");
        }
        let Some(record) = facts.record else { return Ok(()) };
        if plugin.version < record.written_by {
            return wrong("it is older than the plugin that wrote the share");
        }
        if !plugin.share_formats.contains(&record.share_format) {
            return Err(Refused::ShareFormat {
                format: record.share_format,
                protocol: record.spec.protocol.clone(),
                written_by: record.written_by,
            });
        }
        Ok(())
    }
}

fn check_record(order: &Order, me: PartyIndex, facts: &Facts<'_>) -> Result<(), Refused> {
    if order.operation.repairs(me) {
        return repair::check_lost_share(order, facts);
    }
    let record = match (&order.operation, facts.record) {
        // A certificate for the promised share may still arrive; with a second key under way it would split the
        // parties.
        (Operation::Keygen, None) if facts.promised => {
            return Err(Refused::Share("this account has an unfinished key: use a new account"));
        }
        (Operation::Keygen, None) => return Ok(()),
        (Operation::Keygen, Some(_)) => return Err(Refused::Share("this account has a key already")),
        (_, None) => return Err(Refused::ShareLost),
        (_, Some(record)) => record,
    };
    if let Some(field) = record.spec.difference(&order.former_spec()) {
        return Err(Refused::Contradicts(field));
    }
    if record.epoch != order.epoch {
        return Err(Refused::Contradicts(KeyField::Epoch));
    }
    if facts.share_set != order.share_set {
        return Err(Refused::Contradicts(KeyField::ShareSet));
    }
    let is_same_key = record.key.public_key == order.public_key
        && order.operation.repair().is_none_or(|repair| repair.outputs == record.key);
    if is_same_key { Ok(()) } else { Err(Refused::Contradicts(KeyField::PublicKey)) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use core::time::Duration;

    use super::*;
    use crate::certificate::KeyOutputs;
    use crate::codec::Bytes;
    use crate::ids::{AccountId, OrderId};
    use crate::key_spec::KeySpec;
    use crate::order::tests::{NOW, SHARE_SET, identities, originator, signing, terms};
    use crate::order::{HashFunction, MAX_ORDER_LIFETIME, OrderTerms, SignItems};
    use crate::{Threshold, UnixMillis};

    const POOL: PoolId = PoolId([1; 16]);

    pub(crate) fn party(index: u16) -> PartyIndex {
        PartyIndex::try_from(index).unwrap()
    }

    fn keys() -> Vec<PublicKey> {
        identities(3).iter().map(crate::identity::SecretKey::public).collect()
    }

    fn spec() -> KeySpec {
        terms(signing()).spec
    }

    /// The terms of a signing with another specification of the key.
    fn of(spec: KeySpec) -> OrderTerms {
        OrderTerms { spec, ..terms(signing()) }
    }

    pub(crate) fn plan_of(terms: OrderTerms, signers: &[u16]) -> Plan {
        Plan {
            order: Order::new(OrderId([3; 32]), terms, NOW, MAX_ORDER_LIFETIME).sign(&originator()),
            signers: signers.iter().map(|&s| party(s)).collect(),
            digest: Digest([5; 32]),
            pools: vec![],
            prepared: vec![],
            helpers: vec![],
            certificate: None,
            aborts: vec![],
            erasure: None,
            bans: vec![],
            nonce: [6; 32],
            deadline: (NOW + Duration::from_secs(10)).into(),
        }
    }

    pub(crate) fn record() -> KeyRecord {
        let terms = terms(signing());
        KeyRecord {
            spec: terms.spec,
            epoch: 1,
            key: KeyOutputs {
                scheme: "ecdsa-secp256k1".into(),
                public_key: Bytes(terms.public_key),
                chain_code: None,
                verifying_shares: vec![],
            },
            written_by: "0.1.0".parse().unwrap(),
            share_format: 1,
        }
    }

    fn plugin() -> PluginFacts {
        PluginFacts {
            digest: Digest([5; 32]),
            protocol: "dkls23".into(),
            version: "0.1.0".parse().unwrap(),
            schemes: vec!["ecdsa-secp256k1".into()],
            max_parties: 16,
            open_signings: Some(16),
            share_formats: vec![1],
            presigns: false,
        }
    }

    pub(crate) struct Known {
        pub(crate) record: Option<KeyRecord>,
        pub(crate) promised: bool,
        pub(crate) plugin: Option<PluginFacts>,
        pub(crate) banned: Vec<PartyIndex>,
        pub(crate) lifted: Vec<PartyIndex>,
        pub(crate) repairable: Vec<RepairedParty>,
        pub(crate) me: PublicKey,
        pub(crate) share_set: Option<PlanHash>,
        pub(crate) pinned: Vec<PublicKey>,
        pub(crate) originators: Vec<PublicKey>,
        pub(crate) sessions: u32,
        pub(crate) succeeded: bool,
        pub(crate) latest_seen: UnixSeconds,
        pub(crate) orders_from: UnixSeconds,
        pub(crate) prepared: Vec<PreparedId>,
    }

    pub(crate) fn known() -> Known {
        Known {
            record: Some(record()),
            promised: false,
            plugin: Some(plugin()),
            banned: vec![],
            lifted: vec![],
            repairable: vec![],
            me: keys()[0],
            share_set: Some(SHARE_SET),
            pinned: keys(),
            originators: vec![originator().public()],
            sessions: 0,
            succeeded: false,
            latest_seen: UnixSeconds(0),
            orders_from: UnixSeconds(0),
            prepared: vec![],
        }
    }

    impl Known {
        pub(crate) fn admit(&self, plan: &Plan) -> Result<Admitted, Refused> {
            plan.admit(&Facts {
                me: self.me,
                originators: &self.originators,
                pinned: &self.pinned,
                plugin: self.plugin.as_ref(),
                record: self.record.as_ref(),
                share_set: self.share_set.filter(|_| self.record.is_some()),
                promised: self.promised,
                banned: &self.banned,
                lifted: &self.lifted,
                repairable: &self.repairable,
                sessions_of_order: self.sessions,
                order_succeeded: self.succeeded,
                now: NOW,
                latest_seen: self.latest_seen,
                orders_from: self.orders_from,
                pool: POOL,
                prepared: &self.prepared,
            })
        }
    }

    fn good() -> Plan {
        plan_of(terms(signing()), &[1, 3])
    }

    #[test]
    fn a_good_plan_is_admitted() {
        assert_eq!(known().admit(&good()).unwrap().me, party(1));
        let keygen = plan_of(terms(Operation::Keygen), &[1, 2, 3]);
        assert!(Known { record: None, ..known() }.admit(&keygen).is_ok());
        assert!(known().admit(&plan_of(terms(Operation::Refresh), &[1, 2, 3])).is_ok());
    }

    #[test]
    fn signers_that_do_not_fit_are_refused() {
        for signers in [&[1_u16][..], &[1, 2, 3], &[3, 1], &[1, 1], &[1, 4], &[2, 3]] {
            let refused = known().admit(&plan_of(terms(signing()), signers));
            assert!(matches!(refused, Err(Refused::Signers(_))), "{signers:?}");
        }
        let refused = known().admit(&plan_of(terms(Operation::Refresh), &[1, 2]));
        assert!(matches!(refused, Err(Refused::Signers(_))));
        let mandatory = of(KeySpec { mandatory: vec![party(2)], ..spec() });
        assert!(matches!(known().admit(&plan_of(mandatory, &[1, 3])), Err(Refused::Signers(_))));
    }

    #[test]
    fn what_contradicts_the_sealed_share_is_refused() {
        let swapped = vec![keys()[0], keys()[2], keys()[1]];
        for terms in [
            of(KeySpec { account: AccountId([9; 16]), ..spec() }),
            of(KeySpec { threshold: Threshold::new(3, 3).unwrap(), ..spec() }),
            of(KeySpec { parties: swapped, ..spec() }),
            OrderTerms { epoch: 2, ..terms(signing()) },
            OrderTerms { share_set: Some(PlanHash([9; 32])), ..terms(signing()) },
            OrderTerms { public_key: vec![3; 33], ..terms(signing()) },
            of(KeySpec { mandatory: vec![party(1)], ..spec() }),
        ] {
            let signers: &[u16] = if terms.spec.threshold.required() == 3 { &[1, 2, 3] } else { &[1, 3] };
            let refused = known().admit(&plan_of(terms.clone(), signers));
            assert!(matches!(refused, Err(Refused::Contradicts(_))), "{terms:?}: {refused:?}");
        }
    }

    #[test]
    fn no_share_and_a_share_too_many_are_refused() {
        let none = Known { record: None, ..known() };
        assert!(matches!(none.admit(&good()), Err(Refused::ShareLost)));
        let keygen = plan_of(terms(Operation::Keygen), &[1, 2, 3]);
        assert!(matches!(known().admit(&keygen), Err(Refused::Share(_))));
        let promised = Known { record: None, promised: true, ..known() };
        assert!(matches!(promised.admit(&keygen), Err(Refused::Share(_))));
    }

    #[test]
    fn a_banned_counterparty_is_refused_for_every_operation() {
        let known = Known { banned: vec![party(3)], ..known() };
        assert_eq!(known.admit(&good()), Err(Refused::Banned(party(3))));
        let refresh = plan_of(terms(Operation::Refresh), &[1, 2, 3]);
        assert_eq!(known.admit(&refresh), Err(Refused::Banned(party(3))));
        assert!(known.admit(&plan_of(terms(signing()), &[1, 2])).is_ok());
        let lifted = Known { lifted: vec![party(3)], ..known };
        assert_eq!(lifted.admit(&good()), Err(Refused::Banned(party(3))), "a lift permits a signing");
        assert!(lifted.admit(&refresh).is_ok());
        let of_others = Known { banned: vec![party(2), party(3)], ..lifted };
        assert_eq!(of_others.admit(&refresh), Err(Refused::Banned(party(2))));
    }

    #[test]
    fn a_plugin_that_is_not_active_too_old_or_another_is_refused() {
        let with = |plugin: Option<PluginFacts>| Known { plugin, ..known() }.admit(&good());
        assert_eq!(with(None), Err(Refused::PluginNotActive));
        let other = PluginFacts { digest: Digest([6; 32]), ..plugin() };
        assert_eq!(with(Some(other)), Err(Refused::PluginNotActive));
        for plugin in [
            PluginFacts { protocol: "frost".into(), ..plugin() },
            PluginFacts { schemes: vec![], ..plugin() },
            PluginFacts { max_parties: 2, ..plugin() },
            PluginFacts { version: "0.0.9".parse().unwrap(), ..plugin() },
        ] {
            assert!(matches!(with(Some(plugin.clone())), Err(Refused::Plugin(_))), "{plugin:?}");
        }
        let newer = OrderTerms { minimum_plugin: "0.2.0".parse().unwrap(), ..terms(signing()) };
        assert!(matches!(known().admit(&plan_of(newer, &[1, 3])), Err(Refused::Plugin(_))));
    }

    #[test]
    fn strangers_are_refused() {
        let nobody = Known { originators: vec![], ..known() };
        assert_eq!(nobody.admit(&good()), Err(Refused::Order(OrderRefused::NotSigned)));
        let unpinned = Known { pinned: keys()[..2].to_vec(), ..known() };
        assert_eq!(unpinned.admit(&good()), Err(Refused::NotPinned(party(3))));
        let others = identities(4)[1..].iter().map(crate::identity::SecretKey::public).collect();
        let plan = plan_of(of(KeySpec { parties: others, ..spec() }), &[1, 3]);
        assert_eq!(known().admit(&plan), Err(Refused::NotAParty));
    }

    #[test]
    fn an_order_has_three_sessions_and_none_after_it_succeeded() {
        assert!(Known { sessions: 2, ..known() }.admit(&good()).is_ok());
        assert_eq!(Known { sessions: 3, ..known() }.admit(&good()), Err(Refused::TooManySessions));
        assert_eq!(Known { succeeded: true, ..known() }.admit(&good()), Err(Refused::Succeeded));
        let refresh = plan_of(terms(Operation::Refresh), &[1, 2, 3]);
        assert_eq!(Known { sessions: 1, ..known() }.admit(&refresh), Err(Refused::TooManySessions));
    }

    #[test]
    fn a_clock_that_went_back_and_a_plan_that_outlives_its_order_are_refused() {
        assert!(Known { latest_seen: NOW + MAX_CLOCK_SKEW, ..known() }.admit(&good()).is_ok());
        let back = Known { latest_seen: NOW + MAX_CLOCK_SKEW + Duration::from_secs(1), ..known() };
        assert_eq!(back.admit(&good()), Err(Refused::ClockWentBack));
        assert!(Known { orders_from: NOW, ..known() }.admit(&good()).is_ok());
        let mended = Known { orders_from: NOW + Duration::from_secs(660), ..known() };
        assert_eq!(mended.admit(&good()), Err(Refused::ClockSetBack(660)));
        let too_long = Plan {
            deadline: UnixMillis::from(NOW + MAX_ORDER_LIFETIME) + Duration::from_millis(1),
            ..good()
        };
        assert_eq!(known().admit(&too_long), Err(Refused::DeadlineAfterOrder));
        let late = Plan { deadline: NOW.into(), ..good() };
        assert_eq!(known().admit(&late), Err(Refused::DeadlinePassed));
    }

    #[test]
    fn a_plugin_that_does_not_read_the_share_is_refused_with_the_one_that_does() {
        let newer = PluginFacts { share_formats: vec![2, 3], version: "0.9.0".parse().unwrap(), ..plugin() };
        let refused = Known { plugin: Some(newer.clone()), ..known() }.admit(&good()).unwrap_err();
        assert!(matches!(refused, Refused::ShareFormat { format: 1, .. }), "{refused}");
        assert!(refused.to_string().contains("installs dkls23 0.1.0"), "{refused}");
        let both = PluginFacts { share_formats: vec![1, 2], ..newer.clone() };
        assert!(Known { plugin: Some(both), ..known() }.admit(&good()).is_ok());
        // There is no share yet.
        let keygen = plan_of(terms(Operation::Keygen), &[1, 2, 3]);
        assert!(Known { plugin: Some(newer), record: None, ..known() }.admit(&keygen).is_ok());
    }

    /// A plan that uses prepared material for every item of an order, from this party's pool and another's.
    fn prepared_plan(allowed: &[bool], ids: &[Option<u8>]) -> Plan {
        let Operation::Sign(items) = signing() else { unreachable!() };
        let item = SignItem { hash: HashFunction::Sha256, ..items.all()[0].clone() };
        let items = allowed.iter().map(|&presignatures| SignItem { presignatures, ..item.clone() });
        let items = SignItems::new(items.collect()).unwrap();
        Plan {
            pools: vec![POOL, PoolId([2; 16])],
            prepared: ids.iter().map(|id| id.map(|id| PreparedId([id; 32]))).collect(),
            ..plan_of(terms(Operation::Sign(items)), &[1, 2])
        }
    }

    #[test]
    fn prepared_material_is_used_where_the_order_allows_it_and_this_party_has_it() {
        let known = Known { prepared: [7, 8].map(|id| PreparedId([id; 32])).into(), ..known() };
        assert!(known.admit(&prepared_plan(&[true], &[Some(7)])).is_ok());
        assert!(known.admit(&prepared_plan(&[true, true], &[Some(8), Some(7)])).is_ok());
        assert!(known.admit(&prepared_plan(&[true, false], &[Some(8), None])).is_ok());
        let good = prepared_plan(&[true], &[Some(7)]);
        for (bad, why) in [
            (prepared_plan(&[true], &[Some(9)]), "not there"),
            (prepared_plan(&[true], &[None]), "none is used"),
            (prepared_plan(&[true], &[Some(7), Some(8)]), "more than there are items"),
            (prepared_plan(&[true, true], &[Some(7)]), "fewer than there are items"),
            (prepared_plan(&[true, true], &[Some(7), Some(7)]), "one for two items"),
            (prepared_plan(&[false], &[Some(7)]), "not allowed"),
            (Plan { pools: vec![POOL], ..good.clone() }, "a signer without a pool"),
            (Plan { pools: vec![], ..good.clone() }, "no pools"),
            (Plan { pools: vec![PoolId([2; 16]), POOL], ..good.clone() }, "of another process"),
            (Plan { prepared: vec![], ..good.clone() }, "pools and nothing in them"),
            (
                Plan {
                    order: plan_of(terms(Operation::Refresh), &[]).order,
                    signers: (1..=3).map(party).collect(),
                    ..good
                },
                "a refresh",
            ),
        ] {
            let refused = known.admit(&bad);
            let is_missing = ["not there", "of another process"].contains(&why);
            let is_refused = match refused {
                Err(Refused::NoPresignatures(_)) => is_missing,
                Err(Refused::Presignatures(_)) => !is_missing,
                _ => false,
            };
            assert!(is_refused, "{why}: {refused:?}");
        }
    }
}
