//! The fourth phase of a keygen or refresh (rule 9). The order of events is: store the share with its promise, send
//! the promise, wait for the certificate, activate, broadcast the certificate, keep the acknowledgements of the others.
//!
//! The promise outlives the session: if there is no certificate in time it is reported, and the certificate of all n
//! comes with a later plan.

use std::time::Duration;

use quorate_backends::database::StoreError;
use quorate_core::certificate::{Certificate, Ready};
use quorate_core::codec::{decode, encode};
use quorate_core::promise::{Promise, PromiseEvent};
use quorate_core::report::Outcome;
use quorate_core::session::Frame;
use quorate_net::router_client::RouterEvent;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::connection::Connection;
use super::context::SessionContext;
use super::linger::{self, REPEAT_INTERVAL};
use super::outcome::NewShare;

/// How long after the deadline promises and aborts are still listened to: a party that has not finished says so at
/// the deadline.
pub(super) const LATE_FRAMES_DURATION: Duration = Duration::from_secs(2);

/// Stores the share with its promise, waits for the certificate, and activates the share with it.
///
/// # Errors
/// When the store fails.
pub(super) async fn promise_and_activate(
    context: &SessionContext,
    mut connection: Connection,
    new_share: NewShare,
) -> Result<Outcome, StoreError> {
    let NewShare { activation, record, entries } = new_share;
    let store = &context.party.store;
    let mut promise =
        Promise::make(activation, context.me(), &context.party.key(), record.spec.parties.clone());
    let ready: Ready = promise.own().clone();
    store.promise(&ready, &record, &entries).await?;
    drop(entries);
    context.release_permit();
    connection.session.mark_result_durable();
    let Some(certificate) = await_certificate(context, &mut connection, &mut promise).await? else {
        return Ok(Outcome::Promised { ready, key: record.key });
    };
    store.activate(&certificate).await?;
    tracing::info!(epoch = certificate.activation.epoch, "share activated");
    linger::broadcast_certificate(context, connection, certificate.clone(), record.spec.parties);
    Ok(Outcome::Activated { certificate, key: record.key })
}

/// Sends this party's promise and collects those of the others, until there is a certificate or the session's time is
/// over.
async fn await_certificate(
    context: &SessionContext,
    connection: &mut Connection,
    promise: &mut Promise,
) -> Result<Option<Certificate>, StoreError> {
    let own = encode(&Frame::Ready(promise.own().clone()));
    let mut tick = interval(REPEAT_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let cancelled = context.cancelled();
    let (mut released, mut contradictions) = (false, 0);
    let until = Instant::now() + context.remaining() + LATE_FRAMES_DURATION;
    loop {
        if Instant::now() >= until || cancelled.is_cancelled() {
            return Ok(None);
        }
        let event = tokio::select! {
            () = cancelled.cancelled() => {
                tracing::info!(reason = context.cancellation().reason, "session ended early: its promise is reported");
                return Ok(None);
            }
            RouterEvent::Frame(frame) = connection.router.receive() => {
                on_frame(context, connection, promise, &frame).await
            }
            _ = tick.tick() => {
                // A frame that finds no room is sent again with the next tick.
                context.peers().for_each(|peer| connection.send(peer, own.clone()));
                None
            }
        };
        if promise.contradictions().count() > contradictions {
            context.party.keep_contradictions(promise.contradictions()).await?;
            contradictions = promise.contradictions().count();
        }
        match event {
            Some(PromiseEvent::Activate(certificate)) => return Ok(Some(certificate)),
            Some(PromiseEvent::Release { by }) if !released => {
                released = true;
                context.party.store.release(promise.own().activation.plan).await?;
                tracing::warn!(%by, "peer aborted without a promise; account unlocked");
            }
            Some(PromiseEvent::Release { .. }) | None => {}
        }
    }
}

async fn on_frame(
    context: &SessionContext,
    connection: &mut Connection,
    promise: &mut Promise,
    frame: &[u8],
) -> Option<PromiseEvent> {
    match decode::<Frame>(frame).ok()? {
        Frame::Ready(ready) => promise.on_ready(ready),
        Frame::Certificate(certificate) => promise.on_certificate(certificate),
        Frame::Abort(abort) => promise.on_abort(&abort),
        // A peer that still runs the session may lack a frame of it.
        _ => {
            connection.answer(frame, context.now()).await;
            None
        }
    }
}
