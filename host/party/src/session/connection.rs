//! The first phase: this party joins the session at a router, and begins it there.

use std::sync::Arc;
use std::time::Duration;

use quorate_core::abort::{Abort, AbortCode};
use quorate_core::codec::encode;
use quorate_core::session::{Effect, Frame, Session, SessionTerms};
use quorate_core::{DatabaseId, PartyIndex, UnixMillis};
use quorate_net::router_client::{AnswerChallenge, FrameSender, RouterSession};
use quorate_net::telemetry::chain;
use zeroize::Zeroizing;

use super::context::SessionContext;
use crate::bans::SessionParties;
use crate::party::Party;

/// How long a party stays after the last sign that a peer still waits: one notices after two seconds that nothing
/// comes.
pub(super) const LINGER_DURATION: Duration = Duration::from_secs(5);

/// A session that has begun: its state machine, and the frames' way to the peers and back.
pub(super) struct Connection {
    pub(super) router: RouterSession,
    sender: FrameSender,
    pub(super) session: Session,
    /// Every frame passes the gate of the party's bans.
    party: Arc<Party>,
    parties: SessionParties,
    /// The id of this party's database.
    database: DatabaseId,
}

/// Joins the session at a router, and begins it: what comes back is to be carried out.
pub(super) async fn connect(
    context: &SessionContext,
    token: &str,
) -> Result<(Connection, Vec<Effect>), Abort> {
    let party = &context.party;
    let time_to_live = context.remaining() + LINGER_DURATION;
    let (id, me, signer) = (context.id, context.me(), Arc::clone(party));
    let answer: AnswerChallenge = Arc::new(move |challenge| challenge.answer(id, me, &signer.key()));
    let attached =
        party.router.attach((id, me), (token, answer), time_to_live, context.running.banned.clone());
    let attached = attached.await;
    party.note_router(attached.is_ok());
    let router = attached.map_err(|status| {
        let reason = format!("the router did not take this party in: {}", status.message());
        Abort::of(AbortCode::Unavailable, reason)
    })?;
    let (session, mut effects) = begin(context)?;
    let (party, parties) = (Arc::clone(party), context.parties());
    let bans = party.bans_for_peers(context.order(), &context.facts).await;
    if !bans.is_empty() {
        let frame = encode(&Frame::Bans(bans));
        let peers = parties.signers.iter().filter(|signer| **signer != context.me());
        effects.extend(peers.map(|&to| Effect::Send { to, frame: frame.clone() }));
    }
    let database = context.facts.database;
    Ok((Connection { sender: router.sender(), router, session, party, parties, database }, effects))
}

/// Begins the session with a fresh seed, which is gone when this returns.
fn begin(context: &SessionContext) -> Result<(Session, Vec<Effect>), Abort> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut_slice())
        .map_err(|_| Abort::of(AbortCode::Internal, "the machine has no randomness"))?;
    Ok(Session::begin(terms(context), context.party.key(), &seed, context.now()))
}

fn terms(context: &SessionContext) -> SessionTerms {
    let order = context.order();
    SessionTerms {
        plan: context.plan_hash,
        me: context.me(),
        signers: context.plan.signers.clone(),
        threshold: order.spec.threshold,
        parties: order.spec.parties.clone(),
        deadline: context.plan.deadline,
        counter: context.facts.counter,
        database: context.facts.database,
        longest_message: context.need.message_bytes,
        message_parts: context.need.message_parts,
        waiting_room: context.party.waiting_room.clone(),
    }
}

impl Connection {
    /// Sends a frame, unless a party of the session is banned. One that finds no room is sent again by the session.
    pub(super) fn send(&self, to: PartyIndex, frame: Vec<u8>) {
        match self.party.bans.pass(&self.parties, || self.sender.send(to, frame)) {
            Some(true) => {}
            Some(false) => tracing::debug!(%to, "no room for a frame; it is sent again later"),
            None => tracing::debug!(%to, "frame not sent: a party of the session is banned"),
        }
    }

    /// Hands a frame to a session that has its result, and sends what it answers. Says whether it answered.
    pub(super) async fn answer(&mut self, frame: &[u8], now: UnixMillis) -> bool {
        let effects = self.session.receive(frame, now);
        for effect in &effects {
            if let Effect::SetBack { counter } = effect
                && let Err(error) = self.party.note_set_back(*counter, self.database).await
            {
                // The next peer that refuses this party shows it again.
                tracing::error!(error = %chain(&error), "the party was set back, and that is not stored");
            }
        }
        self.send_all(effects)
    }

    /// Sends the frames among the effects of a session that has its result. Says whether there were any.
    pub(super) fn send_all(&self, effects: Vec<Effect>) -> bool {
        let mut sent = false;
        for effect in effects {
            if let Effect::Send { to, frame } = effect {
                self.send(to, frame);
                sent = true;
            }
        }
        sent
    }
}
