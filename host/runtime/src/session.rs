//! A running session: one instance, in one store, stepped until it is done.

use std::sync::Arc;
use std::time::Instant;

use quorate_core::PartyIndex;
use quorate_core::session::Message;
use wasmtime::Store;
use wasmtime::component::ResourceAny;

use crate::bindings::Plugin as Bindings;
use crate::capabilities::Capabilities;
use crate::capabilities::vault::Staged;
use crate::codes::{Detail, PluginCode, PluginText};
use crate::engine::Runtime;
use crate::error::{Misbehaviour, SessionError, SessionErrorKind};
use crate::executor::Priority;
use crate::host_state::HostState;
use crate::limits;
use crate::memory_budget::SessionMemory;
use crate::message::{Arriving, OutgoingMessage};
use crate::output::{self, ComponentOutcome, OutputState, OutputValidator};
use crate::plugin::{Plugin, PluginState};
use crate::task::{Roster, Task};

/// A session to start.
pub struct SessionSpec {
    /// The parties of the session.
    pub roster: Roster,
    /// The task of the session.
    pub task: Task,
    /// The backends of the capabilities.
    pub capabilities: Capabilities,
    /// The linear memory that was [taken](Plugin::take_memory) for it ahead of time; with `None` it is taken at the start,
    /// which may wait until the deadline.
    pub memory: Option<SessionMemory>,
    /// When the component is stopped, whatever it does.
    pub deadline: Instant,
}

/// A session that waits to be stepped. Dropping it ends it and wipes its memory.
pub struct ComponentSession {
    plugin: Arc<PluginState>,
    me: PartyIndex,
    priority: Priority,
    deadline: Instant,
    instance: Box<Instance>,
}

/// The part of a session that moves to an executor thread and back.
struct Instance {
    store: Store<HostState>,
    bindings: Bindings,
    session: ResourceAny,
    validator: OutputValidator,
    idle_steps: u32,
}

/// The result of one step.
#[derive(Debug)]
pub struct Step {
    /// Messages to send now.
    pub outgoing: Vec<OutgoingMessage>,
    /// How the session continues.
    pub progress: Progress,
}

/// How a session continues after a step.
pub enum Progress {
    /// Step again when something has arrived.
    Waiting(ComponentSession),
    /// Step again at once.
    Again(ComponentSession),
    /// The session is over; commit what it staged together with its outcome.
    Done {
        /// How it ended.
        outcome: ComponentOutcome,
        /// The changes to be stored.
        staged: Staged,
    },
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Waiting(_) => f.write_str("Waiting"),
            Self::Again(_) => f.write_str("Again"),
            Self::Done { outcome, .. } => write!(f, "Done({outcome:?})"),
        }
    }
}

impl Plugin {
    /// Starts a session in a fresh instance. Nothing is sent before its first step.
    ///
    /// # Errors
    /// See [`SessionErrorKind`].
    pub async fn start(&self, spec: SessionSpec) -> Result<ComponentSession, SessionError> {
        let SessionSpec { roster, task, capabilities, memory, deadline } = spec;
        let plugin = Arc::clone(&self.inner);
        let Some(need) = self.need(&task, roster.threshold) else {
            let text = "the plugin does not offer this operation";
            let detail = Detail::new(PluginCode::None, text, PluginText::Recorded);
            return Err(plugin.error(roster.me, SessionErrorKind::InvalidTask(detail)));
        };
        if !need.is_possible() {
            let text = "the session needs more memory than any session may have";
            let detail = Detail::new(PluginCode::None, text, PluginText::Recorded);
            return Err(plugin.error(roster.me, SessionErrorKind::InvalidTask(detail)));
        }
        let memory = match memory {
            Some(memory) => Some(memory),
            None => {
                let taking = tokio::time::timeout_at(deadline.into(), self.take_memory(need));
                taking.await.map_err(|_| plugin.error(roster.me, SessionErrorKind::Deadline))?
            }
        };
        let Some(memory) = memory else {
            let reason = "the session needs more memory than this process has for sandboxes".into();
            return Err(plugin.error(roster.me, SessionErrorKind::Host(reason)));
        };
        let (kind, priority) = (task.kind(), task.priority());
        let cpu = match priority {
            Priority::Interactive => limits::MAX_INTERACTIVE_CPU_TIME,
            Priority::Background => limits::MAX_BACKGROUND_CPU_TIME,
        };
        let me = roster.me;
        let (id, codes) = (plugin.descriptor.id.clone(), plugin.descriptor.codes.clone());
        let texts = capabilities.texts;
        let state = HostState::new(&id, codes, me, kind.clone(), capabilities, memory, deadline);
        let (ready, engine) = (plugin.ready.clone(), plugin.runtime.engine().clone());
        let (wit_roster, wit_task) = (roster.to_wit(), task.into_wit());
        let validator = OutputValidator::new(roster, kind, &plugin.descriptor, texts, need);
        let started = on_executor(&plugin, priority, deadline, async move {
            let mut store = state.into_store(&engine, cpu);
            let bindings =
                ready.instantiate_async(&mut store).await.map_err(|error| instantiation_failed(&error))?;
            let answer = bindings
                .quorate_party_protocol()
                .session()
                .call_start(&mut store, &wit_roster, &wit_task)
                .await
                .map_err(|error| SessionErrorKind::from_wasmtime(&error))?;
            store.data_mut().calls.wipe_given_secrets();
            let session = answer.map_err(|failure| output::check_failure(failure, &validator))?;
            Ok(Box::new(Instance { store, bindings, session, validator, idle_steps: 0 }))
        })
        .await;
        match started {
            Ok(instance) => Ok(ComponentSession { plugin, me, priority, deadline, instance }),
            Err(kind) => Err(plugin.error(me, kind)),
        }
    }
}

impl ComponentSession {
    /// Hands over what has arrived and computes as far as that allows. After an error the session is gone, its
    /// memory wiped.
    ///
    /// # Errors
    /// See [`SessionErrorKind`].
    pub async fn step(self, incoming: Vec<Message>) -> Result<Step, SessionError> {
        let Self { plugin, me, priority, deadline, instance } = self;
        let runtime = plugin.runtime.clone();
        let work = async move { instance.step(incoming, &runtime).await };
        let stepped = on_executor(&plugin, priority, deadline, work).await;
        let (outgoing, next) = stepped.map_err(|kind| plugin.error(me, kind))?;
        let again = matches!(next, NextStep::Again(_));
        let progress = match next {
            NextStep::Done(outcome, staged) => Progress::Done { outcome, staged },
            NextStep::Waiting(instance) | NextStep::Again(instance) => {
                let session = Self { plugin, me, priority, deadline, instance };
                if again { Progress::Again(session) } else { Progress::Waiting(session) }
            }
        };
        Ok(Step { outgoing, progress })
    }
}

/// The state after one step.
enum NextStep {
    Waiting(Box<Instance>),
    Again(Box<Instance>),
    Done(ComponentOutcome, Staged),
}

impl Instance {
    /// One step, all of it on an executor thread: the output is in wiping buffers, and a store that is no longer needed
    /// is wiped, before anything leaves that thread.
    async fn step(
        mut self: Box<Self>,
        incoming: Vec<Message>,
        runtime: &Runtime,
    ) -> Result<(Vec<OutgoingMessage>, NextStep), SessionErrorKind> {
        let nothing_arrived = incoming.is_empty();
        let incoming = Arriving::new(incoming);
        let before = self.store.get_fuel().unwrap_or(0);
        let answer = self
            .bindings
            .quorate_party_protocol()
            .session()
            .call_step(&mut self.store, self.session, &incoming.0)
            .await;
        runtime.add_instructions(before.saturating_sub(self.store.get_fuel().unwrap_or(0)));
        let answer = answer.map_err(|error| SessionErrorKind::from_wasmtime(&error))?;
        drop(incoming);
        self.store.data_mut().calls.wipe_given_secrets();
        let progress = answer.map_err(|failure| output::check_failure(failure, &self.validator))?;
        let (outgoing, state) = self.validator.check(progress)?;
        let next = match state {
            OutputState::Done(outcome) => {
                let staged = std::mem::take(&mut self.store.data_mut().vault.staged);
                let staged = self.validator.check_staged(&outcome, staged)?;
                NextStep::Done(outcome, staged)
            }
            OutputState::Waiting => {
                self.idle_steps = 0;
                NextStep::Waiting(self)
            }
            OutputState::Again => {
                self.idle_steps = if nothing_arrived { self.idle_steps + 1 } else { 0 };
                if self.idle_steps > limits::MAX_IDLE_STEPS {
                    let what = "it asks for step after step without end";
                    return Err(Misbehaviour::InvalidOutput(what.into()).into());
                }
                NextStep::Again(self)
            }
        };
        Ok((outgoing, next))
    }
}

/// Runs sandbox work on its pool until it is done or the deadline has passed.
async fn on_executor<T: Send + 'static>(
    plugin: &PluginState,
    priority: Priority,
    deadline: Instant,
    work: impl Future<Output = Result<T, SessionErrorKind>> + Send + 'static,
) -> Result<T, SessionErrorKind> {
    let within = plugin.runtime.executor(priority).run(async move {
        tokio::time::timeout_at(deadline.into(), work).await.unwrap_or(Err(SessionErrorKind::Deadline))
    });
    // From outside too: a thread that is busy can't look at its own clock.
    match tokio::time::timeout_at((deadline + limits::DEADLINE_GRACE_PERIOD).into(), within).await {
        Ok(Some(done)) => done,
        Ok(None) => Err(SessionErrorKind::Host("a sandbox thread was stopped".into())),
        Err(_) => Err(SessionErrorKind::Deadline),
    }
}

/// Instantiating runs hardly any code of the component: a trap in it is the component's, anything else that is not a
/// limit is ours (no memory, no stack).
fn instantiation_failed(error: &wasmtime::Error) -> SessionErrorKind {
    match SessionErrorKind::from_wasmtime(error) {
        SessionErrorKind::Misbehaviour(Misbehaviour::Trap(text)) => {
            if error.is::<wasmtime::Trap>() {
                Misbehaviour::Instantiation(text).into()
            } else {
                SessionErrorKind::Host(text)
            }
        }
        other => other,
    }
}

impl PluginState {
    fn error(&self, party: PartyIndex, kind: SessionErrorKind) -> SessionError {
        SessionError { plugin: self.descriptor.id.clone(), digest: self.digest, party, kind }
    }
}
