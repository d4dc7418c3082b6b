//! Wrong API keys, counted by the address that they come from: whoever tries keys is stopped before many are compared.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::listener::Peer;

/// How long failures are counted together.
const WINDOW: Duration = Duration::from_secs(60);

/// The most addresses that are counted at a time; the one that has failed first goes when another comes.
const MAX_ADDRESSES: usize = 4_096;

/// How many bits of an IPv6 address count: whoever has one address has all of its network.
const IPV6_NETWORK_BITS: u32 = 64;

/// The failures of each address. Clones count together.
#[derive(Clone, Debug)]
pub struct FailedKeys {
    /// The most in a minute; `None`: as many as come.
    at_most: Option<NonZeroU32>,
    counts: Arc<Mutex<HashMap<Option<IpAddr>, Count>>>,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    since: Instant,
    failures: u32,
}

impl FailedKeys {
    /// Counts so that an address may fail this often in a minute; 0: as often as it likes.
    #[must_use]
    pub fn new(at_most: u32) -> Self {
        Self { at_most: NonZeroU32::new(at_most), counts: Arc::default() }
    }

    /// For how long no key of this address is looked at; `None` if it is.
    pub(super) fn stopped(&self, caller: Peer) -> Option<Duration> {
        let at_most = self.at_most?;
        let count = *self.counts.lock().get(&network(caller))?;
        let left = WINDOW.checked_sub(count.since.elapsed()).filter(|left| !left.is_zero())?;
        (count.failures >= at_most.get()).then_some(left)
    }

    /// Counts a wrong key.
    pub(super) fn note(&self, caller: Peer) {
        if self.at_most.is_none() {
            return;
        }
        let (network, now) = (network(caller), Instant::now());
        let mut counts = self.counts.lock();
        if counts.len() >= MAX_ADDRESSES && !counts.contains_key(&network) {
            counts.retain(|_, count| now.duration_since(count.since) < WINDOW);
            let first = counts.iter().min_by_key(|(_, count)| count.since).map(|(network, _)| *network);
            if let Some(first) = first.filter(|_| counts.len() >= MAX_ADDRESSES) {
                counts.remove(&first);
            }
        }
        let count = counts.entry(network).or_insert(Count { since: now, failures: 0 });
        if now.duration_since(count.since) >= WINDOW {
            *count = Count { since: now, failures: 0 };
        }
        count.failures = count.failures.saturating_add(1);
    }
}

/// The part of an address that stands for its owner.
fn network(caller: Peer) -> Option<IpAddr> {
    caller.0.map(|address| match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let mask = u128::MAX << (128 - IPV6_NETWORK_BITS);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str) -> Peer {
        Peer(Some(address.parse().unwrap()))
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_has_tried_too_many_keys_is_stopped_for_the_rest_of_the_minute() {
        let failed = FailedKeys::new(3);
        let (bad, good) = (peer("192.0.2.1"), peer("192.0.2.2"));
        for _ in 0..3 {
            assert_eq!(failed.stopped(bad), None);
            failed.note(bad);
        }
        assert_eq!(failed.stopped(bad), Some(WINDOW));
        assert_eq!(failed.stopped(good), None, "another address pays for it");
        tokio::time::advance(WINDOW - Duration::from_secs(1)).await;
        assert_eq!(failed.stopped(bad), Some(Duration::from_secs(1)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(failed.stopped(bad), None);
        failed.note(bad);
        assert_eq!(failed.stopped(bad), None, "it is counted from the beginning");
    }

    #[tokio::test(start_paused = true)]
    async fn all_addresses_of_an_ipv6_network_count_as_one() {
        let failed = FailedKeys::new(2);
        failed.note(peer("2001:db8::1"));
        failed.note(peer("2001:db8::2"));
        assert!(failed.stopped(peer("2001:db8::3")).is_some());
        assert_eq!(failed.stopped(peer("2001:db8:0:1::1")), None);
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_that_are_counted_are_bounded_and_none_is_stopped_without_a_maximum() {
        let (failed, unlimited) = (FailedKeys::new(1), FailedKeys::new(0));
        for number in 0..2 * u32::try_from(MAX_ADDRESSES).unwrap() {
            let caller = Peer(Some(IpAddr::V4(number.into())));
            failed.note(caller);
            unlimited.note(caller);
            assert_eq!(unlimited.stopped(caller), None);
        }
        assert_eq!((failed.counts.lock().len(), unlimited.counts.lock().len()), (MAX_ADDRESSES, 0));
    }
}
