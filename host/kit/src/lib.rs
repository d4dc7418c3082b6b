//! All parties of a key as sandboxed sessions in one process, with an honest network between them: what tests and
//! benchmarks run a component with.
//!
//! A test tool: it panics where a test should fail.
//!
//! Architecture invariant: the kit knows the runtime and nothing above it: no store, no network, no role.
#![allow(clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future::join_all;
use quorate_core::certificate::KeyOutputs;
use quorate_core::codec::Bytes;
use quorate_core::envelope::PayloadKind;
use quorate_core::order::{HashFunction, SignItem};
use quorate_core::session::{Message, Place, To};
use quorate_core::{ExecutionId, GroupId, PartyIndex, Threshold};
use quorate_runtime::capabilities::vault::{EntryName, Pool, Snapshot, Taking, VaultEntries};
use quorate_runtime::{
    Capabilities, ComponentOutcome, ComponentSession, OutgoingMessage, Plugin, Progress, RepairTask, Roster,
    SessionError, SessionSpec, Step, Task,
};

/// A message on its way to one party.
pub struct Hop {
    /// The receiver.
    pub to: u16,
    /// The message that arrives.
    pub message: Message,
}

/// How one party's session ended.
pub type KitResult = Result<ComponentOutcome, SessionError>;

/// The n parties of a key.
pub struct Parties {
    threshold: Threshold,
    vaults: BTreeMap<PartyIndex, Vault>,
    /// Steps one party after the other, for measurements on an otherwise idle machine.
    pub one_at_a_time: bool,
}

#[derive(Default)]
struct Vault {
    kept: VaultEntries,
    pool: MemoryPool,
}

/// Single-use material in memory.
#[derive(Clone, Default)]
struct MemoryPool(Arc<Mutex<VaultEntries>>);

impl Pool for MemoryPool {
    fn take(&self, name: EntryName) -> Taking {
        let taken = self.0.lock().expect("no test panics with the lock").remove(&name);
        Box::pin(std::future::ready(Ok(taken)))
    }
}

/// Party index `n`.
///
/// # Panics
/// For 0.
#[must_use]
pub fn party(n: u16) -> PartyIndex {
    PartyIndex::try_from(n).expect("a test names parties from 1")
}

/// A message that is to be signed as it is, with the account's own key.
#[must_use]
pub fn message(message: Vec<u8>) -> SignItem {
    SignItem {
        message: Bytes(message),
        hash: HashFunction::None,
        path: vec![],
        merkle_root: None,
        presignatures: false,
    }
}

/// 32 random bytes.
///
/// # Panics
/// When the operating system has none.
#[must_use]
pub fn random32() -> [u8; 32] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the operating system has randomness");
    bytes
}

impl Parties {
    /// `required` of `parties`, with empty vaults.
    ///
    /// # Panics
    /// When that is no threshold.
    #[must_use]
    pub fn new(required: u16, parties: u16) -> Self {
        Self {
            threshold: Threshold::new(required, parties).expect("the test's threshold is valid"),
            vaults: PartyIndex::all(parties).map(|p| (p, Vault::default())).collect(),
            one_at_a_time: false,
        }
    }

    /// All indices.
    #[must_use]
    pub fn all(&self) -> Vec<u16> {
        self.vaults.keys().map(|p| p.number()).collect()
    }

    /// The stored entries of a party.
    pub fn kept(&mut self, index: u16) -> &mut VaultEntries {
        &mut self.vaults.get_mut(&party(index)).expect("a party of the key").kept
    }

    /// Takes from parties all that they have, and has t of the others repair their shares of a key.
    ///
    /// # Panics
    /// When a party fails, or too few are left.
    pub async fn repair(&mut self, plugin: &Plugin, outputs: &KeyOutputs, lost: &[u16]) -> KeyOutputs {
        for &party in lost {
            self.kept(party).clear();
        }
        let all = self.all();
        let others = all.iter().filter(|index| !lost.contains(index)).copied();
        let task = Task::Repair(RepairTask {
            targets: lost.iter().copied().map(party).collect(),
            helpers: others.map(party).take(self.threshold.required().into()).collect(),
            outputs: outputs.clone(),
        });
        match self.run(plugin, &all, &task).await {
            ComponentOutcome::Repaired(key) => key.outputs,
            other => panic!("a repair ended as {other:?}"),
        }
    }

    /// Runs a session at all signers; all end with the same outcome.
    ///
    /// # Panics
    /// When one fails, or outcomes differ.
    pub async fn run(&mut self, plugin: &Plugin, signers: &[u16], task: &Task) -> ComponentOutcome {
        let ended = self.try_run(plugin, signers, task).await;
        let mut outcomes = ended.into_values().map(|e| e.unwrap_or_else(|e| panic!("{e}")));
        let first = outcomes.next().expect("a session has signers");
        assert!(outcomes.all(|o| o == first), "outcomes differ");
        first
    }

    /// Runs a session at all signers, each until it is done, has failed, or waits for what never comes (which is
    /// left out of the result).
    pub async fn try_run(
        &mut self,
        plugin: &Plugin,
        signers: &[u16],
        task: &Task,
    ) -> BTreeMap<u16, KitResult> {
        self.try_run_with(plugin, signers, task, Some).await
    }

    /// Does the same over a network that passes every message through `bend`, which may change it or drop it.
    pub async fn try_run_with(
        &mut self,
        plugin: &Plugin,
        signers: &[u16],
        task: &Task,
        mut bend: impl FnMut(Hop) -> Option<Hop>,
    ) -> BTreeMap<u16, KitResult> {
        let execution_id = ExecutionId(random32());
        let deadline = Instant::now() + Duration::from_secs(600);
        let mut ended = BTreeMap::new();
        let mut due = Vec::new();
        let mut waiting: BTreeMap<u16, ComponentSession> = BTreeMap::new();
        for &me in signers {
            let roster = Roster {
                me: party(me),
                signers: signers.iter().map(|&s| party(s)).collect(),
                threshold: self.threshold,
                group_id: GroupId([7; 32]),
                execution_id,
            };
            let capabilities = self.vaults[&party(me)].capabilities();
            match plugin
                .start(SessionSpec { roster, task: task.clone(), capabilities, memory: None, deadline })
                .await
            {
                Ok(session) => due.push((me, session, Vec::new())),
                Err(error) => drop(ended.insert(me, Err(error))),
            }
        }
        let mut queues: BTreeMap<u16, Vec<Message>> = BTreeMap::new();
        while !due.is_empty() {
            for (me, step) in self.step_all(std::mem::take(&mut due)).await {
                let step = match step {
                    Ok(step) => step,
                    Err(error) => {
                        ended.insert(me, Err(error));
                        continue;
                    }
                };
                let hops = step.outgoing.into_iter().flat_map(|message| hops(me, signers, message));
                for Hop { to, message } in hops.filter_map(&mut bend) {
                    queues.entry(to).or_default().push(message);
                }
                match step.progress {
                    Progress::Waiting(session) => drop(waiting.insert(me, session)),
                    Progress::Again(session) => {
                        let incoming = queues.remove(&me).unwrap_or_default();
                        due.push((me, session, incoming));
                    }
                    Progress::Done { outcome, mut staged } => {
                        let vault = self.vaults.get_mut(&party(me)).expect("a party of the key");
                        vault.kept.append(&mut staged.puts);
                        vault.pool.0.lock().expect("no test panics with the lock").append(&mut staged.stocks);
                        ended.insert(me, Ok(outcome));
                    }
                }
            }
            for me in queues.keys().copied().collect::<Vec<_>>() {
                if let Some(session) = waiting.remove(&me) {
                    due.push((me, session, queues.remove(&me).unwrap_or_default()));
                }
            }
        }
        ended
    }

    /// Steps sessions with their incoming messages, all at once or one after the other.
    async fn step_all(
        &self,
        due: Vec<(u16, ComponentSession, Vec<Message>)>,
    ) -> Vec<(u16, Result<Step, SessionError>)> {
        let steps =
            due.into_iter().map(|(me, session, incoming)| async move { (me, session.step(incoming).await) });
        if !self.one_at_a_time {
            return join_all(steps).await;
        }
        let mut all = Vec::new();
        for step in steps {
            all.push(step.await);
        }
        all
    }
}

impl Vault {
    fn capabilities(&self) -> Capabilities {
        let pooled = self.pool.0.lock().expect("no test panics with the lock").keys().cloned().collect();
        Capabilities {
            vault: Snapshot { kept: self.kept.clone(), pooled },
            pool: Arc::new(self.pool.clone()),
            ..Capabilities::without_backends()
        }
    }
}

/// The message as it goes to each of its receivers.
fn hops(from: u16, signers: &[u16], message: OutgoingMessage) -> Vec<Hop> {
    let others = || signers.iter().copied().filter(|&s| s != from).collect::<Vec<_>>();
    let (receivers, kind) = match message.to {
        To::Party(to) => (vec![to.number()], PayloadKind::PointToPoint),
        To::Broadcast => (others(), PayloadKind::Broadcast),
        To::ReliableBroadcast => (others(), PayloadKind::ReliableBroadcast),
    };
    let (round, from) = (message.round, party(from));
    receivers
        .into_iter()
        .map(|to| {
            let payload = message.payload.clone();
            Hop { to, message: Message { round, from, kind, payload, place: Place::none() } }
        })
        .collect()
}
