//! Handing a new share to its user. This party promises nothing before the user has said that the share is in good hands;
//! and it hands nothing over before all others have promised, so that what is confirmed is active.

use std::time::Duration;

use quorate_backends::database::StoreError;
use quorate_core::abort::{Abort, AbortCode};
use quorate_core::codec::decode;
use quorate_core::promise::{Kept, Promise};
use quorate_core::report::Outcome;
use quorate_core::session::{Effect, Frame, Session};
use quorate_core::user_share::{UserShare, Whose};
use quorate_net::router_client::{FrameSender, RouterEvent, RouterSession};
use quorate_party_store::Handover;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::Run;
use super::activation::{Fresh, LATE, pass_on};
use crate::user::custody::{UserPart, hash_of};

/// How often it is looked whether the user has confirmed.
const LOOK: Duration = Duration::from_millis(100);

/// Waits for the others' promises, hands the share over, and goes on answering the others until the user has confirmed or
/// the session's time is over. What the user says later counts all the same.
///
/// # Errors
/// When the store fails.
pub(super) async fn hand_over(
    fresh: Fresh<'_>,
    part: &UserPart,
    mut link: RouterSession,
    mut session: Session,
) -> Result<Option<Outcome>, StoreError> {
    let Fresh { run, activation, share, entries } = fresh;
    let store = &run.party.store;
    let whose = Whose { account: activation.account, epoch: activation.epoch, party: run.admitted.me };
    let plan = activation.plan;
    let user_share = UserShare::new(&whose, &entries);
    drop(entries);
    run.make_room();
    let mut promise = Promise::make(activation, run.admitted.me, &run.party.key(), share.parties.clone());
    let sender = link.sender();
    let until = Instant::now() + run.remaining();
    let certificate = loop {
        let kept = tokio::select! {
            () = tokio::time::sleep_until(until) => {
                let abort = Abort::of(AbortCode::Timeout, "not all parties have promised their shares");
                return give_up(run, abort, &sender, &mut session).await.map(Some);
            }
            () = run.given_up() => {
                let abort = Abort::of(AbortCode::Unavailable, "the session was given up before its share was handed over");
                return give_up(run, abort, &sender, &mut session).await.map(Some);
            }
            RouterEvent::Frame(frame) = link.receive() => match decode::<Frame>(&frame) {
                Ok(Frame::Ready(ready)) => promise.ready(ready),
                Ok(Frame::Abort(abort)) => promise.abort(&abort),
                Ok(_) => {
                    run.send_all(&sender, session.receive(&frame, run.party.clock.millis()));
                    None
                }
                Err(_) => None,
            },
        };
        match kept {
            None => {}
            Some(Kept::Activate(certificate)) => break certificate,
            Some(Kept::Release { by }) => {
                let abort = Abort::of(AbortCode::PeerAborted, format!("party {by} has ended the session"));
                return give_up(run, abort, &sender, &mut session).await.map(Some);
            }
        }
    };
    let sealed = match part.recipient {
        None => None,
        Some(recipient) => {
            let mut seed = zeroize::Zeroizing::new([0; 32]);
            let sealed = getrandom::fill(seed.as_mut_slice()).ok();
            match sealed.and_then(|()| user_share.seal(&recipient, &seed).ok()) {
                Some(sealed) => Some((recipient, sealed)),
                None => {
                    let abort =
                        Abort::of(AbortCode::Misconfigured, "the share can't be sealed to its recipient");
                    return give_up(run, abort, &sender, &mut session).await.map(Some);
                }
            }
        }
    };
    let within = u64::try_from(part.confirm_within.as_millis()).unwrap_or(u64::MAX);
    let expires_at = run.party.clock.millis().saturating_add(within);
    let handover = Handover { session: run.id(), certificate: certificate.clone(), sealed, expires_at };
    store.deliver(promise.own(), &share, &hash_of(&user_share), &handover).await?;
    session.settled();
    tracing::info!(epoch = certificate.activation.epoch, "a share waits for its user's word");
    // From here on it is gone: what is not sealed can't be handed out twice.
    part.hand_out(user_share);
    let until = until + LATE;
    let mut tick = interval(LOOK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while let Ok(active) = timeout(until.saturating_duration_since(Instant::now()), async {
        tokio::select! {
            () = run.given_up() => None,
            RouterEvent::Frame(frame) = link.receive() => {
                run.send_all(&sender, session.receive(&frame, run.party.clock.millis()));
                Some(Ok(false))
            }
            _ = tick.tick() => Some(store.is_promised(plan).await.map(|(_, active)| active)),
        }
    })
    .await
    {
        match active {
            None => break,
            Some(Err(error)) => tracing::warn!(%error, "it could not be seen whether the user has confirmed"),
            Some(Ok(false)) => {}
            Some(Ok(true)) => {
                pass_on(run, certificate, share.parties.clone(), link, session);
                break;
            }
        }
    }
    // Whoever takes the user's word reports it.
    Ok(None)
}

/// Ends the session without a promise, durably, before anybody hears of it.
async fn give_up(
    run: &Run,
    abort: Abort,
    sender: &FrameSender,
    session: &mut Session,
) -> Result<Outcome, StoreError> {
    tracing::warn!(reason = abort.reason, "aborted");
    let effects = session.fail(abort.clone(), run.party.clock.millis());
    run.abort_durably().await?;
    for effect in effects {
        if let Effect::Abort { notices, .. } = effect {
            for (to, frame) in notices {
                sender.send(to, frame);
            }
        }
    }
    Ok(run.aborted(abort))
}
