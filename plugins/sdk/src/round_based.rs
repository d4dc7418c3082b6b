//! Runs protocols written with the [`round-based`](https://docs.rs/round-based) framework.
//!
//! The framework's parties are positions among the signers, from 0; the contract's are key-time indices. The
//! framework gives every message type a round number of its own, even to those that are sent together; the
//! contract's rounds are steps of the run. A [`Layout`] says what belongs where; [`Machine`] translates, checks
//! messages like every other run ([`Mailbox`]) and feeds the state machine a round at a time.

use std::collections::VecDeque;

use ::round_based::state_machine::{ProceedResult, StateMachine};
use ::round_based::{Incoming, MessageDestination, MessageType, ProtocolMessage};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Delivery, Failure, Host, Mailbox, Outcome, Outgoing, PartyIndex, Progress, Recipient, Roster, Session,
    Slot, State, decode, encode,
};

/// Consumes the output of a state machine: stores the results and names the outcome, or names the failure.
pub type Finish<O> = Box<dyn FnOnce(O, &mut dyn Host) -> Result<Outcome, Failure>>;

/// Where each of a protocol's message types belongs, by the library's round number. Types that are sent together
/// share the contract's round. A type that the protocol wants broadcast reliably is declared so here; the library's
/// own echo rounds are then switched off.
pub type Layout = &'static [(u16, Slot)];

/// A [`Session`] over a `round-based` state machine.
pub struct Machine<SM: StateMachine> {
    machine: SM,
    finish: Option<Finish<SM::Output>>,
    me: PartyIndex,
    signers: Vec<PartyIndex>,
    layout: Layout,
    mailbox: Mailbox,
    ready: VecDeque<Incoming<SM::Msg>>,
    received: u64,
    /// Whether the machine waits for a message.
    waiting_for_input: bool,
}

impl<SM> Machine<SM>
where
    SM: StateMachine,
    SM::Msg: ProtocolMessage + Serialize + DeserializeOwned,
{
    /// Wraps a state machine whose messages are those of `layout`.
    #[must_use]
    pub fn new(roster: &Roster, layout: Layout, machine: SM, finish: Finish<SM::Output>) -> Self {
        Self {
            machine,
            finish: Some(finish),
            me: roster.me(),
            signers: roster.signers().to_vec(),
            layout,
            mailbox: Mailbox::new(roster, &layout.iter().map(|&(_, slot)| slot).collect::<Vec<_>>()),
            ready: VecDeque::new(),
            received: 0,
            waiting_for_input: false,
        }
    }

    /// Moves the messages of the current round, if it is complete, to where the machine takes them from.
    fn deliver_round(&mut self) -> Result<bool, Failure> {
        let Some(round) = self.mailbox.complete() else { return Ok(false) };
        let mut inbox = self.mailbox.take_round();
        for &(library_round, slot) in self.layout.iter().filter(|(_, s)| s.round() == round) {
            for (from, payload) in inbox.take_raw(slot) {
                let msg: SM::Msg =
                    decode(&payload).ok_or_else(|| Failure::fault(from, "a message that does not decode"))?;
                if msg.round() != library_round {
                    return Err(Failure::fault(from, "a message that names another round"));
                }
                let sender = self.position(from)?;
                let msg_type = match slot.delivery() {
                    Delivery::PointToPoint => MessageType::P2P,
                    _ => MessageType::Broadcast,
                };
                self.ready.push_back(Incoming { id: self.received, sender, msg_type, msg });
                self.received += 1;
            }
        }
        Ok(true)
    }

    fn position(&self, party: PartyIndex) -> Result<u16, Failure> {
        self.signers
            .iter()
            .position(|&s| s == party)
            .and_then(|p| u16::try_from(p).ok())
            .ok_or_else(|| Failure::Internal(format!("{party} is not a signer").into()))
    }

    fn outgoing(&self, message: ::round_based::Outgoing<SM::Msg>) -> Result<Outgoing, Failure> {
        let slot = self.layout.iter().find(|(round, _)| *round == message.msg.round());
        let Some(&(_, slot)) = slot else {
            return Err(Failure::Internal("the library sends a message without a place".into()));
        };
        let to = match (message.recipient, slot.delivery()) {
            (MessageDestination::OneParty(position), Delivery::PointToPoint) => {
                let party = self.signers.get(usize::from(position)).filter(|&&p| p != self.me);
                Recipient::Party(*party.ok_or_else(|| {
                    Failure::Internal(format!("the library sends to position {position}").into())
                })?)
            }
            (MessageDestination::AllParties, Delivery::Broadcast) => Recipient::Broadcast,
            (MessageDestination::AllParties, Delivery::ReliableBroadcast) => Recipient::ReliableBroadcast,
            _ => return Err(Failure::Internal("the library sends in another way than laid out".into())),
        };
        Ok(Outgoing { round: slot.round(), to, payload: encode(&message.msg)? })
    }
}

impl<SM> Session for Machine<SM>
where
    SM: StateMachine,
    SM::Msg: ProtocolMessage + Serialize + DeserializeOwned,
{
    fn step(&mut self, host: &mut dyn Host, incoming: Vec<crate::Incoming>) -> Result<Progress, Failure> {
        for message in incoming {
            self.mailbox.accept(message)?;
        }
        let mut outgoing = Vec::new();
        let state = loop {
            // Once the machine has asked for a message it must be given one before it goes on.
            if self.waiting_for_input {
                if self.ready.is_empty() && !self.deliver_round()? {
                    break State::Waiting;
                }
                let Some(message) = self.ready.pop_front() else { break State::Waiting };
                self.machine
                    .received_msg(message)
                    .map_err(|_| Failure::Internal("the library refused a message".into()))?;
                self.waiting_for_input = false;
            }
            match self.machine.proceed() {
                ProceedResult::SendMsg(message) => outgoing.push(self.outgoing(message)?),
                ProceedResult::NeedsOneMoreMessage => self.waiting_for_input = true,
                ProceedResult::Yielded => break State::Again,
                ProceedResult::Output(output) => {
                    let finish = self
                        .finish
                        .take()
                        .ok_or_else(|| Failure::Internal("the library finished a second time".into()))?;
                    break State::Done(finish(output, host)?);
                }
                ProceedResult::Error(error) => {
                    return Err(Failure::Internal(format!("state machine: {error}").into()));
                }
            }
        };
        Ok(Progress { outgoing, state })
    }
}
