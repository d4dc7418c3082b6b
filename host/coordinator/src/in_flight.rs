//! Orders that are being carried out here. Of the calls that submit one order, one leads and makes its sessions; the
//! others follow it, and are told how it ended. When a leader is gone without a word, a follower takes the lead.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use quorate_core::OrderId;
use tokio::sync::watch;

use super::verdict::Verdict;

/// Calls that may follow an order: an account service calls again when a connection breaks, a few times.
const MAX_FOLLOWERS: usize = 8;

/// How an order ended for its leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OrderEnd {
    /// With a result, which the reports prove.
    Result,
    Failed(Verdict),
}

/// The leader's result; `None` as long as it is at work.
type LeaderOutcome = watch::Receiver<Option<OrderEnd>>;

/// All orders in flight. Clones share them.
#[derive(Clone, Default)]
pub(super) struct InFlight(Arc<Mutex<HashMap<OrderId, InFlightOrder>>>);

struct InFlightOrder {
    outcome: LeaderOutcome,
    followers: usize,
}

/// The role of a call in its order.
pub(super) enum OrderRole {
    Leader(LeaderGuard),
    Follower(FollowerGuard),
}

/// The lead of an order. Dropped, it ends.
pub(super) struct LeaderGuard {
    orders: InFlight,
    order: OrderId,
    sender: watch::Sender<Option<OrderEnd>>,
}

/// The place of a follower.
pub(super) struct FollowerGuard {
    orders: InFlight,
    order: OrderId,
    outcome: LeaderOutcome,
}

/// So many calls follow the order already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooManyFollowers;

impl InFlight {
    pub(super) fn join(&self, order: OrderId) -> Result<OrderRole, TooManyFollowers> {
        let mut orders = self.lock();
        match orders.get_mut(&order) {
            Some(entry) if entry.followers >= MAX_FOLLOWERS => Err(TooManyFollowers),
            Some(entry) => {
                entry.followers += 1;
                Ok(OrderRole::Follower(FollowerGuard {
                    orders: self.clone(),
                    order,
                    outcome: entry.outcome.clone(),
                }))
            }
            None => {
                let (sender, outcome) = watch::channel(None);
                orders.insert(order, InFlightOrder { outcome, followers: 0 });
                Ok(OrderRole::Leader(LeaderGuard { orders: self.clone(), order, sender }))
            }
        }
    }

    /// Whether a call leads it here.
    pub(super) fn has(&self, order: OrderId) -> bool {
        self.lock().contains_key(&order)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<OrderId, InFlightOrder>> {
        self.0.lock()
    }
}

impl LeaderGuard {
    /// Tells the followers how the order ended.
    pub(super) fn announce_end(self, end: OrderEnd) {
        let _ = self.sender.send(Some(end));
    }
}

impl Drop for LeaderGuard {
    fn drop(&mut self) {
        self.orders.lock().remove(&self.order);
    }
}

impl FollowerGuard {
    /// Waits until the leader has ended; `None` if it is gone without a word. May be cancelled.
    pub(super) async fn leader_ended(&mut self) -> Option<OrderEnd> {
        match self.outcome.wait_for(Option::is_some).await {
            Ok(end) => end.clone(),
            Err(_) => None,
        }
    }
}

impl Drop for FollowerGuard {
    fn drop(&mut self) {
        if let Some(entry) = self.orders.lock().get_mut(&self.order)
            // Not one of a leader that came later.
            && entry.outcome.same_channel(&self.outcome)
        {
            entry.followers -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_core::code::Code;

    use super::*;

    const ORDER: OrderId = OrderId([1; 32]);

    fn lead(orders: &InFlight) -> LeaderGuard {
        match orders.join(ORDER) {
            Ok(OrderRole::Leader(lead)) => lead,
            _ => panic!("somebody else leads"),
        }
    }

    fn follow(orders: &InFlight) -> FollowerGuard {
        match orders.join(ORDER) {
            Ok(OrderRole::Follower(follow)) => follow,
            _ => panic!("nobody leads, or too many follow"),
        }
    }

    #[tokio::test]
    async fn followers_hear_how_their_leader_ended_and_nobody_waits_for_a_follower() {
        let orders = InFlight::default();
        let leading = lead(&orders);
        let (mut first, mut second) = (follow(&orders), follow(&orders));
        let end = OrderEnd::Failed(Verdict::of(Code::Overloaded, "why"));
        leading.announce_end(end.clone());
        assert_eq!(first.leader_ended().await, Some(end.clone()));
        assert!(!orders.has(ORDER), "a follower keeps an order in flight");
        let leading = lead(&orders);
        // One that comes late hears the end of the leader that it has followed, and of no other.
        assert_eq!(second.leader_ended().await, Some(end));
        let mut third = follow(&orders);
        drop((first, second));
        drop(leading);
        assert_eq!(third.leader_ended().await, None, "a leader that is gone has announced something");
    }

    #[test]
    fn few_follow_one_order() {
        let orders = InFlight::default();
        let leading = lead(&orders);
        let mut following: Vec<FollowerGuard> = (0..MAX_FOLLOWERS).map(|_| follow(&orders)).collect();
        assert!(matches!(orders.join(ORDER), Err(TooManyFollowers)));
        following.pop();
        following.push(follow(&orders));
        drop(leading);
    }
}
