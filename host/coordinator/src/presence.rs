//! Tracks which parties are online and which components they run, by unsigned heartbeats. A forged heartbeat costs
//! time only.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use prost::Message;
use quorate_core::admission::PluginFacts;
use quorate_core::identity::{PublicKey, Signature, Tag};
use quorate_net::topics::PARTY_HEARTBEAT_INTERVAL;
use quorate_proto::convert::array;
use quorate_proto::v1;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long a party counts as online after a heartbeat: three may be lost.
const ONLINE_TIMEOUT: Duration = Duration::from_millis(2_000);

/// Parties that are remembered: far more than any deployment has. Heartbeats of further identities are ignored.
const MAX_PARTIES_REMEMBERED: usize = 1_024;

/// Plugins of one party that are looked at.
const MAX_PLUGINS: usize = 64;

/// The parties that are there.
#[derive(Default)]
pub(super) struct Presence {
    seen: Mutex<HashMap<PublicKey, SeenParty>>,
    changed: Notify,
    /// Parties that seal with the same master key do not count as online: one's shares open with the other's key.
    require_distinct_master_keys: bool,
}

struct SeenParty {
    at: Instant,
    plugins: Vec<PluginFacts>,
    /// A public name of its master key; only a holder of the master key can issue it to the party.
    key_name: PublicKey,
}

impl Presence {
    /// No party is online yet. In production every party has a master key of its own.
    pub(super) fn new(require_distinct_master_keys: bool) -> Self {
        Self { require_distinct_master_keys, ..Self::default() }
    }

    /// Takes in a heartbeat.
    pub(super) fn on_heartbeat(&self, payload: &[u8]) {
        let Some((identity, key_name, plugins)) = v1::Presence::decode(payload).ok().and_then(read) else {
            tracing::debug!("malformed heartbeat");
            return;
        };
        let now = Instant::now();
        {
            let mut seen = self.seen.lock();
            seen.retain(|_, party| now.duration_since(party.at) < 10 * ONLINE_TIMEOUT);
            if seen.len() >= MAX_PARTIES_REMEMBERED && !seen.contains_key(&identity) {
                return;
            }
            let shares =
                |(other, party): (&PublicKey, &SeenParty)| *other != identity && party.key_name == key_name;
            if self.require_distinct_master_keys && !seen.contains_key(&identity) && seen.iter().any(shares) {
                tracing::error!(%identity, "duplicate CRYPTO_MASTER_KEY: this party and the other one with it are excluded");
            }
            seen.insert(identity, SeenParty { at: now, plugins, key_name });
        }
        self.changed.notify_waiters();
    }

    /// The parties that are there, with their plugins.
    pub(super) fn online(&self) -> HashMap<PublicKey, Vec<PluginFacts>> {
        let now = Instant::now();
        let seen = self.seen.lock();
        let has_own = |name: &PublicKey| seen.values().filter(|party| party.key_name == *name).count() == 1;
        seen.iter()
            .filter(|(_, party)| now.duration_since(party.at) < ONLINE_TIMEOUT)
            .filter(|(_, party)| !self.require_distinct_master_keys || has_own(&party.key_name))
            .map(|(identity, party)| (*identity, party.plugins.clone()))
            .collect()
    }

    /// Whether a party was there and is not any more, while others can be heard: silence of all says nothing about one.
    pub(super) fn is_lost(&self, party: &PublicKey) -> bool {
        let now = Instant::now();
        let seen = self.seen.lock();
        let silent = seen.get(party).is_some_and(|party| now.duration_since(party.at) >= ONLINE_TIMEOUT);
        silent && seen.values().any(|other| now.duration_since(other.at) < 2 * PARTY_HEARTBEAT_INTERVAL)
    }

    /// Waits for a heartbeat, for as long as one may take.
    pub(super) async fn next_heartbeat(&self) {
        let _ = tokio::time::timeout(PARTY_HEARTBEAT_INTERVAL, self.changed.notified()).await;
    }
}

fn read(presence: v1::Presence) -> Option<(PublicKey, PublicKey, Vec<PluginFacts>)> {
    let identity = PublicKey(array(&presence.identity).ok()?);
    let key_name = PublicKey(array(&presence.key_name).ok()?);
    let proof = Signature(array(&presence.key_proof).ok()?);
    key_name.verify(Tag::KeyName, &identity.0, &proof).ok()?;
    let plugins = presence.plugins.into_iter().take(MAX_PLUGINS);
    let plugins = plugins.filter_map(|plugin| PluginFacts::try_from(plugin).ok());
    Some((identity, key_name, plugins.collect()))
}

#[cfg(test)]
mod tests {
    use quorate_core::identity::SecretKey;

    use super::*;

    #[tokio::test]
    async fn in_production_parties_with_one_master_key_are_not_there() {
        let (try_out, production) = (Presence::new(false), Presence::new(true));
        let say = |identity: u8, key: u8, proved: u8| {
            let key = SecretKey::from_seed(&[key; 32]);
            let presence = v1::Presence {
                identity: vec![identity; 32].into(),
                plugins: vec![],
                key_name: key.public().0.to_vec().into(),
                key_proof: key.sign(Tag::KeyName, &[proved; 32]).0.to_vec().into(),
            };
            try_out.on_heartbeat(&presence.encode_to_vec());
            production.on_heartbeat(&presence.encode_to_vec());
        };
        for (identity, key) in [(1, 1), (2, 2), (3, 2), (1, 1)] {
            say(identity, key, identity);
        }
        // A stranger who has heard of a key's name has not the key.
        say(4, 1, 1);
        assert_eq!(try_out.online().len(), 3);
        assert_eq!(production.online().into_keys().collect::<Vec<_>>(), [PublicKey([1; 32])]);
    }
}
