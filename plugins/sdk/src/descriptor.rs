//! What a plugin says of itself (`wit/0.1.0/party.wit`).

/// The identity and abilities of a plugin.
#[derive(Clone, Debug)]
pub struct Descriptor {
    /// The protocol's name: `dkls23`.
    pub id: &'static str,
    /// Semantic version of the plugin.
    pub version: &'static str,
    /// Signature schemes it serves.
    pub schemes: &'static [&'static str],
    /// The operations that it implements.
    pub operations: &'static [Operation],
    /// The largest n.
    pub max_parties: u16,
    /// Share formats that it reads, ascending; the last is the one it writes.
    pub share_formats: &'static [u32],
    /// For a protocol that bans: how many signing sessions of one account may be open with one counterparty at a time,
    /// because each may tell a counterparty that cheats one bit of a secret. `None` for a protocol that never bans.
    pub open_signings: Option<u16>,
    /// The codes of its failures, notes and log lines, ascending: at most 256 of 1..=65534.
    pub codes: &'static [u16],
    /// What its sessions need at most: one entry for every operation but [`Operation::Derivation`].
    pub needs: &'static [Need],
}

/// What a session of an operation needs at most. The host gives no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// The operations that it is said of.
    pub operations: &'static [Operation],
    /// The longest message, in bytes, for each item of the task.
    pub message_bytes: u32,
    /// Linear memory, in bytes, for what does not depend on the parties and the items: also the code's own data and its
    /// stack.
    pub memory_bytes: u32,
    /// Linear memory for each other party of the key: it may sign or not.
    pub memory_bytes_per_party: u32,
    /// Linear memory for each item of the task.
    pub memory_bytes_per_item: u32,
    /// Linear memory for each item of the task and each other party of the session, on top of both.
    pub memory_bytes_per_item_and_peer: u32,
}

/// A kind of session, or an ability of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Operation {
    Keygen,
    Sign,
    Presign,
    Refresh,
    Repair,
    Auxiliary,
    Prepare,
    /// `sign` with a derivation path.
    Derivation,
}
