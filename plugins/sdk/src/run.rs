//! Runs a protocol written as rounds.

use crate::{Failure, Host, Incoming, Mailbox, Outbox, Progress, Roster, Session, Slot, State};
use crate::{Inbox, Outcome};

/// One operation of a protocol, written round by round.
pub trait Rounds {
    /// The slots of all messages that peers send, ascending.
    const SCHEDULE: &'static [Slot];

    /// Sends the messages of round 1.
    ///
    /// # Errors
    /// Any failure ends the session.
    fn begin(&mut self, host: &mut dyn Host, out: &mut Outbox) -> Result<(), Failure>;

    /// Computes with the complete messages of `round` and sends those of the next, or ends with an outcome.
    ///
    /// # Errors
    /// Any failure ends the session.
    fn round(
        &mut self,
        host: &mut dyn Host,
        round: u16,
        inbox: Inbox,
        out: &mut Outbox,
    ) -> Result<Option<Outcome>, Failure>;
}

/// A [`Session`] over [`Rounds`]. Each step computes at most one round.
pub struct Run<R> {
    rounds: R,
    mailbox: Mailbox,
    begun: bool,
}

impl<R: Rounds> Run<R> {
    /// A run that has sent nothing yet.
    #[must_use]
    pub fn new(roster: &Roster, rounds: R) -> Self {
        Self { rounds, mailbox: Mailbox::new(roster, R::SCHEDULE), begun: false }
    }
}

impl<R: Rounds> Session for Run<R> {
    fn step(&mut self, host: &mut dyn Host, incoming: Vec<Incoming>) -> Result<Progress, Failure> {
        for message in incoming {
            self.mailbox.accept(message)?;
        }
        let mut out = Outbox::default();
        let mut outcome = None;
        if !self.begun {
            self.begun = true;
            self.rounds.begin(host, &mut out)?;
        } else if let Some(round) = self.mailbox.complete() {
            let inbox = self.mailbox.take_round();
            outcome = self.rounds.round(host, round, inbox, &mut out)?;
        }
        let state = match outcome {
            Some(outcome) => State::Done(outcome),
            None if self.mailbox.complete().is_some() => State::Again,
            None => State::Waiting,
        };
        Ok(Progress { outgoing: out.into_messages(), state })
    }
}
