//! Problems for callers: a code, and a sentence that says what to do.

use quorate_backends::database::StoreError;
use quorate_core::code::Code;
use quorate_core::{PartyIndex, SessionId};

use crate::telemetry::chain;

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The kind of the problem.
    pub code: Code,
    /// The problem and its remedy, in a sentence. Contains no secret.
    pub detail: String,
    /// The session, if one was begun: its result can still be read.
    pub session: Option<SessionId>,
    /// Parties that another party accuses. No proof.
    pub culprits: Vec<PartyIndex>,
}

impl Problem {
    /// A problem before any session.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), session: None, culprits: vec![] }
    }

    /// Too many requests at a time.
    #[must_use]
    pub fn overloaded() -> Self {
        Self::new(Code::Overloaded, "too many requests are being worked on: try again later")
    }

    /// A fault of the deployment itself. The operator finds `detail` in the log too.
    #[must_use]
    pub fn internal(detail: impl Into<String>) -> Self {
        let detail = detail.into();
        tracing::error!(detail, "internal fault");
        Self::new(Code::Internal, detail)
    }

    /// The store failed. What exactly is for the log only.
    #[must_use]
    pub fn store(error: &StoreError) -> Self {
        if let StoreError::Unavailable(cause) = error {
            tracing::warn!(%cause, "the database does not answer");
            return Self::new(Code::Unavailable, "the database does not answer: try again later");
        }
        tracing::error!(error = %chain(error), "the database failed");
        Self::new(Code::Internal, "the database failed: the operator finds the reason in the log")
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::store(&error)
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl std::error::Error for Problem {}
