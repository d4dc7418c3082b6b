//! The router's gRPC service: one stream per session and party.

use std::pin::Pin;

use futures::{Stream, stream};
use quorate_proto::v1::router_server::Router as Service;
use quorate_proto::v1::{Frame, RouterRequest};
use tokio::sync::oneshot;
use tonic::{Request, Response, Status, Streaming};

use super::membership::{Handled, JOIN_TIMEOUT, Router, UNEXPECTED_FRAME};

#[tonic::async_trait]
impl Service for Router {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<Frame, Status>> + Send>>;

    async fn attach(
        &self,
        request: Request<Streaming<RouterRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let mut incoming = request.into_inner();
        let first = tokio::time::timeout(JOIN_TIMEOUT, incoming.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no session was named"))??;
        let (joined, attached) = self.join(first.and_then(|first| first.request))?;
        let (broken, breaks) = oneshot::channel();
        let expires = attached.expires();
        // Ends when the party lets go of its stream, or with its time.
        tokio::spawn(async move {
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
        });
        let frames = stream::unfold(Some((attached, breaks)), |state| async move {
            let (mut attached, mut breaks) = state?;
            tokio::select! {
                event = attached.receive() => Some((Ok(event?.into()), Some((attached, breaks)))),
                Ok(why) = &mut breaks, if !breaks.is_terminated() => Some((Err(why), None)),
            }
        });
        Ok(Response::new(Box::pin(frames)))
    }
}
