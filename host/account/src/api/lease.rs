//! The lease of a request on its idempotency key.

use std::sync::Arc;

use quorate_backends::database::StoreError;
use quorate_control_store::{AccountStore, IdempotentRequest, LEASE_DURATION};
use quorate_net::clock::Clock;
use quorate_net::problem::Problem;
use tokio::task::JoinHandle;

use super::Api;
use crate::RequestIds;

/// A lease on an idempotency key. A task renews it until it is completed or released; dropped, it is released.
pub(super) struct Lease {
    store: AccountStore,
    /// `None` once the lease has ended.
    request: Option<IdempotentRequest>,
    renewal: JoinHandle<()>,
}

impl Lease {
    /// The lease of a request that has just acquired its key.
    pub(super) fn new(api: &Api, request: IdempotentRequest) -> Self {
        let store = api.accounts.store().clone();
        let renewing = renew(store.clone(), Arc::clone(api.accounts.clock()), request.clone());
        Self { store, request: Some(request), renewal: tokio::spawn(renewing) }
    }

    /// Stores new ids for what the request is about to make.
    pub(super) async fn rebind(&mut self, ids: RequestIds) -> Result<(), Problem> {
        if let Some(request) = &mut self.request {
            request.ids = ids.to_bytes();
            self.store.rebind(request).await?;
        }
        Ok(())
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
        let Some(request) = self.request.clone() else {
            return Err(StoreError::Conflict("the lease has ended"));
        };
        let completed = self.store.complete(&request, status, answer).await;
        if matches!(completed, Ok(()) | Err(StoreError::Conflict(_))) {
            self.request = None;
        }
        completed.map(|()| request)
    }

    /// Ends the lease without an answer: the next request with the key runs.
    pub(super) async fn release(mut self) {
        if let Some(request) = self.request.take() {
            release(&self.store, &request).await;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewal.abort();
        if let Some(request) = self.request.take() {
            let store = self.store.clone();
            tokio::spawn(async move { release(&store, &request).await });
        }
    }
}

async fn renew(store: AccountStore, clock: Arc<dyn Clock>, request: IdempotentRequest) {
    loop {
        tokio::time::sleep(LEASE_DURATION / 4).await;
        if let Err(error) = store.renew(&request, clock.millis()).await {
            tracing::warn!(%error, "failed to renew the lease on an idempotency key");
        }
    }
}

async fn release(store: &AccountStore, request: &IdempotentRequest) {
    if let Err(error) = store.release(request).await {
        tracing::error!(%error, "failed to release an idempotency key: it is free when its lease ends");
    }
}
