//! How often peers are answered after the end of a session.

use std::collections::BTreeMap;
use std::time::Duration;

use super::terms::SessionTerms;
use crate::{PartyIndex, UnixMillis};

/// How often a peer that still waits is answered after the end of a session.
const MIN_REPLY_INTERVAL: Duration = Duration::from_millis(1_000);

/// When peers were answered last after the end of a session. Their frames are not verified: an attacker who invents
/// frames gets a bounded number of answers, which it could have recorded the first time.
pub(super) struct ReplyThrottle(BTreeMap<PartyIndex, UnixMillis>);

impl ReplyThrottle {
    /// No peer is answered at once: frames that peers sent before they heard of the end may still arrive.
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
