//! The connections that are open at a port. When there are as many as may be, a new one takes the place of the stranger that has
//! had its own for nothing for the longest.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::idle::{ActiveRequest, Activity, StrangerRequests};
use crate::listener::{ConnectionPermit, Peer};

/// Connections at a time. Each may carry many requests.
pub(crate) const MAX_OPEN_CONNECTIONS: usize = 1_024;

/// How many requests of strangers may be under way at a port. A stream to a router takes up to 18 kB.
const MAX_REQUESTS_OF_STRANGERS: usize = 1_024;

/// With how many no more are taken on, until those connections are closed that have to make room.
const MAX_REQUESTS_WHILE_CLOSING: usize = 2 * MAX_REQUESTS_OF_STRANGERS;

/// How many connections may be about to close while another one is taken in, and how long it waits for them: what they hold is
/// freed with them.
const MAX_CLOSING: usize = 4;
const CLOSING_TIME: Duration = Duration::from_millis(100);

/// How many connections strangers may have.
#[derive(Clone, Copy)]
pub(crate) struct StrangerLimits {
    /// Together.
    pub(crate) in_all: usize,
    /// At one address.
    pub(crate) at_address: usize,
}

/// The open connections. Clones share them.
#[derive(Clone)]
pub(crate) struct Connections {
    limits: StrangerLimits,
    open: Arc<Mutex<Open>>,
    slots: Arc<Semaphore>,
    of_strangers: Arc<StrangerRequests>,
    /// Notified when a connection is gone.
    gone: Arc<Notify>,
}

#[derive(Default)]
struct Open {
    by_number: HashMap<u64, Entry>,
    /// How many there ever were.
    count: u64,
}

struct Entry {
    address: Option<IpAddr>,
    activity: Arc<Activity>,
    close: CancellationToken,
}

impl Entry {
    /// Whether a stranger has it, and it is not being closed.
    fn is_stranger(&self) -> bool {
        !self.close.is_cancelled() && self.activity.stranger_since().is_some()
    }

    fn make_room(&self) {
        self.activity.mark_closing();
        self.close.cancel();
    }
}

/// A connection that is open, for as long as this lives.
pub(crate) struct OpenConnection {
    connections: Connections,
    number: u64,
    pub(crate) activity: Arc<Activity>,
    /// Cancelled when another connection takes its place.
    pub(crate) close: CancellationToken,
}

impl Connections {
    /// None is open yet.
    pub(crate) fn new(limits: StrangerLimits) -> Self {
        Self {
            limits,
            open: Arc::default(),
            slots: Arc::new(Semaphore::new(MAX_OPEN_CONNECTIONS)),
            of_strangers: Arc::default(),
            gone: Arc::default(),
        }
    }

    /// Waits for room for one more. If there is none, the stranger that has waited for the longest is closed.
    pub(crate) async fn room(&self) -> Option<ConnectionPermit> {
        let permit = |slot: OwnedSemaphorePermit| ConnectionPermit(Arc::new(slot));
        if let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
            return Some(permit(slot));
        }
        self.open.lock().close_longest(|_| true);
        // The semaphore is never closed.
        Arc::clone(&self.slots).acquire_owned().await.ok().map(permit)
    }

    /// Counts a connection as open. Those that have to make room for it have some time to be gone, with all that they hold.
    pub(crate) async fn add(&self, peer: Peer) -> OpenConnection {
        let activity = Arc::new(Activity::new(Arc::clone(&self.of_strangers)));
        let close = CancellationToken::new();
        let address = peer.0.map(network_of);
        if address.is_some() {
            self.open.lock().make_room(address, self.limits);
            let until = Instant::now() + CLOSING_TIME;
            loop {
                let gone = self.gone.notified();
                if self.open.lock().closing() <= MAX_CLOSING || timeout_at(until, gone).await.is_err() {
                    break;
                }
            }
        } else {
            // It is this process itself.
            activity.mark_known();
        }
        let mut open = self.open.lock();
        open.count += 1;
        let number = open.count;
        let entry = Entry { address, activity: Arc::clone(&activity), close: close.clone() };
        open.by_number.insert(number, entry);
        OpenConnection { connections: self.clone(), number, activity, close }
    }
}

impl Open {
    /// Closes the strangers that have to make room for one more at an address.
    fn make_room(&self, address: Option<IpAddr>, limits: StrangerLimits) {
        let is_here = |entry: &Entry| entry.address == address;
        if self.strangers(is_here) >= limits.at_address {
            self.close_longest(is_here);
        }
        if self.strangers(|_| true) >= limits.in_all {
            self.close_longest(|_| true);
        }
    }

    /// How many connections are being closed.
    fn closing(&self) -> usize {
        self.by_number.values().filter(|entry| entry.close.is_cancelled()).count()
    }

    fn strangers(&self, among: impl Fn(&Entry) -> bool) -> usize {
        let is_one = |entry: &&Entry| among(entry) && entry.is_stranger();
        self.by_number.values().filter(is_one).count()
    }

    /// Closes the stranger of these connections that has waited for the longest, if there is one.
    fn close_longest(&self, among: impl Fn(&Entry) -> bool) {
        let strangers = self.by_number.values().filter(|entry| among(entry) && entry.is_stranger());
        let since = strangers.filter_map(|entry| Some((entry.activity.stranger_since()?, entry)));
        if let Some((_, entry)) = since.min_by_key(|(since, _): &(Instant, _)| *since) {
            entry.make_room();
        }
    }

    /// Closes the stranger with the most requests under way, if there is one.
    fn close_busiest(&self) {
        let strangers = self.by_number.values().filter(|entry| entry.is_stranger());
        let requests = strangers.filter_map(|entry| Some((entry.activity.stranger_requests()?, entry)));
        if let Some((_, entry)) = requests.max_by_key(|(requests, _): &(usize, _)| *requests) {
            entry.make_room();
        }
    }
}

/// The caller of a request, among its extensions. The code that verifies its key, its token or its signature marks it as known: from
/// then on the bounds for strangers do not hold for its connection. A connection counts as open for as long as
/// anybody has its caller.
#[derive(Clone)]
pub struct Caller(pub(crate) Arc<OpenConnection>);

impl Caller {
    /// Records that the caller has proved who it is.
    pub fn mark_known(&self) {
        self.0.activity.mark_known();
    }

    /// Carries on unless another connection takes the place of this one. For what outlives the requests, as a WebSocket does.
    pub async fn while_open(&self, work: impl Future<Output = ()>) {
        self.0.close.run_until_cancelled(work).await;
    }
}

impl OpenConnection {
    /// Begins a request; `None` if there is no room for it. A stranger with as many under way as may be is closed. If strangers
    /// have too many together, the one that has most of them is closed.
    pub(crate) fn begin(&self, at_most: usize) -> Option<ActiveRequest> {
        let of_strangers = &self.connections.of_strangers;
        if of_strangers.to_stay.load(Ordering::Relaxed) >= MAX_REQUESTS_OF_STRANGERS {
            self.connections.open.lock().close_busiest();
        }
        if self.activity.stranger_since().is_some()
            && of_strangers.under_way.load(Ordering::Relaxed) >= MAX_REQUESTS_WHILE_CLOSING
        {
            return None;
        }
        let active = self.activity.begin(at_most);
        if active.is_none() {
            self.activity.mark_closing();
            self.close.cancel();
        }
        active
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.connections.open.lock().by_number.remove(&self.number);
        self.connections.gone.notify_waiters();
    }
}

/// What counts as one address: of IPv6 the first half, because a machine has as many of the others as it likes.
fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: StrangerLimits = StrangerLimits { in_all: 20, at_address: 10 };

    fn at(address: &str) -> Peer {
        Peer(Some(address.parse().unwrap()))
    }

    #[tokio::test(start_paused = true)]
    async fn one_more_at_an_address_takes_the_place_of_the_stranger_that_has_waited_longest() {
        let connections = Connections::new(LIMITS);
        let elsewhere = connections.add(at("192.0.2.1")).await;
        tokio::time::advance(Duration::from_secs(1)).await;
        let known = connections.add(at("2001:db8::1")).await;
        known.activity.mark_known();
        let mut strangers = Vec::new();
        for last in 0..LIMITS.at_address {
            tokio::time::advance(Duration::from_secs(1)).await;
            strangers.push(connections.add(at(&format!("2001:db8::{last:x}"))).await);
        }
        assert!(strangers.iter().all(|stranger| !stranger.close.is_cancelled()));
        // The first is asking for something now, and the second has been answered just now.
        let asking = strangers[0].activity.begin(1).unwrap();
        drop(strangers[1].activity.begin(1));
        drop(asking);
        let more = connections.add(at("2001:db8::ffff")).await;
        let closed: Vec<usize> =
            (0..strangers.len()).filter(|&at| strangers[at].close.is_cancelled()).collect();
        assert_eq!(closed, [2]);
        for other in [&elsewhere, &known, &more] {
            assert!(!other.close.is_cancelled());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_places_are_taken_the_stranger_that_has_waited_longest_makes_room() {
        let connections = Connections::new(LIMITS);
        let mut rooms = Vec::new();
        for _ in 0..MAX_OPEN_CONNECTIONS {
            rooms.push(connections.room().await.unwrap());
        }
        let known = connections.add(at("192.0.2.1")).await;
        known.activity.mark_known();
        let own = connections.add(Peer(None)).await;
        tokio::time::advance(Duration::from_secs(1)).await;
        let longest = connections.add(at("192.0.2.2")).await;
        tokio::time::advance(Duration::from_secs(1)).await;
        let other = connections.add(at("192.0.2.3")).await;
        let waiting = tokio::time::timeout(Duration::from_millis(10), connections.room()).await;
        assert!(waiting.is_err(), "there is room before the place is free");
        assert!(longest.close.is_cancelled());
        assert!([&known, &own, &other].iter().all(|open| !open.close.is_cancelled()));
        drop(rooms.pop());
        assert!(connections.room().await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_at_many_addresses_have_no_more_than_their_share_together() {
        let connections = Connections::new(LIMITS);
        let mut open = Vec::new();
        for last in 0..=LIMITS.in_all {
            tokio::time::advance(Duration::from_secs(1)).await;
            open.push(connections.add(at(&format!("192.0.2.{last}"))).await);
        }
        let closed: Vec<usize> = (0..open.len()).filter(|&at| open[at].close.is_cancelled()).collect();
        assert_eq!(closed, [0]);
    }
}
