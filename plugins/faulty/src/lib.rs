//! A plugin that misbehaves, in one way per mode, to prove what the sandbox does about it. The mode is the message of
//! the sign task, or the scheme of the keygen task. Before it misbehaves it reads the key share, so that there is
//! something to wipe.
// There is nothing to run natively: it only makes sense in the sandbox.
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};

use quorate_plugin_sdk::{
    Descriptor, Detail, Failure, Host, Incoming, Level, Need, Operation, Outcome, Outgoing, PartyIndex,
    Progress, Protocol, PublicKeyInfo, Recipient, Roster, Scope, Session, Signature, State, Task,
};

const SCHEME: &str = "ecdsa-secp256k1";

/// The one code that the descriptor lists.
const LISTED_CODE: u16 = 7;

/// What a plugin could smuggle out in a text.
const SPOKEN: &str = "a part of a share";

/// A keygen has less than the host would give, to see it stopped there.
const NEEDS: &[Need] = &[
    Need {
        operations: &[Operation::Sign, Operation::Refresh, Operation::Prepare],
        message_bytes: 100_000,
        memory_bytes: 64 << 20,
        memory_bytes_per_party: 0,
        memory_bytes_per_item: 0,
        memory_bytes_per_item_and_peer: 0,
    },
    Need {
        operations: &[Operation::Keygen],
        message_bytes: 1_000,
        memory_bytes: 14 << 20,
        memory_bytes_per_party: 1 << 20,
        memory_bytes_per_item: 0,
        memory_bytes_per_item_and_peer: 0,
    },
];

/// Whether a session has begun in this instance.
static STARTED: AtomicBool = AtomicBool::new(false);

struct Faulty;

/// One way to misbehave, and whose vault value to hold meanwhile.
struct Mode {
    name: String,
    me: PartyIndex,
    share: Vec<u8>,
    steps: u32,
}

impl Protocol for Faulty {
    fn describe() -> Descriptor {
        Descriptor {
            id: match (cfg!(feature = "imposter"), cfg!(feature = "talkative")) {
                (true, _) => "dkls23",
                (_, true) => "talkative",
                _ => "faulty",
            },
            version: env!("CARGO_PKG_VERSION"),
            schemes: &[SCHEME],
            operations: &[Operation::Keygen, Operation::Sign, Operation::Refresh, Operation::Prepare],
            max_parties: 16,
            share_formats: &[1],
            open_signings: Some(16),
            codes: &[LISTED_CODE],
            needs: NEEDS,
        }
    }

    fn start(host: &mut dyn Host, roster: Roster, task: Task) -> Result<Box<dyn Session>, Failure> {
        let name = match task {
            Task::Sign(sign) => {
                let message = sign.items.first().map(|item| item.message.clone()).unwrap_or_default();
                String::from_utf8_lossy(&message).into_owned()
            }
            Task::Keygen { .. } if cfg!(feature = "imposter") => "keygen-of-no-key".into(),
            Task::Keygen { .. } if cfg!(feature = "talkative") => "talks".into(),
            Task::Keygen { scheme } if scheme == SCHEME => "keygen-of-a-strange-format".into(),
            Task::Keygen { scheme } => scheme,
            Task::Refresh => "refresh-without-a-share".into(),
            Task::Prepare { .. } => "busy".into(),
            _ => return Err(Failure::InvalidTask("no such mode".into())),
        };
        let share = host.vault_get(Scope::Key, "share")?.map(|s| s.to_vec()).unwrap_or_default();
        match name.as_str() {
            "trap-in-start" => trap(),
            "remembers" if STARTED.swap(true, Ordering::Relaxed) => {
                Err(Failure::Internal("it remembers an earlier session".into()))
            }
            "start-fails" => Err(Failure::InvalidShare("as asked\nand on two lines".into())),
            _ => Ok(Box::new(Mode { name, me: roster.me(), share, steps: 0 })),
        }
    }
}

#[allow(clippy::panic)]
fn trap() -> ! {
    panic!("as asked")
}

impl Session for Mode {
    fn step(&mut self, host: &mut dyn Host, incoming: Vec<Incoming>) -> Result<Progress, Failure> {
        self.steps += 1;
        black_box(&self.share);
        let mut outgoing = Vec::new();
        let mut state = State::Waiting;
        let mut send = |round, to, bytes| {
            outgoing.push(Outgoing { round, to, payload: vec![0; bytes].into() });
        };
        match self.name.as_str() {
            "trap-in-step" => trap(),
            "endless-loop" => loop {
                black_box(());
            },
            "memory-bomb" => {
                let mut all = Vec::new();
                loop {
                    all.push(black_box(vec![1_u8; 1 << 20]));
                }
            }
            "deep-recursion" => {
                black_box(recurse(black_box(0)));
            }
            "handle-flood" => flood_handles(),
            "longer-than-it-says" => send(1, Recipient::Broadcast, 1_001),
            "huge-message" => send(1, Recipient::Broadcast, 3 << 20),
            "huge-output" => (0..9).for_each(|_| send(1, Recipient::Broadcast, 2 << 20)),
            "many-messages" => (0..100).for_each(|_| send(1, Recipient::Broadcast, 1)),
            "round-0" => send(0, Recipient::Broadcast, 1),
            "falling-rounds" => {
                send(2, Recipient::Broadcast, 1);
                send(1, Recipient::Broadcast, 1);
            }
            "to-itself" => send(1, Recipient::Party(PartyIndex::FIRST), 1),
            "to-nobody" => send(1, Recipient::Party(PartyIndex::new(9).unwrap_or(PartyIndex::FIRST)), 1),
            "wrong-signature" | "remembers" => {
                let wrong = Signature { bytes: [1; 64], recovery_id: Some(0) };
                state = State::Done(Outcome::Signatures(vec![wrong]));
            }
            "wrong-outcome" => state = State::Done(Outcome::Prepared),
            "recovery-id-9" => {
                let strange = Signature { bytes: [1; 64], recovery_id: Some(9) };
                state = State::Done(Outcome::Signatures(vec![strange]));
            }
            "two-signatures" => {
                let wrong = Signature { bytes: [1; 64], recovery_id: Some(0) };
                state = State::Done(Outcome::Signatures(vec![wrong.clone(), wrong]));
            }
            "keygen-of-too-much" => {
                for i in 0..20 {
                    host.vault_put(Scope::Key, &format!("value-{i}"), &vec![0; 4 << 20])?;
                }
            }
            "refresh-without-a-share" => {
                state = State::Done(Outcome::Refreshed(PublicKeyInfo { share_format: 1, ..strange_key() }))
            }
            "keygen-of-a-strange-format" => state = State::Done(Outcome::Key(strange_key())),
            "keygen-of-no-key" => {
                host.vault_put(Scope::Key, "share", b"x")?;
                // 5 begins no point in SEC 1.
                let public_key = vec![5; 33];
                state =
                    State::Done(Outcome::Key(PublicKeyInfo { public_key, share_format: 1, ..strange_key() }));
            }
            "blames-nobody-with-a-ban" => {
                return Err(Failure::Fault { culprits: vec![], ban: true, detail: "as asked".into() });
            }
            "fails-with-a-listed-code" => return Err(Failure::Internal(Detail::new(LISTED_CODE, SPOKEN))),
            "fails-with-an-unlisted-code" => {
                return Err(Failure::InvalidTask(Detail::new(LISTED_CODE + 1, SPOKEN)));
            }
            "fails-without-a-code" => return Err(Failure::InvalidShare(SPOKEN.into())),
            "blames-with-a-code" => {
                let culprit = PartyIndex::new(2).unwrap_or(PartyIndex::FIRST);
                return Err(Failure::fault(culprit, Detail::new(LISTED_CODE, SPOKEN)));
            }
            "blames-itself" => return Err(Failure::fault(PartyIndex::FIRST, "as asked")),
            "bad-vault-name" => host.vault_put(Scope::Key, "../share", b"x")?,
            "replaces-its-share" => host.vault_put(Scope::Key, "share", b"x")?,
            "takes-what-it-likes" => drop(host.vault_take(Scope::Key, "presignature")?),
            "speaks-and-waits" | "first-bans-who-speaks" | "loops-when-spoken-to" if self.steps == 1 => {
                send(1, Recipient::Broadcast, 1);
            }
            "first-bans-who-speaks" if self.me == PartyIndex::FIRST => {
                let culprits = incoming.iter().map(|message| message.from).take(1).collect();
                let detail = Detail::new(LISTED_CODE, SPOKEN);
                return Err(Failure::Fault { culprits, ban: true, detail });
            }
            "loops-when-spoken-to" => loop {
                black_box(());
            },
            "speaks-and-waits" | "first-bans-who-speaks" => {}
            "same-message-twice" => (0..2).for_each(|_| send(1, Recipient::Broadcast, 1)),
            "hashes-half-a-block" => compress(32),
            "hashes-nothing" => compress(0),
            "hashes-too-much-at-once" => compress(1_025 * 64),
            "hashes-without-end" => loop {
                compress(1_024 * 64);
            },
            "calls-without-end" => loop {
                host.log(Level::Debug, 1, "");
            },
            "blames-millions" => {
                let culprits = vec![PartyIndex::new(2).unwrap_or(PartyIndex::FIRST); 1_000_000];
                return Err(Failure::Fault { culprits, ban: true, detail: "as asked".into() });
            }
            "talks" => {
                talk();
                return Err(Failure::Internal(Detail::new(LISTED_CODE, SPOKEN)));
            }
            "idle-for-ever" => state = State::Again,
            "busy" => {
                for number in 0..10_000_000_u64 {
                    black_box(number);
                }
                state = State::Again;
            }
            other => return Err(Failure::InvalidTask(format!("no mode `{other}`").into())),
        }
        Ok(Progress { outgoing, state })
    }
}

/// Counts in the cache how often it was here, and publishes that and what else there is to publish.
#[cfg(all(target_arch = "wasm32", feature = "talkative"))]
fn talk() {
    use quorate_plugin_sdk::Event;
    use quorate_plugin_sdk::optional::{cache_get, cache_set, publish};

    let before = cache_get("visits").and_then(|value| value.first().copied()).unwrap_or(0);
    cache_set("visits", &[before + 1], 3_600);
    publish(Event::Progress { step: 1, of: 2 });
    publish(Event::PoolLevel(before.into()));
    publish(Event::Note(LISTED_CODE));
    publish(Event::Note(LISTED_CODE + 1));
}

// Only what talks imports `cache` and `bus`.
#[cfg(not(all(target_arch = "wasm32", feature = "talkative")))]
fn talk() {}

// The imposter does not import `hash`.
#[cfg(all(target_arch = "wasm32", not(feature = "imposter")))]
fn compress(bytes: usize) {
    use quorate_plugin_sdk::wasm::bindings::quorate::party::hash;

    black_box(hash::compress((0, 0, 0, 0, 0, 0, 0, 0), &vec![0; bytes]));
}

#[cfg(any(not(target_arch = "wasm32"), feature = "imposter"))]
fn compress(_: usize) {}

#[inline(never)]
#[allow(unconditional_recursion)]
fn recurse(depth: u64) -> u64 {
    // Mixed so that the call can't become a loop, and without anything in linear memory, whose stack would end first.
    recurse(depth + 1).rotate_left(3) ^ depth
}

fn strange_key() -> PublicKeyInfo {
    PublicKeyInfo {
        scheme: SCHEME.into(),
        public_key: vec![2; 33],
        chain_code: None,
        verifying_shares: vec![vec![2; 33]; 3],
        share_format: 99,
    }
}

#[cfg(target_arch = "wasm32")]
fn flood_handles() {
    use quorate_plugin_sdk::wasm::Running;
    use quorate_plugin_sdk::wasm::bindings::exports::quorate::party::protocol::Session as Handle;

    loop {
        let session = Mode { name: String::new(), me: PartyIndex::FIRST, share: Vec::new(), steps: 0 };
        std::mem::forget(Handle::new(Running::<Faulty>::new(Box::new(session))));
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn flood_handles() {}

quorate_plugin_sdk::export!(Faulty);
