//! What a component returns, checked. A component is not trusted: whatever it hands over is either what the
//! contract allows or [`Misbehaviour::InvalidOutput`].

use quorate_core::PartyIndex;
use zeroize::Zeroizing;

use crate::bindings::exports::quorate::party::protocol as wit;
use crate::error::{Misbehaviour, SessionErrorKind};
use crate::limits;
use crate::session::{Fault, Roster, TaskKind};

/// How a message travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// To one party.
    PointToPoint,
    /// To all, with no promise that all got the same.
    Broadcast,
    /// To all, delivered only once all are known to have got the same.
    ReliableBroadcast,
}

/// A message to send. Its payload may carry a share of a secret and is wiped when dropped.
#[derive(Clone)]
pub struct Outgoing {
    /// The sender's round, from 1.
    pub round: u16,
    /// Whom it is for.
    pub to: Recipient,
    /// The message.
    pub payload: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Outgoing(round {}, {:?}, {} bytes)", self.round, self.to, self.payload.len())
    }
}

/// Whom a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Recipient {
    Party(PartyIndex),
    Broadcast,
    ReliableBroadcast,
}

/// What a session needs next.
#[derive(Clone, Debug)]
pub enum State {
    /// Messages.
    Waiting,
    /// Another step.
    Again,
    /// Nothing: it is over.
    Done(Outcome),
}

/// How a session ended well.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Outcome {
    Key(PublicKeyInfo),
    Signature(Signature),
    Presignatures(u16),
    Refreshed(PublicKeyInfo),
    Repaired(PublicKeyInfo),
    Prepared,
}

/// The public outputs of a keygen, refresh or repair: every honest party has the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKeyInfo {
    /// Name of the signature scheme.
    pub scheme: String,
    /// Compressed SEC1 (33 bytes) for `ecdsa-secp256k1`, 32 bytes otherwise.
    pub public_key: Vec<u8>,
    /// Where the protocol derives child keys.
    pub chain_code: Option<[u8; 32]>,
    /// One public point per party, in index order.
    pub verifying_shares: Vec<Vec<u8>>,
    /// The format in which this party's share was staged.
    pub share_format: u32,
}

/// A signature, not yet verified by the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// 64 bytes, as the contract says for the scheme.
    pub bytes: [u8; 64],
    /// ECDSA only: 0 to 3.
    pub recovery_id: Option<u8>,
}

type Checked<T> = Result<T, Misbehaviour>;

fn invalid<T>(what: impl Into<String>) -> Checked<T> {
    Err(Misbehaviour::InvalidOutput(what.into()))
}

/// Checks one step's output. `written_format` is the share format that the plugin says it writes; `last_round` is
/// the round of the last message sent before, and is moved on.
pub(crate) fn check(
    progress: wit::Progress,
    roster: &Roster,
    task: &TaskKind,
    written_format: Option<u32>,
    last_round: &mut u16,
) -> Checked<(Vec<Outgoing>, State)> {
    // Moved into wiping buffers before anything can fail.
    let messages: Vec<_> =
        progress.outgoing.into_iter().map(|m| (m.round, m.to, Zeroizing::new(m.payload))).collect();
    if messages.len() > limits::STEP_MESSAGES {
        return invalid(format!("{} messages in one step", messages.len()));
    }
    let mut outgoing = Vec::with_capacity(messages.len());
    let mut bytes = 0_usize;
    for (round, to, payload) in messages {
        if round == 0 || round > limits::ROUNDS || round < *last_round {
            return invalid(format!("a message of round {round} after one of round {last_round}"));
        }
        *last_round = round;
        bytes = bytes.saturating_add(payload.len());
        if payload.len() > limits::MESSAGE_BYTES || bytes > limits::STEP_BYTES {
            return invalid(format!("a message of {} bytes", payload.len()));
        }
        outgoing.push(Outgoing { round, to: recipient(to, roster)?, payload });
    }
    let state = match progress.state {
        wit::State::Waiting => State::Waiting,
        wit::State::Again => State::Again,
        wit::State::Done(outcome) => State::Done(check_outcome(outcome, roster, task, written_format)?),
    };
    Ok((outgoing, state))
}

fn recipient(to: wit::Recipient, roster: &Roster) -> Checked<Recipient> {
    Ok(match to {
        wit::Recipient::Broadcast => Recipient::Broadcast,
        wit::Recipient::ReliableBroadcast => Recipient::ReliableBroadcast,
        wit::Recipient::Party(index) => match peer(index, roster) {
            Some(party) => Recipient::Party(party),
            None => return invalid(format!("a message to party {index}, who is no peer")),
        },
    })
}

/// A signer of this session other than this party.
fn peer(index: u16, roster: &Roster) -> Option<PartyIndex> {
    let party = PartyIndex::try_from(index).ok()?;
    (party != roster.me && roster.signers.contains(&party)).then_some(party)
}

fn check_outcome(
    outcome: wit::Outcome,
    roster: &Roster,
    task: &TaskKind,
    written_format: Option<u32>,
) -> Checked<Outcome> {
    Ok(match (outcome, task) {
        (wit::Outcome::Key(info), TaskKind::Keygen { scheme }) => {
            let info = check_key(info, roster, written_format)?;
            if info.scheme != *scheme {
                return invalid("a key of another scheme than was asked for");
            }
            Outcome::Key(info)
        }
        (wit::Outcome::Refreshed(info), TaskKind::Refresh) => Outcome::Refreshed(check_key(info, roster, written_format)?),
        (wit::Outcome::Repaired(info), TaskKind::Repair) => Outcome::Repaired(check_key(info, roster, written_format)?),
        (wit::Outcome::Signature(signature), TaskKind::Sign) => {
            let Ok(bytes) = signature.bytes.try_into() else {
                return invalid("a signature that is not 64 bytes long");
            };
            if signature.recovery_id.is_some_and(|id| id > 3) {
                return invalid("a recovery id above 3");
            }
            Outcome::Signature(Signature { bytes, recovery_id: signature.recovery_id })
        }
        (wit::Outcome::Presignatures(count), TaskKind::Presign { at_most }) if count <= *at_most => {
            Outcome::Presignatures(count)
        }
        (wit::Outcome::Prepared, TaskKind::Prepare | TaskKind::Auxiliary) => Outcome::Prepared,
        _ => return invalid("an outcome that is not the task's"),
    })
}

fn check_key(
    info: wit::PublicKeyInfo,
    roster: &Roster,
    written_format: Option<u32>,
) -> Checked<PublicKeyInfo> {
    if Some(info.share_format) != written_format {
        return invalid(format!("a share of format {}, which it does not say it writes", info.share_format));
    }
    let point_bytes = if info.scheme == "ecdsa-secp256k1" { 33 } else { 32 };
    if info.public_key.len() != point_bytes {
        return invalid(format!("a public key of {} bytes for {}", info.public_key.len(), info.scheme));
    }
    if info.verifying_shares.len() != usize::from(roster.threshold.parties()) {
        return invalid("not one verifying share per party");
    }
    // A point of a curve that we know, in any encoding, is at most this long.
    if info.verifying_shares.iter().any(|share| !(32..=65).contains(&share.len())) {
        return invalid("a verifying share that is no point");
    }
    let chain_code = match info.chain_code.map(<[u8; 32]>::try_from).transpose() {
        Ok(chain_code) => chain_code,
        Err(_) => return invalid("a chain code that is not 32 bytes long"),
    };
    Ok(PublicKeyInfo {
        scheme: info.scheme,
        public_key: info.public_key,
        chain_code,
        verifying_shares: info.verifying_shares,
        share_format: info.share_format,
    })
}

/// A failure that the component reports, as ours.
pub(crate) fn check_failure(failure: wit::Failure, roster: &Roster) -> SessionErrorKind {
    match failure {
        wit::Failure::InvalidTask(text) => SessionErrorKind::InvalidTask(tame(&text)),
        wit::Failure::InvalidShare(text) => SessionErrorKind::InvalidShare(tame(&text)),
        wit::Failure::Internal(text) => SessionErrorKind::Internal(tame(&text)),
        wit::Failure::Fault(fault) => {
            let culprits: Option<Vec<_>> = fault.culprits.iter().map(|&index| peer(index, roster)).collect();
            match culprits {
                Some(culprits) if !(fault.ban && culprits.is_empty()) => {
                    SessionErrorKind::Fault(Fault { culprits, ban: fault.ban, reason: tame(&fault.reason) })
                }
                _ => Misbehaviour::InvalidOutput("a fault of somebody who is no peer".into()).into(),
            }
        }
    }
}

/// A text of the component, fit for an error or a log.
pub(crate) fn tame(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(limits::FAILURE_CHARS).collect()
}
