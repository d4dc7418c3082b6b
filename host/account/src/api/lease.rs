//! The lease of a request on its idempotency key.

use std::sync::Arc;

use quorate_backends::database::StoreError;
use quorate_control_store::{AccountStore, IdempotentRequest, LEASE_DURATION};
use quorate_net::clock::Clock;
use quorate_net::problem::Problem;
use quorate_net::telemetry::chain;
use tokio::task::JoinHandle;

use super::state::Api;
use crate::RequestIds;

/// A lease on an idempotency key. A task renews it until it is completed or released; dropped, it is released.
pub(super) struct Lease {
    store: AccountStore,
    request: IdempotentRequest,
    /// Whether the key is completed, released, or another process's.
    has_ended: bool,
    renewal: JoinHandle<()>,
}

impl Lease {
    /// The lease of a request that has just acquired its key.
    pub(super) fn new(api: &Api, request: IdempotentRequest) -> Self {
        let store = api.accounts.store().clone();
        let renewing = renew(store.clone(), Arc::clone(api.accounts.clock()), request.clone());
        Self { store, request, has_ended: false, renewal: tokio::spawn(renewing) }
    }

    /// Stores new ids for what the request is about to make.
    pub(super) async fn rebind(&mut self, ids: RequestIds) -> Result<(), Problem> {
        self.request.ids = ids.to_bytes();
        Ok(self.store.rebind(&self.request).await?)
    }

    /// Stores the answer, and ends the lease. Returns the request.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if another process has taken the key over. With any other error the key is released.
    pub(super) async fn complete(
        mut self,
        status: u16,
        answer: &str,
    ) -> Result<IdempotentRequest, StoreError> {
        let completed = self.store.complete(&self.request, status, answer).await;
        self.has_ended = matches!(completed, Ok(()) | Err(StoreError::Conflict(_)));
        completed.map(|()| self.request.clone())
    }

    /// Ends the lease without an answer: the next request with the key runs.
    pub(super) async fn release(mut self) {
        self.has_ended = true;
        release(&self.store, &self.request).await;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewal.abort();
        if !self.has_ended {
            let (store, request) = (self.store.clone(), self.request.clone());
            tokio::spawn(async move { release(&store, &request).await });
        }
    }
}

async fn renew(store: AccountStore, clock: Arc<dyn Clock>, request: IdempotentRequest) {
    loop {
        tokio::time::sleep(LEASE_DURATION / 4).await;
        if let Err(error) = store.renew(&request, clock.millis()).await {
            tracing::warn!(error = %chain(&error), "failed to renew the lease on an idempotency key");
        }
    }
}

async fn release(store: &AccountStore, request: &IdempotentRequest) {
    if let Err(error) = store.release(request).await {
        tracing::error!(error = %chain(&error), "failed to release an idempotency key: it is free when its lease ends");
    }
}
