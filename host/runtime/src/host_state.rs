//! The host's state of one session while its component runs: the state of each capability, and the rest of its limits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate_core::PartyIndex;
use wasmtime::{Engine, ResourceLimiter, Store, UpdateDeadline};

use crate::capabilities::Capabilities;
use crate::capabilities::bus::BusState;
use crate::capabilities::cache::CacheState;
use crate::capabilities::entropy::EntropyState;
use crate::capabilities::log::LogState;
use crate::capabilities::vault::VaultState;
use crate::error::{Misbehaviour, Stop};
use crate::limits;
use crate::secret::GuestSecret;
use crate::task::TaskKind;

/// The host's state of one session.
pub(crate) struct HostState {
    pub(crate) vault: VaultState,
    pub(crate) cache: CacheState,
    pub(crate) bus: BusState,
    pub(crate) entropy: EntropyState,
    pub(crate) log: LogState,
    /// Secrets that the guest is being given: held until the step is over, so that the last handle is one that
    /// wipes.
    guest_secrets: Vec<GuestSecret>,
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
        let Capabilities { vault, pool, cache, bus, entropy, log } = capabilities;
        Self {
            vault: VaultState::new(vault, pool, task),
            cache: CacheState::new(cache),
            bus: BusState::new(bus),
            entropy: EntropyState::new(entropy),
            log: LogState::new(log, plugin, party),
            guest_secrets: Vec::new(),
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

    /// Gives a secret to the guest: the handle returned is for wasmtime to copy from and drop.
    pub(crate) fn give(&mut self, secret: &[u8]) -> Arc<[u8]> {
        let given = GuestSecret::new(secret);
        let handle = given.handle();
        self.guest_secrets.push(given);
        handle
    }

    /// Wipes the secrets that the guest was given: it has its own copies by now.
    pub(crate) fn wipe_given_secrets(&mut self) {
        self.guest_secrets.clear();
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
