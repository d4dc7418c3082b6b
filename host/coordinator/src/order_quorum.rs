//! The quorum of an order's next session: of the parties that are there, whose queues take plans, and who sign together.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use quorate_core::admission::PluginFacts;
use quorate_core::code::Code;
use quorate_core::identity::PublicKey;
use quorate_core::{PartyIndex, PlanHash, PoolId};

use super::bans::Ban;
use super::driver::OrderDriver;
use super::presignatures::PlannedPresignatures;
use super::quorum::{NoQuorum, Quorum, QuorumInput, choose};
use super::verdict::Verdict;

/// How long to wait for parties that are not there: as long as a restart of one takes.
const PARTIES_TIMEOUT: Duration = Duration::from_millis(3_000);

impl OrderDriver<'_> {
    /// Chooses a quorum whose queues take plans. A signer whose queue takes none is chosen around, and last for a while.
    pub(super) async fn quorum_with_queues(&mut self) -> Result<Quorum, Verdict> {
        let mut quorum = self.quorum().await?;
        let mut avoided = BTreeSet::new();
        // Each time there is one party less to choose from.
        loop {
            let order = &self.request.order;
            let Err(why) = self.state.outbox.check_queues(order, &quorum.signers).await else {
                return Ok(quorum);
            };
            tracing::warn!(order = %order.id, party = %why.party, error = %why.error, "a queue takes no plan");
            if !why.is_of_this_party() {
                return Err(why.error.into());
            }
            let verdict = Verdict { culprits: vec![why.party], ..why.error.into() };
            *self.failures.entry(why.party).or_default() += 1;
            if let Some(key) = order.spec.party(why.party) {
                self.state.presence.suspect(key);
                avoided.insert(*key);
            }
            if !self.request.is_repeatable() {
                return Err(verdict);
            }
            quorum = self.quorum_without(&avoided).await.ok_or(verdict)?;
        }
    }

    /// A quorum of the parties that are there now and are none of these.
    async fn quorum_without(&self, avoided: &BTreeSet<PublicKey>) -> Option<Quorum> {
        let order = &self.request.order;
        let mut online = self.state.presence.online();
        online.retain(|key, _| !avoided.contains(key));
        let banned = self.state.bans.pairs(order).await;
        let pairs = banned.union(&self.full_pairs(&online)).copied().collect();
        self.choose(&online, &pairs).ok()
    }

    /// Chooses among these parties, and around pairs that do not sign together.
    fn choose(
        &self,
        online: &HashMap<PublicKey, Vec<PluginFacts>>,
        avoided: &BTreeSet<Ban>,
    ) -> Result<Quorum, NoQuorum> {
        let (state, order) = (self.state, &self.request.order);
        let rotation = state.next_rotation();
        let mut failures = self.failures.clone();
        let doubtful = order.spec.indexed_parties().filter(|(_, key)| state.presence.is_doubtful(key));
        doubtful.for_each(|(party, _)| *failures.entry(party).or_default() += 1);
        let prepared = self.signers_with_presignatures();
        let input =
            QuorumInput { online, banned: avoided, failures: &failures, prepared: &prepared, rotation };
        choose(order, &self.request.submission.signers, &input)
    }

    /// The account's share set and the number of items, if all items of the order may use presignatures.
    fn presignature_use(&self) -> Option<(PlanHash, usize)> {
        let items = self.request.order.operation.sign_items();
        let is_allowed = !items.is_empty() && items.iter().all(|item| item.presignatures);
        Some((self.request.order.share_set?, items.len())).filter(|_| is_allowed)
    }

    fn signers_with_presignatures(&self) -> Vec<Vec<PartyIndex>> {
        let Some((share_set, items)) = self.presignature_use().filter(|_| !self.without_presignatures) else {
            return vec![];
        };
        let with = |at_least| {
            let account = self.request.order.spec.account;
            self.state.presignatures.signers_with(account, share_set, at_least)
        };
        let enough = with(items);
        // Those with too few get more: one quorum with many serves better than several with few.
        if enough.is_empty() { with(1) } else { enough }
    }

    /// Takes a presignature for each item, if the signers hold as many and the order may use them.
    pub(super) fn take_presignatures(&self, signers: &[PartyIndex]) -> Option<PlannedPresignatures> {
        let (share_set, items) = self.presignature_use().filter(|_| !self.without_presignatures)?;
        let spec = &self.request.order.spec;
        let is_there = |signer, pool| self.only_pool(signer) == Some(pool);
        self.state.presignatures.take(spec.account, share_set, signers, items, is_there)
    }

    /// How many presignatures the signers have left; `None` where the order can't use any, or they can't make them.
    pub(super) fn presignatures_left(&self, quorum: &Quorum) -> Option<u32> {
        let (share_set, _) = self.presignature_use().filter(|_| quorum.presigns)?;
        if quorum.signers.iter().any(|signer| self.only_pool(*signer).is_none()) {
            return None;
        }
        let account = self.request.order.spec.account;
        let left = self.state.presignatures.left(account, share_set, &quorum.signers);
        Some(u32::try_from(left).unwrap_or(u32::MAX))
    }

    fn only_pool(&self, signer: PartyIndex) -> Option<PoolId> {
        self.state.presence.only_pool(self.request.order.spec.party(signer)?)
    }

    /// Pairs of parties with as many open signings of the account as the protocol allows.
    fn full_pairs(&self, online: &HashMap<PublicKey, Vec<PluginFacts>>) -> BTreeSet<Ban> {
        let order = &self.request.order;
        let of_protocol = |plugin: &&PluginFacts| plugin.protocol == order.spec.protocol;
        let plugins = online.values().flatten().filter(of_protocol);
        // The largest: one party that announces less holds up no other. Each party counts for itself.
        match plugins.filter_map(|plugin| plugin.open_signings).max() {
            Some(at_most) if self.request.is_signing() => {
                self.state.open_signings.full(order.spec.account, at_most)
            }
            _ => BTreeSet::new(),
        }
    }

    /// Chooses a quorum; waits a little for parties that are not there, and as long as the order lasts for a place among the
    /// signings that may be open.
    async fn quorum(&self) -> Result<Quorum, Verdict> {
        let (state, order) = (self.state, &self.request.order);
        let patience = (state.services.now() + PARTIES_TIMEOUT).min(self.request.until);
        loop {
            let (online, banned) = (state.presence.online(), state.bans.pairs(order).await);
            let full = self.full_pairs(&online);
            let avoided = banned.union(&full).copied().collect();
            let mut chosen = self.choose(&online, &avoided);
            if chosen.is_err() && !full.is_empty() {
                chosen = self.choose(&online, &banned);
                if chosen.is_ok() {
                    // Every quorum that there is has a pair that is full.
                    if self.is_late() {
                        return Err(Verdict::of(
                            Code::Overloaded,
                            "as many signings of this account are open as may be",
                        ));
                    }
                    state.open_signings.wait_for_release(order.spec.account).await;
                    continue;
                }
            }
            let why = match chosen {
                Ok(quorum) => return Ok(quorum),
                Err(why) => why,
            };
            let waiting_helps = matches!(why, NoQuorum::Missing(_) | NoQuorum::NoPlugin);
            if !waiting_helps || state.services.now() >= patience {
                return Err(why.into());
            }
            state.presence.next_heartbeat().await;
        }
    }
}
