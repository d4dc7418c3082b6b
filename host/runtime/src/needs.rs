//! What a plugin says that its sessions need at most. The host holds it to that.

use std::collections::BTreeMap;

use quorate_core::Threshold;

use crate::bindings::exports::quorate::party::protocol as wit;
use crate::limits;
use crate::operation::PluginOperation;
use crate::task::Task;

/// What a session of one operation needs at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Bytes of the longest message, for each item of the task.
    pub message_bytes: usize,
    /// Bytes of linear memory that depend on neither the parties nor the items.
    pub memory_bytes: usize,
    /// Bytes of linear memory for each other party of the key.
    pub memory_bytes_per_party: usize,
    /// Bytes of linear memory for each item of the task.
    pub memory_bytes_per_item: usize,
    /// Bytes of linear memory for each item of the task and each other party of the session.
    pub memory_bytes_per_item_and_peer: usize,
}

/// What the sessions of a plugin need at most, by operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs(BTreeMap<PluginOperation, Need>);

/// What one session needs at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionNeed {
    /// Bytes of its longest message, or part of one.
    pub message_bytes: usize,
    /// The parts of its longest message.
    pub message_parts: usize,
    /// Bytes of linear memory. More than [`MAX_MEMORY_BYTES`](limits::MAX_MEMORY_BYTES) if it has too many items for its
    /// parties.
    pub memory_bytes: usize,
    /// Whether it signs: signings do not wait behind what makes shares.
    pub signs: bool,
}

impl SessionNeed {
    /// Whether a session may have so much memory.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        self.memory_bytes <= limits::MAX_MEMORY_BYTES
    }
}

/// The size of a session.
#[derive(Clone, Copy)]
struct SessionSize {
    /// The other parties of the key.
    others: usize,
    /// The other parties of the session.
    peers: usize,
    /// The items of the task.
    items: usize,
    /// Whether it signs.
    signs: bool,
}

impl SessionSize {
    /// Two parties and one item.
    const SMALLEST: Self = Self { others: 1, peers: 1, items: 1, signs: false };
}

impl Need {
    fn of(&self, size: SessionSize) -> SessionNeed {
        let SessionSize { others, peers, items, signs } = size;
        let memory = [
            self.memory_bytes_per_party.saturating_mul(others),
            self.memory_bytes_per_item.saturating_mul(items),
            self.memory_bytes_per_item_and_peer.saturating_mul(items).saturating_mul(peers),
        ];
        let longest = self.message_bytes.saturating_mul(items);
        SessionNeed {
            message_bytes: longest.min(limits::MAX_MESSAGE_BYTES),
            // Only the messages of several items are one.
            message_parts: if signs { 1 + longest / limits::MESSAGE_PART_BYTES } else { 1 },
            memory_bytes: memory.into_iter().fold(self.memory_bytes, usize::saturating_add),
            signs,
        }
    }
}

impl Needs {
    /// What a session of an operation needs; `None` if the plugin does not offer it.
    #[must_use]
    pub fn of(&self, operation: PluginOperation) -> Option<Need> {
        self.0.get(&operation).copied()
    }

    /// What a session of a task needs; `None` if the plugin does not offer its operation.
    #[must_use]
    pub(crate) fn of_session(&self, task: &Task, threshold: Threshold) -> Option<SessionNeed> {
        let size = SessionSize {
            others: usize::from(threshold.parties()) - 1,
            peers: task.peers(threshold),
            items: task.items(),
            signs: task.operation() == PluginOperation::Sign,
        };
        Some(self.of(task.operation())?.of(size))
    }

    /// The needs of a descriptor that offers these operations.
    pub(crate) fn new(operations: &[PluginOperation], needs: &[wit::Need]) -> Result<Self, &'static str> {
        let mut all = BTreeMap::new();
        for need in needs {
            let bytes = |bytes: u32| usize::try_from(bytes).unwrap_or(usize::MAX);
            let of_each = Need {
                message_bytes: bytes(need.message_bytes),
                memory_bytes: bytes(need.memory_bytes),
                memory_bytes_per_party: bytes(need.memory_bytes_per_party),
                memory_bytes_per_item: bytes(need.memory_bytes_per_item),
                memory_bytes_per_item_and_peer: bytes(need.memory_bytes_per_item_and_peer),
            };
            if of_each.message_bytes > limits::MAX_MESSAGE_BYTES {
                return Err("it needs longer messages than the host carries");
            }
            if !of_each.of(SessionSize::SMALLEST).is_possible() {
                return Err("it needs more memory than a session may have");
            }
            for operation in PluginOperation::of_flags(need.operations) {
                if all.insert(operation, of_each).is_some() {
                    return Err("it says twice what an operation needs");
                }
            }
        }
        let runs = operations.iter().filter(|operation| **operation != PluginOperation::Derivation);
        if !runs.eq(all.keys()) {
            return Err(
                "it does not say of each operation that it offers, and of no other, what a session needs",
            );
        }
        Ok(Self(all))
    }

    /// The most memory that the smallest session of any operation needs.
    pub(crate) fn largest_of_smallest(&self) -> usize {
        self.0.values().map(|need| need.of(SessionSize::SMALLEST).memory_bytes).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(operations: wit::Operations) -> wit::Need {
        wit::Need {
            operations,
            message_bytes: 1_000,
            memory_bytes: 5,
            memory_bytes_per_party: 20,
            memory_bytes_per_item: 300,
            memory_bytes_per_item_and_peer: 4,
        }
    }

    #[test]
    fn needs_are_said_once_of_each_operation_and_are_bounded() {
        use wit::Operations as Flags;
        let offered = [PluginOperation::Keygen, PluginOperation::Sign, PluginOperation::Derivation];
        let made = |needs: &[wit::Need]| Needs::new(&offered, needs);
        let good = made(&[need(Flags::SIGN), need(Flags::KEYGEN)]).unwrap();
        assert_eq!(made(&[need(Flags::SIGN | Flags::KEYGEN)]), Ok(good.clone()));
        for bad in [
            vec![need(Flags::SIGN)],
            vec![need(Flags::SIGN), need(Flags::KEYGEN | Flags::SIGN)],
            vec![need(Flags::SIGN | Flags::KEYGEN | Flags::REFRESH)],
            vec![wit::Need { message_bytes: u32::MAX, ..need(Flags::SIGN | Flags::KEYGEN) }],
            vec![wit::Need { memory_bytes: u32::MAX, ..need(Flags::SIGN | Flags::KEYGEN) }],
            vec![wit::Need { memory_bytes_per_item: 1 << 28, ..need(Flags::SIGN | Flags::KEYGEN) }],
        ] {
            assert!(made(&bad).is_err(), "{bad:?}");
        }
        assert_eq!(good.of(PluginOperation::Refresh), None);
        let of = |others, peers, items, signs| {
            good.of(PluginOperation::Sign).unwrap().of(SessionSize { others, peers, items, signs })
        };
        let expected = SessionNeed { message_bytes: 3_000, message_parts: 1, memory_bytes: 957, signs: true };
        assert_eq!(of(2, 1, 3, true), expected);
        let most = of(1, 1, 1 << 30, true);
        assert_eq!(most.message_bytes, limits::MAX_MESSAGE_BYTES);
        assert!(!most.is_possible() && expected.is_possible());
        // A message of 64 items has more parts than one; only a signing has messages of several items.
        assert_eq!(of(1, 1, 2_000, true).message_parts, 2);
        assert_eq!(of(1, 1, 2_000, false).message_parts, 1);
    }
}
