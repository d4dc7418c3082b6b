//! The component side of the contract: generated bindings, and their translation to the SDK's types.
//! Plugins do not use it by name; [`export!`](crate::export) does.

use std::cell::RefCell;
use std::marker::PhantomData;

use bindings::exports::quorate::party::protocol as wit;
use bindings::quorate::party as imports;
use zeroize::Zeroizing;

use crate::{
    Delivery, Detail, Failure, HashFunction, Host, Incoming, KeyOutputs, Level, Need, Operation, Outcome,
    PartyIndex, Progress, Protocol, PublicKeyInfo, Recipient, RepairTask, Roster, Scope, Session, SignItem,
    SignTask, Signature, State, Task, VaultError,
};

#[allow(unsafe_code, missing_docs, unreachable_pub, clippy::all)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit/0.1.0",
        world: "plugin",
        pub_export_macro: true,
        export_macro_name: "export_component",
        default_bindings_module: "quorate_plugin_sdk::wasm::bindings",
    });
}

/// A [`Protocol`] with the face that the component model wants.
pub struct Component<P>(PhantomData<P>);

impl<P: Protocol + 'static> wit::Guest for Component<P> {
    type Session = Running<P>;

    fn describe() -> wit::Descriptor {
        // A host that hashes wrongly loads no plugin.
        #[cfg(feature = "hash")]
        assert!(quorate_sha256::probe::host_is_right(), "the host does not compress as SHA-256 does");
        let d = P::describe();
        wit::Descriptor {
            id: d.id.into(),
            version: d.version.into(),
            schemes: d.schemes.iter().map(|&s| s.into()).collect(),
            operations: flags(d.operations),
            max_parties: d.max_parties,
            share_formats: d.share_formats.to_vec(),
            open_signings: d.open_signings,
            codes: d.codes.to_vec(),
            needs: d.needs.iter().map(wit::Need::from).collect(),
        }
    }
}

fn flags(operations: &[Operation]) -> wit::Operations {
    operations.iter().fold(wit::Operations::empty(), |all, operation| {
        all | match operation {
            Operation::Keygen => wit::Operations::KEYGEN,
            Operation::Sign => wit::Operations::SIGN,
            Operation::Presign => wit::Operations::PRESIGN,
            Operation::Refresh => wit::Operations::REFRESH,
            Operation::Repair => wit::Operations::REPAIR,
            Operation::Auxiliary => wit::Operations::AUXILIARY,
            Operation::Prepare => wit::Operations::PREPARE,
            Operation::Derivation => wit::Operations::DERIVATION,
        }
    })
}

impl From<&Need> for wit::Need {
    fn from(need: &Need) -> Self {
        // A plugin announces what its own messages have.
        let signs = need.operations.contains(&Operation::Sign);
        let framing = if signs { crate::batch::FRAMING_BYTES } else { 0 };
        Self {
            operations: flags(need.operations),
            message_bytes: need.message_bytes.saturating_add(framing),
            memory_bytes: need.memory_bytes,
            memory_bytes_per_party: need.memory_bytes_per_party,
            memory_bytes_per_item: need.memory_bytes_per_item,
            memory_bytes_per_item_and_peer: need.memory_bytes_per_item_and_peer,
        }
    }
}

/// A session resource.
pub struct Running<P> {
    session: RefCell<Box<dyn Session>>,
    protocol: PhantomData<P>,
}

impl<P> Running<P> {
    /// A resource for a session. All resources of a component must be of one type.
    #[must_use]
    pub fn new(session: Box<dyn Session>) -> Self {
        Self { session: RefCell::new(session), protocol: PhantomData }
    }
}

impl<P: Protocol + 'static> wit::GuestSession for Running<P> {
    fn start(roster: wit::Roster, task: wit::Task) -> Result<wit::Session, wit::Failure> {
        let roster = Roster::new(
            roster.me,
            &roster.signers,
            roster.parties,
            roster.threshold,
            &roster.group_id,
            &roster.execution_id,
        )?;
        let session = P::start(&mut Imports, roster, task.try_into()?)?;
        Ok(wit::Session::new(Self::new(session)))
    }

    fn step(&self, incoming: Vec<wit::Incoming>) -> Result<wit::Progress, wit::Failure> {
        let incoming = incoming.into_iter().map(Incoming::try_from).collect::<Result<Vec<_>, _>>()?;
        // The host steps one at a time and nothing here calls back: the cell is free.
        Ok(self.session.borrow_mut().step(&mut Imports, incoming)?.into())
    }
}

/// The capabilities, as the component imports them.
struct Imports;

impl Host for Imports {
    fn vault_get(&self, scope: Scope, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError> {
        Ok(imports::vault::get(scope.into(), name)?.map(Zeroizing::new))
    }

    fn vault_put(&mut self, scope: Scope, name: &str, value: &[u8]) -> Result<(), VaultError> {
        Ok(imports::vault::put(scope.into(), name, value)?)
    }

    fn vault_take(&mut self, scope: Scope, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError> {
        Ok(imports::vault::take(scope.into(), name)?.map(Zeroizing::new))
    }

    fn vault_stock(&mut self, scope: Scope, name: &str, value: &[u8]) -> Result<(), VaultError> {
        Ok(imports::vault::stock(scope.into(), name, value)?)
    }

    fn vault_list(&self, scope: Scope, prefix: &str, limit: u16) -> Result<Vec<String>, VaultError> {
        Ok(imports::vault::list(scope.into(), prefix, limit)?)
    }

    fn log(&mut self, level: Level, code: u16, message: &str) {
        let level = match level {
            Level::Debug => imports::log::Level::Debug,
            Level::Info => imports::log::Level::Info,
            Level::Warn => imports::log::Level::Warn,
            Level::Error => imports::log::Level::Error,
        };
        imports::log::emit(level, code, message);
    }
}

/// The implementation of [`optional`](crate::optional).
pub(crate) mod optional {
    use super::imports::{bus, cache};
    use crate::types::Event;

    pub(crate) fn publish(event: Event) {
        bus::publish(match event {
            Event::Progress { step, of } => bus::Event::Progress(bus::Progress { step, of }),
            Event::PoolLevel(level) => bus::Event::PoolLevel(level),
            Event::Note(code) => bus::Event::Note(code),
        });
    }

    pub(crate) fn cache_get(name: &str) -> Option<Vec<u8>> {
        cache::get(name)
    }

    pub(crate) fn cache_set(name: &str, value: &[u8], ttl_seconds: u32) {
        cache::set(name, value, ttl_seconds);
    }
}

impl From<Scope> for imports::vault::Scope {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Key => Self::Key,
            Scope::Group => Self::Group,
            Scope::Party => Self::Party,
        }
    }
}

impl From<imports::vault::VaultError> for VaultError {
    fn from(error: imports::vault::VaultError) -> Self {
        match error {
            imports::vault::VaultError::InvalidName => Self::InvalidName,
            imports::vault::VaultError::Quota => Self::Quota,
            imports::vault::VaultError::Unavailable => Self::Unavailable,
            imports::vault::VaultError::Denied => Self::Denied,
        }
    }
}

/// A party index from the host, which never sends 0.
fn party(index: u16) -> Result<PartyIndex, Failure> {
    PartyIndex::new(index).ok_or_else(|| Failure::InvalidTask("party index 0".into()))
}

impl TryFrom<wit::Task> for Task {
    type Error = Failure;

    fn try_from(task: wit::Task) -> Result<Self, Failure> {
        Ok(match task {
            wit::Task::Keygen(wit::Keygen { scheme }) => Self::Keygen { scheme },
            wit::Task::Sign(sign) => Self::Sign(sign.try_into()?),
            wit::Task::Presign(count) => Self::Presign { count },
            wit::Task::Refresh => Self::Refresh,
            wit::Task::Repair(repair) => Self::Repair(repair.try_into()?),
            wit::Task::Auxiliary => Self::Auxiliary,
            wit::Task::Prepare(budget) => Self::Prepare { items: budget.items },
        })
    }
}

impl TryFrom<wit::Repair> for RepairTask {
    type Error = Failure;

    fn try_from(repair: wit::Repair) -> Result<Self, Failure> {
        let wit::KeyOutputs { scheme, public_key, chain_code, verifying_shares } = repair.outputs;
        let chain_code = chain_code
            .map(|code| code.try_into().map_err(|_| Failure::InvalidTask("chain code: 32 bytes".into())))
            .transpose()?;
        let parties = |parties: Vec<u16>| parties.into_iter().map(party).collect::<Result<_, _>>();
        Ok(Self {
            targets: parties(repair.targets)?,
            helpers: parties(repair.helpers)?,
            outputs: KeyOutputs { scheme, public_key, chain_code, verifying_shares },
        })
    }
}

impl TryFrom<wit::Sign> for SignTask {
    type Error = Failure;

    fn try_from(sign: wit::Sign) -> Result<Self, Failure> {
        let items = sign.items.into_iter().map(SignItem::try_from).collect::<Result<_, _>>()?;
        Ok(Self { scheme: sign.scheme, items })
    }
}

impl TryFrom<wit::SignItem> for SignItem {
    type Error = Failure;

    fn try_from(item: wit::SignItem) -> Result<Self, Failure> {
        let hash = match item.hash {
            wit::HashFunction::None => HashFunction::None,
            wit::HashFunction::Keccak256 => HashFunction::Keccak256,
            wit::HashFunction::Sha256 => HashFunction::Sha256,
            wit::HashFunction::Sha256d => HashFunction::Sha256d,
        };
        let merkle_root = item
            .merkle_root
            .map(|root| root.try_into().map_err(|_| Failure::InvalidTask("merkle root: 32 bytes".into())))
            .transpose()?;
        if item.path.iter().any(|&child| child >= 1 << 31) {
            return Err(Failure::InvalidTask("path: hardened child numbers".into()));
        }
        Ok(Self {
            message: item.message,
            hash,
            path: item.path,
            merkle_root,
            presignature: item.presignature,
        })
    }
}

impl TryFrom<wit::Incoming> for Incoming {
    type Error = Failure;

    fn try_from(message: wit::Incoming) -> Result<Self, Failure> {
        Ok(Self {
            round: message.round,
            from: party(message.from)?,
            delivery: match message.kind {
                wit::Delivery::PointToPoint => Delivery::PointToPoint,
                wit::Delivery::Broadcast => Delivery::Broadcast,
                wit::Delivery::ReliableBroadcast => Delivery::ReliableBroadcast,
            },
            payload: Zeroizing::new(message.payload),
        })
    }
}

impl From<Progress> for wit::Progress {
    fn from(progress: Progress) -> Self {
        let outgoing = progress
            .outgoing
            .into_iter()
            .map(|mut message| wit::Outgoing {
                round: message.round,
                to: match message.to {
                    Recipient::Party(party) => wit::Recipient::Party(party.number()),
                    Recipient::Broadcast => wit::Recipient::Broadcast,
                    Recipient::ReliableBroadcast => wit::Recipient::ReliableBroadcast,
                },
                payload: std::mem::take(&mut *message.payload),
            })
            .collect();
        let state = match progress.state {
            State::Waiting => wit::State::Waiting,
            State::Again => wit::State::Again,
            State::Done(outcome) => wit::State::Done(outcome.into()),
        };
        Self { outgoing, state }
    }
}

impl From<Outcome> for wit::Outcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Key(info) => Self::Key(info.into()),
            Outcome::Signatures(signatures) => {
                Self::Signatures(signatures.into_iter().map(wit::Signature::from).collect())
            }
            Outcome::Presignatures(count) => Self::Presignatures(count),
            Outcome::Refreshed(info) => Self::Refreshed(info.into()),
            Outcome::Repaired(info) => Self::Repaired(info.into()),
            Outcome::Prepared => Self::Prepared,
        }
    }
}

impl From<Signature> for wit::Signature {
    fn from(signature: Signature) -> Self {
        Self { bytes: signature.bytes.to_vec(), recovery_id: signature.recovery_id }
    }
}

impl From<PublicKeyInfo> for wit::PublicKeyInfo {
    fn from(info: PublicKeyInfo) -> Self {
        Self {
            scheme: info.scheme,
            public_key: info.public_key,
            chain_code: info.chain_code.map(|c| c.to_vec()),
            verifying_shares: info.verifying_shares,
            share_format: info.share_format,
        }
    }
}

impl From<Detail> for wit::Detail {
    fn from(detail: Detail) -> Self {
        Self { code: detail.code, text: detail.text }
    }
}

impl From<Failure> for wit::Failure {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::InvalidTask(detail) => Self::InvalidTask(detail.into()),
            Failure::InvalidShare(detail) => Self::InvalidShare(detail.into()),
            Failure::Fault { culprits, ban, detail } => Self::Fault(wit::Fault {
                culprits: culprits.into_iter().map(PartyIndex::number).collect(),
                ban,
                detail: detail.into(),
            }),
            Failure::Internal(detail) => Self::Internal(detail.into()),
        }
    }
}
