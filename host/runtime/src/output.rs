//! Checks what a component returns. A component is not trusted: its output either satisfies the contract or is
//! [`Misbehaviour::InvalidOutput`].

use std::collections::{BTreeMap, BTreeSet};

use quorate_core::certificate::KeyOutputs;
use quorate_core::codec::Bytes;
use quorate_core::session::To;
use quorate_core::{PartyIndex, PreparedId, SchemeSignature};
use zeroize::{Zeroize, Zeroizing};

use crate::bindings::exports::quorate::party::protocol as wit;
use crate::capabilities::vault::{EntryName, Scope, Staged, VaultEntries};
use crate::codes::{Detail, PluginCodes, PluginText};
use crate::descriptor::Descriptor;
use crate::error::{Fault, Misbehaviour, SessionErrorKind};
use crate::limits;
use crate::message::OutgoingMessage;
use crate::needs::SessionNeed;
use crate::task::{Roster, TaskKind};

/// The next need of a session.
#[derive(Clone, Debug)]
pub enum OutputState {
    /// Messages.
    Waiting,
    /// Another step.
    Again,
    /// The session is over.
    Done(ComponentOutcome),
}

/// How a session ended well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ComponentOutcome {
    /// A keygen has made a key.
    Key(GeneratedKey),
    /// A signature of each item, in their order.
    Signatures(Vec<SchemeSignature>),
    /// So many presignatures are staged.
    Presignatures(u16),
    /// All parties have new shares of the same key.
    Refreshed(GeneratedKey),
    /// The lost party has its share again.
    Repaired(GeneratedKey),
    /// The material that was asked for is staged.
    Prepared,
}

/// The result of a keygen, refresh or repair, the same at every honest party.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratedKey {
    /// The public outputs: 33 bytes of compressed SEC 1 for a key of `ecdsa-secp256k1`, 32 bytes for other schemes.
    pub outputs: KeyOutputs,
    /// The format in which this party's share was staged.
    pub share_format: u32,
}

/// The parts of one message that have been sent.
#[derive(Clone, Copy, Default)]
struct SentParts {
    count: usize,
    last_bytes: usize,
}

type Checked<T> = Result<T, Misbehaviour>;

/// The reason has no value in it that the component has chosen: it gets into reports and answers.
fn invalid<T>(what: &'static str) -> Checked<T> {
    Err(Misbehaviour::InvalidOutput(what.into()))
}

/// Checks what a component returns against the session's roster and task, and against what it has sent so far.
pub(crate) struct OutputValidator {
    pub(crate) roster: Roster,
    pub(crate) task: TaskKind,
    /// Schemes that the plugin says it serves.
    pub(crate) schemes: Vec<String>,
    /// The share format that it says it writes.
    pub(crate) format: Option<u32>,
    /// The codes that it lists.
    codes: PluginCodes,
    /// Whether its texts are kept.
    texts: PluginText,
    /// What the session needs at most, as it says.
    need: SessionNeed,
    last_round: u16,
    /// The parts of each message that have been sent.
    sent: BTreeMap<(u16, To), SentParts>,
    sent_bytes: usize,
}

impl OutputValidator {
    pub(crate) fn new(
        roster: Roster,
        task: TaskKind,
        descriptor: &Descriptor,
        texts: PluginText,
        need: SessionNeed,
    ) -> Self {
        Self {
            roster,
            task,
            schemes: descriptor.schemes.clone(),
            format: descriptor.share_formats.last().copied(),
            codes: descriptor.codes.clone(),
            texts,
            need,
            last_round: 0,
            sent: BTreeMap::new(),
            sent_bytes: 0,
        }
    }

    /// Checks one step's output.
    pub(crate) fn check(&mut self, progress: wit::Progress) -> Checked<(Vec<OutgoingMessage>, OutputState)> {
        // Moved into wiping buffers before a check can fail.
        let messages: Vec<_> =
            progress.outgoing.into_iter().map(|m| (m.round, m.to, Zeroizing::new(m.payload))).collect();
        let mut outgoing = Vec::with_capacity(messages.len());
        for (round, to, payload) in messages {
            let last = self.last_round;
            if round == 0 || round > limits::MAX_ROUNDS || round < last {
                return invalid("a message of a round that is past, or that there is not");
            }
            self.last_round = round;
            self.sent_bytes = self.sent_bytes.saturating_add(payload.len());
            if payload.len() > self.need.message_bytes || self.sent_bytes > limits::MAX_SESSION_MESSAGE_BYTES
            {
                return invalid("a message that is too long, or one too many");
            }
            let to = recipient(to, &self.roster)?;
            // With rounds bounded this bounds the number of messages too.
            let parts = self.sent.entry((round, to)).or_default();
            let most = if to == To::ReliableBroadcast { 1 } else { self.need.message_parts };
            // Only the last part is short: a thousand small ones would keep the host busy.
            if parts.count == most || (parts.count > 0 && parts.last_bytes < limits::MESSAGE_PART_BYTES) {
                return invalid(
                    "more messages of a round to one receiver, or more parts of one, than it announced",
                );
            }
            *parts = SentParts { count: parts.count + 1, last_bytes: payload.len() };
            outgoing.push(OutgoingMessage { round, to, payload });
        }
        let state = match progress.state {
            wit::State::Waiting => OutputState::Waiting,
            wit::State::Again => OutputState::Again,
            wit::State::Done(outcome) => OutputState::Done(self.check_outcome(outcome)?),
        };
        Ok((outgoing, state))
    }

    fn check_outcome(&self, outcome: wit::Outcome) -> Checked<ComponentOutcome> {
        Ok(match (outcome, &self.task) {
            (wit::Outcome::Key(info), TaskKind::Keygen { scheme }) => {
                if info.scheme != *scheme {
                    return invalid("a key of another scheme than was asked for");
                }
                ComponentOutcome::Key(self.check_key(info)?)
            }
            (wit::Outcome::Refreshed(info), TaskKind::Refresh) => {
                ComponentOutcome::Refreshed(self.check_key(info)?)
            }
            (wit::Outcome::Repaired(info), TaskKind::Repair) => {
                ComponentOutcome::Repaired(self.check_key(info)?)
            }
            (wit::Outcome::Signatures(signatures), TaskKind::Sign { items, .. }) => {
                if signatures.len() != *items {
                    return invalid("not one signature for each item");
                }
                let signatures = signatures.into_iter().map(check_signature);
                ComponentOutcome::Signatures(signatures.collect::<Result<_, _>>()?)
            }
            (wit::Outcome::Presignatures(count), TaskKind::Presign { at_most }) if count <= *at_most => {
                ComponentOutcome::Presignatures(count)
            }
            (wit::Outcome::Prepared, TaskKind::Prepare | TaskKind::Auxiliary) => ComponentOutcome::Prepared,
            _ => return invalid("an outcome that is not the task's"),
        })
    }

    fn check_key(&self, info: wit::PublicKeyInfo) -> Checked<GeneratedKey> {
        if !self.schemes.contains(&info.scheme) {
            return invalid("a key of a scheme that it does not say it serves");
        }
        if Some(info.share_format) != self.format {
            return invalid("a share of a format that it does not say it writes");
        }
        let point_bytes = if info.scheme == "ecdsa-secp256k1" { 33 } else { 32 };
        if info.public_key.len() != point_bytes {
            return invalid("a public key of another length than its scheme has");
        }
        if info.verifying_shares.len() != usize::from(self.roster.threshold.parties()) {
            return invalid("not one verifying share per party");
        }
        // A point of a curve that we know, in any encoding, is at most this long.
        if info.verifying_shares.iter().any(|share| !(32..=65).contains(&share.len())) {
            return invalid("a verifying share that is not a point of the curve");
        }
        let Ok(chain_code) = info.chain_code.map(<[u8; 32]>::try_from).transpose() else {
            return invalid("a chain code that is not 32 bytes long");
        };
        let outputs = KeyOutputs {
            scheme: info.scheme,
            public_key: Bytes(info.public_key),
            chain_code,
            verifying_shares: info.verifying_shares.into_iter().map(Bytes).collect(),
        };
        Ok(GeneratedKey { outputs, share_format: info.share_format })
    }

    /// Checks that what a session staged belongs to its outcome, and gives presignatures their names.
    pub(crate) fn check_staged(&self, outcome: &ComponentOutcome, mut staged: Staged) -> Checked<Staged> {
        match outcome {
            ComponentOutcome::Key(_) | ComponentOutcome::Refreshed(_) | ComponentOutcome::Repaired(_)
                if staged.puts.is_empty() =>
            {
                invalid("a key without a share to keep")
            }
            ComponentOutcome::Presignatures(count) => {
                let mut named = VaultEntries::new();
                for index in 0..*count {
                    let given = EntryName::new(Scope::Key, &index.to_string());
                    let kept = EntryName::new(
                        Scope::Key,
                        &PreparedId::of(&self.roster.execution_id, index).to_string(),
                    );
                    let value = given.and_then(|name| staged.stocks.remove(&name));
                    let (Some(kept), Some(value)) = (kept, value) else {
                        return invalid("fewer presignatures in the pool than it says");
                    };
                    named.insert(kept, value);
                }
                if !staged.stocks.is_empty() {
                    return invalid("more presignatures in the pool than it says");
                }
                staged.stocks = named;
                Ok(staged)
            }
            _ => Ok(staged),
        }
    }
}

fn check_signature(signature: wit::Signature) -> Checked<SchemeSignature> {
    let Ok(bytes) = signature.bytes.try_into() else {
        return invalid("a signature that is not 64 bytes long");
    };
    if signature.recovery_id.is_some_and(|id| id > 3) {
        return invalid("a recovery id above 3");
    }
    Ok(SchemeSignature { bytes, recovery_id: signature.recovery_id })
}

fn recipient(to: wit::Recipient, roster: &Roster) -> Checked<To> {
    Ok(match to {
        wit::Recipient::Broadcast => To::Broadcast,
        wit::Recipient::ReliableBroadcast => To::ReliableBroadcast,
        wit::Recipient::Party(index) => match peer(index, roster) {
            Some(party) => To::Party(party),
            None => return invalid("a message to a party that is not a peer"),
        },
    })
}

/// A signer of this session other than this party.
fn peer(index: u16, roster: &Roster) -> Option<PartyIndex> {
    let party = PartyIndex::try_from(index).ok()?;
    (party != roster.me && roster.signers.contains(&party)).then_some(party)
}

/// A failure that the component reports, as ours.
pub(crate) fn check_failure(failure: wit::Failure, validator: &OutputValidator) -> SessionErrorKind {
    let detail = |detail: wit::Detail| {
        let wit::Detail { code, mut text } = detail;
        let checked = Detail::new(validator.codes.known(code), &text, validator.texts);
        text.zeroize();
        checked
    };
    match failure {
        wit::Failure::InvalidTask(told) => SessionErrorKind::InvalidTask(detail(told)),
        wit::Failure::InvalidShare(told) => SessionErrorKind::InvalidShare(detail(told)),
        wit::Failure::Internal(told) => SessionErrorKind::Internal(detail(told)),
        wit::Failure::Fault(fault) => {
            let roster = &validator.roster;
            // As many as there are peers at most: a list of millions is no accusation.
            let few = fault.culprits.len() < roster.signers.len();
            let culprits: Option<BTreeSet<_>> =
                fault.culprits.iter().filter(|_| few).map(|&index| peer(index, roster)).collect();
            match culprits {
                Some(culprits) if few && !(fault.ban && culprits.is_empty()) => {
                    let culprits = culprits.into_iter().collect();
                    SessionErrorKind::Fault(Fault { culprits, ban: fault.ban, detail: detail(fault.detail) })
                }
                _ => Misbehaviour::InvalidOutput("a fault of somebody who is not a peer".into()).into(),
            }
        }
    }
}
