//! Orders presignatures ahead of time, for accounts that sign.
//!
//! A coordinator says with every signing how many presignatures the signers have left. When these are fewer than the low mark, the same
//! signers are to make as many as lead to the high mark. Parties do that with the lowest priority, so that no signing waits for it; a
//! signing that finds none makes its nonces itself.

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt;
use parking_lot::Mutex;
use quorate_core::code::Code;
use quorate_core::order::Operation;
use quorate_core::{AccountId, PartyIndex};
use quorate_net::problem::Problem;
use quorate_verify::proof::Proved;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;

use super::operations::AccountService;
use super::request_ids::RequestIds;
use super::submit::{OrderResult, OrderSubmission};

/// Accounts that wait for presignatures. More are told again with their next signing.
const MAX_WAITING_ACCOUNTS: usize = 1_024;

/// Orders for presignatures at a time.
const MAX_CONCURRENT_ORDERS: usize = 4;

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
struct Wanted {
    account: AccountId,
    signers: Vec<PartyIndex>,
    count: u16,
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

    fn note_made(&self, account: AccountId) {
        self.accounts.lock().remove(&account);
    }

    fn note_failed(&self, account: AccountId) {
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

impl AccountService {
    /// Orders presignatures for the accounts that have few of them, until it is dropped.
    pub(crate) async fn order_presignatures(&self) {
        let Some(receiver) = self.few_presignatures.receiver.lock().take() else { return };
        let order = |wanted: Wanted| async move {
            let account = wanted.account;
            match self.presign(wanted).await {
                Ok(count) => {
                    tracing::debug!(%account, count, "presignatures made");
                    self.few_presignatures.note_made(account);
                }
                Err(problem) => {
                    tracing::warn!(%account, code = %problem.code, reason = problem.detail, "no presignatures made");
                    self.few_presignatures.note_failed(account);
                }
            }
        };
        ReceiverStream::new(receiver).for_each_concurrent(MAX_CONCURRENT_ORDERS, order).await;
    }

    /// Has these signers make presignatures, and says how many they have made.
    async fn presign(&self, wanted: Wanted) -> Result<usize, Problem> {
        let Wanted { account, signers, count } = wanted;
        let ids = RequestIds::for_account(account)?;
        let (account, current) = self.accounts.active(ids.account).await?;
        let order =
            self.order(ids.order, &account, Operation::Presign { at_most: count }, Some(&current))?;
        let submission = OrderSubmission {
            order,
            key: Some(current),
            signers,
            aborts: vec![],
            limit: self.limits.presign(),
            resubmitted: false,
        };
        match self.submitter.submit(submission).await?.proved {
            Proved::Presignatures(made) => Ok(made.ids().count()),
            Proved::Signatures(_) | Proved::Shares { .. } => {
                Err(Problem::new(Code::Internal, "something else than presignatures"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_core::{Digest, SessionId};

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
