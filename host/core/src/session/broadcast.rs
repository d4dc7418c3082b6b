//! Reliable broadcast (rule 5): after a round's broadcasts each signer echoes what it got from whom; they are handed
//! over only when all echoes agree.
//!
//! Every signer broadcasts reliably in a round in which any does. The sender signs each payload's hash once for all
//! receivers, and echoes carry those signatures: two that differ prove who equivocated.

use std::collections::BTreeMap;

use super::effect::Message;
use super::streams::MAX_ROUNDS;
use super::terms::SessionTerms;
use crate::PartyIndex;
use crate::abort::Abort;
use crate::envelope::{Echo, Received, SignedEcho, broadcast_statement, payload_hash};
use crate::identity::{SecretKey, Signature, Tag, key_of};
use crate::ids::ExecutionId;

/// The reliable broadcasts of a session, by round.
#[derive(Default)]
pub(super) struct Broadcasts {
    rounds: BTreeMap<u16, Round>,
}

#[derive(Default)]
struct Round {
    received: BTreeMap<PartyIndex, Received>,
    messages: Vec<Message>,
    echoes: BTreeMap<PartyIndex, Echo>,
    echoed: bool,
    delivered: bool,
}

impl Broadcasts {
    /// Notes our own broadcast and signs the statement that goes with it.
    pub(super) fn sign_own(
        &mut self,
        terms: &SessionTerms,
        key: &SecretKey,
        execution: ExecutionId,
        round: u16,
        payload: &[u8],
    ) -> Signature {
        let hash = payload_hash(payload);
        let statement = key.sign(Tag::Broadcast, &broadcast_statement(execution, terms.me, round, &hash));
        let received = Received { from: terms.me, hash, statement };
        self.rounds.entry(round).or_default().received.insert(terms.me, received);
        statement
    }

    /// Notes a peer's broadcast.
    pub(super) fn on_broadcast(
        &mut self,
        terms: &SessionTerms,
        execution: ExecutionId,
        message: Message,
        statement: Signature,
    ) -> Result<(), Abort> {
        let (from, round) = (message.from, message.round);
        let hash = payload_hash(&message.payload);
        let received = Received { from, hash, statement };
        if !is_by_its_sender(terms, execution, round, &received) {
            return Err(Abort::fault(from, "a broadcast whose statement does not verify"));
        }
        let entry = self.rounds.entry(round).or_default();
        if entry.received.insert(from, received).is_some() {
            return Err(Abort::fault(from, "two reliable broadcasts in one round"));
        }
        entry.messages.push(message);
        Ok(())
    }

    /// Takes in a peer's echo. It is compared once our own view of the round is complete.
    pub(super) fn on_echo(
        &mut self,
        terms: &SessionTerms,
        execution: ExecutionId,
        signed: &SignedEcho,
    ) -> Result<(), Abort> {
        let Echo { by, round, .. } = signed.echo;
        let Some(key) = terms.key_of_peer(by) else { return Ok(()) };
        let here = signed.echo.execution == execution && terms.signers.len() > 2;
        if !here || round == 0 || round > MAX_ROUNDS || signed.verify(key).is_err() {
            return Ok(());
        }
        // Before it is kept: its length is the signer's choice.
        if !signed.echo.received.iter().map(|r| r.from).eq(terms.signers.iter().copied()) {
            return Err(Abort::fault(by, "an echo that does not name each signer once"));
        }
        let first = self.rounds.entry(round).or_default().echoes.insert(by, signed.echo.clone());
        match first {
            Some(first) if first != signed.echo => Err(Abort::fault(by, "two different echoes of one round")),
            _ => Ok(()),
        }
    }

    /// Our echoes of rounds that have just become complete here.
    pub(super) fn due_echoes(
        &mut self,
        terms: &SessionTerms,
        key: &SecretKey,
        execution: ExecutionId,
    ) -> Vec<SignedEcho> {
        if terms.signers.len() == 2 {
            return vec![];
        }
        let complete = |round: &Round| round.received.len() == terms.signers.len();
        let due = self.rounds.iter_mut().filter(|(_, round)| !round.echoed && complete(round));
        due.map(|(&number, round)| {
            round.echoed = true;
            let received = round.received.values().cloned().collect();
            Echo { execution, by: terms.me, round: number, received }.sign(key)
        })
        .collect()
    }

    /// Takes the messages of the rounds on which all signers agree.
    pub(super) fn take_agreed(&mut self, terms: &SessionTerms) -> Result<Vec<Message>, Abort> {
        let mut agreed = Vec::new();
        for (&number, round) in &mut self.rounds {
            if round.delivered || !round.echoed {
                continue;
            }
            for echo in round.echoes.values() {
                compare(terms, number, &round.received, echo)?;
            }
            if round.echoes.len() + 1 == terms.signers.len() {
                round.delivered = true;
                agreed.append(&mut round.messages);
            }
        }
        Ok(agreed)
    }
}

/// Whether the named sender signed this hash for this round.
fn is_by_its_sender(terms: &SessionTerms, execution: ExecutionId, round: u16, received: &Received) -> bool {
    let statement = broadcast_statement(execution, received.from, round, &received.hash);
    let key = key_of(&terms.parties, received.from).filter(|_| terms.signers.contains(&received.from));
    key.is_some_and(|key| key.verify(Tag::Broadcast, &statement, &received.statement).is_ok())
}

/// Holds a peer's view of a round against ours.
fn compare(
    terms: &SessionTerms,
    round: u16,
    ours: &BTreeMap<PartyIndex, Received>,
    echo: &Echo,
) -> Result<(), Abort> {
    for theirs in &echo.received {
        let differs = ours.get(&theirs.from).is_none_or(|ours| ours.hash != theirs.hash);
        if !differs {
            continue;
        }
        // Two statements of one sender for one round prove its equivocation. One that the sender did not sign proves
        // that the echo is made up.
        return Err(if is_by_its_sender(terms, echo.execution, round, theirs) {
            Abort::fault(theirs.from, "it broadcast different messages to different parties")
        } else {
            Abort::fault(echo.by, "an echo of a broadcast that its sender did not sign")
        });
    }
    Ok(())
}
