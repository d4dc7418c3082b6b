//! A router that does what it likes: it stands before a real one and decides what becomes of every frame.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use quorate_core::codec::decode;
use quorate_core::session::Frame;
use quorate_net::clock::SystemClock;
use quorate_net::join_token::JoinKey;
use quorate_net::memory::{channel, in_memory};
use quorate_net::router_client::RouterClient;
use quorate_net::server::serve;
use quorate_proto::v1::router_client::RouterClient as Client;
use quorate_proto::v1::router_request::Request as Kind;
use quorate_proto::v1::router_server::{Router, RouterServer};
use quorate_proto::v1::{Frame as Sent, Outgoing, RouterRequest};
use quorate_router::{Hub, RouterSetup};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

/// What is sent on instead of a frame that party `from` sends to party `to`, and after how long: itself, something else,
/// nothing.
pub(crate) type Whim = dyn Fn(u32, u32, &Frame, Outgoing) -> Vec<(Duration, Outgoing)> + Send + Sync;

struct Hostile {
    honest: Client<Channel>,
    whim: Arc<Whim>,
}

#[tonic::async_trait]
impl Router for Hostile {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<Sent, Status>> + Send>>;

    async fn attach(
        &self,
        request: Request<Streaming<RouterRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let mut incoming = request.into_inner();
        let first = incoming.message().await?.unwrap();
        let Some(Kind::Join(join)) = &first.request else { return Err(Status::invalid_argument("no join")) };
        let (from, whim) = (join.party, Arc::clone(&self.whim));
        let (sender, requests) = tokio::sync::mpsc::channel(1_024);
        sender.send(first).await.unwrap();
        tokio::spawn(async move {
            while let Ok(Some(request)) = incoming.message().await {
                let Some(Kind::Outgoing(outgoing)) = request.request else { continue };
                let frame = decode::<Frame>(&outgoing.frame).unwrap();
                for (delay, outgoing) in whim(from, outgoing.to, &frame, outgoing) {
                    let request = RouterRequest { request: Some(Kind::Outgoing(outgoing)) };
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

pub(crate) fn served(service: axum::Router) -> Channel {
    let (listener, connector) = in_memory();
    tokio::spawn(serve(listener, service, CancellationToken::new(), Duration::ZERO));
    channel(connector)
}

/// The key of these routers' tokens.
pub(crate) fn join_key() -> JoinKey {
    JoinKey::new(&"k".repeat(JoinKey::MIN_SECRET_BYTES)).unwrap()
}

fn service() -> axum::Router {
    quorate_router::service(RouterSetup {
        hub: Hub::default(),
        key: join_key(),
        clock: Arc::new(SystemClock),
        peering: None,
    })
}

/// A router, reached as parties reach it.
pub(crate) fn honest() -> RouterClient {
    RouterClient::new(served(service()))
}

/// A router with a will of its own.
pub(crate) fn hostile(
    whim: impl Fn(u32, u32, &Frame, Outgoing) -> Vec<Outgoing> + Send + Sync + 'static,
) -> RouterClient {
    let at_once = move |from, to, frame: &Frame, sent| {
        whim(from, to, frame, sent).into_iter().map(|sent| (Duration::ZERO, sent)).collect()
    };
    RouterClient::new(served(before(served(service()), Arc::new(at_once))))
}

/// A router with a will of its own, that passes on to another one what it wants to.
pub(crate) fn before(honest: Channel, whim: Arc<Whim>) -> axum::Router {
    let server = RouterServer::new(Hostile { honest: Client::new(honest), whim });
    tonic::service::Routes::new(server).prepare().into_axum_router()
}
