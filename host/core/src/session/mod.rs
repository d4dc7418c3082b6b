//! A session of one party over an untrusted network, as a state machine without I/O.
//!
//! It begins with hellos (rule 3) and, with more than two signers, their echo; then the component is started and
//! everything it sends and gets goes through signed envelopes (rule 4) and, where it asks for it, reliable broadcast
//! (rule 5). The caller feeds in frames from the router, what the component sends, and the time; it carries out the
//! [`Effect`]s that come back, in their order.
//!
//! Invariants:
//! - the component is started only when all signers have the same hellos;
//! - it gets every message once, in the order in which its sender sent it, and a reliable broadcast only when all
//!   signers got the same;
//! - a frame that does not prove its sender is dropped and changes nothing: the router can't end a session by
//!   inventing frames, only by withholding them;
//! - what has been sent is sent again, byte for byte, while the session waits, and after that to a peer that shows
//!   that it still waits: lost frames cost time, not the session;
//! - after its end a session has no effect but to tell a peer that asks.

mod broadcast;
mod effect;
mod frame;
mod handshake;
#[cfg(test)]
mod model;
mod reply_throttle;
mod running;
mod shown;
mod state;
mod streams;
mod terms;
mod waiting_room;

use std::collections::BTreeSet;
use std::time::Duration;

use broadcast::Broadcasts;
use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;
use zeroize::Zeroizing;

use crate::abort::{Abort, AbortCode, AbortNotice, SignedAbort};
use crate::codec::{decode, encode};
use crate::identity::SecretKey;
use crate::wiped_stack::on_wiped_stack;
use crate::{PartyIndex, UnixMillis};
pub use effect::{Effect, Message, To};
pub use frame::Frame;
use handshake::{Handshake, HandshakeResult};
use reply_throttle::ReplyThrottle;
use running::{Deliverable, RunningState};
use state::SessionState;
pub use streams::MAX_ROUNDS;
use streams::Streams;
pub use terms::SessionTerms;
pub use waiting_room::{Place, WaitingRoom};

/// Frames of one peer that are kept for a session whose hellos are not complete: what an honest peer can send by then
/// is its first round, one or two frames.
const MAX_EARLY_FRAMES: usize = 4;

/// The longest frame: a payload of 2 MiB and what is around it.
const MAX_FRAME_BYTES: usize = streams::MAX_PAYLOAD_BYTES + 1_024;

/// How long a session waits without anything new before it sends everything again: longer than a
/// slow step of a peer, so that a healthy session sends nothing twice.
const RESEND_INTERVAL: Duration = Duration::from_millis(2_000);

/// A session of one party.
pub struct Session {
    terms: SessionTerms,
    key: SecretKey,
    /// Dropped once the streams are there, or the session is over: the ephemeral key can be computed from it.
    random: Option<Box<ChaCha20Rng>>,
    state: SessionState,
    /// Everything sent so far, in order.
    sent: Vec<(PartyIndex, Vec<u8>)>,
    /// Peers that claim to have finished. The claim is not authenticated evidence.
    claimed_finished: BTreeSet<PartyIndex>,
    /// How many frames with bans have come.
    frames_with_bans: usize,
    /// When something new last came in or went out, or everything was sent again.
    quiet_since: UnixMillis,
}

type Effects = Vec<Effect>;

impl Session {
    /// Begins a session. `seed` is fresh randomness: the ephemeral key and all else that has to be unpredictable comes
    /// from it.
    #[must_use]
    pub fn begin(
        terms: SessionTerms,
        key: SecretKey,
        seed: &Zeroizing<[u8; 32]>,
        now: UnixMillis,
    ) -> (Self, Vec<Effect>) {
        let mut random = on_wiped_stack(|| Box::new(ChaCha20Rng::from_seed(**seed)));
        let handshake = Handshake::new(&terms, &key, &mut random);
        let hello = handshake.own_hello();
        let state = SessionState::Greeting { handshake, early: Vec::new() };
        let mut session = Self {
            terms,
            key,
            random: Some(random),
            state,
            sent: Vec::new(),
            claimed_finished: BTreeSet::new(),
            frames_with_bans: 0,
            quiet_since: now,
        };
        let effects = session.send_all(&Frame::Hello(hello));
        (session, effects)
    }

    /// Takes in a frame from the router, which says truthfully or not that it is for this session.
    pub fn receive(&mut self, frame: &[u8], now: UnixMillis) -> Vec<Effect> {
        if frame.len() > MAX_FRAME_BYTES {
            return vec![];
        }
        let Ok(frame) = decode::<Frame>(frame) else { return vec![] };
        if let Frame::Finished(by) = frame {
            if self.terms.key_of_peer(by).is_some() {
                self.claimed_finished.insert(by);
            }
            return vec![];
        }
        if let Some(effects) = self.on_shown(&frame) {
            return effects;
        }
        if matches!(self.state, SessionState::Done { .. } | SessionState::Over { .. }) {
            return self.answer(&frame, now);
        }
        match self.on_frame(frame, now) {
            Ok(effects) => effects,
            Err(abort) => self.abort(abort, now),
        }
    }

    /// Sends again what a peer that goes on sending still lacks.
    fn answer(&mut self, frame: &Frame, now: UnixMillis) -> Vec<Effect> {
        let Some(from) = frame.sender() else { return vec![] };
        let waits = !matches!(frame, Frame::Abort(_) | Frame::Acknowledgement(_));
        match &mut self.state {
            SessionState::Done { answers, .. } => {
                if !waits || !answers.is_due(from, now) {
                    return vec![];
                }
                let sent = self.sent.iter().filter(|(to, _)| *to == from);
                sent.map(|(to, frame)| Effect::Send { to: *to, frame: frame.clone() }).collect()
            }
            SessionState::Over { notice, answers } => {
                if !waits || !answers.is_due(from, now) {
                    return vec![];
                }
                vec![Effect::Send { to: from, frame: notice.clone() }]
            }
            _ => vec![],
        }
    }

    /// The place of a frame that came too early, if it is worth keeping: signed by a peer that has sent few.
    fn place_of_early(&self, early: &[(Frame, Place)], frame: &Frame) -> Option<Place> {
        let from = frame.sender()?;
        let kept = early.iter().map(|(frame, _)| frame);
        let few = kept.clone().filter(|kept| kept.sender() == Some(from)).count() < MAX_EARLY_FRAMES;
        if !few || !frame.is_signed_for(&self.terms) || kept.clone().any(|kept| kept == frame) {
            return None;
        }
        self.terms.waiting_room.take(self.terms.key_of_peer(from)?, frame.waiting_bytes())
    }

    /// Sends what the component wants sent.
    pub fn send(&mut self, round: u16, to: To, payload: &[u8], now: UnixMillis) -> Vec<Effect> {
        self.quiet_since = now;
        match self.try_send(round, to, payload) {
            Ok(effects) => effects,
            Err(abort) => self.abort(abort, now),
        }
    }

    /// Records that the component is done. Frames of the session are still sent again to peers that lack them, and no
    /// timeout and no peer ends it any more; until the result is [durable](Self::mark_result_durable), the caller
    /// still can.
    pub fn mark_component_done(&mut self, now: UnixMillis) {
        if matches!(self.state, SessionState::Running(_)) {
            self.state =
                SessionState::Done { is_durable: false, answers: ReplyThrottle::from(&self.terms, now) };
        }
    }

    /// Records that the result is durable: a verified signature, or a promised share. From now on this party never
    /// says that it has aborted.
    pub fn mark_result_durable(&mut self) {
        if let SessionState::Done { is_durable, .. } = &mut self.state {
            *is_durable = true;
        }
    }

    /// Tells the peers that this party has its result and needs nothing more of them.
    #[must_use]
    pub fn finish(&self) -> Vec<Effect> {
        let frame = encode(&Frame::Finished(self.terms.me));
        self.terms.peers().map(|to| Effect::Send { to, frame: frame.clone() }).collect()
    }

    /// Whether all peers claim to have finished: no frame has to be sent again.
    #[must_use]
    pub fn all_finished(&self) -> bool {
        self.terms.peers().all(|peer| self.claimed_finished.contains(&peer))
    }

    /// Ends the session for a reason of the caller's: the component failed, or the host is shutting down.
    pub fn fail(&mut self, abort: Abort, now: UnixMillis) -> Vec<Effect> {
        self.abort(abort, now)
    }

    /// Looks at the clock: ends the session at its deadline, and sends everything again when it has been quiet for
    /// long.
    pub fn tick(&mut self, now: UnixMillis) -> Vec<Effect> {
        if matches!(self.state, SessionState::Done { .. } | SessionState::Over { .. }) {
            return vec![];
        }
        if now >= self.terms.deadline {
            let reason = self.waiting_for();
            return self.abort(Abort::of(AbortCode::Timeout, reason), now);
        }
        if now < self.quiet_since + RESEND_INTERVAL {
            return vec![];
        }
        self.quiet_since = now;
        self.sent.iter().map(|(to, frame)| Effect::Send { to: *to, frame: frame.clone() }).collect()
    }

    /// Whether nothing can happen any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.state, SessionState::Over { .. })
    }

    fn waiting_for(&self) -> String {
        match &self.state {
            SessionState::Greeting { handshake, .. } => {
                format!("the deadline passed while waiting for {}", handshake.waiting_for(&self.terms))
            }
            _ => "the deadline passed while the protocol was running".into(),
        }
    }

    fn on_frame(&mut self, frame: Frame, now: UnixMillis) -> Result<Effects, Abort> {
        if let Frame::Abort(notice) = &frame {
            return self.peer_aborted(notice);
        }
        if frame.is_about_promises() {
            return Ok(vec![]);
        }
        match &mut self.state {
            SessionState::Greeting { handshake, early } => match frame {
                Frame::Hello(hello) => {
                    if !handshake.on_hello(&self.terms, hello)? {
                        return Ok(vec![]);
                    }
                }
                Frame::HelloEcho(echo) => {
                    if !handshake.on_echo(&self.terms, &echo)? {
                        return Ok(vec![]);
                    }
                }
                // The sender has all hellos already, we do not. If it is dropped it will come again.
                later => {
                    let mut kept = std::mem::take(early);
                    if let Some(place) = self.place_of_early(&kept, &later) {
                        kept.push((later, place));
                    }
                    if let SessionState::Greeting { early, .. } = &mut self.state {
                        *early = kept;
                    }
                    return Ok(vec![]);
                }
            },
            SessionState::Running(running) => match frame {
                Frame::Hello(_) | Frame::HelloEcho(_) => return Ok(vec![]),
                Frame::Envelope(envelope) => {
                    running.streams.accept(&self.terms, envelope)?;
                    return self.deliver(now);
                }
                Frame::Echo(echo) => {
                    running.broadcasts.on_echo(&self.terms, running.execution, &echo)?;
                    return self.deliver(now);
                }
                _ => return Ok(vec![]),
            },
            SessionState::Done { .. } | SessionState::Over { .. } => return Ok(vec![]),
        }
        self.quiet_since = now;
        self.advance_handshake(now)
    }

    /// Goes on with the handshake as far as it allows.
    fn advance_handshake(&mut self, now: UnixMillis) -> Result<Effects, Abort> {
        let mut effects = Effects::new();
        if let SessionState::Greeting { handshake, .. } = &mut self.state
            && let Some(echo) = handshake.own_echo(&self.terms, &self.key)
        {
            effects.extend(self.send_all(&Frame::HelloEcho(echo)));
        }
        let SessionState::Greeting { handshake, early } = &mut self.state else { return Ok(effects) };
        handshake.check_echoes(&self.terms)?;
        let Some(HandshakeResult { execution, ephemeral, mut hellos }) = handshake.complete(&self.terms)
        else {
            return Ok(effects);
        };
        let early = std::mem::take(early);
        let keys = hellos.iter().map(|(&party, signed)| (party, signed.hello.ephemeral)).collect();
        hellos.remove(&self.terms.me);
        effects.push(Effect::Start { execution, hellos });
        // Taken, not borrowed: what can compute the ephemeral key again is gone with it.
        let Some(mut random) = self.random.take() else { return Ok(effects) };
        let streams = Streams::new(&self.terms, execution, ephemeral, &keys, &mut random)?;
        self.state =
            SessionState::Running(RunningState { execution, streams, broadcasts: Broadcasts::default() });
        for (frame, place) in early {
            // It takes a place of its own if it has to wait again.
            drop(place);
            effects.extend(self.on_frame(frame, now)?);
        }
        Ok(effects)
    }

    fn try_send(&mut self, round: u16, to: To, payload: &[u8]) -> Result<Effects, Abort> {
        let SessionState::Running(running) = &mut self.state else { return Ok(vec![]) };
        let frames = running.seal(&self.terms, &self.key, round, to, payload)?;
        let mut effects: Effects =
            frames.into_iter().map(|(to, frame)| self.record_and_send(to, frame)).collect();
        // Our own broadcast may be the last that an echo was waiting for.
        effects.extend(self.deliver(self.quiet_since)?);
        Ok(effects)
    }

    /// Delivers every message that may be delivered, and sends the echoes that are due.
    fn deliver(&mut self, now: UnixMillis) -> Result<Effects, Abort> {
        let SessionState::Running(running) = &mut self.state else { return Ok(vec![]) };
        let Deliverable { messages, echoes } = running.deliverable(&self.terms, &self.key)?;
        if !messages.is_empty() || !echoes.is_empty() {
            self.quiet_since = now;
        }
        let mut effects: Effects = messages.into_iter().map(Effect::Deliver).collect();
        for echo in echoes {
            effects.extend(self.send_all(&Frame::Echo(echo)));
        }
        Ok(effects)
    }

    fn peer_aborted(&mut self, signed: &SignedAbort) -> Result<Effects, Abort> {
        let by = signed.notice.by;
        let Some(key) = self.terms.key_of_peer(by) else { return Ok(vec![]) };
        let here = matches!(self.state, SessionState::Greeting { .. } | SessionState::Running(_));
        if !here || signed.notice.plan != self.terms.plan || signed.verify(key).is_err() {
            return Ok(vec![]);
        }
        Err(Abort::of(
            AbortCode::PeerAborted,
            format!("party {by} ended the session: {:?}", signed.notice.code),
        ))
    }

    fn abort(&mut self, abort: Abort, now: UnixMillis) -> Effects {
        // With a durable result nothing is taken back.
        if matches!(self.state, SessionState::Over { .. } | SessionState::Done { is_durable: true, .. }) {
            return vec![];
        }
        let notice = AbortNotice { plan: self.terms.plan, by: self.terms.me, code: abort.code };
        let notice = encode(&Frame::Abort(notice.sign(&self.key)));
        let notices = self.terms.peers().map(|peer| (peer, notice.clone())).collect();
        self.state = SessionState::Over { notice, answers: ReplyThrottle::from(&self.terms, now) };
        self.random = None;
        self.sent.clear();
        vec![Effect::Abort { abort, notices }]
    }

    fn send_all(&mut self, frame: &Frame) -> Effects {
        let bytes = encode(frame);
        let peers: Vec<_> = self.terms.peers().collect();
        peers.into_iter().map(|peer| self.record_and_send(peer, bytes.clone())).collect()
    }

    fn record_and_send(&mut self, to: PartyIndex, frame: Vec<u8>) -> Effect {
        self.sent.push((to, frame.clone()));
        Effect::Send { to, frame }
    }
}

impl core::fmt::Debug for Session {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Session(party {}, {})", self.terms.me, self.state.name())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::Threshold;
    use crate::hello::{Hello, SignedHello};
    use crate::ids::{DatabaseId, PlanHash};
    use crate::order::tests::identities;

    /// The session of a party, whose fresh randomness is of this seed, and its hello.
    fn begin(me: u16, parties: u8, seed: u8) -> (Session, Vec<u8>) {
        let keys = identities(parties);
        let terms = SessionTerms {
            plan: PlanHash([1; 32]),
            me: PartyIndex::try_from(me).unwrap(),
            signers: PartyIndex::all(parties.into()).collect(),
            threshold: Threshold::new(2, parties.into()).unwrap(),
            parties: keys.iter().map(SecretKey::public).collect(),
            deadline: UnixMillis(1_000),
            counter: 7,
            database: DatabaseId([1; 16]),
            longest_message: 1_000,
            message_parts: 1,
            waiting_room: WaitingRoom::new(1 << 20),
        };
        let key = identities(parties).swap_remove(usize::from(me) - 1);
        let (session, effects) = Session::begin(terms, key, &Zeroizing::new([seed; 32]), UnixMillis(0));
        let Some(Effect::Send { frame, .. }) = effects.into_iter().next() else { panic!() };
        (session, frame)
    }

    #[test]
    fn nothing_starts_between_parties_that_were_told_different_hellos() {
        let ((mut first, hello_of_first), (mut second, hello_of_second)) = (begin(1, 3, 1), begin(2, 3, 2));
        let (to_first, to_second) = (begin(3, 3, 3).1, begin(3, 3, 4).1);
        let mut echo = None;
        for hello in [hello_of_first, to_second] {
            for effect in second.receive(&hello, UnixMillis(0)) {
                let Effect::Send { frame, .. } = effect else { panic!("{effect:?}") };
                echo = Some(frame);
            }
        }
        for hello in [hello_of_second, to_first] {
            first.receive(&hello, UnixMillis(0));
        }
        let effects = first.receive(&echo.unwrap(), UnixMillis(0));
        let [Effect::Abort { abort, .. }] = effects.as_slice() else { panic!("{effects:?}") };
        assert_eq!(abort.culprits, [PartyIndex::try_from(3).unwrap()]);
    }

    /// Two sessions whose components have been started.
    fn started(of_first: u8) -> (Session, Session) {
        let ((mut first, hello_of_first), (mut second, hello_of_second)) =
            (begin(1, 2, of_first), begin(2, 2, 2));
        let starts = |effects: Vec<Effect>| matches!(effects.as_slice(), [Effect::Start { .. }]);
        assert!(starts(first.receive(&hello_of_second, UnixMillis(0))));
        assert!(starts(second.receive(&hello_of_first, UnixMillis(0))));
        (first, second)
    }

    /// The frames of the second party with a message of so many bytes in each round.
    fn frames(second: &mut Session, lengths: &[usize]) -> Vec<Vec<u8>> {
        let rounds = lengths.iter().zip(1..);
        let sent = rounds.flat_map(|(&length, round)| {
            second.send(round, To::Party(PartyIndex::FIRST), &vec![0; length], UnixMillis(0))
        });
        let frame =
            |effect| if let Effect::Send { frame, .. } = effect { frame } else { panic!("{effect:?}") };
        sent.map(frame).collect()
    }

    #[test]
    fn a_longer_message_than_the_plugin_has_announced_is_a_fault_of_its_sender() {
        let (mut first, mut second) = started(1);
        let frames = frames(&mut second, &[1_000, 1_001]);
        let effects = first.receive(&frames[0], UnixMillis(0));
        assert!(matches!(effects.as_slice(), [Effect::Deliver(_)]), "{effects:?}");
        let effects = first.receive(&frames[1], UnixMillis(0));
        let [Effect::Abort { abort, .. }] = effects.as_slice() else { panic!("{effects:?}") };
        assert_eq!(abort.culprits, [PartyIndex::try_from(2).unwrap()]);
    }

    #[test]
    fn more_messages_of_a_round_than_the_plugin_has_announced_are_a_fault_of_their_sender() {
        let (mut first, mut second) = started(1);
        first.terms.message_parts = 2;
        let frames: Vec<_> = (0..3).flat_map(|_| frames(&mut second, &[1])).collect();
        for frame in &frames[..2] {
            let effects = first.receive(frame, UnixMillis(0));
            assert!(matches!(effects.as_slice(), [Effect::Deliver(_)]), "{effects:?}");
        }
        let effects = first.receive(&frames[2], UnixMillis(0));
        let [Effect::Abort { abort, .. }] = effects.as_slice() else { panic!("{effects:?}") };
        assert_eq!(abort.culprits, [PartyIndex::try_from(2).unwrap()]);
    }

    #[test]
    fn what_waits_of_a_peer_is_bounded_over_all_sessions_and_comes_again() {
        let ((mut first, mut second), (mut other, mut peer_of_other)) = (started(1), started(3));
        let room = WaitingRoom::new(2_200);
        first.terms.waiting_room = room.clone();
        other.terms.waiting_room = room;
        // Two of one session wait for the component.
        let of_first = frames(&mut second, &[1_000, 1_000]);
        let waiting: Vec<_> = of_first.iter().flat_map(|frame| first.receive(frame, UnixMillis(0))).collect();
        assert_eq!(waiting.len(), 2);
        let of_other = frames(&mut peer_of_other, &[100, 1_000]);
        assert_eq!(other.receive(&of_other[0], UnixMillis(0)), []);
        drop(waiting);
        // Nor does a frame wait that comes before the hellos are complete.
        let ((mut early, _), (_, mut peer)) = (begin(1, 2, 5), started(5));
        early.terms.waiting_room = WaitingRoom::new(1_000);
        let (first_round, kept) = (frames(&mut peer, &[1_000]), |session: &Session| match &session.state {
            SessionState::Greeting { early, .. } => early.len(),
            _ => panic!(),
        });
        early.receive(&first_round[0], UnixMillis(0));
        assert_eq!(kept(&early), 0, "a sealed message is longer than the room");
        early.terms.waiting_room = WaitingRoom::new(2_000);
        early.receive(&first_round[0], UnixMillis(0));
        assert_eq!(kept(&early), 1);
        // The later one does not keep the earlier one out.
        other.terms.waiting_room = WaitingRoom::new(1_100);
        assert_eq!(other.receive(&of_other[1], UnixMillis(0)), []);
        let delivered = other.receive(&of_other[0], UnixMillis(0));
        assert!(matches!(delivered.as_slice(), [Effect::Deliver(_)]), "{delivered:?}");
        drop(delivered);
        let delivered = other.receive(&of_other[1], UnixMillis(0));
        assert!(matches!(delivered.as_slice(), [Effect::Deliver(_)]), "{delivered:?}");
    }

    #[test]
    fn only_an_own_hello_with_a_higher_counter_shows_that_a_party_was_set_back() {
        let keys = identities(2);
        let hello = |counter, database| Hello {
            plan: PlanHash([9; 32]),
            index: PartyIndex::all(2).last().unwrap(),
            ephemeral: [2; 32],
            fresh: [3; 32],
            counter,
            database: DatabaseId([database; 16]),
        };
        let (mut session, _) = begin(1, 2, 5);
        let mut show =
            |hello: SignedHello| session.receive(&encode(&Frame::EarlierHello(hello)), UnixMillis(0));
        // An equal counter, another database, another party's word.
        for (counter, database, key) in [(7, 1, 0), (8, 2, 0), (8, 1, 1)] {
            assert_eq!(show(hello(counter, database).sign(&keys[key])), []);
        }
        assert_eq!(show(hello(8, 1).sign(&keys[0])), [Effect::SetBack { counter: 8 }]);
        // It is told after its session has ended as well.
        session.fail(Abort::of(AbortCode::Timeout, "late"), UnixMillis(0));
        let shown = encode(&Frame::EarlierHello(hello(9, 1).sign(&keys[0])));
        assert_eq!(session.receive(&shown, UnixMillis(0)), [Effect::SetBack { counter: 9 }]);
    }
}
