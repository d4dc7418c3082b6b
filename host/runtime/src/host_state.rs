//! The host's state of one session while its component runs: the state of each capability, and the rest of its limits.

use std::time::{Duration, Instant};

use quorate_core::PartyIndex;
use wasmtime::{Engine, ResourceLimiter, Store, UpdateDeadline};

use crate::capabilities::Capabilities;
use crate::capabilities::bus::BusState;
use crate::capabilities::cache::CacheState;
use crate::capabilities::entropy::EntropyState;
use crate::capabilities::hash::HashState;
use crate::capabilities::log::LogState;
use crate::capabilities::vault::VaultState;
use crate::codes::PluginCodes;
use crate::error::{Misbehaviour, Stop};
use crate::host_calls::HostCalls;
use crate::limits;
use crate::memory_budget::SessionMemory;
use crate::task::TaskKind;

/// The host's state of one session.
pub(crate) struct HostState {
    pub(crate) vault: VaultState,
    pub(crate) cache: CacheState,
    pub(crate) bus: BusState,
    pub(crate) entropy: EntropyState,
    pub(crate) hash: HashState,
    pub(crate) log: LogState,
    pub(crate) calls: HostCalls,
    memory: SessionMemory,
    memory_bytes: usize,
}

impl HostState {
    pub(crate) fn new(
        plugin: &str,
        codes: PluginCodes,
        party: PartyIndex,
        task: TaskKind,
        capabilities: Capabilities,
        memory: SessionMemory,
        deadline: Instant,
    ) -> Self {
        let Capabilities { vault, pool, cache, bus, entropy, texts } = capabilities;
        Self {
            vault: VaultState::new(vault, pool, task),
            cache: CacheState::new(cache),
            bus: BusState::new(bus, codes.clone()),
            entropy: EntropyState::new(entropy),
            hash: HashState::default(),
            log: LogState::new(texts, codes, plugin, party),
            calls: HostCalls::new(deadline),
            memory,
            memory_bytes: 0,
        }
    }

    /// A store with every limit set, and `cpu` to spend.
    pub(crate) fn into_store(self, engine: &Engine, cpu: Duration) -> Store<Self> {
        let mut ticks = 0;
        let mut store = Store::new(engine, self);
        store.limiter(|state| state);
        store.set_hostcall_fuel(limits::MAX_HOST_CALL_BYTES);
        store.set_max_component_handles(limits::MAX_COMPONENT_HANDLES);
        // Fails where instructions are not counted.
        let _ = store.set_fuel(u64::MAX);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(move |store| {
            store.data().calls.stop_at_deadline()?;
            ticks += 1;
            // Ticks count most of this time already. It is added because a tick that comes during a host call is noticed after it, and two
            // as one: rather too much than too little.
            if limits::EPOCH_TICK_INTERVAL * ticks + store.data().hash.cpu_time() > cpu {
                return Err(Misbehaviour::CpuTime(cpu).into());
            }
            Ok(UpdateDeadline::Yield(1))
        });
        store
    }
}

/// The part of a session that a host call sees: the state of its own capability, and the count of all host calls.
pub(crate) struct HostCall<'a, C> {
    pub(crate) calls: &'a mut HostCalls,
    pub(crate) capability: &'a mut C,
}

/// The state of a session in which a capability has its own part.
pub(crate) trait Provides<C>: Send + 'static {
    /// The part of the state that a call of this capability sees.
    fn host_call(&mut self) -> HostCall<'_, C>;
}

/// Gives each capability its own field of [`HostState`] and no other.
macro_rules! provides {
    ($($field:ident: $state:ty),+ $(,)?) => {
        $(impl Provides<$state> for HostState {
            fn host_call(&mut self) -> HostCall<'_, $state> {
                HostCall { calls: &mut self.calls, capability: &mut self.$field }
            }
        })+
    };
}

provides! {
    vault: VaultState,
    cache: CacheState,
    bus: BusState,
    entropy: EntropyState,
    hash: HashState,
    log: LogState,
}

impl ResourceLimiter for HostState {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.memory_bytes.saturating_add(desired.saturating_sub(current));
        let limit = self.memory.bytes();
        if total > limit {
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
        if desired > limits::MAX_TABLE_ELEMENTS {
            let limit = limits::MAX_TABLE_ELEMENTS;
            return Err(Misbehaviour::Memory { resource: "table elements", limit }.into());
        }
        Ok(true)
    }

    fn instances(&self) -> usize {
        limits::MAX_CORE_INSTANCES
    }

    fn tables(&self) -> usize {
        limits::MAX_TABLES
    }

    fn memories(&self) -> usize {
        limits::MAX_MEMORIES
    }
}
