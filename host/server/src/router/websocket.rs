//! The router over a WebSocket: the messages of the gRPC stream, each in a binary frame.

use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use prost::Message as _;
use quorate_proto::v1::RouterRequest;
use quorate_proto::v1::router_request::Request as Kind;

use super::service::{JOIN, Router, message};
use crate::grpc::MESSAGE_BYTES;

pub(super) async fn upgrade(State(router): State<Router>, upgrade: WebSocketUpgrade) -> Response {
    let bounded = upgrade.max_message_size(MESSAGE_BYTES).max_frame_size(MESSAGE_BYTES);
    bounded.max_write_buffer_size(4 * MESSAGE_BYTES).on_upgrade(|socket| carry(router, socket))
}

async fn carry(router: Router, mut socket: WebSocket) {
    let Ok(Some(first)) = tokio::time::timeout(JOIN, next(&mut socket)).await else {
        return close(socket, "send binary messages, the first within ten seconds").await;
    };
    let (joined, mut attached) = match router.join(first) {
        Ok(joined) => joined,
        Err(status) => return close(socket, status.message()).await,
    };
    loop {
        tokio::select! {
            parcel = attached.receive() => {
                let Some(parcel) = parcel else { return close(socket, "the session is over").await };
                if socket.send(Message::Binary(message(parcel).encode_to_vec().into())).await.is_err() {
                    return;
                }
            }
            request = next(&mut socket) => match request {
                Some(request) if joined.take(request.clone()) => {}
                Some(Some(Kind::Leave(_))) => return close(socket, "").await,
                Some(_) => return close(socket, "that is no message to another party").await,
                None => return,
            },
        }
    }
}

/// The next message; `None` at the end, or for what is none. May be cancelled without losing one.
async fn next(socket: &mut WebSocket) -> Option<Option<Kind>> {
    loop {
        match socket.recv().await?.ok()? {
            Message::Binary(bytes) => return Some(RouterRequest::decode(bytes).ok()?.request),
            // Answered by the library.
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Text(_) | Message::Close(_) => return None,
        }
    }
}

async fn close(mut socket: WebSocket, reason: &str) {
    let code = if reason.is_empty() { close_code::NORMAL } else { close_code::POLICY };
    // A reason has room for 123 bytes.
    let reason: String = reason.chars().take(100).collect();
    let _ = socket.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await;
}
