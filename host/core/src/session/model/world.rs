//! Parties with durable and volatile state, and the network between them.

use std::collections::BTreeMap;
use std::time::Duration;

use zeroize::Zeroizing;

use super::Dice;
use super::component::{Component, Out};
use crate::abort::{Abort, AbortCode, AbortNotice, SignedAbort};
use crate::certificate::{Activation, Certificate, Ready};
use crate::codec::{decode, encode};
use crate::envelope::PayloadKind;
use crate::identity::{PublicKey, SecretKey};
use crate::ids::{AccountId, DatabaseId, Digest, ExecutionId, OutputHash, PlanHash};
use crate::promise::{Promise, PromiseEvent};
use crate::session::streams::OutgoingPayload;
use crate::session::{Effect, Frame, Session, SessionState, SessionTerms, To, WaitingRoom};
use crate::{PartyIndex, Threshold, UnixMillis};

/// Sessions with the same parties run side by side, so that frames can reach the wrong one.
const PLANS: usize = 2;

/// Room for the messages of a peer that wait, in all sessions of a party: three at most.
const WAITING_BYTES_PER_PEER: usize = 200;

const DEADLINE: UnixMillis = UnixMillis(1_000_000);

/// How the last party lies, if it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Liar {
    Nobody,
    /// It sends different hellos to different parties.
    Hello,
    /// It broadcasts different words to different parties, reliably.
    Broadcast,
    /// It sends two envelopes with one number.
    Envelope,
    /// It promises to one party and tells the others that it never will.
    Promise,
}

/// A packet on the network: a frame of a session, or a statement about a promise.
#[derive(Clone)]
enum Packet {
    Frame(Vec<u8>),
    Ready(Vec<u8>),
    Certificate(Vec<u8>),
}

#[derive(Clone)]
struct InFlight {
    to: PartyIndex,
    plan: usize,
    packet: Packet,
}

/// The durable state of a party about one plan.
#[derive(Default)]
struct Durable {
    aborted: Option<(Abort, SignedAbort)>,
    pending: Option<Ready>,
    active: Option<Certificate>,
    released: bool,
}

/// The state that a party loses in a restart.
#[derive(Default)]
struct Volatile {
    session: Option<Session>,
    component: Option<Component>,
    execution: Option<ExecutionId>,
    promise: Option<Promise>,
}

#[derive(Default)]
struct Run {
    durable: Durable,
    volatile: Volatile,
}

struct Party {
    index: PartyIndex,
    waiting_room: WaitingRoom,
    runs: Vec<Run>,
}

pub(super) struct World {
    now: UnixMillis,
    keys: Vec<PublicKey>,
    parties: Vec<Party>,
    network: Vec<InFlight>,
    history: Vec<InFlight>,
    liar: Liar,
}

fn secret(index: PartyIndex) -> SecretKey {
    let mut seed = [0; 32];
    seed[..2].copy_from_slice(&index.number().to_be_bytes());
    SecretKey::from_seed(&seed)
}

fn plan_hash(plan: usize) -> PlanHash {
    PlanHash([u8::try_from(plan).unwrap_or(0); 32])
}

impl World {
    pub(super) fn new(dice: &mut Dice, parties: usize, liar: Liar) -> Self {
        let n = u16::try_from(parties).unwrap_or(2);
        let keys = PartyIndex::all(n).map(|p| secret(p).public()).collect();
        let parties = PartyIndex::all(n)
            .map(|index| Party {
                index,
                waiting_room: WaitingRoom::new(WAITING_BYTES_PER_PEER),
                runs: (0..PLANS).map(|_| Run::default()).collect(),
            })
            .collect();
        let (network, history) = (Vec::new(), Vec::new());
        let mut world = Self { now: UnixMillis(0), keys, parties, network, history, liar };
        for plan in 0..PLANS {
            for party in 0..world.parties.len() {
                world.begin(dice, party, plan);
            }
        }
        world
    }

    fn threshold(&self) -> Threshold {
        let n = u16::try_from(self.parties.len()).unwrap_or(2);
        Threshold::new(2, n).unwrap_or_else(|e| panic!("{e}"))
    }

    fn peers(&self, me: PartyIndex) -> Vec<PartyIndex> {
        self.parties.iter().map(|p| p.index).filter(|&p| p != me).collect()
    }

    /// The liar is the last party.
    fn lies(&self, party: usize) -> bool {
        self.liar != Liar::Nobody && party + 1 == self.parties.len()
    }

    fn begin(&mut self, dice: &mut Dice, party: usize, plan: usize) {
        let me = self.parties[party].index;
        let terms = |world: &Self| SessionTerms {
            plan: plan_hash(plan),
            me,
            signers: world.parties.iter().map(|p| p.index).collect(),
            threshold: world.threshold(),
            parties: world.keys.clone(),
            deadline: DEADLINE,
            counter: 0,
            database: DatabaseId([0; 16]),
            longest_message: 32,
            message_parts: 1,
            waiting_room: world.parties[party].waiting_room.clone(),
        };
        let begin =
            |world: &Self, seed| Session::begin(terms(world), secret(me), &Zeroizing::new(seed), world.now);
        let (session, effects) = begin(self, dice.bytes32());
        if self.lies(party) && self.liar == Liar::Hello {
            // The second hello goes to the first party only, instead of the first.
            let (_, other) = begin(self, dice.bytes32());
            let first = self.parties[0].index;
            let other = other.into_iter().filter(|e| matches!(e, Effect::Send { to, .. } if *to == first));
            let rest = effects.into_iter().filter(|e| !matches!(e, Effect::Send { to, .. } if *to == first));
            let mixed: Vec<Effect> = other.chain(rest).collect();
            self.parties[party].runs[plan].volatile.session = Some(session);
            return self.carry_out(party, plan, mixed);
        }
        self.parties[party].runs[plan].volatile.session = Some(session);
        self.carry_out(party, plan, effects);
    }

    fn put(&mut self, to: PartyIndex, plan: usize, packet: Packet) {
        let flight = InFlight { to, plan, packet };
        self.history.push(flight.clone());
        self.network.push(flight);
    }

    fn carry_out(&mut self, party: usize, plan: usize, effects: Vec<Effect>) {
        let me = self.parties[party].index;
        for effect in effects {
            match effect {
                Effect::Send { to, frame } => self.put(to, plan, Packet::Frame(frame)),
                Effect::Start { execution, .. } => {
                    let (component, out) = Component::start(execution, me, self.peers(me));
                    let volatile = &mut self.parties[party].runs[plan].volatile;
                    volatile.component = Some(component);
                    volatile.execution = Some(execution);
                    self.component_sends(party, plan, out);
                }
                Effect::Deliver(message) => {
                    let component = self.parties[party].runs[plan].volatile.component.as_mut();
                    let Some(component) = component else { panic!("a message before the start") };
                    let (out, outcome) = component.step(message);
                    self.component_sends(party, plan, out);
                    if let Some(outcome) = outcome {
                        self.promise(party, plan, outcome);
                    }
                }
                Effect::SetBack { .. } => panic!("no party is set back"),
                Effect::Bans(_) => panic!("nobody is banned"),
                Effect::Abort { abort, notices } => {
                    let key = secret(me);
                    let notice = AbortNotice { plan: plan_hash(plan), by: me, code: abort.code };
                    let durable = &mut self.parties[party].runs[plan].durable;
                    assert!(durable.pending.is_none() && durable.active.is_none(), "aborted after a promise");
                    durable.aborted = Some((abort, notice.sign(&key)));
                    notices.into_iter().for_each(|(to, frame)| self.put(to, plan, Packet::Frame(frame)));
                }
            }
        }
    }

    fn component_sends(&mut self, party: usize, plan: usize, out: Out) {
        for (round, to, payload) in out {
            if self.lies(party) && self.lie(party, plan, round, to, &payload) {
                continue;
            }
            let now = self.now;
            let Some(session) = &mut self.parties[party].runs[plan].volatile.session else { return };
            let effects = session.send(round, to, &payload, now);
            self.carry_out(party, plan, effects);
        }
    }

    /// Sends something else than the component wanted; false if this is not the moment.
    fn lie(&mut self, party: usize, plan: usize, round: u16, to: To, payload: &[u8]) -> bool {
        let broadcast = self.liar == Liar::Broadcast && to == To::ReliableBroadcast;
        let envelope = self.liar == Liar::Envelope && to == To::Broadcast;
        if !broadcast && !envelope {
            return false;
        }
        let me = self.parties[party].index;
        let (peers, first) = (self.peers(me), self.parties[0].index);
        let volatile = &mut self.parties[party].runs[plan].volatile;
        let Some(Session { terms, key, state: SessionState::Running(running), .. }) = &mut volatile.session
        else {
            return false;
        };
        let other: Vec<u8> = payload.iter().map(|byte| !byte).collect();
        let mut frames = Vec::new();
        for peer in peers {
            let words: &[&[u8]] = match (peer == first, broadcast) {
                (true, true) => &[&other],
                // Both with the same number: the first is sealed from a stream that is set back after it.
                (true, false) => &[payload, &other],
                (false, _) => &[payload],
            };
            for (i, word) in words.iter().enumerate() {
                let kind = if broadcast { PayloadKind::ReliableBroadcast } else { PayloadKind::Broadcast };
                let statement = broadcast
                    .then(|| running.broadcasts.sign_own(terms, key, running.execution, round, word));
                if i > 0 {
                    running.streams.reuse_last_counter(peer);
                }
                let outgoing = OutgoingPayload { round, kind, bytes: word, statement };
                let sealed = running.streams.seal(terms, key, peer, &outgoing);
                frames.push((peer, encode(&Frame::Envelope(sealed.unwrap_or_else(|a| panic!("{a:?}"))))));
            }
        }
        frames.into_iter().for_each(|(to, frame)| self.put(to, plan, Packet::Frame(frame)));
        true
    }

    fn promise(&mut self, party: usize, plan: usize, outcome: [u8; 32]) {
        let me = self.parties[party].index;
        let (threshold, keys) = (self.threshold(), self.keys.clone());
        let now = self.now;
        let run = &mut self.parties[party].runs[plan];
        if let Some(session) = &mut run.volatile.session {
            session.mark_component_done(now);
        }
        let Some(execution) = run.volatile.execution else { panic!("done before the start") };
        let activation = Activation {
            plan: plan_hash(plan),
            execution,
            account: AccountId([0; 16]),
            epoch: 1,
            threshold,
            digest: Digest([0; 32]),
            outputs: OutputHash(outcome),
        };
        if let Some(session) = &mut run.volatile.session {
            session.mark_result_durable();
        }
        let promise = Promise::make(activation, me, &secret(me), keys);
        assert!(run.durable.aborted.is_none(), "promised after an abort");
        run.durable.pending = Some(promise.own().clone());
        run.volatile.promise = Some(promise);
        self.send_promise(party, plan);
    }

    fn send_promise(&mut self, party: usize, plan: usize) {
        let me = self.parties[party].index;
        let durable = &self.parties[party].runs[plan].durable;
        let packet = match (&durable.active, &durable.pending, &durable.aborted) {
            (Some(certificate), _, _) => Packet::Certificate(encode(certificate)),
            (None, Some(ready), _) => Packet::Ready(encode(ready)),
            (None, None, Some((_, abort))) => Packet::Frame(encode(&Frame::Abort(abort.clone()))),
            (None, None, None) => return,
        };
        if self.lies(party) && self.liar == Liar::Promise && matches!(packet, Packet::Ready(_)) {
            return self.promise_to_one(me, plan, packet);
        }
        self.peers(me).into_iter().for_each(|to| self.put(to, plan, packet.clone()));
    }

    fn promise_to_one(&mut self, me: PartyIndex, plan: usize, packet: Packet) {
        let notice =
            AbortNotice { plan: plan_hash(plan), by: me, code: AbortCode::Timeout }.sign(&secret(me));
        let denial = Packet::Frame(encode(&Frame::Abort(notice)));
        let first = self.parties[0].index;
        for to in self.peers(me) {
            let word = if to == first { &packet } else { &denial };
            self.put(to, plan, word.clone());
        }
    }

    fn keep(&mut self, party: usize, plan: usize, kept: Option<PromiseEvent>) {
        let run = &mut self.parties[party].runs[plan];
        match kept {
            None => return,
            Some(PromiseEvent::Activate(certificate)) => {
                run.durable.active = Some(certificate);
                run.durable.pending = None;
                run.durable.released = false;
                run.volatile.promise = None;
            }
            // The share stays: a certificate may still turn up.
            Some(PromiseEvent::Release { .. }) if run.durable.released => return,
            Some(PromiseEvent::Release { .. }) => run.durable.released = true,
        }
        self.send_promise(party, plan);
    }

    fn deliver(&mut self, flight: InFlight) {
        let InFlight { to, plan, packet } = flight;
        let party = usize::from(to.number()) - 1;
        let now = self.now;
        let run = &mut self.parties[party].runs[plan];
        match packet {
            Packet::Frame(frame) => {
                if let (Some(promise), Ok(Frame::Abort(abort))) = (&mut run.volatile.promise, decode(&frame))
                {
                    let kept = promise.on_abort(&abort);
                    return self.keep(party, plan, kept);
                }
                let Some(session) = &mut run.volatile.session else { return };
                let effects = session.receive(&frame, now);
                self.carry_out(party, plan, effects);
            }
            Packet::Ready(bytes) => {
                let (Some(promise), Ok(ready)) = (&mut run.volatile.promise, decode(&bytes)) else { return };
                let kept = promise.on_ready(ready);
                self.keep(party, plan, kept);
            }
            Packet::Certificate(bytes) => {
                let (Some(promise), Ok(certificate)) = (&mut run.volatile.promise, decode(&bytes)) else {
                    return;
                };
                let kept = promise.on_certificate(certificate);
                self.keep(party, plan, kept);
            }
        }
    }

    fn tick(&mut self) {
        (0..self.parties.len()).for_each(|party| self.tick_one(party));
    }

    /// Clocks do not tick together: one party looks at its own.
    fn tick_one(&mut self, party: usize) {
        {
            for plan in 0..PLANS {
                let now = self.now;
                if let Some(session) = &mut self.parties[party].runs[plan].volatile.session {
                    let effects = session.tick(now);
                    self.carry_out(party, plan, effects);
                }
                self.send_promise(party, plan);
            }
        }
    }

    /// A party forgets what it has not stored. A session that was claimed and not finished is recorded as aborted.
    fn restart(&mut self, party: usize) {
        let me = self.parties[party].index;
        for plan in 0..PLANS {
            let keys = self.keys.clone();
            let run = &mut self.parties[party].runs[plan];
            run.volatile = Volatile::default();
            let durable = &mut run.durable;
            if let Some(own) = &durable.pending {
                run.volatile.promise = Some(Promise::restore(own.clone(), keys));
            } else if durable.active.is_none() && durable.aborted.is_none() && !durable.released {
                let code = AbortCode::Internal;
                let notice = AbortNotice { plan: plan_hash(plan), by: me, code }.sign(&secret(me));
                durable.aborted = Some((Abort::of(code, "restarted"), notice));
            }
        }
    }

    /// `steps` things that go right or wrong.
    pub(super) fn chaos(&mut self, dice: &mut Dice, steps: usize, restarts: bool) {
        for _ in 0..steps {
            match dice.below(100) {
                0..=54 => {
                    if let Some(flight) = self.pick(dice) {
                        self.deliver(flight);
                    }
                }
                55..=69 => drop(self.pick(dice)),
                70..=76 => {
                    // Twice: now, and again later.
                    if let Some(flight) = self.pick(dice) {
                        self.network.push(flight.clone());
                        self.deliver(flight);
                    }
                }
                77..=81 => self.replay(dice, |flight, _| flight),
                82..=85 => self.replay(dice, |mut flight, dice| {
                    flight.plan = dice.below(PLANS);
                    flight
                }),
                86..=89 => self.replay(dice, |mut flight, dice| {
                    let bytes = match &mut flight.packet {
                        Packet::Frame(bytes) | Packet::Ready(bytes) | Packet::Certificate(bytes) => bytes,
                    };
                    let at = dice.below(bytes.len());
                    bytes[at] ^= 1 << dice.below(8);
                    flight
                }),
                90..=92 => self.replay(dice, |mut flight, dice| {
                    flight.packet = Packet::Frame(dice.bytes32().to_vec());
                    flight
                }),
                93..=98 => {
                    self.now = self.now + Duration::from_millis(300);
                    let party = dice.below(self.parties.len());
                    self.tick_one(party);
                }
                _ if restarts && dice.chance(50) => {
                    let party = dice.below(self.parties.len());
                    self.restart(party);
                }
                _ => {}
            }
        }
    }

    fn pick(&mut self, dice: &mut Dice) -> Option<InFlight> {
        (!self.network.is_empty()).then(|| {
            let at = dice.below(self.network.len());
            self.network.swap_remove(at)
        })
    }

    /// Delivers something that was sent at any time, changed by `bend`.
    fn replay(&mut self, dice: &mut Dice, bend: impl Fn(InFlight, &mut Dice) -> InFlight) {
        if !self.history.is_empty() {
            let flight = self.history[dice.below(self.history.len())].clone();
            let bent = bend(flight, dice);
            self.deliver(bent);
        }
    }

    /// From now on everything is delivered, in any order; long enough for every deadline to pass.
    pub(super) fn calm(&mut self, dice: &mut Dice) {
        for turn in 0..40 {
            while let Some(flight) = self.pick(dice) {
                self.deliver(flight);
            }
            if turn >= 30 {
                self.now = DEADLINE + Duration::from_millis(turn);
                self.tick();
                continue;
            }
            // One after the other, and what each sends arrives before the next one looks at its clock.
            for party in 0..self.parties.len() {
                self.now = self.now + Duration::from_millis(700);
                self.tick_one(party);
                while let Some(flight) = self.pick(dice) {
                    self.deliver(flight);
                }
            }
        }
        while let Some(flight) = self.pick(dice) {
            self.deliver(flight);
        }
    }

    /// As [`calm`](Self::calm), but nothing about promises is delivered while sessions run: every denial comes late.
    pub(super) fn calm_after_sessions(&mut self, dice: &mut Dice) {
        let mut later = Vec::new();
        while let Some(flight) = self.pick(dice) {
            let abort =
                matches!(&flight.packet, Packet::Frame(f) if matches!(decode(f), Ok(Frame::Abort(_))));
            if abort || !matches!(flight.packet, Packet::Frame(_)) {
                later.push(flight);
            } else {
                self.deliver(flight);
            }
        }
        self.network = later;
        self.calm(dice);
    }

    /// From now on nothing is delivered.
    pub(super) fn dead(&mut self, _: &mut Dice) {
        self.network.clear();
        self.now = DEADLINE;
        self.tick();
        self.network.clear();
    }

    fn honest(&self) -> impl Iterator<Item = &Party> {
        self.parties.iter().enumerate().filter(|(i, _)| !self.lies(*i)).map(|(_, party)| party)
    }

    fn results(&self, plan: usize) -> Vec<&Activation> {
        let result = |d: &'_ Durable| d.pending.is_some() || d.active.is_some();
        self.honest()
            .map(|party| &party.runs[plan].durable)
            .filter(|d| result(d))
            .filter_map(|d| {
                d.active.as_ref().map(|c| &c.activation).or(d.pending.as_ref().map(|r| &r.activation))
            })
            .collect()
    }

    pub(super) fn assert_agreement(&self) {
        for plan in 0..PLANS {
            let results = self.results(plan);
            assert!(results.windows(2).all(|w| w[0] == w[1]), "different results: {results:?}");
        }
    }

    pub(super) fn assert_all_active(&self) {
        for party in self.honest() {
            for run in &party.runs {
                let aborted = &run.durable.aborted;
                assert!(run.durable.active.is_some(), "party {} did not finish: {aborted:?}", party.index);
            }
        }
    }

    pub(super) fn assert_nothing_runs(&self) {
        for run in self.honest().flat_map(|party| &party.runs) {
            let d = &run.durable;
            let settled = d.aborted.is_some() || d.pending.is_some() || d.active.is_some() || d.released;
            assert!(settled, "a session without an end");
        }
    }

    /// Asserts that no session runs and no promise is open, so that the network has delivered everything.
    pub(super) fn assert_nothing_open(&self) {
        self.assert_nothing_runs();
        for run in self.honest().flat_map(|party| &party.runs) {
            let ended = run.durable.pending.is_none() || run.durable.released;
            assert!(ended, "a promise that nobody ended");
        }
    }

    /// Once the network has delivered everything.
    pub(super) fn assert_active_everywhere_or_nowhere(&self) {
        for plan in 0..PLANS {
            let active = || self.honest().map(|p| p.runs[plan].durable.active.is_some());
            assert!(active().all(|a| a) || !active().any(|a| a), "active at one party only");
        }
    }

    pub(super) fn assert_activation_is_all_or_nothing(&self) {
        for plan in 0..PLANS {
            let durable: Vec<_> = self.parties.iter().map(|p| &p.runs[plan].durable).collect();
            if durable.iter().any(|d| d.active.is_some()) {
                let kept = durable.iter().all(|d| d.active.is_some() || d.pending.is_some());
                assert!(kept, "active at one party, gone at another");
            }
        }
    }

    pub(super) fn assert_nobody_honest_is_blamed(&self) {
        let liar = self.parties.len();
        let blamed: BTreeMap<_, _> = self
            .honest()
            .flat_map(|party| party.runs.iter().map(move |run| (party.index, &run.durable.aborted)))
            .filter_map(|(party, aborted)| aborted.as_ref().map(|(abort, _)| (party, abort)))
            .filter(|(_, abort)| abort.culprits.iter().any(|c| usize::from(c.number()) != liar))
            .collect();
        assert!(blamed.is_empty(), "{blamed:?}");
    }

    /// How many honest parties have aborted.
    pub(super) fn aborts(&self) -> usize {
        self.honest().flat_map(|p| &p.runs).filter(|r| r.durable.aborted.is_some()).count()
    }
}
