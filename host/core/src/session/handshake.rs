//! Hellos, and their echo when there are more than two signers (rule 3).

use std::collections::BTreeMap;

use chacha20::ChaCha20Rng;
use chacha20::rand_core::Rng;

use super::terms::SessionTerms;
use crate::PartyIndex;
use crate::abort::{Abort, AbortCode};
use crate::codec::{encode, wire_struct};
use crate::hello::{Hello, SignedHello, execution_id};
use crate::identity::{PublicKey, SecretKey, Signature, Tag, key_of};
use crate::ids::{ExecutionId, PlanHash};
use crate::payload_sealing::Ephemeral;

/// A signer's word on which hellos it has, as their senders have signed them: two of one sender prove that it has sent two.
#[derive(Clone, Debug, PartialEq, Eq)]
struct HelloEcho {
    plan: PlanHash,
    by: PartyIndex,
    /// Of each signer, in index order.
    hellos: Vec<SignedHello>,
}

wire_struct!(HelloEcho { plan, by, hellos });

/// A hello echo as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedHelloEcho {
    echo: HelloEcho,
    signature: Signature,
}

wire_struct!(SignedHelloEcho { echo, signature });

impl SignedHelloEcho {
    /// The party that claims to have sent the echo.
    pub(super) fn sender(&self) -> PartyIndex {
        self.echo.by
    }

    fn is_by(&self, key: &PublicKey) -> bool {
        key.verify(Tag::HelloEcho, &encode(&self.echo), &self.signature).is_ok()
    }
}

/// The hellos so far.
pub(super) struct Handshake {
    /// There until the handshake is complete.
    ephemeral: Option<Ephemeral>,
    own: SignedHello,
    hellos: BTreeMap<PartyIndex, SignedHello>,
    echoes: BTreeMap<PartyIndex, HelloEcho>,
    echoed: bool,
}

/// A complete handshake.
pub(super) struct HandshakeResult {
    pub(super) execution: ExecutionId,
    pub(super) ephemeral: Ephemeral,
    pub(super) hellos: BTreeMap<PartyIndex, SignedHello>,
}

impl Handshake {
    pub(super) fn new(terms: &SessionTerms, key: &SecretKey, random: &mut ChaCha20Rng) -> Self {
        let ephemeral = Ephemeral::new(random);
        let mut fresh = [0; 32];
        random.fill_bytes(&mut fresh);
        let index = terms.me;
        let hello = Hello {
            plan: terms.plan,
            index,
            ephemeral: ephemeral.public(),
            fresh,
            counter: terms.counter,
            database: terms.database,
        };
        let own = hello.sign(key);
        Self {
            ephemeral: Some(ephemeral),
            hellos: [(index, own.clone())].into(),
            own,
            echoes: BTreeMap::new(),
            echoed: false,
        }
    }

    pub(super) fn own_hello(&self) -> SignedHello {
        self.own.clone()
    }

    /// Takes in a hello. One that is not a signer's, or is for another plan, is dropped; a second, different one of the
    /// same signer ends the session.
    /// Says whether it was new.
    pub(super) fn on_hello(&mut self, terms: &SessionTerms, signed: SignedHello) -> Result<bool, Abort> {
        let party = signed.hello.index;
        let Some(key) = terms.key_of_peer(party) else { return Ok(false) };
        if signed.hello.plan != terms.plan || signed.verify(key).is_err() {
            return Ok(false);
        }
        match self.hellos.get(&party) {
            Some(first) if first.hello != signed.hello => {
                Err(Abort::fault(party, "two different hellos for one plan"))
            }
            Some(_) => Ok(false),
            None => {
                self.hellos.insert(party, signed);
                Ok(true)
            }
        }
    }

    /// Takes in a hello echo. Says whether it was new.
    pub(super) fn on_echo(&mut self, terms: &SessionTerms, signed: &SignedHelloEcho) -> Result<bool, Abort> {
        let by = signed.echo.by;
        let Some(key) = terms.key_of_peer(by) else { return Ok(false) };
        if signed.echo.plan != terms.plan || !signed.is_by(key) {
            return Ok(false);
        }
        // Before it is kept: its length is the signer's choice.
        if !signed.echo.hellos.iter().map(|signed| signed.hello.index).eq(terms.signers.iter().copied()) {
            return Err(Abort::fault(by, "an echo that does not name each signer once"));
        }
        match self.echoes.insert(by, signed.echo.clone()) {
            Some(first) if first != signed.echo => {
                Err(Abort::fault(by, "two different echoes of the hellos"))
            }
            before => Ok(before.is_none()),
        }
    }

    fn needs_echo(terms: &SessionTerms) -> bool {
        terms.signers.len() > 2
    }

    /// The execution id, once all hellos are here.
    fn execution(&self, terms: &SessionTerms) -> Option<ExecutionId> {
        let all = self.hellos.len() == terms.signers.len();
        all.then(|| execution_id(terms.plan, self.hellos.values().map(|signed| &signed.hello)))
    }

    /// Returns our echo, the first time that it can be given.
    pub(super) fn own_echo(&mut self, terms: &SessionTerms, key: &SecretKey) -> Option<SignedHelloEcho> {
        let all = self.hellos.len() == terms.signers.len();
        if !all || self.echoed || !Self::needs_echo(terms) {
            return None;
        }
        self.echoed = true;
        let hellos = self.hellos.values().cloned().collect();
        let echo = HelloEcho { plan: terms.plan, by: terms.me, hellos };
        let signature = key.sign(Tag::HelloEcho, &encode(&echo));
        Some(SignedHelloEcho { echo, signature })
    }

    /// The result, once all hellos are here and the echoes of all others. That they say the same is checked before, by
    /// [`Self::check_echoes`].
    pub(super) fn complete(&mut self, terms: &SessionTerms) -> Option<HandshakeResult> {
        let execution = self.execution(terms)?;
        if Self::needs_echo(terms) && !terms.peers().all(|peer| self.echoes.contains_key(&peer)) {
            return None;
        }
        let ephemeral = self.ephemeral.take()?;
        Some(HandshakeResult { execution, ephemeral, hellos: std::mem::take(&mut self.hellos) })
    }

    /// Holds the echoes so far against the hellos so far. Two hellos that one signer has signed prove its lie; one that its
    /// sender did not sign proves the lie of whoever echoes it.
    pub(super) fn check_echoes(&self, terms: &SessionTerms) -> Result<(), Abort> {
        for echo in self.echoes.values() {
            for theirs in &echo.hellos {
                let party = theirs.hello.index;
                if self.hellos.get(&party).is_none_or(|ours| ours.hello == theirs.hello) {
                    continue;
                }
                let key = key_of(&terms.parties, party);
                let is_signed =
                    theirs.hello.plan == terms.plan && key.is_some_and(|key| theirs.verify(key).is_ok());
                return Err(match (is_signed, party == terms.me) {
                    // A second process of this party takes part: it is our own fault.
                    (true, true) => {
                        let reason = "another process of this party takes part in the session";
                        Abort::of(AbortCode::Misconfigured, reason)
                    }
                    (true, false) => Abort::fault(party, "different hellos for different parties"),
                    (false, _) => Abort::fault(echo.by, "an echo of a hello that its sender did not sign"),
                });
            }
        }
        Ok(())
    }

    pub(super) fn waiting_for(&self, terms: &SessionTerms) -> String {
        let missing = |has: &dyn Fn(PartyIndex) -> bool| {
            let list: Vec<String> = terms.peers().filter(|&p| !has(p)).map(|p| p.to_string()).collect();
            list.join(", ")
        };
        let hellos = missing(&|p| self.hellos.contains_key(&p));
        if hellos.is_empty() {
            format!("the hello echoes of parties {}", missing(&|p| self.echoes.contains_key(&p)))
        } else {
            format!("the hellos of parties {hellos}")
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use chacha20::rand_core::SeedableRng;

    use super::*;
    use crate::order::tests::identities;
    use crate::session::WaitingRoom;
    use crate::{DatabaseId, Threshold, UnixMillis};

    fn terms(me: u16) -> SessionTerms {
        SessionTerms {
            plan: PlanHash([1; 32]),
            me: PartyIndex::try_from(me).unwrap(),
            signers: PartyIndex::all(3).collect(),
            threshold: Threshold::new(2, 3).unwrap(),
            parties: identities(3).iter().map(SecretKey::public).collect(),
            deadline: UnixMillis(1_000),
            counter: 0,
            database: DatabaseId([0; 16]),
            longest_message: 0,
            message_parts: 1,
            waiting_room: WaitingRoom::new(0),
        }
    }

    fn greet(me: u16, seed: u8) -> Handshake {
        let key = &identities(3)[usize::from(me) - 1];
        Handshake::new(&terms(me), key, &mut ChaCha20Rng::from_seed([seed; 32]))
    }

    #[test]
    fn a_second_different_hello_ends_the_session_and_names_its_sender() {
        let mut handshake = greet(1, 1);
        let hello = greet(2, 2).own_hello();
        assert_eq!(handshake.on_hello(&terms(1), hello.clone()), Ok(true));
        assert_eq!(handshake.on_hello(&terms(1), hello), Ok(false), "the same hello again is no fault");
        let abort = handshake.on_hello(&terms(1), greet(2, 3).own_hello()).unwrap_err();
        assert_eq!(abort.culprits, [PartyIndex::try_from(2).unwrap()]);
    }

    /// The handshakes of three parties, of which the third has told the first and the second different hellos.
    fn two_stories() -> (Handshake, Handshake) {
        let (mut first, mut second) = (greet(1, 1), greet(2, 2));
        let (told_first, told_second) = (greet(3, 3).own_hello(), greet(3, 4).own_hello());
        for (handshake, me, hellos) in [
            (&mut first, 1, [second.own_hello(), told_first]),
            (&mut second, 2, [greet(1, 1).own_hello(), told_second]),
        ] {
            for hello in hellos {
                assert_eq!(handshake.on_hello(&terms(me), hello), Ok(true));
            }
        }
        (first, second)
    }

    #[test]
    fn who_tells_two_parties_different_hellos_is_named_and_not_who_shows_it() {
        let (mut first, mut second) = two_stories();
        let echo = second.own_echo(&terms(2), &identities(3)[1]).unwrap();
        assert_eq!(first.on_echo(&terms(1), &echo), Ok(true));
        assert_eq!(first.check_echoes(&terms(1)).unwrap_err().culprits, [PartyIndex::try_from(3).unwrap()]);
        // An echo that makes up a hello shows who has made it up.
        let mut made_up = second.hellos.clone();
        let third = PartyIndex::try_from(3).unwrap();
        made_up.insert(third, greet(3, 5).own_hello().hello.sign(&identities(3)[1]));
        second = Handshake { hellos: made_up, echoed: false, ..second };
        let echo = second.own_echo(&terms(2), &identities(3)[1]).unwrap();
        let mut first = two_stories().0;
        assert_eq!(first.on_echo(&terms(1), &echo), Ok(true));
        assert_eq!(first.check_echoes(&terms(1)).unwrap_err().culprits, [PartyIndex::try_from(2).unwrap()]);
    }

    #[test]
    fn an_echo_names_each_signer_once() {
        let (mut first, mut second) = two_stories();
        second.hellos.remove(&PartyIndex::FIRST);
        let hellos = second.hellos.values().cloned().collect();
        let echo = HelloEcho { plan: terms(2).plan, by: terms(2).me, hellos };
        let signature = identities(3)[1].sign(Tag::HelloEcho, &encode(&echo));
        let abort = first.on_echo(&terms(1), &SignedHelloEcho { echo, signature }).unwrap_err();
        assert_eq!(abort.culprits, [PartyIndex::try_from(2).unwrap()]);
    }

    #[test]
    fn hellos_of_strangers_and_other_plans_are_dropped() {
        let mut handshake = greet(1, 1);
        let mut other_plan = greet(2, 2).own_hello().hello;
        other_plan.plan = PlanHash([9; 32]);
        let forged = greet(2, 2).own_hello().hello.sign(&identities(3)[2]);
        let own = greet(1, 9).own_hello();
        for dropped in [other_plan.sign(&identities(3)[1]), forged, own] {
            assert_eq!(handshake.on_hello(&terms(1), dropped), Ok(false));
        }
        assert_eq!(handshake.hellos.len(), 1);
    }

    #[test]
    fn the_execution_id_depends_on_every_hello_and_on_the_plan() {
        let id = |plan, seeds: [u8; 2]| {
            let hellos = [greet(1, seeds[0]).own_hello().hello, greet(2, seeds[1]).own_hello().hello];
            execution_id(PlanHash([plan; 32]), &hellos)
        };
        let one = id(1, [1, 2]);
        assert_eq!(one, id(1, [1, 2]));
        for other in [id(2, [1, 2]), id(1, [3, 2]), id(1, [1, 3])] {
            assert_ne!(one, other);
        }
    }
}
