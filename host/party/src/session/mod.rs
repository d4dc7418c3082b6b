//! One session of a party: frames, time and the component's steps in; what they lead to, out.

mod activation;
mod delivery;
pub(crate) mod running;
mod sandbox;

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quorate_backends::database::StoreError;
use quorate_core::SchemeSignature;
use quorate_core::abort::{Abort, AbortCode};
use quorate_core::admission::Admitted;
use quorate_core::certificate::{Activation, KeyOutputs};
use quorate_core::codec::Bytes;
use quorate_core::identity::key_of;
use quorate_core::order::Operation;
use quorate_core::plan::Plan;
use quorate_core::report;
use quorate_core::session::{Effect, Message, Session, Terms};
use quorate_core::{ExecutionId, PartyIndex, SessionId};
use quorate_net::router_client::{FrameSender, RouterEvent, RouterSession};
use quorate_party_store::{AdmissionFacts, Entries, Started};
use quorate_runtime::capabilities::vault::Staged;
use quorate_runtime::{Outcome, Progress, SessionError, SessionErrorKind, Step};
use quorate_verify::signature::{self, Rejected};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use zeroize::Zeroizing;

use crate::Party;
use crate::registry::Entry;
use crate::user::custody::{Custody, Recognised};
use activation::Fresh;
use running::Running;

/// How often the session looks at the clock.
const TICK: Duration = Duration::from_millis(200);

/// How long a party that has its result stays, after the last sign that a peer still waits: one notices after two seconds
/// that nothing comes.
const LINGER: Duration = Duration::from_secs(5);

/// How long a party whose connection has broken may take to come back.
const GONE: Duration = Duration::from_secs(1);

/// A step of the component under way, or its start.
type Stepping = Pin<Box<dyn Future<Output = Result<Step, SessionError>> + Send>>;

/// A session that this party has taken on.
pub struct Run {
    pub(super) party: Arc<Party>,
    plan: Plan,
    token: String,
    id: SessionId,
    pub(super) admitted: Admitted,
    entry: Entry,
    knowledge: AdmissionFacts,
    running: Running,
    custody: Custody,
    slot: Mutex<Option<OwnedSemaphorePermit>>,
}

/// What a running session is made of, apart from its terms.
struct Live {
    link: RouterSession,
    sender: FrameSender,
    session: Session,
    share: Option<Entries>,
    execution: Option<ExecutionId>,
    component: Component,
    inbox: VecDeque<Message>,
    /// The round of the message that came in last; for the log.
    round: u16,
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

impl Run {
    pub(super) fn new(
        party: Arc<Party>,
        (plan, token): (Plan, String),
        admitted: Admitted,
        entry: Entry,
        knowledge: AdmissionFacts,
        custody: Custody,
    ) -> Self {
        let id = plan.session_id();
        let running = party.running.add(id);
        Self { party, plan, token, id, admitted, entry, knowledge, running, custody, slot: Mutex::default() }
    }

    pub(super) fn started(&self) -> Started {
        let (plan, session, digest) = (self.plan.hash(), self.id, self.plan.digest);
        Started { plan, session, order: self.admitted.order.id, me: self.admitted.me, digest }
    }

    /// Cancelled when the coordinator has given the session up.
    pub(super) fn cancelled(&self) -> CancellationToken {
        self.running.token.clone()
    }

    /// The room that the session takes, until it has nothing left to compute.
    pub(super) fn in_slot(self, slot: Option<OwnedSemaphorePermit>) -> Self {
        Self { slot: Mutex::new(slot), ..self }
    }

    /// Makes room for another session: what is left of this one is waiting.
    pub(super) fn make_room(&self) {
        drop(self.slot.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    pub(super) fn id(&self) -> SessionId {
        self.id
    }

    /// Waits until nobody wants this session any more: the coordinator has given it up, or the party is shutting down.
    pub(super) async fn given_up(&self) {
        tokio::select! {
            () = self.running.token.cancelled() => {}
            () = self.party.closing.cancelled() => {}
        }
    }

    pub(super) async fn abort_durably(&self) -> Result<(), StoreError> {
        self.party.store.abort(self.plan.hash()).await
    }

    /// The report of an abort that has been recorded.
    pub(super) fn aborted(&self, abort: Abort) -> report::Outcome {
        self.party.aborted(self.plan.hash(), self.admitted.me, abort)
    }

    /// Runs the session to its end. Nothing is to be reported of a share that a user has not confirmed yet.
    pub async fn finish(self) -> Option<report::Outcome> {
        let span = tracing::info_span!("session", id = %self.id, party = %self.admitted.me);
        async move {
            let (party, started) = (Arc::clone(&self.party), self.started());
            match self.run_on().await {
                Ok(outcome) => outcome,
                Err(error) => Some(party.failed(&started, &error).await),
            }
        }
        .instrument(span)
        .await
    }

    async fn run_on(self) -> Result<Option<report::Outcome>, StoreError> {
        let share = match self.share().await? {
            Ok(share) => share,
            Err(abort) => {
                self.abort_durably().await?;
                return Ok(Some(self.aborted(abort)));
            }
        };
        let (router, me) = (&self.party.router, self.admitted.me);
        let attached = router.attach(self.id, me, &self.token, self.remaining() + LINGER).await;
        let link = match attached {
            Ok(link) => link,
            Err(status) => {
                self.party.store.abort(self.plan.hash()).await?;
                let reason = format!("the router did not take this party in: {}", status.message());
                return Ok(Some(self.aborted(Abort::of(AbortCode::Unavailable, reason))));
            }
        };
        let mut seed = Zeroizing::new([0; 32]);
        if getrandom::fill(seed.as_mut_slice()).is_err() {
            self.party.store.abort(self.plan.hash()).await?;
            return Ok(Some(self.aborted(Abort::of(AbortCode::Internal, "there is no randomness"))));
        }
        let (session, effects) =
            Session::begin(self.terms(), self.party.key(), &seed, self.party.clock.millis());
        let mut live = Live {
            sender: link.sender(),
            link,
            session,
            share,
            execution: None,
            component: Component::Absent,
            inbox: VecDeque::new(),
            round: 0,
        };
        let result = match self.carry_out(&mut live, effects).await? {
            Some(abort) => ComponentEnded::Aborted(abort),
            None => self.until_the_component_is_done(&mut live).await?,
        };
        match result {
            ComponentEnded::Aborted(abort) => {
                self.linger(live);
                Ok(Some(self.aborted(abort)))
            }
            ComponentEnded::Outcome(Outcome::Signature(signature), _) => {
                self.signed(live, signature).await.map(Some)
            }
            ComponentEnded::Outcome(Outcome::Key(key) | Outcome::Refreshed(key), staged) => {
                self.made_a_share(live, key.outputs, &staged).await
            }
            ComponentEnded::Outcome(..) => {
                let abort = Abort::of(AbortCode::Plugin, "an outcome that nobody asked for");
                self.fail(live, abort).await.map(Some)
            }
        }
    }

    /// The share that the session uses, or why there is none.
    async fn share(&self) -> Result<Result<Option<Entries>, Abort>, StoreError> {
        let order = &self.admitted.order;
        if order.operation == Operation::Keygen {
            return Ok(Ok(None));
        }
        let part = match &self.custody {
            Custody::Own => {
                return Ok(Ok(self.party.store.active_entries(order.account, order.epoch).await?));
            }
            Custody::User(part) => part,
        };
        let wrong = || Abort::of(AbortCode::Share, "this is not the share that was handed to the user");
        let Some(share) = &part.share else { return Ok(Err(wrong())) };
        if self.party.recognises(order.account, order.epoch, share).await? != Recognised::Yes {
            return Ok(Err(wrong()));
        }
        Ok(share.entries().map(Some).map_err(|_| wrong()))
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

    pub(super) fn remaining(&self) -> Duration {
        Duration::from_millis(self.plan.deadline.saturating_sub(self.party.clock.millis()))
    }

    /// Waits for frames, ticks and steps until the component has an outcome or the session is over.
    async fn until_the_component_is_done(&self, live: &mut Live) -> Result<ComponentEnded, StoreError> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let cancelled = self.cancelled();
        // Parties whose connections have broken, by the word of a router: it could as well drop what they send.
        let mut gone: BTreeMap<PartyIndex, Instant> = BTreeMap::new();
        loop {
            let effects = tokio::select! {
                parcel = live.link.receive() => match parcel {
                    RouterEvent::Frame(frame) => live.session.receive(&frame, self.party.clock.millis()),
                    RouterEvent::PeerDisconnected(party) => {
                        gone.insert(party, Instant::now());
                        vec![]
                    }
                    RouterEvent::PeerReconnected(party) => {
                        gone.remove(&party);
                        vec![]
                    }
                },
                _ = tick.tick() => match gone.iter().find(|(_, at)| at.elapsed() > GONE) {
                    Some((party, _)) => {
                        let abort = Abort::of(AbortCode::Timeout, format!("party {party} is gone"));
                        live.session.fail(abort, self.party.clock.millis())
                    }
                    None => live.session.tick(self.party.clock.millis()),
                },
                () = cancelled.cancelled() => {
                    let abort = Abort::of(AbortCode::Unavailable, "the coordinator has given the session up");
                    live.session.fail(abort, self.party.clock.millis())
                }
                () = self.party.closing.cancelled() => {
                    let abort = Abort::of(AbortCode::Unavailable, "the party is shutting down");
                    live.session.fail(abort, self.party.clock.millis())
                }
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
                        live.session.fail(abort, self.party.clock.millis())
                    }
                },
            };
            if let Some(abort) = self.carry_out(live, effects).await? {
                return Ok(ComponentEnded::Aborted(abort));
            }
        }
    }

    /// Carries out effects in their order; gives the abort if the session is over.
    async fn carry_out(&self, live: &mut Live, effects: Vec<Effect>) -> Result<Option<Abort>, StoreError> {
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Send { to, frame } => send(live, to, frame),
                Effect::Start { execution, counters } => {
                    if let Some(abort) = self.check_counters(&counters).await? {
                        effects = live.session.fail(abort, self.party.clock.millis()).into();
                        continue;
                    }
                    live.execution = Some(execution);
                    self.start(live, execution);
                }
                Effect::Deliver(message) => {
                    live.round = message.round;
                    live.inbox.push_back(message);
                    step_if_waiting(live);
                }
                Effect::Abort { abort, notices } => {
                    // Durable before it is said: the others give up on their shares on our word.
                    self.party.store.abort(self.plan.hash()).await?;
                    notices.into_iter().for_each(|(to, frame)| send(live, to, frame));
                    tracing::warn!(code = ?abort.code, culprits = ?abort.culprits, reason = abort.reason, "aborted");
                    return Ok(Some(abort));
                }
            }
        }
        Ok(None)
    }

    pub(super) fn peers(&self) -> impl Iterator<Item = PartyIndex> {
        self.plan.signers.iter().copied().filter(|&peer| peer != self.admitted.me)
    }

    /// Carries out the effects of a session that has its result: there is only something to send again.
    pub(super) fn send_all(&self, sender: &FrameSender, effects: Vec<Effect>) {
        for effect in effects {
            if let Effect::Send { to, frame } = effect {
                sender.send(to, frame);
            }
        }
    }

    /// Rule 10: a peer whose counter went back was restored from an old backup.
    async fn check_counters(
        &self,
        counters: &BTreeMap<PartyIndex, u64>,
    ) -> Result<Option<Abort>, StoreError> {
        for (&peer, &counter) in counters {
            let Some(key) = key_of(&self.admitted.order.parties, peer) else { continue };
            if !self.party.store.peer_counter(*key, counter, self.party.clock.seconds()).await? {
                let reason =
                    format!("party {peer} was set back to an earlier state: an operator must re-admit it");
                return Ok(Some(Abort { code: AbortCode::PeerFault, culprits: vec![peer], reason }));
            }
        }
        Ok(None)
    }

    fn start(&self, live: &mut Live, execution: ExecutionId) {
        let vault = live.share.take().map(|share| sandbox::snapshot(&share)).unwrap_or_default();
        let spec = sandbox::spec(&self.plan, &self.admitted, execution, vault, self.remaining());
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
            effects.extend(live.session.send(message.round, message.to, &message.payload, now));
        }
        match progress {
            Progress::Done { outcome, staged } => {
                live.session.done(now);
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
    async fn blame(&self, error: SessionError) -> Result<Abort, StoreError> {
        let reason = error.to_string();
        Ok(match error.kind {
            SessionErrorKind::Fault(fault) => {
                let mut banned = Ok(());
                for culprit in fault.culprits.iter().filter(|_| fault.ban) {
                    if let Some(key) = key_of(&self.admitted.order.parties, *culprit) {
                        // The others are banned all the same.
                        banned = banned.and(self.party.ban(self.admitted.order.account, *key).await);
                    }
                }
                banned?;
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
    async fn signed(self, mut live: Live, signature: SchemeSignature) -> Result<report::Outcome, StoreError> {
        let order = &self.admitted.order;
        let Operation::Sign(signing) = &order.operation else {
            return self.fail(live, Abort::of(AbortCode::Plugin, "a signature that nobody asked for")).await;
        };
        let chain_code = self.knowledge.share.as_ref().and_then(|share| share.key.chain_code);
        let verified =
            signature::verify(&order.scheme, &order.public_key.0, chain_code.as_ref(), signing, &signature);
        match verified {
            Ok(()) => {
                self.party.store.finish(self.plan.hash()).await?;
                live.session.settled();
                self.send_all(&live.sender, live.session.finish());
                self.linger(live);
                let SchemeSignature { bytes, recovery_id } = signature;
                Ok(report::Outcome::Signed { signature: Bytes(bytes.to_vec()), recovery_id })
            }
            Err(rejected) => {
                let code = match rejected {
                    Rejected::BadSignature => AbortCode::BadSignature,
                    // The plugin may well be right: it is the order that this host can't judge.
                    Rejected::NotCheckable(_) => AbortCode::Misconfigured,
                };
                if code == AbortCode::BadSignature {
                    self.party.suspend(self.plan.digest).await?;
                }
                self.fail(live, Abort::of(code, rejected.to_string())).await
            }
        }
    }

    /// Stores a new share with its promise, and waits for the promises of the others (rule 9).
    async fn made_a_share(
        self,
        live: Live,
        key: KeyOutputs,
        staged: &Staged,
    ) -> Result<Option<report::Outcome>, StoreError> {
        let order = &self.admitted.order;
        let epoch = match order.operation {
            Operation::Keygen => 1,
            Operation::Refresh => order.epoch.saturating_add(1),
            Operation::Sign(_) => {
                let abort = Abort::of(AbortCode::Plugin, "a key that nobody asked for");
                return self.fail(live, abort).await.map(Some);
            }
        };
        if epoch > 1 && (key.public_key != order.public_key || key.scheme != order.scheme) {
            let abort = Abort::of(AbortCode::Plugin, "a refresh that gave another key");
            return self.fail(live, abort).await.map(Some);
        }
        let chain_code = self.knowledge.share.as_ref().and_then(|share| share.key.chain_code);
        if epoch > 1 && key.chain_code != chain_code {
            let abort = Abort::of(AbortCode::Plugin, "a refresh that gave another chain code");
            return self.fail(live, abort).await.map(Some);
        }
        let Some(execution) = live.execution else {
            let abort = Abort::of(AbortCode::Internal, "a share without a session");
            return self.fail(live, abort).await.map(Some);
        };
        let outputs = key;
        let activation = Activation {
            plan: self.plan.hash(),
            execution,
            account: order.account,
            epoch,
            threshold: order.threshold,
            digest: self.plan.digest,
            outputs: outputs.hash(),
        };
        let share = sandbox::share(&self.admitted, epoch, outputs, self.entry.facts.version);
        let fresh = Fresh { run: &self, activation, share, entries: sandbox::entries(staged) };
        match &self.custody {
            Custody::Own => activation::see_through(fresh, live.link, live.session).await.map(Some),
            Custody::User(part) => delivery::hand_over(fresh, part, live.link, live.session).await,
        }
    }

    async fn fail(&self, mut live: Live, abort: Abort) -> Result<report::Outcome, StoreError> {
        let effects = live.session.fail(abort.clone(), self.party.clock.millis());
        let recorded = self.carry_out(&mut live, effects).await?;
        self.linger(live);
        Ok(self.aborted(recorded.unwrap_or(abort)))
    }

    /// Goes on answering peers that still wait, for a while, without holding up the result.
    fn linger(&self, live: Live) {
        let Live { mut link, sender, mut session, .. } = live;
        let (clock, closing) = (Arc::clone(&self.party.clock), self.party.closing.clone());
        let at_most = self.remaining() + LINGER;
        let lingering = async move {
            let mut until = Instant::now() + LINGER;
            while !session.all_finished()
                && let Ok(parcel) = tokio::time::timeout_at(until, link.receive()).await
            {
                let RouterEvent::Frame(frame) = parcel else { continue };
                for effect in session.receive(&frame, clock.millis()) {
                    if let Effect::Send { to, frame } = effect {
                        sender.send(to, frame);
                        // Somebody still waits, and the answer may be lost too.
                        until = Instant::now() + LINGER;
                    }
                }
            }
        };
        tokio::spawn(async move {
            tokio::select! {
                _ = tokio::time::timeout(at_most, lingering) => {}
                () = closing.cancelled() => {}
            }
        });
    }
}

fn send(live: &Live, to: PartyIndex, frame: Vec<u8>) {
    if !live.sender.send(to, frame) {
        tracing::debug!(%to, "there is no room for a frame; it is sent again later");
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
    let span = tracing::debug_span!("step", round = live.round);
    live.component = Component::Stepping(Box::pin(session.step(incoming).instrument(span)));
}
