//! Membership: which party is in which session at this router, and what it may do there. gRPC and WebSocket streams
//! share it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_core::{PartyIndex, SessionId};
use quorate_net::clock::Clock;
use quorate_net::join_token::{Challenge, JoinGrant, JoinVerifier};
use quorate_net::router_client::session_party_index;
use quorate_net::server::Caller;
use quorate_proto::convert::session_id;
use quorate_proto::v1::router_request::Request as RequestKind;
use quorate_proto::v1::{Frame, Join};
use tonic::Status;

use super::hub::{Attached, FrameSource, Hub, MAX_TIME_TO_LIVE, Sent};
use super::peering::Peering;

/// How long a party may take to say which session its stream is for.
pub(super) const JOIN_TIMEOUT: Duration = Duration::from_secs(10);

/// The close reason for a party that sends a frame that is not addressed to a peer of its session.
pub(super) const UNEXPECTED_FRAME: &str = "the message is not addressed to another party of the session";

/// Attempts to buffer a frame while its receiver's buffer is full. Then the frame is dropped, and the session of its
/// sender retransmits it.
const MAX_BUFFER_ATTEMPTS: u32 = 20;

/// The delay between two of these attempts.
const BUFFER_ATTEMPT_DELAY: Duration = Duration::from_millis(20);

/// The settings of a router.
pub struct RouterSetup {
    /// Its buffers.
    pub hub: Hub,
    /// The keys by which it knows join tokens.
    pub tokens: JoinVerifier,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The way to the other routers, if there may be any.
    pub peering: Option<Arc<Peering>>,
}

/// A router. Clones share it.
#[derive(Clone)]
pub(super) struct Router(pub(super) Arc<RouterSetup>);

/// A party that has joined a session.
pub(super) struct Joined {
    router: Router,
    session: SessionId,
    me: PartyIndex,
    /// Its frames are counted under its identity key, over all its sessions.
    source: FrameSource,
    /// The highest index.
    parties: u16,
    time_to_live: Duration,
}

impl Router {
    /// What a party is to sign with its identity key before it is let into a session.
    pub(super) fn challenge() -> Result<Challenge, Status> {
        Challenge::random().ok_or_else(|| Status::internal("the router's machine has no randomness"))
    }

    /// Lets a party into a session, if its token and its answer to the challenge do.
    pub(super) fn join(
        &self,
        caller: Option<&Caller>,
        challenge: &Challenge,
        first: Option<RequestKind>,
    ) -> Result<(Joined, Attached), Status> {
        let Some(RequestKind::Join(Join { session, party: me, time_to_live_ms, token, rejoined, answer })) =
            first
        else {
            return Err(Status::invalid_argument("the first message names the session"));
        };
        let session =
            session_id(&session).map_err(|_| Status::invalid_argument("a session id is 32 bytes long"))?;
        let me =
            session_party_index(me).ok_or_else(|| Status::invalid_argument("this is not a party index"))?;
        let now = self.0.clock.seconds();
        let checked = self.0.tokens.check(&token, (session, me), (challenge, &answer), now);
        let JoinGrant { identity, parties, left } =
            checked.map_err(|error| Status::permission_denied(error.to_string()))?;
        if let Some(caller) = caller {
            caller.mark_known();
        }
        let time_to_live = Duration::from_millis(time_to_live_ms).min(MAX_TIME_TO_LIVE).min(left);
        let attached = self.0.hub.attach(session, me, time_to_live);
        let attached = attached.ok_or_else(|| Status::resource_exhausted("no room for another session"))?;
        if let Some(peering) = self.0.peering.as_ref().filter(|_| rejoined) {
            peering.announce_return(session, me);
        }
        let source = FrameSource::Party(identity);
        Ok((Joined { router: self.clone(), session, me, source, parties, time_to_live }, attached))
    }
}

/// The first message on a stream.
pub(super) fn challenge_frame(challenge: &Challenge) -> Frame {
    Frame { challenge: Bytes::copy_from_slice(challenge.as_bytes()), ..Frame::default() }
}

/// The message on a stream that says that its party is attached.
pub(super) fn attached_frame() -> Frame {
    Frame { attached: true, ..Frame::default() }
}

/// The result of handling a party's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handled {
    /// It was carried out; the party may send more.
    Continue,
    /// It was the party's last word.
    Left,
    /// It is not a request that a joined party makes.
    Unexpected,
}

impl Joined {
    /// Carries out what a party says after it has joined.
    pub(super) async fn handle(&self, request: Option<RequestKind>) -> Handled {
        let Router(setup) = &self.router;
        match request {
            Some(RequestKind::Outgoing(outgoing)) => {
                let Some(to) = session_party_index(outgoing.to).filter(|to| to.number() <= self.parties)
                else {
                    return Handled::Unexpected;
                };
                match self.send(to, &outgoing.frame).await {
                    Sent::Delivered => {}
                    Sent::Queued => {
                        if let Some(peering) = &setup.peering {
                            peering.forward(self.session, to, outgoing.frame, self.time_to_live);
                        }
                    }
                    Sent::Dropped => {
                        tracing::debug!(session = %self.session, %to, "no room for a frame; its sender sends it again")
                    }
                }
                Handled::Continue
            }
            Some(RequestKind::Leave(_)) => {
                setup.hub.leave(self.session, self.me);
                Handled::Left
            }
            Some(RequestKind::Join(_)) | None => Handled::Unexpected,
        }
    }

    /// A sender whose receiver's buffer is full is slowed down: nothing more is read from it for a while.
    async fn send(&self, to: PartyIndex, frame: &Bytes) -> Sent {
        let mut left = MAX_BUFFER_ATTEMPTS;
        loop {
            let sent =
                self.router.0.hub.send(self.source, (self.session, to), frame.clone(), self.time_to_live);
            left -= 1;
            if sent != Sent::Dropped || left == 0 {
                return sent;
            }
            tokio::time::sleep(BUFFER_ATTEMPT_DELAY).await;
        }
    }
}
