//! The descriptor of both plugins, and which session a task starts.

use quorate_plugin_sdk::{
    Batch, Descriptor, Failure, Host, Need, Operation, Roster, Rounds, Run, Session, Task,
};

use crate::failure::{self, Refusal, refused};
use crate::keygen::Keygen;
use crate::refresh::Refresh;
use crate::share::{self, Share};
use crate::sign::Sign;
use crate::suite::Suite;

/// The most parties of a key.
const MAX_PARTIES: u16 = 16;

/// Enough for the largest requests of 2 to 16 signers, which a test runs in the sandbox under these limits.
const NEEDS: &[Need] = &[
    Need {
        operations: &[Operation::Keygen, Operation::Refresh],
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
];

pub(crate) fn describe<S: Suite>() -> Descriptor {
    Descriptor {
        id: S::PROTOCOL,
        version: env!("CARGO_PKG_VERSION"),
        schemes: &[S::SCHEME],
        operations: &[Operation::Keygen, Operation::Sign, Operation::Refresh],
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
            Box::new(Batch::new(roster, &task, Sign::<S>::SCHEDULE, |roster, item| {
                Ok(Run::new(roster, Sign::<S>::new(&share, roster, item)?))
            })?)
        }
        Task::Refresh => {
            roster.require_all()?;
            Box::new(Run::new(roster, Refresh::<S>::new(host, roster)?))
        }
        Task::Presign { .. } | Task::Repair { .. } | Task::Auxiliary | Task::Prepare { .. } => {
            return Err(refused(Refusal::Operation));
        }
    })
}

fn require_scheme<S: Suite>(scheme: &str) -> Result<(), Failure> {
    if scheme == S::SCHEME { Ok(()) } else { Err(refused(Refusal::Scheme)) }
}
