//! CGGMP24 as a Quorate plugin: a skeleton that proves that the contract carries the protocol, with single-use
//! primes in the pool and auxiliary data per group of parties.
//!
//! **Not secure.** Its security level is [`Toy`], with moduli that anybody factors, so that a whole run takes seconds
//! with today's big-integer arithmetic. Its id says so.

mod keygen;
mod library;
mod sign;

use quorate_plugin_sdk::{
    Descriptor, Failure, Host, Need, OldRng, Operation, Outcome, Progress, Protocol, Roster, Scope, Session,
    State, Task,
};

use crate::library::{FORMAT, SCHEME, Toy, to_json};

/// With toy moduli a session of two parties took 1.4 MB in the sandbox.
const NEEDS: &[Need] = &[Need {
    operations: &[Operation::Keygen, Operation::Sign, Operation::Auxiliary, Operation::Prepare],
    message_bytes: 256 << 10,
    memory_bytes: 4 << 20,
    memory_bytes_per_party: 1 << 20,
    memory_bytes_per_item: 512 << 10,
    memory_bytes_per_item_and_peer: 64 << 10,
}];

/// The plugin.
pub struct Cggmp24;

impl Protocol for Cggmp24 {
    fn describe() -> Descriptor {
        Descriptor {
            id: "cggmp24-toy",
            version: env!("CARGO_PKG_VERSION"),
            schemes: &[SCHEME],
            operations: &[Operation::Keygen, Operation::Sign, Operation::Auxiliary, Operation::Prepare],
            max_parties: 16,
            share_formats: &[FORMAT],
            open_signings: None,
            codes: &[],
            needs: NEEDS,
        }
    }

    fn start(host: &mut dyn Host, roster: Roster, task: Task) -> Result<Box<dyn Session>, Failure> {
        match task {
            Task::Prepare { items } => {
                Ok(Box::new(Prepare { left: items, name: hex(roster.execution_id()) }))
            }
            Task::Auxiliary => keygen::auxiliary(host, &roster),
            Task::Keygen { scheme } if scheme == SCHEME => keygen::keygen(&roster),
            Task::Sign(task) if task.scheme == SCHEME => sign::sign(host, &roster, &task),
            _ => Err(Failure::InvalidTask("cggmp24 does not offer this".into())),
        }
    }
}

/// Makes prime sets, one a step, so that background work gives way in between.
struct Prepare {
    left: u16,
    name: String,
}

impl Session for Prepare {
    fn step(
        &mut self,
        host: &mut dyn Host,
        _: Vec<quorate_plugin_sdk::Incoming>,
    ) -> Result<Progress, Failure> {
        let state = match self.left.checked_sub(1) {
            None => State::Done(Outcome::Prepared),
            Some(left) => {
                let primes = cggmp24::PregeneratedPrimes::<Toy>::generate(&mut OldRng);
                let name = format!("primes-{}-{left}", &self.name[..16]);
                host.vault_stock(Scope::Party, &name, &to_json(&primes)?)?;
                self.left = left;
                State::Again
            }
        };
        Ok(Progress { outgoing: vec![], state })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

quorate_plugin_sdk::export!(Cggmp24);
