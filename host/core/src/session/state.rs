//! The states of a session, in their order.

use super::frame::Frame;
use super::handshake::Handshake;
use super::reply_throttle::ReplyThrottle;
use super::running::RunningState;
use super::waiting_room::Place;

/// The state of a session.
pub(super) enum SessionState {
    /// The hellos are not complete.
    Greeting {
        handshake: Handshake,
        /// Frames that have come too early.
        early: Vec<(Frame, Place)>,
    },
    /// The component runs.
    Running(RunningState),
    /// The component is done. The peers may still need what we have sent; until the result is durable it can still
    /// fail.
    Done { is_durable: bool, answers: ReplyThrottle },
    /// The session has ended without a result.
    Over {
        /// The notice that tells a peer that there is no result.
        notice: Vec<u8>,
        answers: ReplyThrottle,
    },
}

impl SessionState {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Greeting { .. } => "greeting",
            Self::Running(_) => "running",
            Self::Done { .. } => "done",
            Self::Over { .. } => "over",
        }
    }
}
