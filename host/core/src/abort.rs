//! Aborts: how a session ends without a result, who caused it, and what the others are told.

use crate::PartyIndex;
use crate::codec::{Malformed, Reader, Wire, encode, wire_struct};
use crate::identity::{BadSignature, PublicKey, SecretKey, Signature, Tag};
use crate::ids::PlanHash;

/// Why a session ended without a result (rule 12: each cause has a code of its own).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AbortCode {
    /// The deadline passed. No party is accused.
    Timeout,
    /// A peer broke the protocol.
    PeerFault,
    /// A peer broke the protocol in a way that bars it from this key for ever.
    Ban,
    /// A peer ended the session and told us.
    PeerAborted,
    /// This party's share can't be used: its operator must act.
    Share,
    /// This party is not set up for the task: its operator must act.
    Misconfigured,
    /// The plugin misbehaved or reports a bug: its publisher must act.
    Plugin,
    /// Our own bug or trouble.
    Internal,
    /// A party is shutting down, was restarted, or can't reach the router: no party's fault, try again.
    Unavailable,
    /// The plugin made a signature that does not verify: it is suspended (rule 7), its publisher must act.
    BadSignature,
}

impl Wire for AbortCode {
    fn put(&self, out: &mut Vec<u8>) {
        (*self as u8).put(out);
    }

    fn take(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match u8::take(input)? {
            0 => Self::Timeout,
            1 => Self::PeerFault,
            2 => Self::Ban,
            3 => Self::PeerAborted,
            4 => Self::Share,
            5 => Self::Misconfigured,
            6 => Self::Plugin,
            7 => Self::Internal,
            8 => Self::Unavailable,
            9 => Self::BadSignature,
            _ => return Err(Malformed),
        })
    }
}

/// How a session ended without a result, as this party sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abort {
    /// Why.
    pub code: AbortCode,
    /// The code of the plugin's failure, if the plugin has failed with one.
    pub plugin_code: Option<u16>,
    /// The parties that caused it, where there is proof or the plugin's word. The word of another party is not enough.
    pub culprits: Vec<PartyIndex>,
    /// For people. Contains no secrets.
    pub reason: String,
}

impl Abort {
    pub(crate) fn fault(culprit: PartyIndex, reason: impl Into<String>) -> Self {
        Self { culprits: vec![culprit], ..Self::of(AbortCode::PeerFault, reason) }
    }

    /// An abort that accuses no party.
    #[must_use]
    pub fn of(code: AbortCode, reason: impl Into<String>) -> Self {
        Self { code, plugin_code: None, culprits: vec![], reason: reason.into() }
    }
}

/// A party's word that it has ended this session, has signed no `ready` for it and never will. It must have recorded
/// that durably before it says so: the others delete pending shares on it (rule 9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbortNotice {
    /// The session's plan.
    pub plan: PlanHash,
    /// The party that ended the session.
    pub by: PartyIndex,
    /// Why, by its own account.
    pub code: AbortCode,
}

wire_struct!(AbortNotice { plan, by, code });

/// A notice as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedAbort {
    /// The signed statement.
    pub notice: AbortNotice,
    signature: Signature,
}

wire_struct!(SignedAbort { notice, signature });

impl AbortNotice {
    /// Signs the notice.
    #[must_use]
    pub fn sign(self, key: &SecretKey) -> SignedAbort {
        let signature = key.sign(Tag::Abort, &encode(&self));
        SignedAbort { notice: self, signature }
    }
}

impl SignedAbort {
    /// Verifies that `key` said it.
    ///
    /// # Errors
    /// When it did not.
    pub fn verify(&self, key: &PublicKey) -> Result<(), BadSignature> {
        key.verify(Tag::Abort, &encode(&self.notice), &self.signature)
    }
}
