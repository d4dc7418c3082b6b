//! Co-signs with a share that a user sealed for one request. The share is used for that request only and is never
//! stored.

use std::sync::Arc;
use std::time::Duration;

use quorate_core::UnixSeconds;
use quorate_core::code::Code;
use quorate_core::codec::decode;
use quorate_core::order::{Operation, Order, SignedOrder};
use quorate_core::plan::Plan;
use quorate_core::report::Outcome;
use quorate_core::sealed_box::OpenError;
use quorate_core::share_grant::{Purpose, ShareGrant};
use quorate_core::user_share::UserShare;
use quorate_net::problem::Problem;
use quorate_party_store::ShareLookup;
use tokio::time::Instant;

use super::custody::{Custody, ShareMatch};
use super::shares::UserShares;
use crate::runner::IncomingPlan;

/// How far ahead a user's request may end: its number is kept for as long.
const MAX_REQUEST_LIFETIME: Duration = Duration::from_secs(86_400);

impl UserShares {
    /// Takes a user's share for the sessions of an order, until there is a result or the time is up.
    ///
    /// # Errors
    /// [`Code::Refused`] when the order is not acceptable, and one of the `UserShare…` codes when the share is not
    /// for it: nothing is held, and nothing runs.
    pub(crate) async fn submit_user_share(
        self: &Arc<Self>,
        signed: SignedOrder,
        sealed: &[u8],
        limit: Duration,
    ) -> Result<(), Problem> {
        let now = self.party.clock.seconds();
        let order = signed.open(&self.party.originators, now);
        let order = order.map_err(|refused| Problem::new(Code::Refused, refused.to_string()))?;
        let request = self.open_grant(&order, sealed, now).await?;
        self.check_grant(&order, &request, now).await?;
        if order.operation.makes_shares() {
            self.check_claim_hash(&order).await?;
        }
        let permit = self.inbox.permit()?;
        let ShareGrant { header, share } = request;
        if !self.party.store.use_nonce(header.nonce, order.id, header.expires_at).await? {
            let detail = "user_share: this was used for another order: repeat a failed request with its Idempotency-Key, \
                          and seal the share anew for each new one";
            return Err(Problem::new(Code::UserShareReplayed, detail));
        }
        let until = Instant::now() + limit.min(header.expires_at.since(now));
        let shares = Arc::clone(self);
        tokio::spawn(async move {
            shares.serve_order(order, share, until).await;
            drop(permit);
        });
        Ok(())
    }

    /// Opens what a user has sealed, to the key that the order names.
    async fn open_grant(
        &self,
        order: &Order,
        sealed: &[u8],
        now: UnixSeconds,
    ) -> Result<ShareGrant, Problem> {
        let unreadable = |error: OpenError| {
            let detail = format!("user_share: {error}; seal it to the key that the party API publishes");
            Problem::new(Code::UserShareUnreadable, detail)
        };
        let id = ShareGrant::sealing_key(sealed).map_err(unreadable)?;
        if order.sealing_key != Some(id) {
            let detail = "user_share: it was sealed to another key than the order names";
            return Err(Problem::new(Code::UserShareUnreadable, detail));
        }
        let Some(key) = self.party.store.sealing_key(id, now).await? else {
            let detail = "user_share: the key that it was sealed to is gone: fetch the current one from the party API and seal \
                          the share anew";
            return Err(Problem::new(Code::SealingKeyExpired, detail));
        };
        ShareGrant::open(sealed, &key).map_err(unreadable)
    }

    /// Checks that the user has sealed the share for exactly this order.
    async fn check_grant(
        &self,
        order: &Order,
        request: &ShareGrant,
        now: UnixSeconds,
    ) -> Result<(), Problem> {
        let ShareGrant { header, share } = request;
        let wrong = |code, detail: &str| Err(Problem::new(code, format!("user_share: {detail}")));
        if header.expires_at < now || header.expires_at > now + MAX_REQUEST_LIFETIME {
            return wrong(Code::UserShareExpired, "its time is over, or more than a day ahead: seal it anew");
        }
        let malformed = |_| Problem::new(Code::UserShareUnreadable, "user_share: the share in it is damaged");
        let share_id = share.id().map_err(malformed)?;
        if header.account != order.spec.account || share_id.account != order.spec.account {
            return wrong(Code::UserShareOfAnotherAccount, "it is of another account");
        }
        if header.epoch != order.epoch || share_id.epoch != order.epoch {
            return wrong(
                Code::UserShareOfAnotherEpoch,
                "it is of another epoch: seal the share that was confirmed last",
            );
        }
        let same = match (&header.purpose, &order.operation) {
            (Purpose::Sign(allowed), Operation::Sign(ordered)) => allowed == ordered,
            // A repair refreshes the user's share as a refresh does. A party of another identity is more than the user has agreed to.
            (Purpose::Refresh(terms), Operation::Refresh | Operation::Repair(_)) => {
                *order.former_spec() == order.spec
                    && (order.recipient, order.claim_hash) == (Some(terms.recipient), Some(terms.claim_hash))
            }
            _ => false,
        };
        if !same {
            let detail = "it was sealed for another message, hash, path, merkle root, recipient or claim than this request names";
            return wrong(Code::UserShareForAnotherMessage, detail);
        }
        match self.party.index_in(order) {
            Some(me) if me == share_id.party => {}
            _ => return wrong(Code::UserShareOfAnotherAccount, "it is of another party"),
        }
        match self.party.match_user_share(order.spec.account, order.epoch, share).await? {
            // Facts that the party does not know yet come with the plan.
            ShareMatch::Matches | ShareMatch::Unknown => Ok(()),
            ShareMatch::Foreign => {
                wrong(Code::UserShareOfAnotherAccount, "it is not the share that was delivered")
            }
        }
    }

    async fn serve_order(&self, order: Order, share: UserShare, until: Instant) {
        while Instant::now() < until && !self.party.closing.is_cancelled() {
            let waiting =
                self.party.store.waiting_plans(ShareLookup::Order(order.id)).await.unwrap_or_default();
            for waiting in waiting {
                let Ok(plan) = decode::<Plan>(&waiting.plan) else { continue };
                // The user has given the share for one request, not for all that orders with this id may ask for.
                let planned = plan.order.read(&self.party.originators);
                if !planned.is_ok_and(|planned| planned.asks_for_the_same(&order)) {
                    tracing::error!(
                        session = %waiting.session, order = %order.id,
                        "plan refused: its order asks for something else than the order that came with the user's share"
                    );
                    let _ = self.party.store.drop_plan(waiting.session).await;
                    continue;
                }
                let custody = Custody::User(self.inbox.context(Some(share.clone()), order.recipient));
                let incoming = IncomingPlan { plan, token: waiting.token };
                match self.runner.run(incoming, custody, None, None).await {
                    // There is nothing more to do for this order.
                    Ok(None | Some(Outcome::Signed(_))) => return,
                    Ok(_) => {}
                    Err(reason) => {
                        tracing::info!(session = %waiting.session, %reason, "plan refused with a user's share");
                        // A refusal is for good: it is not asked again for the same plan.
                        let _ = self.party.store.drop_plan(waiting.session).await;
                    }
                }
            }
            self.inbox.wait().await;
        }
    }
}
