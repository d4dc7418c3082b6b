//! The fourth phase of a keygen or refresh whose share a user keeps. This party promises nothing before the user has
//! confirmed the share; and it hands nothing over before all others have promised, so that what is confirmed is
//! active.

use std::time::Duration;

use quorate_backends::database::StoreError;
use quorate_core::abort::{Abort, AbortCode};
use quorate_core::certificate::Certificate;
use quorate_core::codec::decode;
use quorate_core::promise::{Promise, PromiseEvent};
use quorate_core::report::Outcome;
use quorate_core::session::Frame;
use quorate_core::user_share::{ShareId, UserShare};
use quorate_core::{PlanHash, identity::PublicKey};
use quorate_net::router_client::RouterEvent;
use quorate_net::telemetry::chain;
use quorate_party_store::{NewDelivery, PromiseState, SealedDelivery};
use tokio::time::{Instant, MissedTickBehavior, interval};
use zeroize::Zeroizing;

use super::activation::LATE_FRAMES_DURATION;
use super::connection::Connection;
use super::context::SessionContext;
use super::outcome::NewShare;
use super::{linger, outcome};
use crate::user::custody::{UserShareContext, hash_of};

/// How often the store is asked whether the user has confirmed.
const CONFIRMATION_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Waits for the others' promises, delivers the share, and goes on answering the others until the user has confirmed
/// or the session's time is over. What the user confirms later counts all the same, and is reported then.
///
/// # Errors
/// When the store fails.
pub(super) async fn deliver(
    context: &SessionContext,
    mut connection: Connection,
    new_share: NewShare,
    user: &UserShareContext,
) -> Result<Option<Outcome>, StoreError> {
    // The party takes no order for a new share of a user that has no claim.
    let Some(claim_hash) = context.order().claim_hash else {
        let abort = Abort::of(AbortCode::Misconfigured, "nobody has a claim to the user's new share");
        return outcome::abort(context, connection, abort).await.map(Some);
    };
    let NewShare { activation, record, entries } = new_share;
    let share_id = ShareId { account: activation.account, epoch: activation.epoch, party: context.me() };
    let user_share = UserShare::new(&share_id, &entries);
    drop(entries);
    context.release_permit();
    let plan = activation.plan;
    let mut promise =
        Promise::make(activation, context.me(), &context.party.key(), record.spec.parties.clone());
    let until = Instant::now() + context.remaining();
    let ready = await_promises(context, &mut connection, &mut promise, until).await;
    context.party.keep_contradictions(promise.contradictions()).await?;
    let sealed = ready.and_then(|certificate| Ok((certificate, seal(&user_share, user)?)));
    let (certificate, sealed) = match sealed {
        Ok(ready) => ready,
        Err(abort) => return outcome::abort(context, connection, abort).await.map(Some),
    };
    let expires_at = context.now() + user.confirm_within;
    let new_delivery = NewDelivery {
        session: context.id,
        order: context.order().id,
        certificate: certificate.clone(),
        sealed,
        claim_hash,
        expires_at,
    };
    context.party.store.deliver(promise.own(), &record, &hash_of(&user_share), &new_delivery).await?;
    connection.session.mark_result_durable();
    tracing::info!(
        epoch = certificate.activation.epoch,
        "share delivered, waiting for its user's confirmation"
    );
    // An unsealed share leaves the process here and can't be delivered again.
    user.hand_out(user_share);
    await_confirmation(
        context,
        connection,
        certificate,
        record.spec.parties,
        plan,
        until + LATE_FRAMES_DURATION,
    )
    .await;
    Ok(None)
}

/// Waits for the promises of all others; why the session ends, if they do not come.
async fn await_promises(
    context: &SessionContext,
    connection: &mut Connection,
    promise: &mut Promise,
    until: Instant,
) -> Result<Certificate, Abort> {
    let cancelled = context.cancelled();
    loop {
        let event = tokio::select! {
            () = tokio::time::sleep_until(until) => {
                return Err(Abort::of(AbortCode::Timeout, "not all parties have promised their shares"));
            }
            () = cancelled.cancelled() => {
                let reason = "the session was cancelled before its share was delivered";
                return Err(Abort::of(AbortCode::Unavailable, reason));
            }
            RouterEvent::Frame(frame) = connection.router.receive() => match decode::<Frame>(&frame) {
                Ok(Frame::Ready(ready)) => promise.on_ready(ready),
                Ok(Frame::Abort(abort)) => promise.on_abort(&abort),
                Ok(_) => {
                    connection.answer(&frame, context.now()).await;
                    None
                }
                Err(_) => None,
            },
        };
        match event {
            None => {}
            Some(PromiseEvent::Activate(certificate)) => return Ok(certificate),
            Some(PromiseEvent::Release { by }) => {
                return Err(Abort::of(AbortCode::PeerAborted, format!("party {by} has ended the session")));
            }
        }
    }
}

/// Seals the share to its recipient, if there is one.
fn seal(share: &UserShare, user: &UserShareContext) -> Result<Option<SealedDelivery>, Abort> {
    let Some(recipient) = user.recipient else { return Ok(None) };
    let mut seed = Zeroizing::new([0; 32]);
    let filled = getrandom::fill(seed.as_mut_slice()).ok();
    match filled.and_then(|()| share.seal(&recipient, &seed).ok()) {
        Some(bytes) => Ok(Some(SealedDelivery { recipient, bytes })),
        None => Err(Abort::of(AbortCode::Misconfigured, "the share can't be sealed to its recipient")),
    }
}

/// Answers the others until the user has confirmed; then broadcasts the certificate.
async fn await_confirmation(
    context: &SessionContext,
    mut connection: Connection,
    certificate: Certificate,
    parties: Vec<PublicKey>,
    plan: PlanHash,
    until: Instant,
) {
    let mut tick = interval(CONFIRMATION_POLL_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let cancelled = context.cancelled();
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(until) => return,
            () = cancelled.cancelled() => return,
            RouterEvent::Frame(frame) = connection.router.receive() => {
                connection.answer(&frame, context.now()).await;
            }
            _ = tick.tick() => match context.party.store.promise_state(plan).await {
                Ok(PromiseState::Active) => {
                    return linger::broadcast_certificate(context, connection, certificate, parties);
                }
                Ok(PromiseState::NotPromised | PromiseState::Promised) => {}
                Err(error) => tracing::warn!(error = %chain(&error), "failed to read whether the user has confirmed"),
            },
        }
    }
}
