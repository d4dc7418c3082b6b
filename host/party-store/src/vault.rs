//! Material that protocols keep beside shares: of a group of parties, whatever the key, or of this party.

use quorate_backends::database::{StoreError, sql};
use quorate_core::codec::encode;
use quorate_core::user_share::ShareEntries;
use quorate_core::{AccountId, GroupId, PlanHash};

use super::PartyStore;
use super::crypter::RowContext;
use super::session_rows::{FinishedOrder, finish_session};

/// Entries that one protocol may keep for one owner.
const MAX_ENTRIES: i64 = 1_024;

/// Bytes of their values together.
const MAX_BYTES: i64 = 16 << 20;

/// Whose material it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaterialOwner {
    /// A group of parties: it serves all their keys.
    Group(GroupId),
    /// This party.
    Party,
}

/// Material that a session has made.
#[derive(Clone, Copy, Debug)]
pub struct KeptMaterial<'a> {
    /// The plan of the session.
    pub plan: PlanHash,
    /// Whose it is.
    pub owner: MaterialOwner,
    /// The protocol: no other sees it.
    pub protocol: &'a str,
    /// The entries. Each replaces what had its name.
    pub entries: &'a ShareEntries,
}

impl MaterialOwner {
    fn scope(self) -> &'static str {
        match self {
            Self::Group(_) => "group",
            Self::Party => "party",
        }
    }

    fn id(self) -> [u8; 32] {
        match self {
            Self::Group(group) => group.0,
            Self::Party => [0; 32],
        }
    }
}

impl PartyStore {
    /// The entries that a protocol keeps for an owner.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn material(&self, owner: MaterialOwner, protocol: &str) -> Result<ShareEntries, StoreError> {
        let rows = sql("SELECT name, sealed FROM vault WHERE scope = $1 AND owner = $2 AND protocol = $3")
            .bind(owner.scope())
            .bind(owner.id().as_slice())
            .bind(protocol)
            .fetch_all(&self.database)
            .await?;
        let mut entries = ShareEntries::new();
        for row in rows {
            let opened =
                self.crypter.open(&context(owner, protocol), row.get::<Vec<u8>>("sealed")?.as_slice())?;
            let split = opened.split_first().and_then(|(&length, rest)| rest.split_at_checked(length.into()));
            let (name, value) = split.ok_or(StoreError::Malformed("vault"))?;
            let name = std::str::from_utf8(name).map_err(|_| StoreError::Malformed("vault"))?;
            if row.get::<Vec<u8>>("name")? != self.material_name(owner, protocol, name) {
                return Err(StoreError::Altered("vault"));
            }
            entries.insert(name.to_owned(), value.to_vec().into());
        }
        Ok(entries)
    }

    /// Keeps what a session has made, and ends the session well.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the session does not run any more, or the owner would have more than a protocol may keep.
    /// Nothing of it is kept then.
    pub async fn keep_material(&self, material: KeptMaterial<'_>) -> Result<(), StoreError> {
        let KeptMaterial { plan, owner, protocol, entries } = material;
        let mut tx = self.database.begin(&owner.id()).await?;
        finish_session(&mut tx, plan, FinishedOrder::OnlyOnce).await?;
        for (name, value) in entries {
            let too_long = || StoreError::Conflict("a name too long to keep");
            let length = u8::try_from(name.len()).map_err(|_| too_long())?;
            let mut told = zeroize::Zeroizing::new(Vec::with_capacity(1 + name.len() + value.len()));
            told.push(length);
            told.extend_from_slice(name.as_bytes());
            told.extend_from_slice(value);
            let sealed = self.crypter.seal(&context(owner, protocol), &told)?;
            sql("INSERT INTO vault (scope, owner, protocol, name, key_id, bytes, sealed)
                 VALUES ($1, $2, $3, $4, $5, $6, $7)
                 ON CONFLICT (scope, owner, protocol, name) DO UPDATE
                 SET key_id = excluded.key_id, bytes = excluded.bytes, sealed = excluded.sealed")
            .bind(owner.scope())
            .bind(owner.id().as_slice())
            .bind(protocol)
            .bind(self.material_name(owner, protocol, name))
            .bind(self.crypter.key_id())
            .bind(i64::try_from(value.len()).unwrap_or(i64::MAX))
            .bind(sealed)
            .execute(&mut tx)
            .await?;
        }
        let row =
            sql("SELECT count(*) AS entries, CAST(coalesce(sum(bytes), 0) AS BIGINT) AS bytes FROM vault
             WHERE scope = $1 AND owner = $2 AND protocol = $3")
            .bind(owner.scope())
            .bind(owner.id().as_slice())
            .bind(protocol)
            .fetch_one(&mut tx)
            .await?;
        if row.get::<i64>("entries")? > MAX_ENTRIES || row.get::<i64>("bytes")? > MAX_BYTES {
            return Err(StoreError::Conflict("more material than a protocol may keep"));
        }
        tx.commit().await
    }

    /// The name of an entry as it is stored: a MAC. The component has chosen the name itself.
    fn material_name(&self, owner: MaterialOwner, protocol: &str, name: &str) -> Vec<u8> {
        let of = (GroupId(owner.id()), (owner.scope().to_owned(), (protocol.to_owned(), name.to_owned())));
        self.crypter.mac("names of material", &encode(&of))
    }
}

fn context(owner: MaterialOwner, protocol: &str) -> RowContext<'_> {
    let table = match owner {
        MaterialOwner::Group(_) => "vault of a group",
        MaterialOwner::Party => "vault of a party",
    };
    RowContext { table, account: AccountId([0; 16]), epoch: 0, plan: PlanHash(owner.id()), name: protocol }
}
