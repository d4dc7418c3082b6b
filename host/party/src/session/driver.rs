//! The second phase: exchanges frames with the peers and steps the component, until the protocol has ended.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quorate_backends::database::StoreError;
use quorate_core::abort::{Abort, AbortCode};
use quorate_core::codec::encode;
use quorate_core::session::{Effect, Frame, Message};
use quorate_core::user_share::ShareEntries;
use quorate_core::{ExecutionId, PartyIndex};
use quorate_net::router_client::RouterEvent;
use quorate_runtime::capabilities::vault::Staged;
use quorate_runtime::{
    Capabilities, ComponentOutcome, ComponentSession, Progress, SessionError, SessionErrorKind, Step,
};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tracing::Instrument;

use super::connection::Connection;
use super::context::{PhaseError, SessionContext};
use super::peer_checks::{PeerRefused, check_bans, check_peers};
use super::sandbox::{self, ComponentTask};
use super::session_pool::SessionPool;

/// How often the session looks at the clock.
const SESSION_TICK_INTERVAL: Duration = Duration::from_millis(200);

/// How long a peer whose connection has broken may take to come back.
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a step may run on after its session has ended: it may find that a peer has cheated.
const STEP_GRACE: Duration = Duration::from_secs(2);

/// How the protocol ended at this party.
pub(super) enum Ended {
    /// The component has a result, which is still to be held against the order.
    Done { connection: Connection, result: ProtocolResult },
    /// Without a result. That is recorded, and the peers have been told.
    Aborted { connection: Connection, abort: Abort },
}

/// The result of the component.
pub(super) struct ProtocolResult {
    pub(super) execution: ExecutionId,
    pub(super) outcome: ComponentOutcome,
    pub(super) staged: Staged,
}

/// Drives a session that has begun to the end of its protocol.
///
/// # Errors
/// When the store fails.
pub(super) async fn drive(
    context: &SessionContext,
    connection: Connection,
    component: ComponentTask,
    share: Option<ShareEntries>,
    effects: Vec<Effect>,
) -> Result<Ended, StoreError> {
    let mut driver = Driver {
        context,
        connection,
        component: ComponentState::NotStarted { component: Box::new(component), share },
        inbox: VecDeque::new(),
        round: 0,
        delivered: false,
        was_given_up: false,
        step_was_cut: false,
        presignature_lost: Arc::default(),
        disconnected: BTreeMap::new(),
    };
    let result = driver.run(effects).await;
    let connection = driver.connection;
    match result {
        Ok(result) => Ok(Ended::Done { connection, result }),
        Err(PhaseError::Aborted(abort)) => Ok(Ended::Aborted { connection, abort }),
        Err(PhaseError::Store(error)) => Err(error),
    }
}

struct Driver<'a> {
    context: &'a SessionContext,
    connection: Connection,
    component: ComponentState,
    /// Messages that the component has not been given yet.
    inbox: VecDeque<Message>,
    /// The round of the message that came in last; for the log.
    round: u16,
    /// Whether the component was given a message of a peer, or is about to be.
    delivered: bool,
    /// Whether the coordinator has given the session up before the component was started.
    was_given_up: bool,
    /// Whether the last step ended without a verdict, after messages of peers.
    step_was_cut: bool,
    /// Whether a presignature that the plan names was not to be had any more.
    presignature_lost: Arc<AtomicBool>,
    /// Peers whose connections have broken, by the word of a router: it could as well drop what they send.
    disconnected: BTreeMap<PartyIndex, Instant>,
}

/// Where the component is.
enum ComponentState {
    /// The hellos are not complete. It will be given this task and share.
    NotStarted { component: Box<ComponentTask>, share: Option<ShareEntries> },
    /// It computes.
    Stepping { execution: ExecutionId, step: Stepping },
    /// It waits for messages.
    Waiting { execution: ExecutionId, session: Box<ComponentSession> },
    /// It is done, or has failed.
    Ended,
}

/// A step of the component under way, or its start.
type Stepping = Pin<Box<dyn Future<Output = Result<Step, SessionError>> + Send>>;

impl Driver<'_> {
    /// Carries out the effects of the session's start; then waits for frames, ticks and steps until the component has a
    /// result or the session is over.
    async fn run(&mut self, first: Vec<Effect>) -> Result<ProtocolResult, PhaseError> {
        self.apply(first).await?;
        let mut tick = interval(SESSION_TICK_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let cancelled = self.context.cancelled();
        loop {
            let effects = tokio::select! {
                event = self.connection.router.receive() => self.on_router_event(event),
                _ = tick.tick() => self.on_tick(),
                () = cancelled.cancelled() => {
                    let abort = self.context.cancellation();
                    let has_begun = !matches!(self.component, ComponentState::NotStarted { .. });
                    self.was_given_up = !has_begun && self.context.is_given_up();
                    self.connection.session.fail(abort, self.context.now())
                }
                (execution, step) = stepped(&mut self.component) => match step {
                    Ok(Step { outgoing, progress }) => {
                        let effects = self.send_messages(outgoing);
                        match progress {
                            Progress::Done { outcome, staged } => {
                                // Its last messages leave.
                                self.connection.session.mark_component_done(self.context.now());
                                self.apply(effects).await?;
                                return Ok(ProtocolResult { execution, outcome, staged });
                            }
                            Progress::Waiting(session) => {
                                self.component = ComponentState::Waiting { execution, session: Box::new(session) };
                                self.step_if_waiting();
                            }
                            Progress::Again(session) => self.step(execution, session),
                        }
                        effects
                    }
                    Err(error) => {
                        let abort = self.on_failure(error).await?;
                        self.connection.session.fail(abort, self.context.now())
                    }
                },
            };
            self.apply(effects).await?;
        }
    }

    fn on_router_event(&mut self, event: RouterEvent) -> Vec<Effect> {
        match event {
            RouterEvent::Frame(frame) => return self.connection.session.receive(&frame, self.context.now()),
            RouterEvent::PeerDisconnected(party) => drop(self.disconnected.insert(party, Instant::now())),
            RouterEvent::PeerReconnected(party) => drop(self.disconnected.remove(&party)),
        }
        vec![]
    }

    fn on_tick(&mut self) -> Vec<Effect> {
        let lost = self.disconnected.iter().find(|(_, since)| since.elapsed() > RECONNECT_TIMEOUT);
        match lost.map(|(party, _)| *party) {
            Some(party) => self.fail(AbortCode::Timeout, format!("party {party} is gone")),
            None => self.connection.session.tick(self.context.now()),
        }
    }

    fn fail(&mut self, code: AbortCode, reason: impl Into<String>) -> Vec<Effect> {
        self.connection.session.fail(Abort::of(code, reason), self.context.now())
    }

    /// Carries out effects in their order. An effect that ends the session is an error.
    async fn apply(&mut self, effects: Vec<Effect>) -> Result<(), PhaseError> {
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Send { to, frame } => self.connection.send(to, frame),
                Effect::SetBack { counter } => {
                    self.context.party.note_set_back(counter, self.context.facts.database).await?;
                }
                Effect::Bans(bans) => self.context.party.take_bans(self.context.order(), &bans).await?,
                Effect::Start { execution, hellos } => {
                    if let Some(PeerRefused { peer, abort, shown }) =
                        check_peers(self.context, &hellos).await?
                    {
                        if let Some(hello) = shown {
                            self.connection.send(peer, encode(&Frame::EarlierHello(hello)));
                        }
                        effects = self.connection.session.fail(abort, self.context.now()).into();
                        continue;
                    }
                    self.start(execution);
                }
                Effect::Deliver(message) => {
                    if !self.delivered
                        && let Some(abort) = check_bans(self.context).await?
                    {
                        effects = self.connection.session.fail(abort, self.context.now()).into();
                        continue;
                    }
                    self.delivered = true;
                    self.round = message.round;
                    self.inbox.push_back(message);
                    self.step_if_waiting();
                }
                Effect::Abort { mut abort, notices } => {
                    if let Some(error) = self.finish_step().await {
                        abort = self.on_failure(error).await?;
                    }
                    // Durable before it is said: the others give up on their shares on this party's word.
                    let (store, plan) = (&self.context.party.store, self.context.plan_hash);
                    match (self.step_was_cut, self.was_given_up) {
                        (true, _) => store.abort_unknown(plan).await?,
                        (_, true) => store.abort_not_begun(plan).await?,
                        _ => store.abort(plan).await?,
                    }
                    notices.into_iter().for_each(|(to, frame)| self.connection.send(to, frame));
                    tracing::warn!(code = ?abort.code, culprits = ?abort.culprits, reason = abort.reason, "session aborted");
                    return Err(abort.into());
                }
            }
        }
        Ok(())
    }

    fn start(&mut self, execution: ExecutionId) {
        let component = std::mem::replace(&mut self.component, ComponentState::Ended);
        let ComponentState::NotStarted { component, share } = component else { return };
        let capabilities = self.capabilities(share);
        let spec = sandbox::spec(
            &self.context.plan,
            &self.context.admitted,
            *component,
            execution,
            capabilities,
            // The session ends at its deadline; a step that is under way then has some time to come to its verdict.
            self.context.remaining() + STEP_GRACE,
        );
        let plugin = self.context.entry.plugin.clone();
        let step: Stepping = Box::pin(async move { plugin.start(spec).await?.step(vec![]).await });
        self.component = ComponentState::Stepping { execution, step };
    }

    /// Returns the component's capabilities: its share, and the presignatures that its plan names.
    fn capabilities(&mut self, share: Option<ShareEntries>) -> Capabilities {
        let mut vault = share.map(|share| sandbox::snapshot(&share)).unwrap_or_default();
        let texts = self.context.party.plugin_texts;
        let without_backends = Capabilities::without_backends();
        let pool = match SessionPool::of(self.context) {
            Some(pool) => {
                vault.pooled = pool.names();
                self.presignature_lost = pool.lost();
                Arc::new(pool)
            }
            None => without_backends.pool,
        };
        let party = &self.context.party;
        let cache = party.cache.of(self.context.plan.digest);
        let bus = party.events.of(self.context.plan.session_id());
        Capabilities { vault, pool, cache, bus, texts, ..without_backends }
    }

    /// Lets a step that is under way run on for a while: it may be about to say that a peer has cheated. Returns how it failed.
    async fn finish_step(&mut self) -> Option<SessionError> {
        if !matches!(self.component, ComponentState::Stepping { .. }) {
            return None;
        }
        match timeout(STEP_GRACE, stepped(&mut self.component)).await {
            Ok((_, step)) => step.err(),
            Err(_) => {
                self.step_was_cut = self.delivered;
                None
            }
        }
    }

    /// Translates a failure of the component. A ban is durable before anything else happens. The reason is the host's own: in
    /// production it has the kind of the failure and the component's code, and nothing that the component has written.
    async fn on_failure(&mut self, error: SessionError) -> Result<Abort, StoreError> {
        let reason = format!("plugin {}: {}", error.plugin, error.kind);
        let plugin_code = error.kind.plugin_code();
        let is_fault = matches!(error.kind, SessionErrorKind::Fault(_));
        if !is_fault && self.presignature_lost.load(Ordering::Relaxed) {
            let reason = "a presignature of the plan is used up, or this party's database failed";
            return Ok(Abort::of(AbortCode::Unavailable, reason));
        }
        let (code, culprits) = match error.kind {
            SessionErrorKind::Fault(fault) => {
                let parties = self.context.parties();
                let banned: Vec<_> =
                    fault.culprits.iter().filter(|_| fault.ban).map(|&party| parties.banned(party)).collect();
                self.context.party.ban(&banned, self.context.decided_here()).await?;
                (if fault.ban { AbortCode::Ban } else { AbortCode::PeerFault }, fault.culprits)
            }
            SessionErrorKind::InvalidTask(_) => (AbortCode::Misconfigured, vec![]),
            SessionErrorKind::InvalidShare(_) => (AbortCode::Share, vec![]),
            SessionErrorKind::Internal(_) => (AbortCode::Plugin, vec![]),
            SessionErrorKind::Misbehaviour(_) => (self.cut(AbortCode::Plugin), vec![]),
            SessionErrorKind::Deadline => (self.cut(AbortCode::Timeout), vec![]),
            SessionErrorKind::Host(_) => (self.cut(AbortCode::Internal), vec![]),
        };
        Ok(Abort { code, plugin_code, culprits, reason })
    }

    /// Notes that the step under way was cut: what it would have said of a peer is not known.
    fn cut(&mut self, code: AbortCode) -> AbortCode {
        self.step_was_cut = self.delivered;
        code
    }

    fn send_messages(&mut self, outgoing: Vec<quorate_runtime::OutgoingMessage>) -> Vec<Effect> {
        let now = self.context.now();
        let session = &mut self.connection.session;
        outgoing
            .iter()
            .flat_map(|message| session.send(message.round, message.to, &message.payload, now))
            .collect()
    }

    fn step_if_waiting(&mut self) {
        if self.inbox.is_empty() {
            return;
        }
        match std::mem::replace(&mut self.component, ComponentState::Ended) {
            ComponentState::Waiting { execution, session } => self.step(execution, *session),
            other => self.component = other,
        }
    }

    fn step(&mut self, execution: ExecutionId, session: ComponentSession) {
        let incoming = self.inbox.drain(..).collect();
        let span = tracing::debug_span!("step", round = self.round);
        let step: Stepping = Box::pin(session.step(incoming).instrument(span));
        self.component = ComponentState::Stepping { execution, step };
    }
}

/// Waits for the step under way, for ever if there is none.
async fn stepped(component: &mut ComponentState) -> (ExecutionId, Result<Step, SessionError>) {
    let ComponentState::Stepping { execution, step } = component else { return std::future::pending().await };
    let stepped = (*execution, step.as_mut().await);
    *component = ComponentState::Ended;
    stepped
}
