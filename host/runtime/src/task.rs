//! The task of a session, and its parties.

use quorate_core::order::{HashFunction, SignItem};
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
    /// Give a party its lost share back.
    Repair {
        /// The party whose share is lost.
        lost: PartyIndex,
    },
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
            Self::Keygen { .. } | Self::Sign(_) | Self::Refresh | Self::Repair { .. } => {
                Priority::Interactive
            }
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
            Self::Repair { .. } => PluginOperation::Repair,
            Self::Auxiliary => PluginOperation::Auxiliary,
            Self::Prepare { .. } => PluginOperation::Prepare,
        }
    }

    /// How many items of material are to be made; 1 for a signing and for every other task.
    #[must_use]
    pub fn items(&self) -> usize {
        match self {
            Self::Presign { count } => (*count).into(),
            Self::Prepare { items } => (*items).into(),
            Self::Keygen { .. } | Self::Sign(_) | Self::Refresh | Self::Repair { .. } | Self::Auxiliary => 1,
        }
    }

    pub(crate) fn kind(&self) -> TaskKind {
        match self {
            Self::Keygen { scheme } => TaskKind::Keygen { scheme: scheme.clone() },
            Self::Sign(task) => TaskKind::Sign { presignature: task.presignature.clone() },
            Self::Presign { count } => TaskKind::Presign { at_most: *count },
            Self::Refresh => TaskKind::Refresh,
            Self::Repair { .. } => TaskKind::Repair,
            Self::Auxiliary => TaskKind::Auxiliary,
            Self::Prepare { .. } => TaskKind::Prepare,
        }
    }
}

/// The part of a task that is needed while it runs: enough to know its outcome.
#[derive(Clone)]
pub(crate) enum TaskKind {
    Keygen { scheme: String },
    Sign { presignature: Option<String> },
    Presign { at_most: u16 },
    Refresh,
    Repair,
    Auxiliary,
    Prepare,
}

/// A message to sign, and the child of the key that signs it.
#[derive(Clone, Debug)]
pub struct SignTask {
    /// Name of the signature scheme.
    pub scheme: String,
    /// The message and path of the order.
    pub item: SignItem,
    /// Name of the presignature to take.
    pub presignature: Option<String>,
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
            Self::Sign(sign) => wit::Task::Sign(wit::Sign {
                scheme: sign.scheme,
                message: sign.item.message.0,
                hash: match sign.item.hash {
                    HashFunction::None => wit::HashFunction::None,
                    HashFunction::Keccak256 => wit::HashFunction::Keccak256,
                    HashFunction::Sha256 => wit::HashFunction::Sha256,
                    HashFunction::Sha256d => wit::HashFunction::Sha256d,
                },
                path: sign.item.path,
                tweak: sign.item.tweak.map(|t| t.to_vec()),
                presignature: sign.presignature,
            }),
            Self::Presign { count } => wit::Task::Presign(count),
            Self::Refresh => wit::Task::Refresh,
            Self::Repair { lost } => wit::Task::Repair(lost.number()),
            Self::Auxiliary => wit::Task::Auxiliary,
            Self::Prepare { items } => wit::Task::Prepare(wit::Budget { items }),
        }
    }
}
