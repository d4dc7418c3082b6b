//! The gRPC service behind `quorate admin`: unlock, bans, readmit, permit-repair, registry, suspend, clock.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_backends::database::StoreError;
use quorate_core::codec::encode;
use quorate_core::identity::PublicKey;
use quorate_core::order::RepairedParty;
use quorate_core::{AccountId, Digest, PartyIndex};
use quorate_net::telemetry::chain;
use quorate_proto::convert::array;
use quorate_proto::v1::admin_server::{Admin, AdminServer};
use quorate_proto::v1::{
    ActResponse, ExportBansRequest, ExportBansResponse, LiftBanRequest, PermitRepairRequest, ReadmitRequest,
    RegistryEntry, RegistryRequest, RegistryResponse, SetTimeBackRequest, SuspendRequest, UnlockRequest,
};
use tonic::{Request, Response, Status};

use crate::Party;
use crate::ban_reports::{ExportFailed, ReadmitRefused};

/// The longest message of an operator or of the party: the bans of several parties, 150 bytes each.
pub const MAX_ADMIN_MESSAGE_BYTES: usize = 64 << 20;

/// The longest time for which a repair is permitted.
const MAX_PERMIT_HOURS: u32 = 168;

struct AdminGrpc(Arc<Party>);

/// The service, to be served on the party's own socket and nowhere else.
pub fn service(party: Arc<Party>) -> axum::Router {
    let server = AdminServer::new(AdminGrpc(party))
        .max_decoding_message_size(MAX_ADMIN_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_ADMIN_MESSAGE_BYTES);
    tonic::service::Routes::new(server).prepare().into_axum_router()
}

fn id<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Status> {
    array(bytes).map_err(|_| Status::invalid_argument(format!("expected {N} bytes")))
}

fn store_failed(error: StoreError) -> Status {
    tracing::error!(error = %chain(&error), "the party's store failed");
    Status::internal("the party's store failed: the log says why")
}

fn readmit_refused(refused: ReadmitRefused) -> Status {
    match refused {
        ReadmitRefused::Store(error) => store_failed(error),
        refused => Status::failed_precondition(refused.to_string()),
    }
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
        let ReadmitRequest { peer, bans, without } = request.into_inner();
        let peer = PublicKey(id(&peer)?);
        let done = if peer == self.0.identity() {
            let bans: Vec<Vec<u8>> = bans.iter().map(|export| export.to_vec()).collect();
            let without: Vec<PublicKey> =
                without.iter().map(|key| id(key).map(PublicKey)).collect::<Result<_, _>>()?;
            self.0.accept_set_back(&bans, &without).await.map_err(readmit_refused)?
        } else if bans.is_empty() && without.is_empty() {
            self.0.readmit(peer).await.map_err(store_failed)?
        } else {
            return Err(Status::invalid_argument(
                "bans of other parties are for this party itself, not for a peer",
            ));
        };
        tracing::warn!(%peer, done, "operator readmits a party");
        Ok(Response::new(ActResponse { done }))
    }

    async fn permit_repair(
        &self,
        request: Request<PermitRepairRequest>,
    ) -> Result<Response<ActResponse>, Status> {
        let PermitRepairRequest { peer, account, hours, replaces } = request.into_inner();
        let peer = PublicKey(id(&peer)?);
        let account = account.map(|account| id(&account).map(AccountId)).transpose()?;
        let former = replaces.map_or(Ok(peer), |former| id(&former).map(PublicKey))?;
        if !(1..=MAX_PERMIT_HOURS).contains(&hours) {
            let text = format!("a repair is permitted for 1 to {MAX_PERMIT_HOURS} hours");
            return Err(Status::invalid_argument(text));
        }
        if !self.0.pinned.contains(&peer) || peer == self.0.identity() {
            return Err(Status::failed_precondition(
                "this is no other party that this one pins: put its identity key into QUORATE_PARTY_KEYS first, and start this party anew",
            ));
        }
        let until = self.0.clock.seconds() + Duration::from_secs(u64::from(hours) * 3_600);
        let party = RepairedParty { former, identity: peer };
        self.0.store.permit_repair(party, account, until).await.map_err(store_failed)?;
        tracing::warn!(%peer, %former, account = account.map(tracing::field::display), hours, "operator permits to repair the shares of a party");
        Ok(Response::new(ActResponse { done: true }))
    }

    async fn export_bans(
        &self,
        request: Request<ExportBansRequest>,
    ) -> Result<Response<ExportBansResponse>, Status> {
        let to = PublicKey(id(&request.into_inner().to)?);
        let export = self.0.export_bans(to).await.map_err(|failed| match failed {
            ExportFailed::Store(error) => store_failed(error),
            failed => Status::failed_precondition(failed.to_string()),
        })?;
        Ok(Response::new(ExportBansResponse { export: encode(&export).into() }))
    }

    async fn lift_ban(&self, request: Request<LiftBanRequest>) -> Result<Response<ActResponse>, Status> {
        let LiftBanRequest { account, party } = request.into_inner();
        let account = AccountId(id(&account)?);
        let no_index = || Status::invalid_argument("parties are numbered from 1 to 16");
        let party = u16::try_from(party).map_err(|_| no_index())?;
        let party = PartyIndex::try_from(party).map_err(|_| no_index())?;
        let done = self.0.lift_ban(account, party).await.map_err(store_failed)?;
        tracing::warn!(%account, %party, done, "operator permits one refresh with a banned party");
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
