//! The contract's records (`wit/0.1.0/party.wit`) as Rust types. Their meaning is documented there.

use zeroize::Zeroizing;

use crate::RepairTask;

/// A party's index in its key, fixed at key generation: 1..=n.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PartyIndex(core::num::NonZeroU16);

impl PartyIndex {
    /// The smallest index.
    pub const FIRST: Self = Self(core::num::NonZeroU16::MIN);

    /// `None` for 0, which is no party.
    #[must_use]
    pub fn new(index: u16) -> Option<Self> {
        core::num::NonZeroU16::new(index).map(Self)
    }

    /// The index as a number, from 1.
    #[must_use]
    pub fn number(self) -> u16 {
        self.0.get()
    }
}

impl core::fmt::Display for PartyIndex {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.fmt(f)
    }
}

/// The parties of a session. The constructor checks them, and a plugin may rely on every line.
#[derive(Clone, Debug)]
pub struct Roster {
    me: PartyIndex,
    signers: Vec<PartyIndex>,
    parties: u16,
    threshold: u16,
    group_id: [u8; 32],
    execution_id: [u8; 32],
}

impl Roster {
    /// Checks that 2 ≤ t ≤ n, that `signers` ascend within 1..=n and that `me` is one of them.
    ///
    /// # Errors
    /// [`Failure::InvalidTask`] that names what does not fit.
    pub fn new(
        me: u16,
        signers: &[u16],
        parties: u16,
        threshold: u16,
        group_id: &[u8],
        execution_id: &[u8],
    ) -> Result<Self, Failure> {
        let invalid = |what: &str| Err(Failure::InvalidTask(format!("roster: {what}").into()));
        if threshold < 2 || threshold > parties {
            return invalid("the threshold is not in 2..=n");
        }
        if !signers.is_sorted_by(|a, b| a < b) {
            return invalid("signers are not ascending and unique");
        }
        let Some(signers) =
            signers.iter().map(|&s| PartyIndex::new(s).filter(|_| s <= parties)).collect::<Option<Vec<_>>>()
        else {
            return invalid("a signer is not in 1..=n");
        };
        let Some(me) = signers.iter().copied().find(|s| s.number() == me) else {
            return invalid("this party is not among the signers");
        };
        let (Ok(group_id), Ok(execution_id)) = (group_id.try_into(), execution_id.try_into()) else {
            return invalid("group id and execution id are 32 bytes each");
        };
        Ok(Self { me, signers, parties, threshold, group_id, execution_id })
    }

    /// This party.
    #[must_use]
    pub fn me(&self) -> PartyIndex {
        self.me
    }

    /// All parties of this session, ascending.
    #[must_use]
    pub fn signers(&self) -> &[PartyIndex] {
        &self.signers
    }

    /// All parties of this session but this one, ascending.
    pub fn peers(&self) -> impl Iterator<Item = PartyIndex> + '_ {
        self.signers.iter().copied().filter(|&s| s != self.me)
    }

    /// n
    #[must_use]
    pub fn parties(&self) -> u16 {
        self.parties
    }

    /// t
    #[must_use]
    pub fn threshold(&self) -> u16 {
        self.threshold
    }

    /// The name under which material of this group of parties is stored.
    #[must_use]
    pub fn group_id(&self) -> &[u8; 32] {
        &self.group_id
    }

    /// Never repeats: bind every proof and every hash to it.
    #[must_use]
    pub fn execution_id(&self) -> &[u8; 32] {
        &self.execution_id
    }

    /// The same parties in an execution of another id.
    pub(crate) fn with_execution_id(&self, execution_id: [u8; 32]) -> Self {
        Self { execution_id, ..self.clone() }
    }

    /// Checks that all n parties are here.
    ///
    /// # Errors
    /// [`Failure::InvalidTask`].
    pub fn require_all(&self) -> Result<(), Failure> {
        self.require(self.parties, "all n parties")
    }

    /// Checks that exactly t parties are here.
    ///
    /// # Errors
    /// [`Failure::InvalidTask`].
    pub fn require_threshold(&self) -> Result<(), Failure> {
        self.require(self.threshold, "exactly t parties")
    }

    fn require(&self, count: u16, who: &str) -> Result<(), Failure> {
        if self.signers.len() == usize::from(count) {
            Ok(())
        } else {
            Err(Failure::InvalidTask(
                format!("this session takes {who} ({count}), the roster has {}", self.signers.len()).into(),
            ))
        }
    }
}

/// The task of a session.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Task {
    Keygen { scheme: String },
    Sign(SignTask),
    Presign { count: u16 },
    Refresh,
    Repair(RepairTask),
    Auxiliary,
    Prepare { items: u16 },
}

/// What to sign. A plugin signs the items together ([`Batch`](crate::Batch)).
#[derive(Clone, Debug)]
pub struct SignTask {
    /// Name of the signature scheme.
    pub scheme: String,
    /// 1 to 64 items.
    pub items: Vec<SignItem>,
}

/// A message to sign, and the child of the key that signs it.
#[derive(Clone, Debug)]
pub struct SignItem {
    /// A digest or a message, see [`HashFunction`].
    pub message: Vec<u8>,
    /// How the message becomes a digest.
    pub hash: HashFunction,
    /// BIP-32 child numbers, all below 2³¹.
    pub path: Vec<u32>,
    /// The merkle root of a Taproot output's scripts (BIP-341).
    pub merkle_root: Option<[u8; 32]>,
    /// Name of the presignature to take from the vault.
    pub presignature: Option<String>,
}

/// How a message becomes a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashFunction {
    /// The message is the digest already (or, for Ed25519, is signed as it is).
    None,
    /// Keccak-256, as Ethereum uses it.
    Keccak256,
    /// SHA-256.
    Sha256,
    /// SHA-256 twice, as Bitcoin uses it.
    Sha256d,
}

/// How a message travels. The order is the one in which a round's messages are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Delivery {
    /// To one party.
    PointToPoint,
    /// To all, with no promise that all got the same.
    Broadcast,
    /// To all, delivered only once all are known to have got the same.
    ReliableBroadcast,
}

/// A message from a peer. Payloads may carry shares of secrets: they are wiped when dropped.
#[derive(Clone)]
pub struct Incoming {
    /// The round in which the peer sent it, from 1.
    pub round: u16,
    /// The sender; the host has checked it.
    pub from: PartyIndex,
    /// How it travelled.
    pub delivery: Delivery,
    /// The message's bytes.
    pub payload: Zeroizing<Vec<u8>>,
}

/// A message to one peer or to all.
#[derive(Clone)]
pub struct Outgoing {
    /// This party's round, from 1.
    pub round: u16,
    /// The receivers.
    pub to: Recipient,
    /// The message's bytes.
    pub payload: Zeroizing<Vec<u8>>,
}

/// The receivers of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Recipient {
    Party(PartyIndex),
    Broadcast,
    ReliableBroadcast,
}

/// The result of one step.
pub struct Progress {
    /// Messages to send now.
    pub outgoing: Vec<Outgoing>,
    /// The next need of the session.
    pub state: State,
}

/// The next need of a session.
#[derive(Clone, Debug)]
pub enum State {
    /// Messages.
    Waiting,
    /// Another step, with or without messages.
    Again,
    /// The session is over.
    Done(Outcome),
}

/// How a session ended well.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Outcome {
    Key(PublicKeyInfo),
    /// One for each item.
    Signatures(Vec<Signature>),
    Presignatures(u16),
    Refreshed(PublicKeyInfo),
    Repaired(PublicKeyInfo),
    Prepared,
}

/// The public outputs of a keygen, refresh or repair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKeyInfo {
    /// Name of the signature scheme.
    pub scheme: String,
    /// Encoded as the contract says for the scheme.
    pub public_key: Vec<u8>,
    /// Where the protocol derives child keys.
    pub chain_code: Option<[u8; 32]>,
    /// One public point per party, in index order.
    pub verifying_shares: Vec<Vec<u8>>,
    /// The format in which this party's share was stored.
    pub share_format: u32,
}

/// A signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// 64 bytes.
    pub bytes: [u8; 64],
    /// ECDSA only.
    pub recovery_id: Option<u8>,
}

/// How a session failed. No text here may contain a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The task can't be done as asked.
    InvalidTask(Detail),
    /// The stored share or material can't be read or does not fit.
    InvalidShare(Detail),
    /// A peer broke the protocol.
    Fault {
        /// The responsible peers; empty where the protocol can't tell.
        culprits: Vec<PartyIndex>,
        /// Never work with the culprits on this key again.
        ban: bool,
        /// Their fault.
        detail: Detail,
    },
    /// A bug.
    Internal(Detail),
}

/// What a failure says beside its kind. Never contains secrets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Detail {
    /// One of the descriptor's codes, or 0 for a failure that says no more than its kind. All that operators are told in
    /// production.
    pub code: u16,
    /// For the plugin's author: dropped in production.
    pub text: String,
}

impl Detail {
    /// A detail with a code.
    pub fn new(code: u16, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

impl From<String> for Detail {
    fn from(text: String) -> Self {
        Self::new(0, text)
    }
}

impl From<&str> for Detail {
    fn from(text: &str) -> Self {
        Self::new(0, text)
    }
}

impl Failure {
    /// A fault of one peer that calls for no ban.
    pub fn fault(culprit: PartyIndex, detail: impl Into<Detail>) -> Self {
        Self::Fault { culprits: vec![culprit], ban: false, detail: detail.into() }
    }
}

/// An event for operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// `step` of `of` is done.
    Progress {
        /// Steps done.
        step: u32,
        /// Steps in all.
        of: u32,
    },
    /// Items of single-use material now in the pool.
    PoolLevel(u32),
    /// One of the descriptor's codes.
    Note(u16),
}
