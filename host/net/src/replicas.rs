//! Several replicas of one role, any of which can be called.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tonic::Status;
use tonic::transport::Channel;

use crate::grpc::is_unavailable;

/// How long a replica that was not there is called only when no other is.
const AVOIDANCE_PERIOD: Duration = Duration::from_secs(2);

/// The replicas of a role. Clones share what they know of them.
#[derive(Clone)]
pub struct Replicas(Arc<ReplicasState>);

struct ReplicasState {
    replicas: Vec<Replica>,
    rotation: AtomicUsize,
}

struct Replica {
    channel: Channel,
    missed: Mutex<Option<Instant>>,
}

impl Replica {
    fn is_avoided(&self) -> bool {
        let missed = *self.missed.lock();
        missed.is_some_and(|at| at.elapsed() < AVOIDANCE_PERIOD)
    }

    fn note_answer(&self) {
        *self.missed.lock() = None;
    }

    fn note_miss(&self) {
        *self.missed.lock() = Some(Instant::now());
    }
}

impl From<Channel> for Replicas {
    fn from(channel: Channel) -> Self {
        Self::new(vec![channel])
    }
}

impl Replicas {
    /// The replicas that these channels lead to.
    #[must_use]
    pub fn new(channels: Vec<Channel>) -> Self {
        let replica = |channel| Replica { channel, missed: Mutex::default() };
        let replicas = channels.into_iter().map(replica).collect();
        Self(Arc::new(ReplicasState { replicas, rotation: AtomicUsize::new(0) }))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.replicas.len()
    }

    /// Calls a replica, each in its turn, and the next ones if it is not there, or has not answered `within` a time.
    /// Each is called once at most.
    ///
    /// # Errors
    /// The error of the last replica that was called.
    pub async fn call<T, F>(&self, within: Duration, what: impl FnMut(Channel) -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<T, Status>>,
    {
        self.call_from(self.0.rotation.fetch_add(1, Ordering::Relaxed), within, what).await
    }

    /// The same, beginning with the replica that a number selects: callers with the same number call the same replica.
    ///
    /// # Errors
    /// The error of the last replica that was called.
    pub async fn call_from<T, F>(
        &self,
        number: usize,
        within: Duration,
        mut what: impl FnMut(Channel) -> F,
    ) -> Result<T, Status>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let count = self.count();
        let in_turn = (0..count).filter_map(|step| self.0.replicas.get(number.wrapping_add(step) % count));
        let mut ordered: Vec<&Replica> = in_turn.collect();
        ordered.sort_by_key(|replica| replica.is_avoided());
        let mut last = Status::unavailable("no replica is configured");
        for replica in ordered {
            let called = tokio::time::timeout(within, what(replica.channel.clone())).await;
            match called.unwrap_or_else(|_| Err(Status::unavailable("no answer in time"))) {
                Err(status) if is_unavailable(&status) => {
                    replica.note_miss();
                    last = status;
                }
                other => {
                    replica.note_answer();
                    return other;
                }
            }
        }
        Err(last)
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::memory::{channel, in_memory};

    const SOON: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn one_that_does_not_answer_is_not_waited_for_long() {
        let replicas = Replicas::new((0..2).map(|_| channel(in_memory().1)).collect());
        let mut calls = 0;
        let called = replicas.call_from(0, SOON, |_| {
            calls += 1;
            let hangs = calls == 1;
            async move { if hangs { std::future::pending().await } else { Ok(()) } }
        });
        called.await.unwrap();
        assert_eq!(calls, 2);
        assert!(replicas.0.replicas[0].is_avoided());
    }

    #[tokio::test]
    async fn the_next_replica_is_called_when_one_is_not_there() {
        let channels = (0..2).map(|_| channel(in_memory().1)).collect();
        let replicas = Replicas::new(channels);
        let mut calls = 0;
        let called = replicas
            .call_from(0, SOON, |_| {
                calls += 1;
                std::future::ready(if calls == 1 { Err(Status::unavailable("gone")) } else { Ok(calls) })
            })
            .await;
        assert_eq!(called.unwrap(), 2);
        // The one that was not there comes last for a while.
        assert!(replicas.0.replicas[0].is_avoided() && !replicas.0.replicas[1].is_avoided());
        let refused =
            replicas.call(SOON, |_| std::future::ready(Err::<(), _>(Status::not_found("no")))).await;
        assert_eq!(refused.unwrap_err().code(), Code::NotFound, "a refusal was not believed");
        let nobody =
            replicas.call(SOON, |_| std::future::ready(Err::<(), _>(Status::unavailable("gone")))).await;
        assert_eq!(nobody.unwrap_err().code(), Code::Unavailable);
    }
}
