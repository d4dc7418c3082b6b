//! Seeing a promise through: the pending share is stored with it, then it is sent until there is a certificate or the
//! session's time is over. The promise itself outlives the session: it is reported, and the certificate of all n comes
//! with a later plan.

use std::time::Duration;

use quorate_broker::store::{Entries, StoreError};
use quorate_core::PartyIndex;
use quorate_core::certificate::{Activation, Certificate, Ready};
use quorate_core::codec::{decode, encode};
use quorate_core::promise::{Kept, Promise};
use quorate_core::report::Outcome;
use quorate_core::session::{Effect, Frame, Session};
use tokio::time::{MissedTickBehavior, interval};

use super::run::Run;
use crate::router::Link;
use quorate_core::admission::Share;

/// How often the promise is sent until there is a certificate.
const REPEAT: Duration = Duration::from_millis(500);

/// How long the certificate is sent to those who may lack it.
const LINGER: Duration = Duration::from_secs(3);

/// A share that a session has just made.
pub(super) struct Fresh<'a> {
    pub(super) run: &'a Run,
    pub(super) activation: Activation,
    pub(super) share: Share,
    pub(super) entries: Entries,
}

/// Stores the share with its promise, and exchanges promises until there is a certificate or the deadline has passed.
pub(super) async fn see_through(
    fresh: Fresh<'_>,
    mut link: Link,
    mut session: Session,
) -> Result<Outcome, StoreError> {
    let Fresh { run, activation, share, entries } = fresh;
    let store = &run.party.store;
    let plan = activation.plan;
    let mut promise = Promise::make(activation, run.admitted.me, &run.party.key(), share.parties.clone());
    let ready: Ready = promise.own().clone();
    store.promise(&ready, &share, &entries).await?;
    drop(entries);
    session.settled();
    let own = encode(&Frame::Ready(ready.clone()));
    let sender = link.sender();
    let mut tick = interval(REPEAT);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut released = false;
    loop {
        if run.remaining().is_zero() || run.party.closing.is_cancelled() {
            return Ok(Outcome::Promised { ready, key: share.key });
        }
        let kept = tokio::select! {
            frame = link.receive() => match decode::<Frame>(&frame) {
                Ok(Frame::Ready(ready)) => promise.ready(ready),
                Ok(Frame::Certificate(certificate)) => promise.certificate(certificate),
                Ok(Frame::Abort(abort)) => promise.abort(&abort),
                // Whoever still runs the session may lack a frame of it.
                Ok(_) => {
                    run.send_all(&sender, session.receive(&frame, run.party.clock.millis()));
                    None
                }
                Err(_) => None,
            },
            _ = tick.tick() => {
                for peer in run.peers() {
                    // A frame that finds no room is sent again with the next tick.
                    sender.send(peer, own.clone());
                }
                None
            }
        };
        match kept {
            None => {}
            Some(Kept::Release { by }) if !released => {
                released = true;
                store.release(plan).await?;
                tracing::warn!(%by, "a peer will never promise: the account is free for another try");
            }
            Some(Kept::Release { .. }) => {}
            Some(Kept::Activate(certificate)) => {
                store.activate(&certificate).await?;
                tracing::info!(epoch = certificate.activation.epoch, "activated");
                pass_on(run, certificate.clone(), link, session);
                return Ok(Outcome::Activated { certificate, key: share.key });
            }
        }
    }
}

/// Sends the certificate to those who may lack it, for a while, without holding up the result.
fn pass_on(run: &Run, certificate: Certificate, mut link: Link, mut session: Session) {
    let frame = encode(&Frame::Certificate(certificate));
    let clock = std::sync::Arc::clone(&run.party.clock);
    let closing = run.party.closing.clone();
    let peers: Vec<PartyIndex> = run.peers().collect();
    let linger = LINGER.min(run.remaining());
    let passing = async move {
        let sender = link.sender();
        // At once to all; then to whoever shows that it lacks it.
        for &peer in &peers {
            sender.send(peer, frame.clone());
        }
        loop {
            let incoming = link.receive().await;
            match decode::<Frame>(&incoming) {
                Ok(Frame::Ready(ready)) if peers.contains(&ready.by) => {
                    sender.send(ready.by, frame.clone());
                }
                Ok(_) => {
                    for effect in session.receive(&incoming, clock.millis()) {
                        if let Effect::Send { to, frame } = effect {
                            sender.send(to, frame);
                        }
                    }
                }
                Err(_) => {}
            }
        }
    };
    tokio::spawn(async move {
        tokio::select! {
            _ = tokio::time::timeout(linger, passing) => {}
            () = closing.cancelled() => {}
        }
    });
}
