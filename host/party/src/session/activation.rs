//! Seeing a promise through: the pending share is stored with it, then it is sent until there is a certificate or the
//! session's time is over. The promise itself outlives the session: it is reported, and the certificate of all n comes
//! with a later plan.

use std::time::Duration;

use quorate_backends::database::StoreError;
use quorate_core::admission::Share;
use quorate_core::certificate::{Acknowledgement, Acknowledgements, Activation, Certificate, Ready};
use quorate_core::codec::{decode, encode};
use quorate_core::identity::PublicKey;
use quorate_core::promise::{Kept, Promise};
use quorate_core::report::Outcome;
use quorate_core::session::{Effect, Frame, Session};
use quorate_core::{AccountId, PartyIndex};
use quorate_net::router_client::{RouterEvent, RouterSession};
use quorate_party_store::{Entries, PartyStore};
use tokio::time::{MissedTickBehavior, interval};

use super::Run;

/// How often the promise is sent until there is a certificate.
const REPEAT: Duration = Duration::from_millis(500);

/// How long after the deadline promises and aborts are still listened to.
pub(super) const LATE: Duration = Duration::from_secs(2);

/// How long the certificate is sent to those who may lack it, and acknowledgements are waited for.
const LINGER: Duration = Duration::from_secs(5);

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
    mut link: RouterSession,
    mut session: Session,
) -> Result<Outcome, StoreError> {
    let Fresh { run, activation, share, entries } = fresh;
    let store = &run.party.store;
    let plan = activation.plan;
    let mut promise = Promise::make(activation, run.admitted.me, &run.party.key(), share.parties.clone());
    let ready: Ready = promise.own().clone();
    store.promise(&ready, &share, &entries).await?;
    drop(entries);
    run.make_room();
    session.settled();
    let own = encode(&Frame::Ready(ready.clone()));
    let sender = link.sender();
    let mut tick = interval(REPEAT);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let cancelled = run.cancelled();
    let mut released = false;
    // A little longer than the session: who has not finished says so at the deadline, and should be heard.
    let until = tokio::time::Instant::now() + run.remaining() + LATE;
    loop {
        if tokio::time::Instant::now() >= until || run.party.closing.is_cancelled() {
            return Ok(Outcome::Promised { ready, key: share.key });
        }
        let kept = tokio::select! {
            () = cancelled.cancelled() => {
                tracing::info!("nobody waits for this session any more: its promise is reported");
                return Ok(Outcome::Promised { ready, key: share.key });
            }
            RouterEvent::Frame(frame) = link.receive() => match decode::<Frame>(&frame) {
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
                let parties = share.parties.clone();
                pass_on(run, certificate.clone(), parties, link, session);
                return Ok(Outcome::Activated { certificate, key: share.key });
            }
        }
    }
}

/// Sends the certificate to those who may lack it, for a while, without holding up the result; and erases the shares from
/// before when all parties have acknowledged these.
pub(super) fn pass_on(
    run: &Run,
    certificate: Certificate,
    parties: Vec<PublicKey>,
    mut link: RouterSession,
    mut session: Session,
) {
    let Activation { plan, account, epoch, .. } = certificate.activation;
    let frame = encode(&Frame::Certificate(certificate));
    let own = Acknowledgement::sign(plan, run.admitted.me, &run.party.key());
    let mut all = Acknowledgements::new(plan, parties);
    all.take(&own);
    let own = encode(&Frame::Acknowledgement(own));
    let store = run.party.store.clone();
    let clock = std::sync::Arc::clone(&run.party.clock);
    let closing = run.party.closing.clone();
    let peers: Vec<PartyIndex> = run.peers().collect();
    let passing = async move {
        let sender = link.sender();
        for &peer in &peers {
            sender.send(peer, frame.clone());
        }
        let mut tick = interval(REPEAT);
        let mut erased = false;
        loop {
            let incoming = tokio::select! {
                RouterEvent::Frame(incoming) = link.receive() => incoming,
                // To all, until the end: nobody knows who still waits for it.
                _ = tick.tick() => {
                    for &peer in &peers {
                        sender.send(peer, own.clone());
                    }
                    continue;
                }
            };
            match decode::<Frame>(&incoming) {
                Ok(Frame::Ready(ready)) if peers.contains(&ready.by) => {
                    sender.send(ready.by, frame.clone());
                }
                Ok(Frame::Acknowledgement(acknowledgement)) => {
                    if all.take(&acknowledgement) && !erased {
                        erased = erase(&store, account, epoch).await;
                    }
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
            _ = tokio::time::timeout(LINGER, passing) => {}
            () = closing.cancelled() => {}
        }
    });
}

/// Erases the shares from before an epoch that all parties have acknowledged; false if it has to be tried again.
async fn erase(store: &PartyStore, account: AccountId, epoch: u32) -> bool {
    match store.erase_retired(account, epoch).await {
        Ok(shares) => {
            tracing::info!(shares, epoch, "all parties have the new shares: old ones erased");
            true
        }
        Err(error) => {
            tracing::error!(%error, cause = ?std::error::Error::source(&error), "old shares were not erased");
            false
        }
    }
}
