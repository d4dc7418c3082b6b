//! The task of a session, and its parties.

use quorate_core::certificate::KeyOutputs;
use quorate_core::order::{HashFunction, SignItem, SignItems};
use quorate_core::{ExecutionId, GroupId, PartyIndex, Threshold};

use crate::bindings::exports::quorate::party::protocol as wit;
use crate::executor::Priority;
use crate::operation::PluginOperation;

/// The parties of a session.
#[derive(Clone, Debug)]
pub struct Roster {
    /// This party, one of `signers`.
    pub me: PartyIndex,
    /// Ascending and unique.
    pub signers: Vec<PartyIndex>,
    /// t of n.
    pub threshold: Threshold,
    /// The name under which material of this group is stored.
    pub group_id: GroupId,
    /// Never repeats.
    pub execution_id: ExecutionId,
}

/// The task of a session.
#[derive(Clone, Debug)]
pub enum Task {
    /// Make a key of a scheme.
    Keygen {
        /// The signature scheme.
        scheme: String,
    },
    /// Sign.
    Sign(SignTask),
    /// Make so many presignatures.
    Presign {
        /// How many.
        count: u16,
    },
    /// Make new shares of the same key.
    Refresh,
    /// Give parties their lost shares back, and make new shares of the same key for all.
    Repair(RepairTask),
    /// Make the material that this group of parties shares.
    Auxiliary,
    /// Make so many items of this party alone.
    Prepare {
        /// How many.
        items: u16,
    },
}

impl Task {
    /// Whether a caller waits for the result.
    #[must_use]
    pub fn priority(&self) -> Priority {
        match self {
            Self::Keygen { .. } | Self::Sign(_) | Self::Refresh | Self::Repair(_) => Priority::Interactive,
            Self::Presign { .. } | Self::Auxiliary | Self::Prepare { .. } => Priority::Background,
        }
    }

    /// What a plugin must offer for it.
    #[must_use]
    pub fn operation(&self) -> PluginOperation {
        match self {
            Self::Keygen { .. } => PluginOperation::Keygen,
            Self::Sign(_) => PluginOperation::Sign,
            Self::Presign { .. } => PluginOperation::Presign,
            Self::Refresh => PluginOperation::Refresh,
            Self::Repair(_) => PluginOperation::Repair,
            Self::Auxiliary => PluginOperation::Auxiliary,
            Self::Prepare { .. } => PluginOperation::Prepare,
        }
    }

    /// How many items are to be signed, or how many of material to be made; 1 for every other task.
    #[must_use]
    pub fn items(&self) -> usize {
        match self {
            Self::Sign(sign) => sign.items.len(),
            Self::Presign { count } => (*count).into(),
            Self::Prepare { items } => (*items).into(),
            Self::Keygen { .. } | Self::Refresh | Self::Repair(_) | Self::Auxiliary => 1,
        }
    }

    /// How many other parties take part, of a key with this threshold.
    pub(crate) fn peers(&self, threshold: Threshold) -> usize {
        let parties = match self {
            Self::Sign(_) | Self::Presign { .. } => threshold.required(),
            Self::Prepare { .. } => 1,
            Self::Keygen { .. } | Self::Refresh | Self::Repair(_) | Self::Auxiliary => threshold.parties(),
        };
        usize::from(parties.saturating_sub(1))
    }

    pub(crate) fn kind(&self) -> TaskKind {
        match self {
            Self::Keygen { scheme } => TaskKind::Keygen { scheme: scheme.clone() },
            Self::Sign(task) => TaskKind::Sign {
                items: task.items.len(),
                presignatures: task.items.iter().filter_map(|item| item.presignature.clone()).collect(),
            },
            Self::Presign { count } => TaskKind::Presign { at_most: *count },
            Self::Refresh => TaskKind::Refresh,
            Self::Repair(_) => TaskKind::Repair,
            Self::Auxiliary => TaskKind::Auxiliary,
            Self::Prepare { .. } => TaskKind::Prepare,
        }
    }
}

/// The part of a task that is needed while it runs: enough to know its outcome.
#[derive(Clone)]
pub(crate) enum TaskKind {
    Keygen { scheme: String },
    Sign { items: usize, presignatures: Vec<String> },
    Presign { at_most: u16 },
    Refresh,
    Repair,
    Auxiliary,
    Prepare,
}

/// Whose shares are to be repaired, and by whom.
#[derive(Clone, Debug)]
pub struct RepairTask {
    /// The parties whose shares are lost, ascending.
    pub targets: Vec<PartyIndex>,
    /// The t parties that help, ascending.
    pub helpers: Vec<PartyIndex>,
    /// The public outputs of the share set that is repaired.
    pub outputs: KeyOutputs,
}

/// What to sign, all of it or nothing.
#[derive(Clone, Debug)]
pub struct SignTask {
    /// Name of the signature scheme.
    pub scheme: String,
    /// 1 to [`MAX_SIGN_ITEMS`](quorate_core::order::MAX_SIGN_ITEMS).
    pub items: Vec<SignTaskItem>,
}

/// An item to sign.
#[derive(Clone, Debug)]
pub struct SignTaskItem {
    /// The message and path of the order.
    pub item: SignItem,
    /// Name of the presignature to take.
    pub presignature: Option<String>,
}

impl SignTask {
    /// The task to sign these items of a scheme without presignatures.
    #[must_use]
    pub fn new(scheme: impl Into<String>, items: &SignItems) -> Self {
        let items = items.all().iter().map(|item| SignTaskItem { item: item.clone(), presignature: None });
        Self { scheme: scheme.into(), items: items.collect() }
    }
}

impl Roster {
    pub(crate) fn to_wit(&self) -> wit::Roster {
        wit::Roster {
            me: self.me.number(),
            signers: self.signers.iter().map(|s| s.number()).collect(),
            parties: self.threshold.parties(),
            threshold: self.threshold.required(),
            group_id: self.group_id.as_bytes().to_vec(),
            execution_id: self.execution_id.as_bytes().to_vec(),
        }
    }
}

impl Task {
    pub(crate) fn into_wit(self) -> wit::Task {
        match self {
            Self::Keygen { scheme } => wit::Task::Keygen(wit::Keygen { scheme }),
            Self::Sign(SignTask { scheme, items }) => {
                let items = items.into_iter().map(SignTaskItem::into_wit).collect();
                wit::Task::Sign(wit::Sign { scheme, items })
            }
            Self::Presign { count } => wit::Task::Presign(count),
            Self::Refresh => wit::Task::Refresh,
            Self::Repair(repair) => wit::Task::Repair(repair.into_wit()),
            Self::Auxiliary => wit::Task::Auxiliary,
            Self::Prepare { items } => wit::Task::Prepare(wit::Budget { items }),
        }
    }
}

impl RepairTask {
    fn into_wit(self) -> wit::Repair {
        let numbers = |parties: Vec<PartyIndex>| parties.into_iter().map(PartyIndex::number).collect();
        let KeyOutputs { scheme, public_key, chain_code, verifying_shares } = self.outputs;
        wit::Repair {
            targets: numbers(self.targets),
            helpers: numbers(self.helpers),
            outputs: wit::KeyOutputs {
                scheme,
                public_key: public_key.0,
                chain_code: chain_code.map(|code| code.to_vec()),
                verifying_shares: verifying_shares.into_iter().map(|share| share.0).collect(),
            },
        }
    }
}

impl SignTaskItem {
    fn into_wit(self) -> wit::SignItem {
        let Self { item, presignature } = self;
        wit::SignItem {
            message: item.message.0,
            hash: match item.hash {
                HashFunction::None => wit::HashFunction::None,
                HashFunction::Keccak256 => wit::HashFunction::Keccak256,
                HashFunction::Sha256 => wit::HashFunction::Sha256,
                HashFunction::Sha256d => wit::HashFunction::Sha256d,
            },
            path: item.path,
            merkle_root: item.merkle_root.map(|root| root.to_vec()),
            presignature,
        }
    }
}
