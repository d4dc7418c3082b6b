//! How often peers are answered after the end of a session.

use std::collections::BTreeMap;
use std::time::Duration;

use super::terms::SessionTerms;
use crate::{PartyIndex, UnixMillis};

/// How often a peer that still waits is answered after the end of a session.
const MIN_REPLY_INTERVAL: Duration = Duration::from_millis(1_000);

/// When peers were answered last after the end of a session. Their frames are not verified: whoever invents some gets a
/// bounded number of answers that he could have kept from the first time.
pub(super) struct ReplyThrottle(BTreeMap<PartyIndex, UnixMillis>);

impl ReplyThrottle {
    /// Nobody is answered at once: what peers sent before they heard of the end may still come in.
    pub(super) fn from(terms: &SessionTerms, now: UnixMillis) -> Self {
        Self(terms.peers().map(|peer| (peer, now)).collect())
    }

    pub(super) fn is_due(&mut self, peer: PartyIndex, now: UnixMillis) -> bool {
        let Some(last) = self.0.get_mut(&peer) else { return false };
        let due = now >= *last + MIN_REPLY_INTERVAL;
        if due {
            *last = now;
        }
        due
    }
}
