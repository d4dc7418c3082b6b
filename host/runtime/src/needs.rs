//! What a plugin says that its sessions need at most. The host holds it to that.

use std::collections::BTreeMap;

use crate::bindings::exports::quorate::party::protocol as wit;
use crate::limits;
use crate::operation::PluginOperation;

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
}

/// What the sessions of a plugin need at most, by operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs(BTreeMap<PluginOperation, Need>);

/// What one session needs at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionNeed {
    /// Bytes of its longest message.
    pub message_bytes: usize,
    /// Bytes of linear memory.
    pub memory_bytes: usize,
    /// Whether it signs: signings do not wait behind what makes shares.
    pub signs: bool,
}

impl Need {
    /// The need of a session with so many other parties of the key, and items.
    #[must_use]
    pub fn of_session(&self, others: usize, items: usize) -> SessionNeed {
        let for_parties = self.memory_bytes_per_party.saturating_mul(others);
        let for_items = self.memory_bytes_per_item.saturating_mul(items);
        let memory = self.memory_bytes.saturating_add(for_parties).saturating_add(for_items);
        SessionNeed {
            message_bytes: self.message_bytes.saturating_mul(items).min(limits::MAX_MESSAGE_BYTES),
            memory_bytes: memory.min(limits::MAX_MEMORY_BYTES),
            signs: false,
        }
    }
}

impl Needs {
    /// What a session of an operation needs; `None` if the plugin does not offer it.
    #[must_use]
    pub fn of(&self, operation: PluginOperation) -> Option<Need> {
        self.0.get(&operation).copied()
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
            };
            if of_each.message_bytes > limits::MAX_MESSAGE_BYTES {
                return Err("it needs longer messages than the host carries");
            }
            let smallest = of_each
                .memory_bytes
                .saturating_add(of_each.memory_bytes_per_party)
                .saturating_add(of_each.memory_bytes_per_item);
            if smallest > limits::MAX_MEMORY_BYTES {
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
        self.0.values().map(|need| need.of_session(1, 1).memory_bytes).max().unwrap_or(0)
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
        let sign = good.of(PluginOperation::Sign).unwrap();
        assert_eq!(
            sign.of_session(2, 3),
            SessionNeed { message_bytes: 3_000, memory_bytes: 945, signs: false }
        );
        let most = SessionNeed {
            message_bytes: limits::MAX_MESSAGE_BYTES,
            memory_bytes: limits::MAX_MEMORY_BYTES,
            signs: false,
        };
        assert_eq!(sign.of_session(1, 1 << 30), most);
        assert_eq!(good.of(PluginOperation::Refresh), None);
    }
}
