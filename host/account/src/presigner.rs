//! Orders presignatures ahead of time, for accounts that sign and have few. Parties make them with the lowest priority, so that no
//! signing waits for it; a signing that finds none makes its nonces itself.

use futures::StreamExt;
use quorate_core::order::Operation;
use quorate_net::problem::Problem;
use quorate_verify::proof::Proved;
use tokio_stream::wrappers::ReceiverStream;

use super::operations::AccountService;
use super::presigning::Wanted;
use super::request_ids::RequestIds;
use super::submit::OrderSubmission;

/// Orders for presignatures at a time.
const MAX_CONCURRENT_ORDERS: usize = 4;

impl AccountService {
    /// Orders presignatures for the accounts that have few of them, until it is dropped.
    pub(crate) async fn order_presignatures(&self) {
        let Some(receiver) = self.few_presignatures.wanted() else { return };
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
    async fn presign(&self, wanted: Wanted) -> Result<u16, Problem> {
        let Wanted { account, signers, count } = wanted;
        let ids = RequestIds::for_account(account)?;
        let (account, current) = self.accounts.active(ids.account).await?;
        let order = self.order(ids.order, &account, Operation::Presign { at_most: count }, Some(&current))?;
        let submission = OrderSubmission {
            order,
            key: Some(current),
            signers,
            aborts: vec![],
            limit: self.limits.presign(),
            resubmitted: false,
        };
        match self.submitter.submit(submission).await?.proved {
            Proved::Presignatures(made) => Ok(made.count()),
            Proved::Signatures(_) | Proved::Shares { .. } => {
                Err(Problem::internal("something else than presignatures"))
            }
        }
    }
}
