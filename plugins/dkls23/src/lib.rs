//! DKLs23 as a Quorate plugin: threshold ECDSA on secp256k1 for any 2 ≤ t ≤ n ≤ 16.
//!
//! The protocol is [Doerner, Kondi, Lee and shelat](https://eprint.iacr.org/2023/765); the library is
//! `dkls23-core`. This crate is glue: it lays the library's phases out as rounds, counts and checks what the
//! library does not, and turns its verdicts into the contract's failures.
//!
//! Invariants:
//! - the library's session, refresh and sign ids are always the execution id (of the item, in a signing), which never repeats;
//! - the proof of a keygen leaves only after every commitment is here ([`keygen`]);
//! - only the complete refresh is offered: the library's fast one heals nothing;
//! - a repair ends with a complete refresh, because a repaired party has no oblivious transfers ([`repair`]);
//! - `ban` is set for the library's `BanCounterparty` and for nothing else ([`failure`]).

mod codes;
mod failure;
mod init;
mod keygen;
mod refresh;
mod repair;
mod scheme;
mod share;
mod sign;

use std::rc::Rc;

use quorate_plugin_sdk::{
    Batch, Descriptor, Failure, Host, Need, Operation, Protocol, Roster, Rounds, Run, Session, Task,
};

use crate::scheme::SCHEME;

/// Every pair of parties exchanges about 143 kB in a keygen: with 16 parties that is 2 MB for each to send, and
/// about 4 s of work.
const MAX_PARTIES: u16 = 16;

/// In each signing a counterparty that cheats in the oblivious-transfer extension learns one bit of a secret of 256 bits that
/// lives until the next refresh, whether the check finds it or not: 16 at a time leave it far from knowing.
const OPEN_SIGNINGS: u16 = 16;

/// Measured in the sandbox with 2 to 16 parties, and about half as much again, because memory is never given back in a session: a
/// keygen or refresh took 1.8 to 10.2 MB, a signature 1.6 to 4.1 MB. Messages are 143 kB at most, and 55 kB in a signing.
const NEEDS: &[Need] = &[
    Need {
        operations: &[Operation::Keygen, Operation::Refresh, Operation::Repair],
        message_bytes: 160 << 10,
        memory_bytes: 3 << 20,
        memory_bytes_per_party: 800 << 10,
        memory_bytes_per_item: 0,
        memory_bytes_per_item_and_peer: 0,
    },
    Need {
        operations: &[Operation::Sign],
        message_bytes: 64 << 10,
        memory_bytes: 3 << 19,
        memory_bytes_per_party: 256 << 10,
        memory_bytes_per_item: 256 << 10,
        memory_bytes_per_item_and_peer: 768 << 10,
    },
];

/// The plugin.
pub struct Dkls23;

impl Protocol for Dkls23 {
    fn describe() -> Descriptor {
        Descriptor {
            id: "dkls23",
            // plugins/dkls23-next has another one.
            version: env!("CARGO_PKG_VERSION"),
            schemes: &[SCHEME],
            operations: &[
                Operation::Keygen,
                Operation::Sign,
                Operation::Refresh,
                Operation::Repair,
                Operation::Derivation,
            ],
            max_parties: MAX_PARTIES,
            share_formats: &[share::FORMAT],
            open_signings: Some(OPEN_SIGNINGS),
            codes: codes::ALL,
            needs: NEEDS,
        }
    }

    fn start(host: &mut dyn Host, roster: Roster, task: Task) -> Result<Box<dyn Session>, Failure> {
        if roster.parties() > MAX_PARTIES {
            return Err(Failure::InvalidTask(format!("dkls23 takes at most {MAX_PARTIES} parties").into()));
        }
        Ok(match task {
            Task::Keygen { scheme } => {
                require_scheme(&scheme)?;
                roster.require_all()?;
                Box::new(Run::new(&roster, keygen::Keygen::new(&roster)?))
            }
            Task::Sign(task) => {
                require_scheme(&task.scheme)?;
                roster.require_threshold()?;
                let account = Rc::new(share::Share::load(host, &roster)?.party);
                Box::new(Batch::new(&roster, &task, sign::Sign::SCHEDULE, |roster, item| {
                    Ok(Run::new(roster, sign::Sign::new(&account, roster, item)?))
                })?)
            }
            Task::Refresh => {
                roster.require_all()?;
                let share = share::Share::load(host, &roster)?;
                Box::new(Run::new(&roster, refresh::Refresh::new(&roster, share)))
            }
            Task::Repair(task) => {
                task.check(&roster)?;
                Box::new(Run::new(&roster, repair::Repair::new(host, &roster, task)?))
            }
            Task::Presign { .. } | Task::Auxiliary | Task::Prepare { .. } => {
                return Err(Failure::InvalidTask("dkls23 does not offer this operation".into()));
            }
        })
    }
}

fn require_scheme(scheme: &str) -> Result<(), Failure> {
    if scheme == SCHEME {
        Ok(())
    } else {
        Err(Failure::InvalidTask(format!("dkls23 serves {SCHEME} and no other scheme").into()))
    }
}

quorate_plugin_sdk::export!(Dkls23);
