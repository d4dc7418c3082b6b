//! After a session its ephemeral key is gone, and so is what it was made from, whether the session ended well or not.
//!
//! A child process runs both parties of a session and then searches all of its own writable memory. It gets the
//! secrets in a masked form, so that the search does not find itself.

use std::hint::black_box;
use std::process::Command;
use std::time::Duration;

use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;
use hpke::Serializable;
use hpke::kem::{Kem, X25519HkdfSha256};
use quorate_core::abort::{Abort, AbortCode};
use quorate_core::identity::SecretKey;
use quorate_core::session::{Effect, Session, SessionTerms, To, WaitingRoom};
use quorate_core::wiped_stack::on_wiped_stack;
use quorate_core::{DatabaseId, PartyIndex, PlanHash, Threshold, UnixMillis};
use zeroize::Zeroizing;

use quorate_tests::own_memory::MaskedSecret;

const ENDING: &str = "QUORATE_TEST_EPHEMERAL_ENDING";
const SEED: &str = "QUORATE_TEST_EPHEMERAL_SEED";
const KEY: &str = "QUORATE_TEST_EPHEMERAL_KEY";

const NOW: UnixMillis = UnixMillis(1_000);

#[test]
fn nothing_of_an_ephemeral_key_is_left_in_memory() {
    for ending in ["finished", "failed", "failed early", "dropped"] {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).unwrap();
        // The session draws its ephemeral key first.
        let (key, _) = X25519HkdfSha256::gen_keypair_with_rng(&mut ChaCha20Rng::from_seed(seed));
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["party::ephemeral_keys::child", "--exact", "--nocapture", "--test-threads=1"])
            .env(ENDING, ending)
            .env(SEED, MaskedSecret::of(&seed).to_text())
            .env(KEY, MaskedSecret::of(&key.to_bytes()).to_text())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{ending}: {text}\n{}", String::from_utf8_lossy(&output.stderr));
        // The control: while the session has them, the same search finds them, once each.
        assert!(text.contains("seed before: 1 copies"), "{ending}: {text}");
        assert!(text.contains("key before: 1 copies"), "{ending}: {text}");
        if ending != "failed early" {
            assert!(text.contains("seed while running: 0 copies"), "{ending}: {text}");
            assert!(text.contains("key while running: 1 copies"), "{ending}: {text}");
        }
        assert!(text.contains("seed after: 0 copies"), "{ending}: {text}");
        assert!(text.contains("key after: 0 copies"), "{ending}: {text}");
    }
}

#[test]
#[allow(clippy::print_stdout)]
fn child() {
    let Ok(ending) = std::env::var(ENDING) else { return };
    let seed = MaskedSecret::from_text(&std::env::var(SEED).unwrap());
    let key = MaskedSecret::from_text(&std::env::var(KEY).unwrap());

    let (mut session, hello) = deep_in_the_stack(|| {
        let mut revealed = Zeroizing::new([0; 32]);
        seed.reveal(&mut *revealed);
        Session::begin(terms(1), identity(1), &revealed, NOW)
    });
    deep_in_the_stack(|| on_wiped_stack(|| leave_on_the_stack(&key)));
    println!("seed before: {} copies", seed.copies_in_memory());
    println!("key before: {} copies", key.copies_in_memory());
    let (mut peer, hello_of_peer) = Session::begin(terms(2), identity(2), &Zeroizing::new([2; 32]), NOW);

    if ending != "failed early" {
        deep_in_the_stack(|| exchange(&mut session, &mut peer, hello, hello_of_peer));
        // What can compute the ephemeral key again is gone once the streams are there.
        println!("seed while running: {} copies", seed.copies_in_memory());
        println!("key while running: {} copies", key.copies_in_memory());
    }
    match ending.as_str() {
        "finished" => session.mark_component_done(NOW),
        "dropped" => drop(session),
        _ => drop(session.fail(Abort::of(AbortCode::Timeout, "the test ends it"), NOW)),
    }
    println!("seed after: {} copies", seed.copies_in_memory());
    println!("key after: {} copies", key.copies_in_memory());
}

/// As a library does that computes with a secret.
#[inline(never)]
fn leave_on_the_stack(secret: &MaskedSecret) {
    let mut revealed = [0; 32];
    secret.reveal(&mut revealed);
    black_box(&mut revealed);
}

/// Runs something so far down the stack that what it leaves there is not overwritten by the search.
#[inline(never)]
fn deep_in_the_stack<T>(run: impl FnOnce() -> T) -> T {
    let mut frame = [0_u8; 128 << 10];
    black_box(&mut frame);
    let result = run();
    black_box(&mut frame);
    result
}

fn identity(party: u8) -> SecretKey {
    SecretKey::from_seed(&[party; 32])
}

fn terms(party: u16) -> SessionTerms {
    SessionTerms {
        plan: PlanHash([1; 32]),
        me: PartyIndex::try_from(party).unwrap(),
        signers: vec![PartyIndex::try_from(1).unwrap(), PartyIndex::try_from(2).unwrap()],
        threshold: Threshold::new(2, 2).unwrap(),
        parties: vec![identity(1).public(), identity(2).public()],
        deadline: NOW + Duration::from_secs(60),
        counter: 1,
        database: DatabaseId([1; 16]),
        longest_message: 1_000,
        message_parts: 1,
        waiting_room: WaitingRoom::new(1 << 20),
    }
}

/// The handshake, and a message for each party, sealed to it.
fn exchange(session: &mut Session, peer: &mut Session, hello: Vec<Effect>, hello_of_peer: Vec<Effect>) {
    let mut delivered = 0;
    let (mut to_peer, mut to_session) = (frames(hello), frames(hello_of_peer));
    for payload in [None, Some(b"a message".as_slice())] {
        if let Some(payload) = payload {
            to_peer = frames(session.send(1, To::Party(PartyIndex::try_from(2).unwrap()), payload, NOW));
            to_session = frames(peer.send(1, To::Party(PartyIndex::try_from(1).unwrap()), payload, NOW));
        }
        while !to_peer.is_empty() || !to_session.is_empty() {
            let at_peer = to_peer.iter().flat_map(|frame| peer.receive(frame, NOW)).collect::<Vec<_>>();
            let at_session =
                to_session.iter().flat_map(|frame| session.receive(frame, NOW)).collect::<Vec<_>>();
            let is_delivered = |effect: &&Effect| matches!(effect, Effect::Deliver(_));
            delivered += at_peer.iter().chain(&at_session).filter(is_delivered).count();
            (to_peer, to_session) = (frames(at_session), frames(at_peer));
        }
    }
    assert_eq!(delivered, 2, "both have opened a message");
}

fn frames(effects: Vec<Effect>) -> Vec<Vec<u8>> {
    let frame = |effect| if let Effect::Send { frame, .. } = effect { Some(frame) } else { None };
    effects.into_iter().filter_map(frame).collect()
}
