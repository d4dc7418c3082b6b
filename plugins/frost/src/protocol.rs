//! The descriptor of both plugins, and which session a task starts.

use quorate_plugin_sdk::{
    Batch, Descriptor, Failure, Host, Need, Operation, Roster, Rounds, Run, Session, SignTask, Task,
};

use crate::failure::{self, Refusal, refused};
use crate::keygen::Keygen;
use crate::presign::Presign;
use crate::refresh::Refresh;
use crate::repair::Repair;
use crate::share::{self, Share};
use crate::sign::{Sign, SignPrepared};
use crate::suite::Suite;

/// The most parties of a key.
const MAX_PARTIES: u16 = 16;

/// Enough for the largest requests of 2 to 16 signers, which a test runs in the sandbox under these limits.
const NEEDS: &[Need] = &[
    Need {
        operations: &[Operation::Keygen, Operation::Refresh, Operation::Repair],
        message_bytes: 2 << 10,
        memory_bytes: 3 << 19,
        memory_bytes_per_party: 64 << 10,
        memory_bytes_per_item: 0,
        memory_bytes_per_item_and_peer: 0,
    },
    Need {
        operations: &[Operation::Sign],
        message_bytes: 1 << 10,
        memory_bytes: 3 << 19,
        memory_bytes_per_party: 64 << 10,
        // A message of 32 KiB is kept a few times.
        memory_bytes_per_item: 256 << 10,
        memory_bytes_per_item_and_peer: 4 << 10,
    },
    Need {
        operations: &[Operation::Presign],
        message_bytes: 200,
        memory_bytes: 3 << 19,
        memory_bytes_per_party: 64 << 10,
        memory_bytes_per_item: 4 << 10,
        memory_bytes_per_item_and_peer: 1 << 10,
    },
];

pub(crate) fn describe<S: Suite>() -> Descriptor {
    Descriptor {
        id: S::PROTOCOL,
        version: env!("CARGO_PKG_VERSION"),
        schemes: &[S::SCHEME],
        operations: &[
            Operation::Keygen,
            Operation::Sign,
            Operation::Presign,
            Operation::Refresh,
            Operation::Repair,
        ],
        max_parties: MAX_PARTIES,
        share_formats: &[share::FORMAT],
        open_signings: None,
        codes: failure::CODES,
        needs: NEEDS,
    }
}

pub(crate) fn start<S: Suite>(
    host: &mut dyn Host,
    roster: &Roster,
    task: Task,
) -> Result<Box<dyn Session>, Failure> {
    if roster.parties() > MAX_PARTIES {
        return Err(refused(Refusal::Parties));
    }
    Ok(match task {
        Task::Keygen { scheme } => {
            require_scheme::<S>(&scheme)?;
            roster.require_all()?;
            Box::new(Run::new(roster, Keygen::<S>::new(roster)))
        }
        Task::Sign(task) => {
            require_scheme::<S>(&task.scheme)?;
            roster.require_threshold()?;
            let share = Share::<S>::load(host, roster)?;
            sign(&share, roster, &task)?
        }
        Task::Presign { count } => {
            roster.require_threshold()?;
            let share = Share::<S>::load(host, roster)?;
            Box::new(Run::new(roster, Presign::<S>::new(share, roster, count)?))
        }
        Task::Refresh => {
            roster.require_all()?;
            Box::new(Run::new(roster, Refresh::<S>::new(host, roster)?))
        }
        Task::Repair(task) => {
            task.check(roster)?;
            Box::new(Run::new(roster, Repair::<S>::new(host, roster, task)?))
        }
        Task::Auxiliary | Task::Prepare { .. } => {
            return Err(refused(Refusal::Operation));
        }
    })
}

/// The signing of all items: with nonces that were made ahead of time, or without.
fn sign<S: Suite>(share: &Share<S>, roster: &Roster, task: &SignTask) -> Result<Box<dyn Session>, Failure> {
    let prepared = task.items.iter().filter(|item| item.presignature.is_some()).count();
    if prepared == 0 {
        return Ok(Box::new(Batch::new(roster, task, Sign::<S>::SCHEDULE, |roster, item| {
            Ok(Run::new(roster, Sign::<S>::new(share, roster, item)?))
        })?));
    }
    // The rounds of a batch are those of all its items.
    if prepared < task.items.len() {
        return Err(refused(Refusal::PreparedNonces));
    }
    Ok(Box::new(Batch::new(roster, task, SignPrepared::<S>::SCHEDULE, |roster, item| {
        Ok(Run::new(roster, SignPrepared::<S>::new(share, roster, item)?))
    })?))
}

fn require_scheme<S: Suite>(scheme: &str) -> Result<(), Failure> {
    if scheme == S::SCHEME { Ok(()) } else { Err(refused(Refusal::Scheme)) }
}
