//! Tracks which parties are online, which components they run, and whether they can do their work, by their signed heartbeats.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use quorate_core::admission::PluginFacts;
use quorate_core::codec::decode;
use quorate_core::heartbeat::{Heartbeat, SignedHeartbeat, Trouble};
use quorate_core::identity::PublicKey;
use quorate_core::order::MAX_CLOCK_SKEW;
use quorate_core::{PoolId, UnixMillis};
use quorate_net::topics::PARTY_HEARTBEAT_INTERVAL;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long a party counts as online after a heartbeat: three may be lost.
const ONLINE_TIMEOUT: Duration = Duration::from_millis(2_000);

/// The longest heartbeat, in bytes: far more than that of a party with 64 plugins. All of it is kept.
const MAX_HEARTBEAT_BYTES: usize = 128 << 10;

/// Plugins of one party that are looked at.
const MAX_PLUGINS: usize = 64;

/// Processes of one party whose numbers are remembered: far more than it has replicas.
const MAX_PROCESSES: usize = 64;

/// How long a party that has failed in a session is chosen last.
const SUSPICION_DURATION: Duration = Duration::from_secs(5);

/// The parties that are there.
pub(super) struct Presence {
    /// The parties of this deployment: heartbeats of others are ignored.
    pinned: Vec<PublicKey>,
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
    /// Why it can't do its work.
    trouble: Option<Trouble>,
    /// When it last was a suspect in a session that failed.
    suspected: Option<Instant>,
    /// Its processes, by their pools.
    processes: HashMap<PoolId, SeenProcess>,
}

/// A process of a party.
struct SeenProcess {
    /// The highest number of its heartbeats, and when it came.
    number: u64,
    at: Instant,
    replica: String,
}

impl Presence {
    /// None of these parties is online yet. In production every party has a master key of its own.
    pub(super) fn new(pinned: Vec<PublicKey>, require_distinct_master_keys: bool) -> Self {
        Self { pinned, seen: Mutex::default(), changed: Notify::new(), require_distinct_master_keys }
    }

    /// The parties of this deployment.
    pub(super) fn parties(&self) -> &[PublicKey] {
        &self.pinned
    }

    /// Takes in a heartbeat. One that its party has not signed, or that has come before, is ignored.
    pub(super) fn on_heartbeat(&self, payload: &[u8], clock: UnixMillis) {
        if payload.len() > MAX_HEARTBEAT_BYTES {
            tracing::debug!("a heartbeat that is too long");
            return;
        }
        let signed = decode::<SignedHeartbeat>(payload).ok();
        let signed = signed.filter(|signed| self.pinned.contains(&signed.heartbeat.identity));
        let Some(SignedHeartbeat { heartbeat, .. }) = signed.filter(|signed| signed.verify().is_ok()) else {
            tracing::debug!("a heartbeat that no party of this deployment has signed");
            return;
        };
        if self.take(heartbeat, clock) {
            self.changed.notify_waiters();
        }
    }

    /// Records a genuine heartbeat; false if it, or a later one, has come before.
    fn take(&self, heartbeat: Heartbeat, clock: UnixMillis) -> bool {
        let Heartbeat { identity, replica, process, number, at, key_name, trouble, mut plugins, .. } =
            heartbeat;
        let now = Instant::now();
        let mut seen = self.seen.lock();
        let shares =
            |(other, party): (&PublicKey, &SeenParty)| *other != identity && party.key_name == key_name;
        if self.require_distinct_master_keys && !seen.contains_key(&identity) && seen.iter().any(shares) {
            tracing::error!(%identity, "duplicate CRYPTO_MASTER_KEY: this party and the other one with it are excluded");
        }
        let party = seen.entry(identity).or_insert_with(|| SeenParty {
            at: now,
            plugins: vec![],
            key_name,
            trouble: None,
            suspected: None,
            processes: HashMap::new(),
        });
        if party.processes.get(&process).is_some_and(|seen| number <= seen.number) {
            return false;
        }
        if party.processes.len() >= MAX_PROCESSES && !party.processes.contains_key(&process) {
            let oldest = party.processes.iter().min_by_key(|(_, seen)| seen.at).map(|(process, _)| *process);
            oldest.map(|oldest| party.processes.remove(&oldest));
        }
        party.processes.insert(process, SeenProcess { number, at: now, replica });
        plugins.truncate(MAX_PLUGINS);
        let is_apart = at > clock + MAX_CLOCK_SKEW || clock > at + MAX_CLOCK_SKEW;
        (party.at, party.plugins, party.key_name) = (now, plugins, key_name);
        party.trouble = trouble.or(is_apart.then_some(Trouble::Clock));
        true
    }

    /// Records that a party may have made a session fail.
    pub(super) fn suspect(&self, identity: &PublicKey) {
        if let Some(party) = self.seen.lock().get_mut(identity) {
            party.suspected = Some(Instant::now());
        }
    }

    /// Whether a party says that it can't do its work, or was a suspect lately: it is chosen last.
    pub(super) fn is_doubtful(&self, identity: &PublicKey) -> bool {
        let seen = self.seen.lock();
        seen.get(identity).is_some_and(|party| {
            party.trouble.is_some() || party.suspected.is_some_and(|at| at.elapsed() < SUSPICION_DURATION)
        })
    }

    /// The pool of a party's process, if one replica of the party is there and no other: a plan may come to any of them. Of a replica
    /// that was started anew the newer process counts.
    pub(super) fn only_pool(&self, identity: &PublicKey) -> Option<PoolId> {
        let now = Instant::now();
        let seen = self.seen.lock();
        let processes = &seen.get(identity)?.processes;
        let (pool, newest) = processes.iter().max_by_key(|(_, process)| process.at)?;
        let is_other = |process: &SeenProcess| {
            process.replica != newest.replica && now.duration_since(process.at) < ONLINE_TIMEOUT
        };
        let is_alone = !processes.values().any(is_other);
        (is_alone && now.duration_since(newest.at) < ONLINE_TIMEOUT).then_some(*pool)
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

#[cfg(test)]
mod tests {
    use quorate_core::codec::encode;
    use quorate_core::identity::{SecretKey, Tag};

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    /// A heartbeat of a party, whose master key has this seed and was proved to this party.
    fn heartbeat(party: u8, master: u8, proved: u8) -> Heartbeat {
        Heartbeat {
            identity: key(party).public(),
            replica: "replica".into(),
            process: PoolId([1; 16]),
            number: 1,
            at: NOW,
            key_name: key(master).public(),
            key_proof: key(master).sign(Tag::KeyName, &key(proved).public().0),
            trouble: None,
            plugins: vec![],
        }
    }

    fn presence(distinct: bool) -> Presence {
        Presence::new((1..=4).map(|party| key(party).public()).collect(), distinct)
    }

    fn hear(presence: &Presence, heartbeat: Heartbeat, by: u8) {
        presence.on_heartbeat(&encode(&heartbeat.sign(&key(by))), NOW);
    }

    #[tokio::test]
    async fn in_production_parties_with_one_master_key_are_not_there() {
        let (try_out, production) = (presence(false), presence(true));
        // A stranger who has heard of a key's name has not the key: 4.
        for (party, master, proved) in [(1, 11, 1), (2, 12, 2), (3, 12, 3), (4, 11, 1)] {
            hear(&try_out, heartbeat(party, master, proved), party);
            hear(&production, heartbeat(party, master, proved), party);
        }
        assert_eq!(try_out.online().len(), 3);
        assert_eq!(production.online().into_keys().collect::<Vec<_>>(), [key(1).public()]);
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_partys_own_new_heartbeats_count() {
        let presence = presence(false);
        hear(&presence, heartbeat(1, 11, 1), 2);
        hear(&presence, heartbeat(9, 11, 9), 9);
        assert!(presence.online().is_empty(), "a forged heartbeat, or one of a stranger, counts");
        hear(&presence, heartbeat(1, 11, 1), 1);
        assert!(presence.online().contains_key(&key(1).public()));
        tokio::time::advance(ONLINE_TIMEOUT).await;
        hear(&presence, heartbeat(1, 11, 1), 1);
        assert!(presence.online().is_empty(), "a recorded heartbeat counts again");
        hear(&presence, Heartbeat { number: 2, ..heartbeat(1, 11, 1) }, 1);
        assert!(presence.online().contains_key(&key(1).public()));
        tokio::time::advance(ONLINE_TIMEOUT).await;
        hear(&presence, Heartbeat { process: PoolId([2; 16]), ..heartbeat(1, 11, 1) }, 1);
        assert!(presence.online().contains_key(&key(1).public()), "another process begins with 1");
    }

    #[tokio::test(start_paused = true)]
    async fn a_party_that_can_not_work_or_has_failed_lately_is_doubtful() {
        let presence = presence(false);
        let (one, two, three) = (key(1).public(), key(2).public(), key(3).public());
        hear(&presence, Heartbeat { trouble: Some(Trouble::Store), ..heartbeat(1, 11, 1) }, 1);
        hear(&presence, Heartbeat { at: NOW + Duration::from_secs(61), ..heartbeat(2, 12, 2) }, 2);
        hear(&presence, heartbeat(3, 13, 3), 3);
        assert!(presence.is_doubtful(&one) && presence.is_doubtful(&two) && !presence.is_doubtful(&three));
        presence.suspect(&three);
        assert!(presence.is_doubtful(&three));
        tokio::time::advance(SUSPICION_DURATION).await;
        hear(&presence, Heartbeat { number: 2, ..heartbeat(1, 11, 1) }, 1);
        assert!(!presence.is_doubtful(&one) && !presence.is_doubtful(&three));
    }

    #[tokio::test(start_paused = true)]
    async fn the_pool_of_a_party_is_that_of_its_only_replica() {
        let presence = presence(false);
        let pool = || presence.only_pool(&key(1).public());
        let beat = |process: u8, replica: &str, number| {
            let (process, replica) = (PoolId([process; 16]), replica.to_owned());
            hear(&presence, Heartbeat { process, replica, number, ..heartbeat(1, 11, 1) }, 1);
        };
        assert_eq!(pool(), None);
        beat(1, "a", 1);
        assert_eq!(pool(), Some(PoolId([1; 16])));
        tokio::time::advance(PARTY_HEARTBEAT_INTERVAL).await;
        beat(2, "a", 1);
        assert_eq!(pool(), Some(PoolId([2; 16])), "it was started anew");
        beat(3, "b", 1);
        assert_eq!(pool(), None, "a plan may come to either");
        tokio::time::advance(ONLINE_TIMEOUT).await;
        assert_eq!(pool(), None, "none is there");
        beat(3, "b", 2);
        assert_eq!(pool(), Some(PoolId([3; 16])), "the other is gone");
    }

    #[tokio::test]
    async fn a_heartbeat_that_is_too_long_is_not_kept() {
        let presence = presence(false);
        let long = Heartbeat { replica: "x".repeat(MAX_HEARTBEAT_BYTES), ..heartbeat(1, 11, 1) };
        hear(&presence, long, 1);
        assert!(presence.online().is_empty());
    }
}
