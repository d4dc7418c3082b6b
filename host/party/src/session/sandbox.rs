//! Conversions: what goes into the sandbox, and what comes out of it.

use std::time::{Duration, Instant};

use quorate_core::ExecutionId;
use quorate_core::admission::Admitted;
use quorate_core::identity::group_id;
use quorate_core::order::{Operation, Order};
use quorate_core::plan::Plan;
use quorate_core::user_share::ShareEntries;
use quorate_runtime::capabilities::vault::{EntryName, Scope, Snapshot, Staged};
use quorate_runtime::{
    Capabilities, Plugin, RepairTask, Roster, SecretBytes, SessionMemory, SessionNeed, SessionSpec, SignTask,
    SignTaskItem, Task,
};
use zeroize::Zeroizing;

/// What the component of a session is to do, and the memory that was taken for it.
pub(crate) struct ComponentTask {
    pub(super) task: Task,
    pub(super) need: SessionNeed,
    pub(super) memory: SessionMemory,
}

impl ComponentTask {
    /// Takes the memory for an order's task, and waits for it `within` a time. `None` for a task that this version or the plugin
    /// does not carry out.
    ///
    /// # Errors
    /// When sessions that run have the memory, or the session needs more than this process has or any session may have.
    pub(crate) async fn prepare(
        plugin: &Plugin,
        plan: &Plan,
        order: &Order,
        within: Duration,
    ) -> Result<Option<Self>, NoMemory> {
        let Some(task) = task(plan, order) else { return Ok(None) };
        let Some(need) = plugin.need(&task, order.spec.threshold) else { return Ok(None) };
        if !need.is_possible() {
            return Err(NoMemory::BeyondLimit);
        }
        let taken = tokio::time::timeout(within, plugin.take_memory(need)).await;
        let memory = taken.map_err(|_| NoMemory::Taken)?.ok_or(NoMemory::TooLittle)?;
        Ok(Some(Self { task, need, memory }))
    }
}

/// There is no memory for another session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoMemory {
    /// Other sessions have it.
    #[error(
        "the sessions that run have the memory of this party (QUORATE_SANDBOX_MEMORY_MB): another quorum signs, or a later session"
    )]
    Taken,
    /// No session ever has so much.
    #[error(
        "the session needs more memory than any session may have: ask for fewer items, or use fewer parties"
    )]
    BeyondLimit,
    /// There never is so much.
    #[error(
        "the session needs more memory than this party has for all of them: its operator raises QUORATE_SANDBOX_MEMORY_MB"
    )]
    TooLittle,
}

/// A share's entries as the sandbox sees them.
pub(super) fn snapshot(entries: &ShareEntries) -> Snapshot {
    let kept = entries
        .iter()
        .filter_map(|(name, value)| {
            Some((EntryName::new(Scope::Key, name)?, SecretBytes::new(value.to_vec())))
        })
        .collect();
    Snapshot { kept, pooled: Vec::new() }
}

/// The entries that a session staged, as those of the new share.
pub(super) fn entries(staged: &Staged) -> ShareEntries {
    staged
        .puts
        .iter()
        .filter(|(name, _)| name.scope == Scope::Key)
        .map(|(name, value)| (name.name().to_owned(), Zeroizing::new(value.expose().to_vec())))
        .collect()
}

/// The session that the component is to run.
pub(super) fn spec(
    plan: &Plan,
    admitted: &Admitted,
    ComponentTask { task, memory, .. }: ComponentTask,
    execution_id: ExecutionId,
    capabilities: Capabilities,
    remaining: Duration,
) -> SessionSpec {
    let order = &admitted.order;
    SessionSpec {
        roster: Roster {
            me: admitted.me,
            signers: plan.signers.clone(),
            threshold: order.spec.threshold,
            group_id: group_id(&order.spec.parties),
            execution_id,
        },
        task,
        capabilities,
        memory: Some(memory),
        deadline: Instant::now() + remaining,
    }
}

/// The task of an admitted order; `None` for an operation that is not implemented, which no order is admitted for.
fn task(plan: &Plan, order: &Order) -> Option<Task> {
    Some(match &order.operation {
        Operation::Keygen => Task::Keygen { scheme: order.spec.scheme.clone() },
        Operation::Refresh => Task::Refresh,
        Operation::Sign(items) => Task::Sign(SignTask {
            scheme: order.spec.scheme.clone(),
            items: items
                .all()
                .iter()
                .enumerate()
                .map(|(number, item)| SignTaskItem {
                    item: item.clone(),
                    presignature: plan.prepared.get(number).copied().flatten().map(|id| id.to_string()),
                })
                .collect(),
        }),
        Operation::Presign { at_most } => Task::Presign { count: *at_most },
        Operation::Repair(repair) => Task::Repair(RepairTask {
            targets: repair.target_parties(),
            helpers: plan.helpers.clone(),
            outputs: repair.outputs.clone(),
        }),
        Operation::Auxiliary { .. } | Operation::Prepare { .. } => return None,
    })
}
