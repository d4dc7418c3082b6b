//! A running session: one instance, in one store, stepped until it is done.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate_core::{ExecutionId, GroupId, PartyIndex, Threshold};
use wasmtime::component::ResourceAny;
use wasmtime::{Engine, ResourceLimiter, Store, UpdateDeadline};
use zeroize::{Zeroize, Zeroizing};

use crate::bindings::{Plugin as Bindings, exports::quorate::party::protocol as wit};
use crate::capabilities::Capabilities;
use crate::capabilities::vault::Staged;
use crate::error::{Misbehaviour, SessionError, SessionErrorKind, Stop};
use crate::executor::Priority;
use crate::limits;
use crate::output::{self, Delivery, Expected, Outcome, Outgoing, State};
use crate::plugin::{Inner, Plugin};
use crate::secret::Lent;

/// Who takes part.
#[derive(Clone, Debug)]
pub struct Roster {
    /// This party, one of `signers`.
    pub me: PartyIndex,
    /// Ascending and unique.
    pub signers: Vec<PartyIndex>,
    /// t of n.
    pub threshold: Threshold,
    /// What material of this group is kept under.
    pub group_id: GroupId,
    /// Never repeats.
    pub execution_id: ExecutionId,
}

/// What the session is to do.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Task {
    Keygen { scheme: String },
    Sign(SignTask),
    Presign { count: u16 },
    Refresh,
    Repair { lost: PartyIndex },
    Auxiliary,
    Prepare { items: u16 },
}

impl Task {
    /// Whether somebody waits for it.
    #[must_use]
    pub fn priority(&self) -> Priority {
        match self {
            Self::Keygen { .. } | Self::Sign(_) | Self::Refresh | Self::Repair { .. } => {
                Priority::Interactive
            }
            Self::Presign { .. } | Self::Auxiliary | Self::Prepare { .. } => Priority::Background,
        }
    }

    fn kind(&self) -> TaskKind {
        match self {
            Self::Keygen { scheme } => TaskKind::Keygen { scheme: scheme.clone() },
            Self::Sign(task) => TaskKind::Sign { presignature: task.presignature.clone() },
            Self::Presign { count } => TaskKind::Presign { at_most: *count },
            Self::Refresh => TaskKind::Refresh,
            Self::Repair { .. } => TaskKind::Repair,
            Self::Auxiliary => TaskKind::Auxiliary,
            Self::Prepare { .. } => TaskKind::Prepare,
        }
    }
}

/// What is left of a task once it runs: enough to know its outcome.
#[derive(Clone)]
pub(crate) enum TaskKind {
    Keygen { scheme: String },
    Sign { presignature: Option<String> },
    Presign { at_most: u16 },
    Refresh,
    Repair,
    Auxiliary,
    Prepare,
}

/// What is to be signed, and with which child of the key.
#[derive(Clone, Debug)]
pub struct SignTask {
    /// Name of the signature scheme.
    pub scheme: String,
    /// A digest or a message, by `hash`.
    pub message: Vec<u8>,
    /// How the message becomes a digest.
    pub hash: HashFunction,
    /// BIP-32 child numbers, all below 2³¹.
    pub path: Vec<u32>,
    /// Additive shift (Taproot).
    pub tweak: Option<[u8; 32]>,
    /// Name of the presignature to take.
    pub presignature: Option<String>,
}

/// How a message becomes a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum HashFunction {
    None,
    Keccak256,
    Sha256,
    Sha256d,
}

/// A message from a peer, authenticated by the caller. Wiped when dropped.
#[derive(Clone)]
pub struct Incoming {
    /// The sender's round.
    pub round: u16,
    /// Who sent it.
    pub from: PartyIndex,
    /// How it travelled.
    pub delivery: Delivery,
    /// The message.
    pub payload: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { round, from, delivery, payload } = self;
        write!(f, "Incoming(round {round}, from {from}, {delivery:?}, {} bytes)", payload.len())
    }
}

/// A peer that broke the protocol, by the component's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Who; empty where the protocol can't tell. Peers only.
    pub culprits: Vec<PartyIndex>,
    /// Never work with the culprits on this key again.
    pub ban: bool,
    /// What they did.
    pub reason: String,
}

/// A session to start.
pub struct SessionSpec {
    /// Who takes part.
    pub roster: Roster,
    /// What to do.
    pub task: Task,
    /// What stands behind the capabilities.
    pub capabilities: Capabilities,
    /// When the component is stopped, whatever it does.
    pub deadline: Instant,
}

/// A session that waits to be stepped. Dropping it ends it and wipes its memory.
pub struct Session {
    plugin: Arc<Inner>,
    me: PartyIndex,
    priority: Priority,
    deadline: Instant,
    running: Box<Running>,
}

/// What moves to an executor thread and back.
struct Running {
    store: Store<HostState>,
    bindings: Bindings,
    session: ResourceAny,
    expected: Expected,
    idle_steps: u32,
}

/// What one step gave.
#[derive(Debug)]
pub struct Step {
    /// Messages to send now.
    pub outgoing: Vec<Outgoing>,
    /// What comes next.
    pub progress: Progress,
}

/// What comes after a step.
pub enum Progress {
    /// Step again when something has arrived.
    Waiting(Session),
    /// Step again at once.
    Again(Session),
    /// The session is over; commit what it staged together with its outcome.
    Done {
        /// How it ended.
        outcome: Outcome,
        /// What it wants kept.
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
    pub async fn start(&self, spec: SessionSpec) -> Result<Session, SessionError> {
        let SessionSpec { roster, task, capabilities, deadline } = spec;
        let plugin = Arc::clone(&self.inner);
        let (kind, priority) = (task.kind(), task.priority());
        let cpu = match priority {
            Priority::Interactive => limits::INTERACTIVE_CPU,
            Priority::Background => limits::BACKGROUND_CPU,
        };
        let me = roster.me;
        let state = HostState::new(&plugin.descriptor.id, me, kind.clone(), capabilities, deadline);
        let (ready, engine) = (plugin.ready.clone(), plugin.runtime.engine().clone());
        let (wit_roster, wit_task) = (roster.to_wit(), task.into_wit());
        let expected = Expected::new(roster, kind, &plugin.descriptor);
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
            store.data_mut().lent.clear();
            let session = answer.map_err(|failure| output::check_failure(failure, &expected.roster))?;
            Ok(Box::new(Running { store, bindings, session, expected, idle_steps: 0 }))
        })
        .await;
        match started {
            Ok(running) => Ok(Session { plugin, me, priority, deadline, running }),
            Err(kind) => Err(plugin.error(me, kind)),
        }
    }
}

impl Session {
    /// Hands over what has arrived and computes as far as that allows. After an error the session is gone, its
    /// memory wiped.
    ///
    /// # Errors
    /// See [`SessionErrorKind`].
    pub async fn step(self, incoming: Vec<Incoming>) -> Result<Step, SessionError> {
        let Self { plugin, me, priority, deadline, running } = self;
        let stepped = on_executor(&plugin, priority, deadline, running.step(incoming)).await;
        let (outgoing, next) = stepped.map_err(|kind| plugin.error(me, kind))?;
        let again = matches!(next, Next::Again(_));
        let progress = match next {
            Next::Done(outcome, staged) => Progress::Done { outcome, staged },
            Next::Waiting(running) | Next::Again(running) => {
                let session = Self { plugin, me, priority, deadline, running };
                if again { Progress::Again(session) } else { Progress::Waiting(session) }
            }
        };
        Ok(Step { outgoing, progress })
    }
}

/// What one step left.
enum Next {
    Waiting(Box<Running>),
    Again(Box<Running>),
    Done(Outcome, Staged),
}

impl Running {
    /// One step, all of it on an executor thread: the output is in wiping buffers, and a store that is no longer needed
    /// is wiped, before anything leaves that thread.
    async fn step(
        mut self: Box<Self>,
        incoming: Vec<Incoming>,
    ) -> Result<(Vec<Outgoing>, Next), SessionErrorKind> {
        let nothing_arrived = incoming.is_empty();
        let incoming = Arriving::new(incoming);
        let answer = self
            .bindings
            .quorate_party_protocol()
            .session()
            .call_step(&mut self.store, self.session, &incoming.0)
            .await
            .map_err(|error| SessionErrorKind::from_wasmtime(&error))?;
        drop(incoming);
        self.store.data_mut().lent.clear();
        let progress = answer.map_err(|failure| output::check_failure(failure, &self.expected.roster))?;
        let (outgoing, state) = self.expected.check(progress)?;
        let next = match state {
            State::Done(outcome) => {
                let staged = std::mem::take(&mut self.store.data_mut().staged);
                let staged = self.expected.check_staged(&outcome, staged)?;
                Next::Done(outcome, staged)
            }
            State::Waiting => {
                self.idle_steps = 0;
                Next::Waiting(self)
            }
            State::Again => {
                self.idle_steps = if nothing_arrived { self.idle_steps + 1 } else { 0 };
                if self.idle_steps > limits::IDLE_STEPS {
                    let what = "it asks for step after step without end";
                    return Err(Misbehaviour::InvalidOutput(what.into()).into());
                }
                Next::Again(self)
            }
        };
        Ok((outgoing, next))
    }
}

/// Runs sandbox work on its pool until it is done or the deadline has passed.
async fn on_executor<T: Send + 'static>(
    plugin: &Inner,
    priority: Priority,
    deadline: Instant,
    work: impl Future<Output = Result<T, SessionErrorKind>> + Send + 'static,
) -> Result<T, SessionErrorKind> {
    let within = plugin.runtime.executor(priority).run(async move {
        tokio::time::timeout_at(deadline.into(), work).await.unwrap_or(Err(SessionErrorKind::Deadline))
    });
    // From outside too: a thread that is busy can't look at its own clock.
    match tokio::time::timeout_at((deadline + limits::DEADLINE_GRACE).into(), within).await {
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

/// Incoming messages on their way into the guest, wiped once it has its own copy.
struct Arriving(Vec<wit::Incoming>);

impl Arriving {
    fn new(incoming: Vec<Incoming>) -> Self {
        let messages = incoming.into_iter().map(|mut message| wit::Incoming {
            round: message.round,
            from: message.from.number(),
            kind: match message.delivery {
                Delivery::PointToPoint => wit::Delivery::PointToPoint,
                Delivery::Broadcast => wit::Delivery::Broadcast,
                Delivery::ReliableBroadcast => wit::Delivery::ReliableBroadcast,
            },
            payload: std::mem::take(&mut *message.payload),
        });
        Self(messages.collect())
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(|message| message.payload.zeroize());
    }
}

impl Inner {
    fn error(&self, party: PartyIndex, kind: SessionErrorKind) -> SessionError {
        SessionError { plugin: self.descriptor.id.clone(), digest: self.digest, party, kind }
    }
}

impl Roster {
    fn to_wit(&self) -> wit::Roster {
        wit::Roster {
            me: self.me.number(),
            signers: self.signers.iter().map(|s| s.number()).collect(),
            parties: self.threshold.parties(),
            threshold: self.threshold.required(),
            group_id: self.group_id.as_bytes().to_vec(),
            execution_id: self.execution_id.as_bytes().to_vec(),
        }
    }
}

impl Task {
    fn into_wit(self) -> wit::Task {
        match self {
            Self::Keygen { scheme } => wit::Task::Keygen(wit::Keygen { scheme }),
            Self::Sign(sign) => wit::Task::Sign(wit::Sign {
                scheme: sign.scheme,
                message: sign.message,
                hash: match sign.hash {
                    HashFunction::None => wit::HashFunction::None,
                    HashFunction::Keccak256 => wit::HashFunction::Keccak256,
                    HashFunction::Sha256 => wit::HashFunction::Sha256,
                    HashFunction::Sha256d => wit::HashFunction::Sha256d,
                },
                path: sign.path,
                tweak: sign.tweak.map(|t| t.to_vec()),
                presignature: sign.presignature,
            }),
            Self::Presign { count } => wit::Task::Presign(count),
            Self::Refresh => wit::Task::Refresh,
            Self::Repair { lost } => wit::Task::Repair(lost.number()),
            Self::Auxiliary => wit::Task::Auxiliary,
            Self::Prepare { items } => wit::Task::Prepare(wit::Budget { items }),
        }
    }
}

/// What the host keeps of one session.
pub(crate) struct HostState {
    pub(crate) plugin: String,
    pub(crate) party: PartyIndex,
    pub(crate) capabilities: Capabilities,
    pub(crate) task: TaskKind,
    pub(crate) staged: Staged,
    /// Secrets that the guest is being given: held until the step is over, so that the last handle is one that
    /// wipes.
    pub(crate) lent: Vec<Lent>,
    pub(crate) entropy_bytes: usize,
    pub(crate) log_lines: u32,
    pub(crate) events: u32,
    pub(crate) cache_sets: u32,
    deadline: Instant,
    host_calls: u32,
    host_call_bytes: usize,
    memory_bytes: usize,
}

impl HostState {
    pub(crate) fn new(
        plugin: &str,
        party: PartyIndex,
        task: TaskKind,
        capabilities: Capabilities,
        deadline: Instant,
    ) -> Self {
        Self {
            plugin: plugin.into(),
            party,
            task,
            capabilities,
            staged: Staged::default(),
            lent: Vec::new(),
            entropy_bytes: 0,
            log_lines: 0,
            events: 0,
            cache_sets: 0,
            deadline,
            host_calls: 0,
            host_call_bytes: 0,
            memory_bytes: 0,
        }
    }

    /// Begins every capability call: counts it and what it carries, and ends the session at its deadline. No tick comes
    /// during host calls, so a component that only makes them would see no other end.
    pub(crate) fn charge(&mut self, bytes: usize) -> wasmtime::Result<()> {
        self.host_calls = self.host_calls.saturating_add(1);
        self.host_call_bytes = self.host_call_bytes.saturating_add(bytes);
        if self.host_calls > limits::HOST_CALLS || self.host_call_bytes > limits::HOST_CALL_TOTAL_BYTES {
            return Err(Misbehaviour::Quota("capability calls").into());
        }
        self.stop_at_deadline()
    }

    fn stop_at_deadline(&self) -> wasmtime::Result<()> {
        if Instant::now() >= self.deadline { Err(Stop::Deadline.into()) } else { Ok(()) }
    }

    /// Lends a secret to the guest: the handle returned is for wasmtime to copy from and drop.
    pub(crate) fn lend(&mut self, secret: &[u8]) -> Arc<[u8]> {
        let lent = Lent::new(secret);
        let handle = lent.handle();
        self.lent.push(lent);
        handle
    }

    /// A store with every limit set, and `cpu` to spend.
    pub(crate) fn into_store(self, engine: &Engine, cpu: Duration) -> Store<Self> {
        let mut ticks = cpu.as_nanos() / limits::TICK.as_nanos();
        let mut store = Store::new(engine, self);
        store.limiter(|state| state);
        store.set_hostcall_fuel(limits::HOSTCALL_BYTES);
        store.set_max_component_handles(limits::COMPONENT_HANDLES);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(move |store| {
            store.data().stop_at_deadline()?;
            ticks = ticks.checked_sub(1).ok_or(Misbehaviour::CpuTime(cpu))?;
            Ok(UpdateDeadline::Yield(1))
        });
        store
    }
}

impl ResourceLimiter for HostState {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.memory_bytes.saturating_add(desired.saturating_sub(current));
        if total > limits::MEMORY_BYTES {
            let limit = limits::MEMORY_BYTES;
            return Err(Misbehaviour::Memory { resource: "bytes of memory", limit }.into());
        }
        self.memory_bytes = total;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        match error.downcast_ref::<rustix::io::Errno>() {
            // The guest would abort and be blamed for it.
            Some(errno) => Err(Stop::Host(format!("no more memory for the session: {errno}")).into()),
            // Beyond the maximum that the component declared itself.
            None => Ok(()),
        }
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        if desired > limits::TABLE_ELEMENTS {
            let limit = limits::TABLE_ELEMENTS;
            return Err(Misbehaviour::Memory { resource: "table elements", limit }.into());
        }
        Ok(true)
    }

    fn instances(&self) -> usize {
        limits::CORE_INSTANCES
    }

    fn tables(&self) -> usize {
        limits::TABLES
    }

    fn memories(&self) -> usize {
        limits::MEMORIES
    }
}
