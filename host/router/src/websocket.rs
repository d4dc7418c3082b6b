//! The router over a WebSocket: the messages of the gRPC stream, each in a binary frame.

use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use prost::Message as _;
use quorate_net::grpc::MAX_GRPC_MESSAGE_BYTES;
use quorate_net::listener::ConnectionPermit;
use quorate_net::server::Caller;
use quorate_proto::v1::router_request::Request as RequestKind;
use quorate_proto::v1::{Frame, RouterRequest};
use tokio_tungstenite::tungstenite;

use super::membership::{Handled, JOIN_TIMEOUT, Router, UNEXPECTED_FRAME, attached_frame, challenge_frame};

/// How long a message may take to leave: a party that does not read is as good as gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) async fn upgrade(
    State(router): State<Router>,
    permit: Option<Extension<ConnectionPermit>>,
    caller: Option<Extension<Caller>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let bounded = upgrade.max_message_size(MAX_GRPC_MESSAGE_BYTES).max_frame_size(MAX_GRPC_MESSAGE_BYTES);
    bounded.max_write_buffer_size(4 * MAX_GRPC_MESSAGE_BYTES).on_upgrade(|socket| async move {
        match caller {
            Some(Extension(caller)) => caller.while_open(carry(router, Some(&caller), socket)).await,
            None => carry(router, None, socket).await,
        }
        // It counts as a connection for as long as it lives.
        drop(permit);
    })
}

async fn carry(router: Router, caller: Option<&Caller>, mut socket: WebSocket) {
    let challenge = match Router::challenge() {
        Ok(challenge) => challenge,
        Err(status) => return close(socket, status.message()).await,
    };
    if !send(&mut socket, challenge_frame(&challenge)).await {
        return;
    }
    let first = match tokio::time::timeout(JOIN_TIMEOUT, next(&mut socket)).await {
        Ok(SocketEvent::Request(first)) => first,
        Ok(SocketEvent::Bad(reason)) => return close(socket, reason).await,
        Ok(SocketEvent::End) => return,
        Err(_) => return close(socket, "the first message was not sent within ten seconds").await,
    };
    let (joined, mut attached) = match router.join(caller, &challenge, first) {
        Ok(joined) => joined,
        Err(status) => return close(socket, status.message()).await,
    };
    if !send(&mut socket, attached_frame()).await {
        return;
    }
    loop {
        tokio::select! {
            event = attached.receive() => {
                let Some(event) = event else { return close(socket, "the session is over").await };
                if !send(&mut socket, event.into()).await {
                    return;
                }
            }
            request = next(&mut socket) => match request {
                SocketEvent::Request(request) => match joined.handle(request).await {
                    Handled::Continue => {}
                    Handled::Left => return close(socket, "").await,
                    Handled::Unexpected => return close(socket, UNEXPECTED_FRAME).await,
                },
                SocketEvent::Bad(reason) => return close(socket, reason).await,
                SocketEvent::End => return,
            },
        }
    }
}

/// Sends a frame to a party; false if it does not take it.
async fn send(socket: &mut WebSocket, frame: Frame) -> bool {
    let sending = socket.send(Message::Binary(frame.encode_to_vec().into()));
    matches!(tokio::time::timeout(SEND_TIMEOUT, sending).await, Ok(Ok(())))
}

/// The next event on the connection of a party.
enum SocketEvent {
    Request(Option<RequestKind>),
    /// Something that is no message of ours, and why.
    Bad(&'static str),
    End,
}

/// Waits for what comes next. May be cancelled without losing anything.
async fn next(socket: &mut WebSocket) -> SocketEvent {
    loop {
        return match socket.recv().await {
            Some(Ok(Message::Binary(bytes))) => match RouterRequest::decode(bytes) {
                Ok(request) => SocketEvent::Request(request.request),
                Err(_) => SocketEvent::Bad("a binary message is one RouterRequest of quorate.v1"),
            },
            // Answered by the library.
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
            Some(Ok(Message::Text(_))) => SocketEvent::Bad("send binary messages"),
            Some(Ok(Message::Close(_))) | None => SocketEvent::End,
            Some(Err(error)) if is_too_long(&error) => SocketEvent::Bad("a message has at most 4 MiB"),
            Some(Err(_)) => SocketEvent::End,
        };
    }
}

fn is_too_long(error: &axum::Error) -> bool {
    let source = std::error::Error::source(error);
    let broken = source.and_then(|source| source.downcast_ref::<tungstenite::Error>());
    matches!(broken, Some(tungstenite::Error::Capacity(_)))
}

async fn close(mut socket: WebSocket, reason: &str) {
    let code = if reason.is_empty() { close_code::NORMAL } else { close_code::POLICY };
    // RFC 6455 allows 123 bytes for the reason of a close.
    let reason: String = reason.chars().take(100).collect();
    let closing = socket.send(Message::Close(Some(CloseFrame { code, reason: reason.into() })));
    let _ = tokio::time::timeout(SEND_TIMEOUT, closing).await;
}
