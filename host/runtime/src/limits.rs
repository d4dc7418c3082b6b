//! The limits of a component. Each stands beside its reason; a breach ends the session with a
//! [`Misbehaviour`](crate::Misbehaviour) that names the limit.

use std::time::Duration;

/// Linear memory that a plugin may announce for one session. The largest known need is a DKLs23 refresh of 16 parties: 15 MB.
pub const MAX_MEMORY_BYTES: usize = 128 << 20;

/// Linear memory of all sessions of a process together, unless the operator sets another: 128 signings of DKLs23 by 3
/// parties, which is as many sessions as a party runs at a time, with 384 MiB.
pub const DEFAULT_SANDBOX_MEMORY_BYTES: usize = 512 << 20;

/// Linear memories of one session. Components that we know have one.
pub const MAX_MEMORIES: usize = 2;

/// Core instances inside a component: the module itself and the shims that wit-component puts around it.
pub const MAX_CORE_INSTANCES: usize = 16;

/// Tables, and elements in each: function tables of our plugins have about a thousand entries.
pub const MAX_TABLES: usize = 16;
/// See [`MAX_TABLES`].
pub const MAX_TABLE_ELEMENTS: usize = 100_000;

/// WebAssembly call stack. Protocol libraries recurse hardly at all; 1 MiB is wasmtime's own default doubled.
pub const WASM_STACK_BYTES: usize = 1 << 20;

/// The native stack that a session runs on: the WebAssembly stack and room for host functions.
pub const ASYNC_STACK_BYTES: usize = WASM_STACK_BYTES + (1 << 20);

/// Resource handles that a component may hold. One session handle is all that the contract needs.
pub const MAX_COMPONENT_HANDLES: usize = 16;

/// Bytes that a component may hand to the host in one call: a step's whole output at most. The most that is known is the second
/// round of the largest batches of DKLs23: some 160 pairs of item and peer, each with 55 kB.
pub const MAX_HOST_CALL_BYTES: usize = 16 << 20;

/// Calls of capabilities in one session. A search for safe primes draws randomness some ten thousand times.
pub const MAX_HOST_CALLS: u32 = 1_000_000;

/// Bytes that all calls of capabilities in one session may carry, both ways together. Calls are not interrupted by
/// ticks, so what they may copy is bounded by itself.
pub const MAX_HOST_CALL_TOTAL_BYTES: usize = 1 << 30;

/// How often running components are interrupted to yield and to be counted. Short enough that a signature waits
/// little behind another, long enough that interruptions cost nothing measurable.
pub const EPOCH_TICK_INTERVAL: Duration = Duration::from_millis(5);

/// CPU time of one interactive session (keygen, sign, refresh), counted in ticks while it runs. A keygen of 16
/// parties takes 5 s on an idle core; a tick also passes while the operating system runs something else.
pub const MAX_INTERACTIVE_CPU_TIME: Duration = Duration::from_secs(120);

/// CPU time of one background session (presign, auxiliary, prepare): safe primes take minutes in the sandbox.
pub const MAX_BACKGROUND_CPU_TIME: Duration = Duration::from_secs(3600);

/// Time in which a component must describe itself: it returns constants, and compares the host's `hash` with its own code.
pub const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long after its deadline a session that has not stopped by itself is given up on. It notices at its next tick or
/// capability call.
pub const DEADLINE_GRACE_PERIOD: Duration = Duration::from_secs(1);

/// The longest message that a plugin may announce. The longest that a known protocol sends is 143 kB.
pub const MAX_MESSAGE_BYTES: usize = 2 << 20;

/// The parts of a message of several items, but for its last one. The longest known, of 64 signatures of DKLs23, has four.
pub const MESSAGE_PART_BYTES: usize = 1 << 20;

/// All messages of one session. A keygen of 16 parties sends 15 × 143 kB in round 3. Of the batches of DKLs23 that fit
/// [`MAX_MEMORY_BYTES`], the largest have some 160 pairs of item and peer, each with 82 kB.
pub const MAX_SESSION_MESSAGE_BYTES: usize = 64 << 20;

/// Rounds of a session: a peer's session takes no message of a later one.
pub const MAX_ROUNDS: u16 = quorate_core::session::MAX_ROUNDS;

/// Steps in a row that end in `again` and that brought no message. A long computation that returns every 50 ms comes to
/// this many in 10 minutes.
pub const MAX_IDLE_STEPS: u32 = 12_000;

/// One vault value. The largest known is a DKLs23 share of 16 parties: 785 kB.
pub const MAX_VAULT_VALUE_BYTES: usize = 4 << 20;

/// Everything that one session may stage.
pub const MAX_VAULT_STAGED_BYTES: usize = 32 << 20;

/// Entries that one session may stage: a presigning session stocks one per presignature.
pub const MAX_VAULT_STAGED_ENTRIES: usize = 1_024;

/// Bytes from `entropy` in one call, as the contract says.
pub const MAX_ENTROPY_CALL_BYTES: usize = 65_536;

/// Bytes from `entropy` in one session. A keygen of 16 parties asks for less than 1 MiB.
pub const MAX_ENTROPY_SESSION_BYTES: usize = 64 << 20;

/// Blocks of 64 bytes that one call of `hash` may have, as the contract says: about 0.1 ms, after which the component is
/// interrupted again.
pub const MAX_HASH_CALL_BLOCKS: usize = 1_024;

/// Calls of `hash` in the session of one party. A signature of DKLs23 by two parties takes some ten thousand; 64 at once, and keygens of
/// many parties, take the most.
pub const MAX_HASH_CALLS: u32 = 16_000_000;

/// Blocks that one session may have compressed: 4 GiB. A keygen of three parties has about a million at each.
pub const MAX_HASH_BLOCKS: u64 = 64 << 20;

/// Processor time that a call of `hash` counts for, beside that of its blocks: rather too much than too little.
pub const HASH_CALL_CPU_TIME: Duration = Duration::from_nanos(200);
/// Processor time that a block counts for: about what it takes with the processor's instructions.
pub const HASH_BLOCK_CPU_TIME: Duration = Duration::from_nanos(80);

/// Log lines of one session; later ones are counted and dropped.
pub const MAX_LOG_LINES: u32 = 200;
/// Log lines of one session in production, each with another code: more would be a way to tell anything.
pub const MAX_PRODUCTION_LOG_LINES: u32 = 4;
/// Characters of a log line that are kept.
pub const MAX_LOG_LINE_CHARS: usize = 500;

/// Events that one session may publish; later ones are dropped.
pub const MAX_EVENTS: u32 = 1_000;

/// Cache values and entries that one session may set; later ones are dropped, as a cache may.
pub const MAX_CACHE_VALUE_BYTES: usize = 63 << 10;
/// See [`MAX_CACHE_VALUE_BYTES`].
pub const MAX_CACHE_SETS: u32 = 256;
/// The longest that a cached value is asked to be kept: a day.
pub const MAX_CACHE_TTL: Duration = Duration::from_secs(86_400);

/// Characters of a failure text that are kept: it goes into errors and logs.
pub const MAX_FAILURE_CHARS: usize = 300;

/// A component's size. The largest of ours is under 1 MiB; one written in JavaScript carries its engine.
pub const MAX_COMPONENT_BYTES: usize = 32 << 20;
