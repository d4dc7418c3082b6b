//! An order as a call has submitted it, and what that call is told of it.

use bytes::Bytes;
use quorate_control_store::NewSession;
use quorate_core::UnixMillis;
use quorate_core::order::Order;
use quorate_core::submission::Submission;
use quorate_proto::convert::numbers;
use quorate_proto::v1::submit_event::Event;
use quorate_proto::v1::{Failure, Started};
use tokio::sync::mpsc;

use super::verdict::Verdict;

/// An order to carry out, on behalf of one call.
pub(super) struct SubmittedOrder {
    pub(super) order: Order,
    /// The submission that contains the order.
    pub(super) submission: Submission,
    /// When the call ends.
    pub(super) until: UnixMillis,
    /// Where to tell of it. The caller may be gone.
    pub(super) events: mpsc::Sender<Event>,
}

impl SubmittedOrder {
    /// Whether the order may have several sessions, one after the other. A share that was promised in a first session
    /// would stand in the way of a second.
    pub(super) fn is_repeatable(&self) -> bool {
        !self.order.operation.makes_shares()
    }

    pub(super) fn is_signing(&self) -> bool {
        self.order.operation.is_signing()
    }

    pub(super) fn chain_code(&self) -> Option<&[u8; 32]> {
        self.submission.chain_code.as_ref()
    }

    /// Sends an event to the caller. There is room for all events of an order: a caller that reads none of them
    /// misses them.
    pub(super) fn tell(&self, event: Event) {
        let _ = self.events.try_send(event);
    }

    /// Tells of a session that is on its way, and how many presignatures its signers have left.
    pub(super) fn tell_started(&self, session: &NewSession, presignatures_left: Option<u32>) {
        self.tell(Event::Started(Started {
            session: Bytes::copy_from_slice(session.id.as_bytes()),
            signers: numbers(&session.signers),
            digest: Bytes::copy_from_slice(session.digest.as_bytes()),
            presignatures_left,
        }));
    }

    pub(super) fn tell_failed(&self, verdict: Verdict) {
        let culprits = numbers(&verdict.culprits);
        self.tell(Event::Ended(Failure {
            code: verdict.code.text().into(),
            reason: verdict.reason,
            culprits,
        }));
    }
}
