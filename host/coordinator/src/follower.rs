//! Follows an order that another call leads: passes on what its sessions lead to, and how the leader ended.

use std::time::Duration;

use quorate_core::SessionId;
use quorate_core::code::Code;

use super::in_flight::{FollowerGuard, LeaderGuard, OrderEnd, OrderRole, TooManyFollowers};
use super::session_records::{LATE_REPORTS_DURATION, deciding_session, forward_session, unknown};
use super::state::CoordinatorState;
use super::submission::SubmittedOrder;
use super::verdict::Verdict;

/// How often an order that another call leads is looked at.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(200);

/// The lead of an order that this call has followed before.
pub(super) struct TakenOver {
    pub(super) lead: LeaderGuard,
    /// The sessions of the order that this call has told of.
    pub(super) followed: Vec<SessionId>,
}

/// Follows the order until it has ended; gives the lead if no call has it any more.
pub(super) async fn follow(
    state: &CoordinatorState,
    request: &SubmittedOrder,
    mut follow: FollowerGuard,
) -> Option<TakenOver> {
    let mut followed = Vec::new();
    let patience = request.until + 2 * LATE_REPORTS_DURATION;
    loop {
        let end = tokio::time::timeout(FOLLOW_INTERVAL, follow.leader_ended()).await;
        // Its leader decides what becomes of a session.
        let latest = deciding_session(state, request).await.ok().flatten();
        if let Some(latest) = latest.filter(|latest| followed.last() != Some(&latest.session.id)) {
            followed.push(latest.session.id);
            if forward_session(state, request, &latest).await.is_ok() {
                return None;
            }
        }
        let failure = match end {
            Ok(Some(OrderEnd::Failed(verdict))) => verdict,
            // A caller that asks again finds the result.
            Ok(Some(OrderEnd::Result)) => unknown("the order has a result that can't be read now"),
            Ok(None) => match state.in_flight.join(request.order.id) {
                Ok(OrderRole::Leader(lead)) => return Some(TakenOver { lead, followed }),
                Ok(OrderRole::Follower(another)) => {
                    follow = another;
                    continue;
                }
                Err(TooManyFollowers) => Verdict::of(Code::Overloaded, "the order was submitted too often"),
            },
            Err(_) if state.services.now() >= patience => {
                unknown("the call that carries the order out does not come to an end")
            }
            Err(_) => continue,
        };
        request.tell_failed(failure);
        return None;
    }
}
