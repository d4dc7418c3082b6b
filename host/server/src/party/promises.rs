//! Seeing a promise through: the pending share is stored with it, then it is sent until there is a certificate or the
//! session's time is over. The promise itself outlives the session.

use std::time::Duration;

use quorate_broker::store::Entries;
use quorate_core::admission::Admitted;
use quorate_core::certificate::{Activation, Certificate, Ready};
use quorate_core::codec::{decode, encode};
use quorate_core::order::{Operation, Version};
use quorate_core::plan::Plan;
use quorate_core::promise::{Kept, Promise};
use quorate_core::session::{Effect, Frame, Session};
use quorate_core::{ExecutionId, OutputHash, PartyIndex};
use quorate_runtime::PublicKeyInfo;
use tokio::time::{MissedTickBehavior, interval};

use super::{Ended, NotRun, Party, material};
use crate::router::Attached;

/// How often the promise is sent until there is a certificate.
const REPEAT: Duration = Duration::from_millis(500);

/// How long the certificate is sent to those who may lack it.
const LINGER: Duration = Duration::from_secs(3);

/// A share that a session has just made.
pub(super) struct Fresh<'a> {
    pub(super) party: &'a Party,
    pub(super) plan: &'a Plan,
    pub(super) admitted: &'a Admitted,
    pub(super) written_by: Version,
    pub(super) execution: ExecutionId,
    pub(super) outputs: OutputHash,
    pub(super) entries: Entries,
    pub(super) key: PublicKeyInfo,
}

impl Fresh<'_> {
    fn epoch(&self) -> u32 {
        match self.admitted.order.operation {
            Operation::Refresh => self.admitted.order.epoch.saturating_add(1),
            _ => 1,
        }
    }

    fn activation(&self) -> Activation {
        let order = &self.admitted.order;
        Activation {
            plan: self.plan.hash(),
            execution: self.execution,
            account: order.account,
            epoch: self.epoch(),
            threshold: order.threshold,
            digest: self.plan.digest,
            outputs: self.outputs,
        }
    }

    fn peers(&self) -> impl Iterator<Item = PartyIndex> {
        self.plan.signers.iter().copied().filter(|&peer| peer != self.admitted.me)
    }

    fn remaining(&self) -> Duration {
        Duration::from_millis(self.plan.deadline.saturating_sub(self.party.clock.millis()))
    }

    fn send_all(&self, frame: &Frame) {
        let frame = encode(frame);
        for peer in self.peers() {
            // A frame that finds no room is sent again with the next tick.
            self.party.router.send(self.plan.session_id(), peer, frame.clone(), self.remaining());
        }
    }

    async fn activate(&self, certificate: Certificate) -> Result<Ended, NotRun> {
        let share =
            material::share(self.admitted, self.epoch(), &self.key, self.written_by, certificate.clone());
        self.party.store.activate(&certificate, &share).await?;
        Ok(Ended::Activated(certificate))
    }
}

/// Stores the share with its promise, and exchanges promises until there is a certificate or the deadline has passed.
pub(super) async fn see_through(
    fresh: Fresh<'_>,
    mut link: Attached,
    mut session: Session,
) -> Result<Ended, NotRun> {
    let order = &fresh.admitted.order;
    let key = fresh.party.key();
    let mut promise = Promise::make(fresh.activation(), fresh.admitted.me, &key, order.parties.clone());
    let own: Ready = promise.own().clone();
    fresh.party.store.promise(&own, &fresh.entries).await?;
    session.settled();
    let own = Frame::Ready(own);
    let mut tick = interval(REPEAT);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut released = false;
    loop {
        if fresh.remaining().is_zero() {
            return Ok(Ended::Promised(fresh.plan.hash()));
        }
        let kept = tokio::select! {
            Some(frame) = link.receive() => match decode::<Frame>(&frame) {
                Ok(Frame::Ready(ready)) => promise.ready(ready),
                Ok(Frame::Certificate(certificate)) => promise.certificate(certificate),
                Ok(Frame::Abort(abort)) => promise.abort(&abort),
                _ => None,
            },
            _ = tick.tick() => {
                fresh.send_all(&own);
                // Peers may still lack frames of the session itself.
                for effect in session.tick(fresh.party.clock.millis()) {
                    if let Effect::Send { to, frame } = effect {
                        fresh.party.router.send(fresh.plan.session_id(), to, frame, fresh.remaining());
                    }
                }
                None
            }
        };
        match kept {
            None => {}
            Some(Kept::Release { by }) if !released => {
                released = true;
                fresh.party.store.release(fresh.plan.hash()).await?;
                tracing::warn!(%by, "a peer will never promise: the account is free for another try");
            }
            Some(Kept::Release { .. }) => {}
            Some(Kept::Activate(certificate)) => {
                let ended = fresh.activate(certificate.clone()).await?;
                pass_on(&fresh, certificate, link, session);
                return Ok(ended);
            }
        }
    }
}

/// Sends the certificate to those who may lack it, for a while, without holding up the result.
fn pass_on(fresh: &Fresh<'_>, certificate: Certificate, mut link: Attached, mut session: Session) {
    let frame = encode(&Frame::Certificate(certificate));
    let (router, id) = (fresh.party.router.clone(), fresh.plan.session_id());
    let clock = std::sync::Arc::clone(&fresh.party.clock);
    let peers: Vec<PartyIndex> = fresh.peers().collect();
    let linger = LINGER.min(fresh.remaining());
    tokio::spawn(tokio::time::timeout(linger, async move {
        let mut tick = interval(REPEAT);
        loop {
            tokio::select! {
                // Whoever still promises lacks the certificate; the next tick brings it.
                Some(_) = link.receive() => {}
                _ = tick.tick() => {
                    for &peer in &peers {
                        router.send(id, peer, frame.clone(), linger);
                    }
                    for effect in session.tick(clock.millis()) {
                        if let Effect::Send { to, frame } = effect {
                            router.send(id, to, frame, linger);
                        }
                    }
                }
            }
        }
    }));
}
