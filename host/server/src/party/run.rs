//! One session of a party: frames, time and the component's steps in; what they lead to, out.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use quorate_broker::store::{Entries, Knowledge};
use quorate_core::abort::{Abort, AbortCode};
use quorate_core::admission::Admitted;
use quorate_core::certificate::output_hash;
use quorate_core::order::Operation;
use quorate_core::plan::Plan;
use quorate_core::session::{Effect, Session, Terms};
use quorate_core::{ExecutionId, PartyIndex, SessionId};
use quorate_runtime::capabilities::vault::Staged;
use quorate_runtime::{
    Incoming, Outcome, Progress, PublicKeyInfo, SessionError, SessionErrorKind, Signature, Step,
};
use tokio::time::{MissedTickBehavior, interval};
use zeroize::Zeroizing;

use super::promises::{self, Fresh};
use super::{Ended, Entry, NotRun, Party, material};
use crate::router::Attached;
use crate::verify::{self, Rejected};

/// How often the session looks at the clock.
const TICK: Duration = Duration::from_millis(200);

/// How long frames are sent again after this party has its result: peers may lack the last ones.
const LINGER: Duration = Duration::from_secs(5);

/// A step of the component under way, or its start.
type Stepping = Pin<Box<dyn Future<Output = Result<Step, SessionError>> + Send>>;

pub(super) struct Run<'a> {
    party: &'a Party,
    plan: &'a Plan,
    id: SessionId,
    admitted: Admitted,
    entry: Entry,
    knowledge: Knowledge,
}

/// What a running session is made of, apart from its terms.
struct Live {
    link: Attached,
    session: Session,
    share: Option<Entries>,
    execution: Option<ExecutionId>,
    component: Component,
    inbox: VecDeque<Incoming>,
}

/// Where the component is.
enum Component {
    /// Not started, or it has failed.
    Absent,
    Stepping(Stepping),
    Waiting(Box<quorate_runtime::Session>),
}

/// How the component's work ended.
enum ComponentEnded {
    Outcome(Outcome, Staged),
    Aborted(Abort),
}

impl<'a> Run<'a> {
    pub(super) fn new(
        party: &'a Party,
        plan: &'a Plan,
        admitted: Admitted,
        entry: Entry,
        knowledge: Knowledge,
    ) -> Self {
        Self { party, plan, id: plan.session_id(), admitted, entry, knowledge }
    }

    pub(super) async fn finish(self) -> Result<Ended, NotRun> {
        let span = tracing::info_span!("session", id = %self.id, party = %self.admitted.me);
        tracing::Instrument::instrument(self.run_on(), span).await
    }

    async fn run_on(self) -> Result<Ended, NotRun> {
        let share = match self.admitted.order.operation {
            Operation::Keygen => None,
            _ => {
                let order = &self.admitted.order;
                self.party.store.active_entries(order.account, order.epoch).await?
            }
        };
        let Some(link) = self.party.router.attach(self.id, self.admitted.me, self.remaining()) else {
            self.party.store.abort(self.plan.hash()).await?;
            return Err(NotRun::NoRoom);
        };
        let mut seed = Zeroizing::new([0; 32]);
        if getrandom::fill(seed.as_mut_slice()).is_err() {
            self.party.store.abort(self.plan.hash()).await?;
            return Ok(Ended::Aborted(Abort::of(AbortCode::Internal, "there is no randomness")));
        }
        let (session, effects) =
            Session::begin(self.terms(), self.party.key(), &seed, self.party.clock.millis());
        let mut live = Live {
            link,
            session,
            share,
            execution: None,
            component: Component::Absent,
            inbox: VecDeque::new(),
        };
        let result = match self.carry_out(&mut live, effects).await? {
            Some(abort) => ComponentEnded::Aborted(abort),
            None => self.until_the_component_is_done(&mut live).await?,
        };
        match result {
            ComponentEnded::Aborted(abort) => {
                self.linger(live);
                Ok(Ended::Aborted(abort))
            }
            ComponentEnded::Outcome(Outcome::Signature(signature), _) => self.signed(live, signature).await,
            ComponentEnded::Outcome(Outcome::Key(key) | Outcome::Refreshed(key), staged) => {
                self.made_a_share(live, key, &staged).await
            }
            ComponentEnded::Outcome(..) => {
                self.fail(&mut live, Abort::of(AbortCode::Plugin, "an outcome that nobody asked for")).await
            }
        }
    }

    fn terms(&self) -> Terms {
        let order = &self.admitted.order;
        Terms {
            plan: self.plan.hash(),
            me: self.admitted.me,
            signers: self.plan.signers.clone(),
            threshold: order.threshold,
            parties: order.parties.clone(),
            deadline: self.plan.deadline,
            counter: self.knowledge.counter,
        }
    }

    fn remaining(&self) -> Duration {
        Duration::from_millis(self.plan.deadline.saturating_sub(self.party.clock.millis()))
    }

    /// Waits for frames, ticks and steps until the component has an outcome or the session is over.
    async fn until_the_component_is_done(&self, live: &mut Live) -> Result<ComponentEnded, NotRun> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let now = self.party.clock.millis();
            let effects = tokio::select! {
                Some(frame) = live.link.receive() => live.session.receive(&frame, self.party.clock.millis()),
                _ = tick.tick() => live.session.tick(now),
                step = stepped(&mut live.component) => match self.after_step(live, step) {
                    Ok(Stepped::Effects(effects)) => effects,
                    Ok(Stepped::Done(outcome, staged, effects)) => {
                        return Ok(match self.carry_out(live, effects).await? {
                            Some(abort) => ComponentEnded::Aborted(abort),
                            None => ComponentEnded::Outcome(outcome, staged),
                        });
                    }
                    Err(error) => {
                        let abort = self.blame(error).await?;
                        live.session.fail(abort)
                    }
                },
            };
            if let Some(abort) = self.carry_out(live, effects).await? {
                return Ok(ComponentEnded::Aborted(abort));
            }
        }
    }

    /// Carries out effects in their order; gives the abort if the session is over.
    async fn carry_out(&self, live: &mut Live, effects: Vec<Effect>) -> Result<Option<Abort>, NotRun> {
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Send { to, frame } => self.send(to, frame),
                Effect::Start { execution, counters } => {
                    if let Some(abort) = self.check_counters(&counters).await? {
                        effects = live.session.fail(abort).into();
                        continue;
                    }
                    live.execution = Some(execution);
                    self.start(live, execution);
                }
                Effect::Deliver(message) => {
                    live.inbox.push_back(material::incoming(message));
                    step_if_waiting(live);
                }
                Effect::Abort { abort, notices } => {
                    // Durable before it is said: the others give up on their shares on our word.
                    self.party.store.abort(self.plan.hash()).await?;
                    notices.into_iter().for_each(|(to, frame)| self.send(to, frame));
                    tracing::warn!(code = ?abort.code, culprits = ?abort.culprits, reason = abort.reason, "aborted");
                    return Ok(Some(abort));
                }
            }
        }
        Ok(None)
    }

    fn send(&self, to: PartyIndex, frame: Vec<u8>) {
        if !self.party.router.send(self.id, to, frame, self.remaining()) {
            tracing::debug!(%to, "the router has no room for a frame; it is sent again later");
        }
    }

    /// Rule 10: a peer whose counter went back was restored from an old backup.
    async fn check_counters(
        &self,
        counters: &std::collections::BTreeMap<PartyIndex, u64>,
    ) -> Result<Option<Abort>, NotRun> {
        for (&peer, &counter) in counters {
            let Some(key) = self.admitted.order.parties.get(usize::from(peer.number()) - 1) else { continue };
            if !self.party.store.peer_counter(*key, counter).await? {
                let reason =
                    format!("party {peer} was set back to an earlier state: an operator must re-admit it");
                return Ok(Some(Abort { code: AbortCode::PeerFault, culprits: vec![peer], reason }));
            }
        }
        Ok(None)
    }

    fn start(&self, live: &mut Live, execution: ExecutionId) {
        let vault = live.share.as_ref().map(material::snapshot).unwrap_or_default();
        let spec = material::spec(self.plan, &self.admitted, execution, vault, self.remaining());
        let plugin = self.entry.plugin.clone();
        live.component =
            Component::Stepping(Box::pin(async move { plugin.start(spec).await?.step(vec![]).await }));
    }

    /// Sends what a step gave and goes on.
    fn after_step(
        &self,
        live: &mut Live,
        stepped: Result<Step, SessionError>,
    ) -> Result<Stepped, SessionError> {
        let Step { outgoing, progress } = stepped?;
        let now = self.party.clock.millis();
        let mut effects = Vec::new();
        for message in outgoing {
            effects.extend(live.session.send(message.round, material::to(message.to), &message.payload, now));
        }
        match progress {
            Progress::Done { outcome, staged } => {
                live.session.done();
                return Ok(Stepped::Done(outcome, staged, effects));
            }
            Progress::Waiting(session) => {
                live.component = Component::Waiting(Box::new(session));
                step_if_waiting(live);
            }
            Progress::Again(session) => step(live, session),
        }
        Ok(Stepped::Effects(effects))
    }

    /// What the component's failure means. A ban is durable before anything is sent.
    async fn blame(&self, error: SessionError) -> Result<Abort, NotRun> {
        let reason = error.to_string();
        Ok(match error.kind {
            SessionErrorKind::Fault(fault) => {
                if fault.ban {
                    for culprit in &fault.culprits {
                        let key = self.admitted.order.parties.get(usize::from(culprit.number()) - 1);
                        if let Some(key) = key {
                            self.party.store.ban(self.admitted.order.account, *key).await?;
                        }
                    }
                }
                let code = if fault.ban { AbortCode::Ban } else { AbortCode::PeerFault };
                Abort { code, culprits: fault.culprits, reason: fault.reason }
            }
            SessionErrorKind::InvalidTask(_) => Abort::of(AbortCode::Misconfigured, reason),
            SessionErrorKind::InvalidShare(_) => Abort::of(AbortCode::Share, reason),
            SessionErrorKind::Internal(_) | SessionErrorKind::Misbehaviour(_) => {
                Abort::of(AbortCode::Plugin, reason)
            }
            SessionErrorKind::Deadline => Abort::of(AbortCode::Timeout, reason),
            SessionErrorKind::Host(_) => Abort::of(AbortCode::Internal, reason),
        })
    }

    /// Verifies a signature before anybody hears of it (rule 7).
    async fn signed(self, mut live: Live, signature: Signature) -> Result<Ended, NotRun> {
        let order = &self.admitted.order;
        let Operation::Sign(signing) = &order.operation else {
            return self.fail(&mut live, Abort::of(AbortCode::Internal, "a signature of nothing")).await;
        };
        let chain_code = live.share.as_ref().and_then(material::chain_code);
        let verified =
            verify::verify(&order.scheme, &order.public_key.0, chain_code.as_ref(), signing, &signature);
        match verified {
            Ok(()) => {
                self.party.store.finish(self.plan.hash()).await?;
                live.session.settled();
                self.linger(live);
                Ok(Ended::Signed(signature))
            }
            Err(rejected) => {
                if rejected == Rejected::BadSignature {
                    self.party.suspend(self.plan.digest);
                }
                self.fail(&mut live, Abort::of(AbortCode::Plugin, format!("bad_signature: {rejected}"))).await
            }
        }
    }

    /// Stores a new share with its promise, and waits for the promises of the others (rule 9).
    async fn made_a_share(
        self,
        mut live: Live,
        key: PublicKeyInfo,
        staged: &Staged,
    ) -> Result<Ended, NotRun> {
        let order = &self.admitted.order;
        let refresh = order.operation == Operation::Refresh;
        if refresh && (key.public_key != order.public_key.0 || key.scheme != order.scheme) {
            let abort = Abort::of(AbortCode::Plugin, "a refresh that gave another key");
            return self.fail(&mut live, abort).await;
        }
        let Some(execution) = live.execution else {
            return self.fail(&mut live, Abort::of(AbortCode::Internal, "a share without a session")).await;
        };
        let outputs =
            output_hash(&key.scheme, &key.public_key, key.chain_code.as_ref(), &key.verifying_shares);
        let fresh = Fresh {
            party: self.party,
            plan: self.plan,
            admitted: &self.admitted,
            written_by: self.entry.facts.version,
            execution,
            outputs,
            entries: material::entries(staged, &key),
            key,
        };
        promises::see_through(fresh, live.link, live.session).await
    }

    async fn fail(&self, live: &mut Live, abort: Abort) -> Result<Ended, NotRun> {
        let effects = live.session.fail(abort.clone());
        let recorded = self.carry_out(live, effects).await?;
        Ok(Ended::Aborted(recorded.unwrap_or(abort)))
    }

    /// Goes on sending what peers may lack, for a while, without holding up the result.
    fn linger(&self, live: Live) {
        let Live { mut link, mut session, .. } = live;
        let (router, id, clock) =
            (self.party.router.clone(), self.id, std::sync::Arc::clone(&self.party.clock));
        let linger = LINGER.min(self.remaining());
        tokio::spawn(tokio::time::timeout(linger, async move {
            let mut tick = interval(TICK);
            loop {
                let effects = tokio::select! {
                    Some(frame) = link.receive() => session.receive(&frame, clock.millis()),
                    _ = tick.tick() => session.tick(clock.millis()),
                };
                for effect in effects {
                    if let Effect::Send { to, frame } = effect {
                        router.send(id, to, frame, linger);
                    }
                }
            }
        }));
    }
}

/// What a step led to.
enum Stepped {
    Effects(Vec<Effect>),
    Done(Outcome, Staged, Vec<Effect>),
}

/// The result of the step under way; never, if there is none.
async fn stepped(component: &mut Component) -> Result<Step, SessionError> {
    let Component::Stepping(stepping) = component else { return std::future::pending().await };
    let step = stepping.as_mut().await;
    *component = Component::Absent;
    step
}

fn step_if_waiting(live: &mut Live) {
    if live.inbox.is_empty() {
        return;
    }
    match std::mem::replace(&mut live.component, Component::Absent) {
        Component::Waiting(session) => step(live, *session),
        other => live.component = other,
    }
}

fn step(live: &mut Live, session: quorate_runtime::Session) {
    let incoming = live.inbox.drain(..).collect();
    live.component = Component::Stepping(Box::pin(session.step(incoming)));
}
