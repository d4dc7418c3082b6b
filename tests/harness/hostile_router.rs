//! A hostile router. It stands before an honest one and decides about every frame.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use quorate_core::codec::decode;
use quorate_core::session::Frame;
use quorate_net::clock::SystemClock;
use quorate_net::join_token::JoinVerifier;
use quorate_net::router_client::RouterClient;
use quorate_proto::v1::router_client::RouterClient as Client;
use quorate_proto::v1::router_request::Request as RequestKind;
use quorate_proto::v1::router_server::{Router, RouterServer};
use quorate_proto::v1::{Frame as Sent, Outgoing, RouterRequest};
use quorate_router::{Hub, RouterSetup};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

use crate::in_memory::{join_key, served};

/// The frames that the router forwards, and their delays, for a frame of party `from` to party `to`: the same frame,
/// others, or none.
pub type NetworkFault = dyn Fn(u32, u32, &Frame, Outgoing) -> Vec<(Duration, Outgoing)> + Send + Sync;

struct Hostile {
    honest: Client<Channel>,
    fault: Arc<NetworkFault>,
}

#[tonic::async_trait]
impl Router for Hostile {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<Sent, Status>> + Send>>;

    async fn attach(
        &self,
        request: Request<Streaming<RouterRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let mut incoming = request.into_inner();
        let fault = Arc::clone(&self.fault);
        let (sender, requests) = tokio::sync::mpsc::channel(1_024);
        tokio::spawn(async move {
            let mut from = 0;
            while let Ok(Some(request)) = incoming.message().await {
                if let Some(RequestKind::Join(join)) = &request.request {
                    from = join.party;
                    let _ = sender.send(request).await;
                    continue;
                }
                let Some(RequestKind::Outgoing(outgoing)) = request.request else { continue };
                let frame = decode::<Frame>(&outgoing.frame).unwrap();
                for (delay, outgoing) in fault(from, outgoing.to, &frame, outgoing) {
                    let request = RouterRequest { request: Some(RequestKind::Outgoing(outgoing)) };
                    if delay.is_zero() {
                        let _ = sender.send(request).await;
                        continue;
                    }
                    let sender = sender.clone();
                    tokio::spawn(async move {
                        tokio::time::sleep(delay).await;
                        let _ = sender.send(request).await;
                    });
                }
            }
        });
        let requests = ReceiverStream::new(requests);
        Ok(Response::new(Box::pin(self.honest.clone().attach(requests).await?.into_inner())))
    }
}

fn service() -> axum::Router {
    quorate_router::service(RouterSetup {
        hub: Hub::default(),
        tokens: JoinVerifier::new(vec![join_key().public()]),
        clock: Arc::new(SystemClock),
        peering: None,
    })
}

/// An honest router, reached as parties reach it.
#[must_use]
pub fn honest() -> RouterClient {
    RouterClient::new(served(service()))
}

/// A hostile router that delays no frame.
pub fn hostile(
    fault: impl Fn(u32, u32, &Frame, Outgoing) -> Vec<Outgoing> + Send + Sync + 'static,
) -> RouterClient {
    let at_once = move |from, to, frame: &Frame, sent| {
        fault(from, to, frame, sent).into_iter().map(|sent| (Duration::ZERO, sent)).collect()
    };
    RouterClient::new(served(before(served(service()), Arc::new(at_once))))
}

/// A hostile router before an honest one.
pub fn before(honest: Channel, fault: Arc<NetworkFault>) -> axum::Router {
    let server = RouterServer::new(Hostile { honest: Client::new(honest), fault });
    tonic::service::Routes::new(server).prepare().into_axum_router()
}
