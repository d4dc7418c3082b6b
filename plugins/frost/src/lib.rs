//! FROST for Ed25519 as a Quorate plugin: a skeleton that proves that the contract carries the protocol. Keygen and
//! signing work; it has no refresh, no BIP-340, and is not for keys that matter.
//!
//! FROST's key generation has no slot for a context string, so every payload of it is bound to the session
//! ([`quorate_plugin_sdk::Binding`]).

mod keygen;
mod library;
mod sign;

use quorate_plugin_sdk::{
    Batch, Descriptor, Failure, Host, Need, Operation, Protocol, Roster, Rounds, Run, Session, Task,
};

use crate::library::{FORMAT, SCHEME};

/// A session of five parties took 1.2 MB in the sandbox. What is signed may be 64 kB long.
const NEEDS: &[Need] = &[Need {
    operations: &[Operation::Keygen, Operation::Sign],
    message_bytes: 16 << 10,
    memory_bytes: 3 << 19,
    memory_bytes_per_party: 64 << 10,
    memory_bytes_per_item: 512 << 10,
    memory_bytes_per_item_and_peer: 4 << 10,
}];

/// The plugin.
pub struct Frost;

impl Protocol for Frost {
    fn describe() -> Descriptor {
        Descriptor {
            id: "frost",
            version: env!("CARGO_PKG_VERSION"),
            schemes: &[SCHEME],
            operations: &[Operation::Keygen, Operation::Sign],
            max_parties: 16,
            share_formats: &[FORMAT],
            open_signings: None,
            codes: &[],
            needs: NEEDS,
        }
    }

    fn start(host: &mut dyn Host, roster: Roster, task: Task) -> Result<Box<dyn Session>, Failure> {
        Ok(match task {
            Task::Keygen { scheme } if scheme == SCHEME => {
                roster.require_all()?;
                Box::new(Run::new(&roster, keygen::Keygen::new(&roster)))
            }
            Task::Sign(task) if task.scheme == SCHEME => {
                roster.require_threshold()?;
                Box::new(Batch::new(&roster, &task, sign::Sign::SCHEDULE, |roster, item| {
                    Ok(Run::new(roster, sign::Sign::new(host, roster, item)?))
                })?)
            }
            _ => return Err(Failure::InvalidTask("frost does not offer this".into())),
        })
    }
}

quorate_plugin_sdk::export!(Frost);
