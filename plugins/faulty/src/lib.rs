//! A plugin that misbehaves, in one way per mode, to prove what the sandbox does about it. The mode is the message of
//! the sign task. Before it misbehaves it reads the key share, so that there is something to wipe.

use std::hint::black_box;

use quorate_plugin_sdk::{
    Descriptor, Failure, Host, Incoming, Operation, Outcome, Outgoing, PartyIndex, Progress, Protocol,
    PublicKeyInfo, Recipient, Roster, Scope, Session, Signature, State, Task,
};

struct Faulty;

/// One way to misbehave, and whose vault value to hold meanwhile.
struct Mode {
    name: String,
    share: Vec<u8>,
    steps: u32,
}

impl Protocol for Faulty {
    fn describe() -> Descriptor {
        Descriptor {
            id: "faulty",
            version: env!("CARGO_PKG_VERSION"),
            schemes: &["ecdsa-secp256k1"],
            operations: &[Operation::Keygen, Operation::Sign],
            max_parties: 16,
            share_formats: &[1],
        }
    }

    fn start(host: &mut dyn Host, _: Roster, task: Task) -> Result<Box<dyn Session>, Failure> {
        let name = match task {
            Task::Sign(sign) => String::from_utf8_lossy(&sign.message).into_owned(),
            Task::Keygen { .. } => "keygen-of-a-strange-format".into(),
            _ => return Err(Failure::InvalidTask("no such mode".into())),
        };
        let share = host.vault_get(Scope::Key, "share")?.map(|s| s.to_vec()).unwrap_or_default();
        match name.as_str() {
            "trap-in-start" => trap(),
            "start-fails" => Err(Failure::InvalidShare("as asked\nand on two lines".into())),
            _ => Ok(Box::new(Mode { name, share, steps: 0 })),
        }
    }
}

#[allow(clippy::panic)]
fn trap() -> ! {
    panic!("as asked")
}

impl Session for Mode {
    fn step(&mut self, host: &mut dyn Host, _: Vec<Incoming>) -> Result<Progress, Failure> {
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
            "wrong-signature" => {
                state = State::Done(Outcome::Signature(Signature { bytes: [1; 64], recovery_id: Some(0) }));
            }
            "wrong-outcome" => state = State::Done(Outcome::Prepared),
            "recovery-id-9" => {
                state = State::Done(Outcome::Signature(Signature { bytes: [1; 64], recovery_id: Some(9) }));
            }
            "keygen-of-a-strange-format" => state = State::Done(Outcome::Key(strange_key())),
            "blames-nobody-with-a-ban" => {
                return Err(Failure::Fault { culprits: vec![], ban: true, reason: "as asked".into() });
            }
            "blames-itself" => return Err(Failure::fault(PartyIndex::FIRST, "as asked")),
            "stages-too-much" => {
                for i in 0..20 {
                    host.vault_put(Scope::Key, &format!("value-{i}"), &vec![0; 4 << 20])?;
                }
            }
            "bad-vault-name" => host.vault_put(Scope::Key, "../share", b"x")?,
            "idle-for-ever" => state = State::Again,
            other => return Err(Failure::InvalidTask(format!("no mode `{other}`"))),
        }
        Ok(Progress { outgoing, state })
    }
}

#[inline(never)]
#[allow(unconditional_recursion)]
fn recurse(depth: u64) -> u64 {
    // Mixed so that the call can't become a loop, and without anything in linear memory, whose stack would end first.
    recurse(depth + 1).rotate_left(3) ^ depth
}

fn strange_key() -> PublicKeyInfo {
    PublicKeyInfo {
        scheme: "ecdsa-secp256k1".into(),
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
        let session = Mode { name: String::new(), share: Vec::new(), steps: 0 };
        std::mem::forget(Handle::new(Running::<Faulty>::new(Box::new(session))));
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn flood_handles() {}

quorate_plugin_sdk::export!(Faulty);
