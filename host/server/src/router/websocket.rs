//! The router over a WebSocket: the messages of the gRPC stream, each in a binary frame.

use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use prost::Message as _;
use quorate_proto::v1::RouterRequest;
use quorate_proto::v1::router_request::Request as Kind;

use super::service::{JOIN, Router, message};
use crate::grpc::MESSAGE_BYTES;
use crate::http::serve::Room;

/// How long a message may take to leave: a party that does not read is as good as gone.
const SLOWEST: Duration = Duration::from_secs(30);

pub(super) async fn upgrade(
    State(router): State<Router>,
    room: Option<Extension<Room>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let bounded = upgrade.max_message_size(MESSAGE_BYTES).max_frame_size(MESSAGE_BYTES);
    bounded.max_write_buffer_size(4 * MESSAGE_BYTES).on_upgrade(|socket| async move {
        carry(router, socket).await;
        // It counts as a connection for as long as it lives.
        drop(room);
    })
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
                let sending = socket.send(Message::Binary(message(parcel).encode_to_vec().into()));
                let Ok(Ok(())) = tokio::time::timeout(SLOWEST, sending).await else { return };
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
    let closing = socket.send(Message::Close(Some(CloseFrame { code, reason: reason.into() })));
    let _ = tokio::time::timeout(SLOWEST, closing).await;
}
