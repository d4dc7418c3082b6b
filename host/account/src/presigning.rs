//! Which accounts need presignatures. A coordinator says with every signing how many the signers have left; when these are fewer than
//! the low mark, the same signers are to make as many as lead to the high mark.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use quorate_core::{AccountId, PartyIndex};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::submit::OrderResult;

/// Accounts that wait for presignatures. More are told again with their next signing.
const MAX_WAITING_ACCOUNTS: usize = 1_024;

/// How long an account is left alone after parties have failed to make presignatures for it.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(30);

/// When presignatures are ordered, and how many. A party keeps 256 for one account and quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PresignatureMarks {
    /// When the signers of an account have fewer than this left.
    pub low: u16,
    /// As many as lead to this number. With 0 none are ordered.
    pub high: u16,
}

impl Default for PresignatureMarks {
    fn default() -> Self {
        Self { low: 32, high: 128 }
    }
}

/// Signers of an account that are to make presignatures.
pub(crate) struct Wanted {
    pub(crate) account: AccountId,
    pub(crate) signers: Vec<PartyIndex>,
    pub(crate) count: u16,
}

/// Accounts whose presignatures are few.
pub(crate) struct FewPresignatures {
    marks: PresignatureMarks,
    sender: mpsc::Sender<Wanted>,
    /// Taken by the one who orders.
    receiver: Mutex<Option<mpsc::Receiver<Wanted>>>,
    accounts: Mutex<HashMap<AccountId, Standing>>,
}

/// Why no more presignatures are ordered for an account now.
#[derive(Clone, Copy)]
enum Standing {
    /// Some are being made.
    Ordered,
    /// They could not be made.
    PausedUntil(Instant),
}

impl FewPresignatures {
    pub(crate) fn new(marks: PresignatureMarks) -> Self {
        let (sender, receiver) = mpsc::channel(MAX_WAITING_ACCOUNTS);
        Self { marks, sender, receiver: Mutex::new(Some(receiver)), accounts: Mutex::default() }
    }

    /// Takes note of how many presignatures the signers of a signing have left.
    pub(crate) fn note(&self, account: AccountId, result: &OrderResult) {
        let Some(left) = result.presignatures_left else { return };
        let count = self.marks.high.saturating_sub(u16::try_from(left).unwrap_or(u16::MAX));
        if left >= u32::from(self.marks.low) || count == 0 {
            return;
        }
        let mut accounts = self.accounts.lock();
        match accounts.get(&account) {
            Some(Standing::Ordered) => return,
            Some(Standing::PausedUntil(until)) if *until > Instant::now() => return,
            _ => {}
        }
        if self.sender.try_send(Wanted { account, signers: result.signers.clone(), count }).is_ok() {
            accounts.insert(account, Standing::Ordered);
        }
    }

    /// Those who are to make presignatures, one after the other; `None` when somebody reads them already.
    pub(crate) fn wanted(&self) -> Option<mpsc::Receiver<Wanted>> {
        self.receiver.lock().take()
    }

    /// Takes note that presignatures were made: more can be ordered.
    pub(crate) fn note_made(&self, account: AccountId) {
        self.accounts.lock().remove(&account);
    }

    /// Takes note that none could be made.
    pub(crate) fn note_failed(&self, account: AccountId) {
        let mut accounts = self.accounts.lock();
        let now = Instant::now();
        accounts.retain(|_, standing| !matches!(standing, Standing::PausedUntil(until) if *until <= now));
        accounts.insert(account, Standing::PausedUntil(now + PAUSE_AFTER_FAILURE));
        // It is only spared a few attempts.
        if accounts.len() > 2 * MAX_WAITING_ACCOUNTS {
            accounts.retain(|_, standing| matches!(standing, Standing::Ordered));
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_core::{Digest, SessionId};
    use quorate_verify::proof::Proved;

    use super::*;

    const ACCOUNT: AccountId = AccountId([1; 16]);

    fn signed(presignatures_left: Option<u32>) -> OrderResult {
        OrderResult {
            proved: Proved::Signatures(vec![]),
            session: SessionId([1; 32]),
            signers: PartyIndex::all(2).collect(),
            digest: Digest([1; 32]),
            presignatures_left,
        }
    }

    fn next(few: &FewPresignatures) -> Option<u16> {
        few.receiver.lock().as_mut().unwrap().try_recv().ok().map(|wanted| wanted.count)
    }

    #[tokio::test(start_paused = true)]
    async fn presignatures_are_ordered_below_the_low_mark_once_at_a_time() {
        let few = FewPresignatures::new(PresignatureMarks { low: 4, high: 10 });
        for left in [None, Some(4), Some(70_000)] {
            few.note(ACCOUNT, &signed(left));
            assert_eq!(next(&few), None, "{left:?}");
        }
        few.note(ACCOUNT, &signed(Some(3)));
        few.note(ACCOUNT, &signed(Some(2)));
        assert_eq!((next(&few), next(&few)), (Some(7), None));
        few.note_made(ACCOUNT);
        few.note(ACCOUNT, &signed(Some(0)));
        assert_eq!(next(&few), Some(10));
        few.note_failed(ACCOUNT);
        few.note(ACCOUNT, &signed(Some(0)));
        assert_eq!(next(&few), None, "right after a failure");
        tokio::time::advance(PAUSE_AFTER_FAILURE).await;
        few.note(ACCOUNT, &signed(Some(0)));
        assert_eq!(next(&few), Some(10));
    }

    #[test]
    fn none_are_ordered_where_they_are_switched_off() {
        let few = FewPresignatures::new(PresignatureMarks { low: 4, high: 0 });
        few.note(ACCOUNT, &signed(Some(0)));
        assert_eq!(next(&few), None);
    }

    #[test]
    fn accounts_wait_in_bounded_number() {
        let few = FewPresignatures::new(PresignatureMarks::default());
        for number in 0..2 * MAX_WAITING_ACCOUNTS {
            let mut account = ACCOUNT;
            account.0[..8].copy_from_slice(&number.to_le_bytes());
            few.note(account, &signed(Some(0)));
        }
        assert_eq!(few.accounts.lock().len(), MAX_WAITING_ACCOUNTS);
    }
}
