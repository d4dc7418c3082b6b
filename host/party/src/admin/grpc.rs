//! The gRPC service behind `quorate admin`: unlock, readmit, registry, suspend, clock.

use std::sync::Arc;

use bytes::Bytes;
use quorate_backends::database::StoreError;
use quorate_core::identity::PublicKey;
use quorate_core::{AccountId, Digest};
use quorate_net::telemetry::chain;
use quorate_proto::convert::array;
use quorate_proto::v1::admin_server::{Admin, AdminServer};
use quorate_proto::v1::{
    ActResponse, ReadmitRequest, RegistryEntry, RegistryRequest, RegistryResponse, SetTimeBackRequest,
    SuspendRequest, UnlockRequest,
};
use tonic::{Request, Response, Status};

use crate::Party;

struct AdminGrpc(Arc<Party>);

/// The service, to be served on the party's own socket and nowhere else.
pub fn service(party: Arc<Party>) -> axum::Router {
    tonic::service::Routes::new(AdminServer::new(AdminGrpc(party))).prepare().into_axum_router()
}

fn id<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Status> {
    array(bytes).map_err(|_| Status::invalid_argument(format!("expected {N} bytes")))
}

fn store_failed(error: StoreError) -> Status {
    tracing::error!(error = %chain(&error), "the party's store failed");
    Status::internal("the party's store failed: the log says why")
}

#[tonic::async_trait]
impl Admin for AdminGrpc {
    async fn unlock(&self, request: Request<UnlockRequest>) -> Result<Response<ActResponse>, Status> {
        let account = AccountId(id(&request.into_inner().account)?);
        let done = self.0.unlock(account).await.map_err(store_failed)?;
        tracing::warn!(%account, done, "operator frees an account");
        Ok(Response::new(ActResponse { done }))
    }

    async fn readmit(&self, request: Request<ReadmitRequest>) -> Result<Response<ActResponse>, Status> {
        let peer = PublicKey(id(&request.into_inner().peer)?);
        let done = self.0.readmit(peer).await.map_err(store_failed)?;
        tracing::warn!(%peer, done, "operator readmits a peer");
        Ok(Response::new(ActResponse { done }))
    }

    async fn set_time_back(&self, _: Request<SetTimeBackRequest>) -> Result<Response<ActResponse>, Status> {
        let done = self.0.set_time_back().await.map_err(store_failed)?;
        tracing::warn!(done, "operator sets the stored time back");
        Ok(Response::new(ActResponse { done }))
    }

    async fn registry(&self, _: Request<RegistryRequest>) -> Result<Response<RegistryResponse>, Status> {
        let mut entries: Vec<RegistryEntry> = self
            .0
            .plugins()
            .iter()
            .map(|plugin| RegistryEntry {
                digest: Bytes::copy_from_slice(plugin.digest().as_bytes()),
                protocol: plugin.descriptor().id.clone(),
                version: plugin.descriptor().version.clone(),
                suspended: false,
            })
            .collect();
        let suspended = self.0.suspended().await.map_err(store_failed)?;
        entries.extend(suspended.iter().map(|digest| RegistryEntry {
            digest: Bytes::copy_from_slice(digest.as_bytes()),
            suspended: true,
            ..RegistryEntry::default()
        }));
        Ok(Response::new(RegistryResponse { entries }))
    }

    async fn suspend(&self, request: Request<SuspendRequest>) -> Result<Response<ActResponse>, Status> {
        let digest = Digest(id(&request.into_inner().digest)?);
        let before = self.0.suspended().await.map_err(store_failed)?.contains(&digest);
        self.0.suspend(digest).await.map_err(store_failed)?;
        tracing::warn!(%digest, "operator suspends a plugin");
        Ok(Response::new(ActResponse { done: !before }))
    }
}
