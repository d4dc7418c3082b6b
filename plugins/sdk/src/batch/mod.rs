//! Signs the items of a task together, so that a plugin signs one.
//!
//! A batch is one question to every signer. In a protocol in which a counterparty that cheats learns something from the answer,
//! each item would otherwise be a question of its own, and the first answer would help to choose the next question. So:
//! - a step computes the round of every item before anything of that round is returned, and before a failure is;
//! - a failure says the same whichever item it comes from, and a ban goes before every other failure;
//! - every item is computed whether or not another one has failed, so that the time does not tell which (it can tell how many);
//! - the signatures are returned together.
//!
//! Each item has an execution id of its own, made of the session's, of its index and of itself: two equal items share no
//! mask. All randomness is drawn from the one source of the instance.
//!
//! The messages that all items send in a round to a receiver are one message, which may travel in [parts].

mod failure;
mod item_id;
mod parts;

use crate::{
    Failure, Host, Incoming, Outcome, Progress, Roster, Session, SignItem, SignTask, Signature, Slot, State,
};

use failure::merge;
use item_id::execution_id;
use parts::{PartialMessages, into_parts};

#[cfg(target_arch = "wasm32")]
pub(crate) use parts::FRAMING_BYTES;

/// The most items of a task.
const MAX_ITEMS: usize = 64;

/// A [`Session`] over one session for each item.
pub struct Batch<S> {
    items: Vec<S>,
    partial: PartialMessages,
}

impl<S: Session> Batch<S> {
    /// Begins the session of every item with `begin`, which is given the roster with the item's own execution id.
    ///
    /// `schedule` has the slots of an item's messages. Each session must end with the signature of its item.
    ///
    /// # Errors
    /// [`Failure::InvalidTask`] without items, with more than 64, or when two would use one presignature; and what `begin`
    /// returns.
    pub fn new(
        roster: &Roster,
        task: &SignTask,
        schedule: &[Slot],
        mut begin: impl FnMut(&Roster, &SignItem) -> Result<S, Failure>,
    ) -> Result<Self, Failure> {
        if !(1..=MAX_ITEMS).contains(&task.items.len()) {
            return Err(Failure::InvalidTask("a task to sign has 1 to 64 items".into()));
        }
        let mut presignatures: Vec<_> =
            task.items.iter().filter_map(|item| item.presignature.as_ref()).collect();
        presignatures.sort_unstable();
        if presignatures.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Failure::InvalidTask("two items would use one presignature".into()));
        }
        let items = task.items.iter().zip(0..).map(|(item, index)| {
            let roster = roster.with_execution_id(execution_id(roster.execution_id(), index, item));
            begin(&roster, item)
        });
        Ok(Self {
            items: items.collect::<Result<_, _>>()?,
            partial: PartialMessages::new(schedule, task.items.len()),
        })
    }
}

impl<S: Session> Session for Batch<S> {
    /// One step computes a whole round of all items, however long it takes: no peer may see which item is being computed.
    fn step(&mut self, host: &mut dyn Host, incoming: Vec<Incoming>) -> Result<Progress, Failure> {
        let mut failures = Vec::new();
        let mut arrived: Vec<Vec<Incoming>> = self.items.iter().map(|_| Vec::new()).collect();
        for part in incoming {
            let Incoming { round, from, delivery, .. } = part;
            match self.partial.accept(part) {
                Ok(None) => {}
                Ok(Some(payloads)) => {
                    for (messages, payload) in arrived.iter_mut().zip(payloads) {
                        messages.push(Incoming { round, from, delivery, payload });
                    }
                }
                Err(fault) => failures.push(fault),
            }
        }
        let mut progress = Vec::new();
        for (item, arrived) in self.items.iter_mut().zip(arrived) {
            match run(item, host, arrived) {
                Ok(one) => progress.push(one),
                Err(failure) => failures.push(failure),
            }
        }
        if let Some(failure) = failures.into_iter().reduce(merge) {
            return Err(failure);
        }
        combine(progress)
    }
}

/// Steps a session until it has sent something, needs messages or is done. What a round sends leaves before the next round is
/// computed, so that a failure there does not keep it from the peers.
fn run(
    session: &mut impl Session,
    host: &mut dyn Host,
    mut arrived: Vec<Incoming>,
) -> Result<Progress, Failure> {
    let mut outgoing = Vec::new();
    loop {
        let mut step = session.step(host, std::mem::take(&mut arrived))?;
        outgoing.append(&mut step.outgoing);
        if !outgoing.is_empty() || !matches!(step.state, State::Again) {
            return Ok(Progress { outgoing, state: step.state });
        }
    }
}

/// The step of a batch, of the steps of its items.
fn combine(items: Vec<Progress>) -> Result<Progress, Failure> {
    let differ = || Failure::Internal("the items of a batch are not in the same round".into());
    let (mut messages, mut signatures) = (Vec::new(), Vec::new());
    let (mut waiting, mut any_again) = (0, false);
    for (number, Progress { outgoing, state }) in items.into_iter().enumerate() {
        match state {
            State::Done(Outcome::Signatures(one)) => signatures.push(one),
            State::Done(_) => return Err(Failure::Internal("a signing without a signature".into())),
            State::Waiting => waiting += 1,
            State::Again => (waiting, any_again) = (waiting + 1, true),
        }
        if number == 0 {
            messages = outgoing.into_iter().map(|m| (m.round, m.to, vec![m.payload])).collect();
            continue;
        }
        if messages.len() != outgoing.len() {
            return Err(differ());
        }
        for ((round, to, payloads), message) in messages.iter_mut().zip(outgoing) {
            if (*round, *to) != (message.round, message.to) {
                return Err(differ());
            }
            payloads.push(message.payload);
        }
    }
    let state = match (signatures.is_empty(), waiting) {
        (true, _) if any_again => State::Again,
        (true, _) => State::Waiting,
        (false, 0) => State::Done(Outcome::Signatures(one_each(signatures)?)),
        (false, _) => return Err(differ()),
    };
    let outgoing = messages.into_iter().map(|(round, to, payloads)| into_parts(round, to, &payloads));
    Ok(Progress { outgoing: outgoing.collect::<Result<Vec<_>, _>>()?.concat(), state })
}

/// The signatures of items that have one each.
fn one_each(signatures: Vec<Vec<Signature>>) -> Result<Vec<Signature>, Failure> {
    let one = |signatures: Vec<Signature>| <[Signature; 1]>::try_from(signatures).ok().map(|[one]| one);
    let all: Option<_> = signatures.into_iter().map(one).collect();
    all.ok_or_else(|| Failure::Internal("an item without its one signature".into()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use zeroize::Zeroizing;

    use super::parts::{LAST, MORE, PART_BYTES};
    use super::*;
    use crate::{Delivery, Detail, HashFunction, Level, Outgoing, PartyIndex, Recipient, Scope, VaultError};

    const LONG: Slot = Slot::new(1, Delivery::Broadcast, 1 << 20);

    struct NoHost;

    impl Host for NoHost {
        fn vault_get(&self, _: Scope, _: &str) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError> {
            Ok(None)
        }
        fn vault_put(&mut self, _: Scope, _: &str, _: &[u8]) -> Result<(), VaultError> {
            Ok(())
        }
        fn vault_take(&mut self, _: Scope, _: &str) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError> {
            Ok(None)
        }
        fn vault_stock(&mut self, _: Scope, _: &str, _: &[u8]) -> Result<(), VaultError> {
            Ok(())
        }
        fn vault_list(&self, _: Scope, _: &str, _: u16) -> Result<Vec<String>, VaultError> {
            Ok(vec![])
        }
        fn log(&mut self, _: Level, _: u16, _: &str) {}
    }

    /// Sends `sends` bytes, then signs with the first byte that it is sent; or fails at that point.
    struct Item {
        number: u8,
        sends: usize,
        fails: Option<Failure>,
        has_begun: bool,
    }

    impl Session for Item {
        fn step(&mut self, _: &mut dyn Host, incoming: Vec<Incoming>) -> Result<Progress, Failure> {
            let Some(message) = incoming.into_iter().next() else {
                let payload = vec![self.number; self.sends].into();
                let first = Outgoing { round: 1, to: Recipient::Broadcast, payload };
                let has_begun = std::mem::replace(&mut self.has_begun, true);
                let outgoing = if has_begun { vec![] } else { vec![first] };
                return Ok(Progress { outgoing, state: State::Waiting });
            };
            if let Some(failure) = self.fails.take() {
                return Err(failure);
            }
            let byte = message.payload.first().copied().unwrap_or_default();
            let signature = Signature { bytes: [byte; 64], recovery_id: None };
            Ok(Progress { outgoing: vec![], state: State::Done(Outcome::Signatures(vec![signature])) })
        }
    }

    fn item() -> SignItem {
        let message = vec![7; 32];
        SignItem { message, hash: HashFunction::None, path: vec![], merkle_root: None, presignature: None }
    }

    fn roster() -> Roster {
        Roster::new(1, &[1, 2, 3], 3, 2, &[0; 32], &[9; 32]).unwrap()
    }

    fn task(items: usize) -> SignTask {
        SignTask { scheme: "s".into(), items: vec![item(); items] }
    }

    /// A batch whose items have made their first step, and what they have sent.
    fn batch(sends: usize, fails: Vec<Option<Failure>>) -> (Batch<Item>, Vec<Outgoing>) {
        let mut fails = fails.into_iter();
        let task = task(fails.len());
        let mut number = 0;
        let mut batch = Batch::new(&roster(), &task, &[LONG], |_, _| {
            number += 1;
            Ok(Item { number, sends, fails: fails.next().unwrap(), has_begun: false })
        })
        .unwrap();
        let sent = batch.step(&mut NoHost, vec![]).unwrap().outgoing;
        (batch, sent)
    }

    fn from(party: u16, payload: &[u8]) -> Incoming {
        let from = PartyIndex::new(party).unwrap();
        Incoming { round: 1, from, delivery: Delivery::Broadcast, payload: payload.to_vec().into() }
    }

    fn ban(culprit: u16) -> Failure {
        let culprits = vec![PartyIndex::new(culprit).unwrap()];
        Failure::Fault { culprits, ban: true, detail: Detail::new(culprit, "cheated") }
    }

    #[test]
    fn a_message_of_all_items_travels_in_parts_and_each_item_gets_its_own() {
        for sends in [0, 1, (1 << 20) - 4, 400_000] {
            let (mut batch, sent) = batch(sends, vec![None, None, None]);
            let bytes = 3 * (4 + sends);
            assert_eq!(sent.len(), bytes / PART_BYTES + 1, "{sends}");
            let (last, first) = sent.split_last().unwrap();
            for part in first {
                let step = batch.step(&mut NoHost, vec![from(2, &part.payload)]).unwrap();
                assert!(step.outgoing.is_empty() && matches!(step.state, State::Waiting), "{sends}");
            }
            let done = batch.step(&mut NoHost, vec![from(2, &last.payload)]).unwrap();
            let State::Done(Outcome::Signatures(signatures)) = done.state else { panic!() };
            let got: Vec<_> = signatures.iter().map(|signature| signature.bytes[0]).collect();
            assert_eq!(got, if sends == 0 { [0; 3] } else { [1, 2, 3] }, "{sends}");
        }
    }

    #[test]
    fn a_part_that_is_none_is_a_fault_of_its_sender() {
        let whole =
            |length: u32, bytes: usize| [&[LAST][..], &length.to_be_bytes(), &vec![0; bytes]].concat();
        let long = [&[MORE][..], &vec![0; PART_BYTES]].concat();
        for (what, bad) in [
            ("no flag", vec![vec![]]),
            ("another flag", vec![vec![2; 6]]),
            ("a short part before the last", vec![vec![MORE; 6]]),
            ("another length", vec![whole(2, 1)]),
            ("bytes left over", vec![whole(1, 2)]),
            ("no item", vec![vec![LAST]]),
            ("more than all items have", vec![long.clone(), long]),
        ] {
            let (mut batch, _) = batch(1, vec![None]);
            let parts = bad.iter().map(|part| from(3, part)).collect();
            let Err(Failure::Fault { culprits, ban: false, .. }) = batch.step(&mut NoHost, parts) else {
                panic!("{what}")
            };
            assert_eq!(culprits, [PartyIndex::new(3).unwrap()], "{what}");
        }
        let (mut batch, sent) = batch(1, vec![None]);
        let elsewhere = Incoming { round: 2, ..from(3, &sent[0].payload) };
        assert!(matches!(batch.step(&mut NoHost, vec![elsewhere]), Err(Failure::Fault { .. })));
    }

    #[test]
    fn a_failure_is_the_same_in_whichever_item_and_a_ban_goes_before_all_others() {
        let fault = || Some(Failure::fault(PartyIndex::new(2).unwrap(), "late"));
        let internal = || Some(Failure::Internal("a bug".into()));
        let ended = |fails: Vec<Option<Failure>>| {
            let (mut batch, sent) = batch(1, fails);
            batch.step(&mut NoHost, vec![from(2, &sent[0].payload)]).err().unwrap()
        };
        for [first, middle, last] in [
            [Some(ban(3)), fault(), internal()],
            [internal(), Some(ban(3)), fault()],
            [fault(), internal(), Some(ban(3))],
        ] {
            assert_eq!(ended(vec![first, middle, last]), ban(3));
        }
        assert_eq!(ended(vec![None, fault(), internal()]), ended(vec![internal(), fault(), None]));
        let both = ended(vec![Some(ban(3)), None, Some(ban(2))]);
        assert_eq!(both, ended(vec![Some(ban(2)), Some(ban(3)), None]));
        let Failure::Fault { culprits, ban: true, .. } = both else { panic!("{both:?}") };
        assert_eq!(culprits.len(), 2, "both have cheated");
        // A malformed message of one peer hides no cheat of another.
        let (mut batch, sent) = batch(1, vec![Some(ban(3)), None]);
        let arrived = vec![from(2, &[2]), from(3, &sent[0].payload)];
        assert_eq!(batch.step(&mut NoHost, arrived).err(), Some(ban(3)));
    }

    /// Sends, is ready to go on at once, and then fails.
    struct Hasty {
        has_sent: bool,
    }

    impl Session for Hasty {
        fn step(&mut self, _: &mut dyn Host, _: Vec<Incoming>) -> Result<Progress, Failure> {
            if std::mem::replace(&mut self.has_sent, true) {
                return Err(Failure::Internal("the next round".into()));
            }
            let sent = Outgoing { round: 1, to: Recipient::Broadcast, payload: vec![1].into() };
            Ok(Progress { outgoing: vec![sent], state: State::Again })
        }
    }

    #[test]
    fn what_a_round_sends_leaves_before_a_failure_of_the_next() {
        let begin = |_: &Roster, _: &SignItem| Ok(Hasty { has_sent: false });
        let mut batch = Batch::new(&roster(), &task(2), &[LONG], begin).unwrap();
        let step = batch.step(&mut NoHost, vec![]).unwrap();
        assert_eq!(step.outgoing.len(), 1);
        assert!(matches!(step.state, State::Again));
        assert!(batch.step(&mut NoHost, vec![]).is_err());
    }

    #[test]
    fn each_item_has_an_execution_of_its_own() {
        let mut ids = Vec::new();
        let mut note = |roster: &Roster| {
            Batch::new(roster, &task(2), &[LONG], |roster, _| {
                ids.push(*roster.execution_id());
                Ok(Item { number: 1, sends: 1, fails: None, has_begun: false })
            })
            .unwrap();
        };
        note(&roster());
        note(&roster().with_execution_id([8; 32]));
        let others = [
            SignItem { message: vec![8; 32], ..item() },
            SignItem { hash: HashFunction::Sha256, ..item() },
            SignItem { path: vec![7], ..item() },
            SignItem { merkle_root: Some([7; 32]), ..item() },
            SignItem { presignature: Some("p".into()), ..item() },
        ];
        ids.extend(others.iter().map(|item| execution_id(&[9; 32], 0, item)));
        let before = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), before);
    }

    #[test]
    fn a_task_has_1_to_64_items_and_uses_a_presignature_once() {
        let begin = |task: &SignTask| {
            Batch::new(&roster(), task, &[LONG], |_, _| {
                Ok(Item { number: 1, sends: 1, fails: None, has_begun: false })
            })
            .is_ok()
        };
        for (items, fits) in [(0, false), (1, true), (64, true), (65, false)] {
            assert_eq!(begin(&task(items)), fits, "{items}");
        }
        let with = |name: &str| SignItem { presignature: Some(name.into()), ..item() };
        for (names, fits) in [(["a", "b"], true), (["a", "a"], false)] {
            assert_eq!(begin(&SignTask { items: names.map(with).to_vec(), ..task(1) }), fits, "{names:?}");
        }
    }
}
