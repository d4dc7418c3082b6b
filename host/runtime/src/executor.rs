//! The threads that components run on.
//!
//! Two pools: *interactive* for what a caller waits for, *background* for what is made ahead of time, with fewer
//! threads at nice 19. Components yield at every tick, so that sessions of one pool share its threads, and the
//! operating system lets interactive threads run first.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::task::JoinHandle;

use crate::ticker::Ticker;

/// Which pool a session runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// A caller waits: keygen, sign, refresh.
    Interactive,
    /// Background work without a waiting caller: presign, auxiliary, prepare.
    Background,
}

/// One pool of threads.
pub(crate) struct Executor {
    /// There until dropped.
    threads: Option<tokio::runtime::Runtime>,
    cpu: Arc<AtomicU64>,
    ticker: Arc<Ticker>,
}

/// Lowest priority that the operating system knows.
const BACKGROUND_NICENESS: i32 = 19;

impl Executor {
    pub(crate) fn new(
        name: &str,
        threads: usize,
        priority: Priority,
        ticker: Arc<Ticker>,
    ) -> std::io::Result<Self> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(threads.max(1)).thread_name(name).enable_time();
        if priority == Priority::Background {
            builder.on_thread_start(|| {
                // Without it background work is merely less polite; it is not worth failing for.
                let thread = rustix::thread::gettid();
                if let Err(error) = rustix::process::setpriority_process(Some(thread), BACKGROUND_NICENESS) {
                    tracing::warn!(%error, "background threads run at normal priority");
                }
            });
        }
        Ok(Self { threads: Some(builder.build()?), cpu: Arc::default(), ticker })
    }

    /// Runs `work` on this pool. Dropping the returned future cancels it at its next yield.
    ///
    /// `None` when the work was cancelled or panicked.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let threads = self.threads.as_ref()?;
        let metered =
            Metered { work: Box::pin(work), cpu: Arc::clone(&self.cpu), _ticker: Arc::clone(&self.ticker) };
        let mut task = AbortOnDrop(threads.spawn(metered));
        (&mut task.0).await.ok()
    }

    /// CPU time spent on this pool's work so far.
    pub(crate) fn cpu_time(&self) -> Duration {
        Duration::from_nanos(self.cpu.load(Ordering::Relaxed))
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        // A tokio runtime must not be dropped where async code runs: this neither blocks nor panics there.
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Adds the thread CPU time of every poll to a total.
struct Metered<F> {
    work: Pin<Box<F>>,
    cpu: Arc<AtomicU64>,
    /// Held so that the tick, which is what can stop the work, outlives it.
    _ticker: Arc<Ticker>,
}

impl<F: Future> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let before = thread_cpu_nanos();
        let polled = self.work.as_mut().poll(context);
        self.cpu.fetch_add(thread_cpu_nanos().saturating_sub(before), Ordering::Relaxed);
        polled
    }
}

/// CPU time of this thread, in nanoseconds.
fn thread_cpu_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let whole = u64::try_from(time.tv_sec).unwrap_or(0).saturating_mul(1_000_000_000);
    whole.saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}
