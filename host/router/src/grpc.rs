//! The router's gRPC service: one stream per session and party.

use std::pin::Pin;

use futures::future::Either;
use futures::{Stream, StreamExt, stream};
use quorate_net::join_token::Challenge;
use quorate_net::server::Caller;
use quorate_proto::v1::router_server::Router as Service;
use quorate_proto::v1::{Frame, RouterRequest};
use tokio::sync::oneshot;
use tonic::{Request, Response, Status, Streaming};

use super::hub::Attached;
use super::membership::{
    Handled, JOIN_TIMEOUT, Joined, Router, UNEXPECTED_FRAME, attached_frame, challenge_frame,
};

#[tonic::async_trait]
impl Service for Router {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<Frame, Status>> + Send>>;

    async fn attach(
        &self,
        request: Request<Streaming<RouterRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let challenge = Self::challenge()?;
        let caller = request.extensions().get::<Caller>().cloned();
        let first = stream::iter([Ok(challenge_frame(&challenge))]);
        let (router, incoming) = (self.clone(), request.into_inner());
        let then = stream::once(async move { router.let_in(caller, challenge, incoming).await });
        let then = then.flat_map(|attached| match attached {
            Ok(frames) => Either::Left(stream::iter([Ok(attached_frame())]).chain(frames)),
            Err(status) => Either::Right(stream::iter([Err(status)])),
        });
        Ok(Response::new(Box::pin(first.chain(then))))
    }
}

impl Router {
    /// Waits for a party's first message, and gives the frames that are for it.
    async fn let_in(
        self,
        caller: Option<Caller>,
        challenge: Challenge,
        mut incoming: Streaming<RouterRequest>,
    ) -> Result<impl Stream<Item = Result<Frame, Status>> + Send + use<>, Status> {
        let first = tokio::time::timeout(JOIN_TIMEOUT, incoming.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no session was named"))??;
        let (joined, attached) =
            self.join(caller.as_ref(), &challenge, first.and_then(|first| first.request))?;
        let (broken, breaks) = oneshot::channel();
        tokio::spawn(listen(joined, attached.expires(), incoming, broken));
        Ok(stream::unfold(Some((attached, breaks)), next_frame))
    }
}

/// Carries out what a party says. Ends when the party lets go of its stream, or with its time.
async fn listen(
    joined: Joined,
    expires: tokio::time::Instant,
    mut incoming: Streaming<RouterRequest>,
    broken: oneshot::Sender<Status>,
) {
    let why = loop {
        let Ok(said) = tokio::time::timeout_at(expires, incoming.message()).await else { return };
        match said {
            Ok(Some(message)) => match joined.handle(message.request).await {
                Handled::Continue => {}
                Handled::Left => return,
                Handled::Unexpected => break Status::invalid_argument(UNEXPECTED_FRAME),
            },
            Ok(None) => return,
            // Too long, or no message at all; or the connection is gone.
            Err(status) => break status,
        }
    };
    let _ = broken.send(why);
}

type Receiving = Option<(Attached, oneshot::Receiver<Status>)>;

async fn next_frame(state: Receiving) -> Option<(Result<Frame, Status>, Receiving)> {
    let (mut attached, mut breaks) = state?;
    tokio::select! {
        event = attached.receive() => Some((Ok(event?.into()), Some((attached, breaks)))),
        Ok(why) = &mut breaks, if !breaks.is_terminated() => Some((Err(why), None)),
    }
}
