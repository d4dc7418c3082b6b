//! The compiler and its configuration, the tick, and the thread pools.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wasmtime::{Config, Engine};

use crate::compile_cache::CompileCache;
use crate::executor::{Executor, Priority};
use crate::limits;
use crate::memory_budget::MemoryBudget;
use crate::ticker::Ticker;
use crate::unchecked::WipedMemories;

/// How many threads, and where compiled code is kept.
#[derive(Debug, Default)]
pub struct RuntimeConfig {
    /// Threads for what a caller waits for. 0: one per core.
    pub interactive_threads: usize,
    /// Threads for what is made ahead of time. 0: one.
    pub background_threads: usize,
    /// Bytes of linear memory for all sessions together. 0: [`limits::DEFAULT_SANDBOX_MEMORY_BYTES`].
    pub memory_bytes: usize,
    /// Where compiled code is kept; `None` compiles anew at every load.
    pub compile_cache: Option<CompileCache>,
    /// Whether the instructions of components are counted ([`Runtime::instructions`]), for tests and measurements. Components run about a
    /// tenth slower.
    pub count_instructions: bool,
}

/// The sandbox: compiles components and runs their sessions. Cheap to clone; the last clone stops the threads.
#[derive(Clone)]
pub struct Runtime {
    inner: Arc<EngineState>,
}

struct EngineState {
    engine: Engine,
    interactive: Executor,
    background: Executor,
    memory: MemoryBudget,
    compile_cache: Option<CompileCache>,
    instructions: AtomicU64,
}

impl Runtime {
    /// Starts the thread pools and the tick.
    ///
    /// # Errors
    /// When the operating system gives no threads, or this machine can't run compiled WebAssembly.
    pub fn new(config: RuntimeConfig) -> std::io::Result<Self> {
        let engine = Engine::new(engine_config().consume_fuel(config.count_instructions))
            .map_err(std::io::Error::other)?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let interactive = match config.interactive_threads {
            0 => cores,
            threads => threads,
        };
        let background = config.background_threads.max(1);
        let ticker = Arc::new(Ticker::start(engine.clone())?);
        let executor = |name, threads, priority| Executor::new(name, threads, priority, Arc::clone(&ticker));
        Ok(Self {
            inner: Arc::new(EngineState {
                interactive: executor("interactive", interactive, Priority::Interactive)?,
                background: executor("background", background, Priority::Background)?,
                memory: MemoryBudget::new(match config.memory_bytes {
                    0 => limits::DEFAULT_SANDBOX_MEMORY_BYTES,
                    bytes => bytes,
                }),
                compile_cache: config.compile_cache,
                instructions: AtomicU64::new(0),
                engine,
            }),
        })
    }

    /// CPU time spent inside the sandbox so far, both pools together: instantiating, running, and wiping.
    #[must_use]
    pub fn cpu_time(&self) -> Duration {
        self.inner.interactive.cpu_time() + self.inner.background.cpu_time()
    }

    /// Instructions that the sessions of all components have run in their steps so far; 0 where they are not counted.
    #[must_use]
    pub fn instructions(&self) -> u64 {
        self.inner.instructions.load(Ordering::Relaxed)
    }

    pub(crate) fn add_instructions(&self, instructions: u64) {
        self.inner.instructions.fetch_add(instructions, Ordering::Relaxed);
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    pub(crate) fn memory(&self) -> &MemoryBudget {
        &self.inner.memory
    }

    pub(crate) fn executor(&self, priority: Priority) -> &Executor {
        match priority {
            Priority::Interactive => &self.inner.interactive,
            Priority::Background => &self.inner.background,
        }
    }

    pub(crate) fn compile_cache(&self) -> Option<&CompileCache> {
        self.inner.compile_cache.as_ref()
    }
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Runtime")
    }
}

/// The features of WebAssembly that components may use, and how they run. All other features are off.
fn engine_config() -> Config {
    let mut config = Config::new();
    config
        // Interruption: fuel would cost 10 %, epochs cost 6 %. Fuel only counts, where that is asked for.
        .epoch_interruption(true)
        .max_wasm_stack(limits::WASM_STACK_BYTES)
        .async_stack_size(limits::ASYNC_STACK_BYTES)
        // Stacks are unmapped after each call, and the kernel zeroes pages before anybody gets them again.
        // Memory: ours, wiped, and never moving. Copy-on-write images can't be combined with it.
        .with_host_memory(Arc::new(WipedMemories::default()))
        .memory_init_cow(false)
        .memory_may_move(false)
        // Seven times faster secp256k1 (see BENCHMARKS.md).
        .wasm_wide_arithmetic(true)
        .wasm_simd(true)
        .wasm_relaxed_simd(false)
        .wasm_threads(false)
        .wasm_memory64(false)
        .wasm_tail_call(false)
        .wasm_gc(false)
        .gc_support(false)
        .wasm_function_references(false)
        .wasm_exceptions(false)
        // Traps are reported by code, not by guest addresses.
        .wasm_backtrace_max_frames(None)
        .generate_address_map(false);
    config
}
