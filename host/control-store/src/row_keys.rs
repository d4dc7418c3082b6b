//! The keys under which account services authenticate what they store.
//!
//! An account service writes a MAC (HMAC-SHA256, RFC 2104) into each row, over the table's name and the fields that must
//! not change. So another user of the database can't change, invent or move them. A MAC begins with the id of its key:
//! rows of earlier keys are still believed.

use std::sync::Arc;

use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use quorate_backends::database::StoreError;
use sha2::Sha256;
use zeroize::Zeroizing;

/// The length of the id of a key.
const KEY_ID_BYTES: usize = 8;

/// A key: 32 random bytes, which only account services of one deployment have.
pub type RowKeySecret = Zeroizing<[u8; 32]>;

/// The current row key and the earlier ones. Clones share them; they are wiped with the last.
#[derive(Clone)]
pub struct RowKeys(Arc<[RowKey]>);

struct RowKey {
    id: [u8; KEY_ID_BYTES],
    secret: RowKeySecret,
    mac: Zeroizing<[u8; 32]>,
}

impl RowKey {
    fn new(secret: RowKeySecret) -> Self {
        let id = *expand(&secret, b"quorate 1 id of row key");
        let mac = expand(&secret, b"quorate 1 rows");
        Self { id, secret, mac }
    }

    fn caller_name(&self, caller: &str) -> String {
        hex::encode(self.mac("names of callers", &[caller]).finalize().into_bytes())
    }

    fn mac(&self, table: &str, fields: &[impl AsRef<[u8]>]) -> Hmac<Sha256> {
        // HMAC takes keys of any length.
        #[allow(clippy::expect_used)]
        let mut mac = Hmac::<Sha256>::new_from_slice(self.mac.as_slice()).expect("a key of 32 bytes");
        for part in std::iter::once(table.as_bytes()).chain(fields.iter().map(AsRef::as_ref)) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac
    }
}

impl std::fmt::Debug for RowKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RowKeys").field(&self.0.len()).finish()
    }
}

impl RowKeys {
    /// The keys: the first authenticates new rows, and earlier ones are accepted in rows that are there.
    #[must_use]
    pub fn new(current: RowKeySecret, earlier: Vec<RowKeySecret>) -> Self {
        Self(std::iter::once(current).chain(earlier).map(RowKey::new).collect())
    }

    /// A key for another purpose of account services, derived from the current one (HKDF-SHA256, RFC 5869).
    #[must_use]
    pub fn derive(&self, purpose: &[u8]) -> Zeroizing<[u8; 32]> {
        expand(&self.current().secret, purpose)
    }

    /// Whether there are keys besides the current one.
    #[must_use]
    pub fn has_earlier(&self) -> bool {
        self.0.len() > 1
    }

    /// The id with which the MACs of new rows begin.
    pub(crate) fn current_id(&self) -> &[u8] {
        &self.current().id
    }

    fn current(&self) -> &RowKey {
        &self.0[0]
    }

    /// The MAC of a new row.
    pub(crate) fn authenticate(&self, table: &str, fields: &[impl AsRef<[u8]>]) -> Vec<u8> {
        let key = self.current();
        [key.id.as_slice(), key.mac(table, fields).finalize().into_bytes().as_slice()].concat()
    }

    /// The name under which a caller is stored. Who reads the rows does not learn from it who the caller is.
    pub(crate) fn caller_name(&self, caller: &str) -> String {
        self.current().caller_name(caller)
    }

    /// The names under which a caller may be stored: the current one, and those of earlier keys.
    pub(crate) fn caller_names(&self, caller: &str) -> impl Iterator<Item = String> {
        self.0.iter().map(move |key| key.caller_name(caller))
    }

    /// Refuses a row that no account service of this deployment has written.
    pub(crate) fn verify(
        &self,
        table: &'static str,
        fields: &[impl AsRef<[u8]>],
        mac: &[u8],
    ) -> Result<(), StoreError> {
        let altered = || StoreError::Altered(table);
        let (id, tag) = mac.split_at_checked(KEY_ID_BYTES).ok_or_else(altered)?;
        let key = self.0.iter().find(|key| key.id == id).ok_or_else(altered)?;
        key.mac(table, fields).verify_slice(tag).map_err(|_| altered())
    }
}

fn expand<const N: usize>(secret: &RowKeySecret, purpose: &[u8]) -> Zeroizing<[u8; N]> {
    let mut key = Zeroizing::new([0; N]);
    let derived = Hkdf::<Sha256>::new(None, secret.as_slice());
    // HKDF gives up to 8,160 bytes.
    #[allow(clippy::expect_used)]
    derived.expand(purpose, key.as_mut_slice()).expect("N is small");
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(current: u8, earlier: &[u8]) -> RowKeys {
        let earlier = earlier.iter().map(|byte| Zeroizing::new([*byte; 32])).collect();
        RowKeys::new(Zeroizing::new([current; 32]), earlier)
    }

    #[test]
    fn a_row_is_believed_as_it_was_written_and_in_no_other_form() {
        let keys = keys(1, &[]);
        let mac = keys.authenticate("rows", &["one", "two"]);
        keys.verify("rows", &["one", "two"], &mac).unwrap();
        for (table, fields) in [
            ("other", vec!["one", "two"]),
            ("rows", vec!["one", "twx"]),
            ("rows", vec!["onet", "wo"]),
            ("rows", vec!["one"]),
            ("rows", vec!["one", "two", ""]),
        ] {
            assert!(matches!(keys.verify(table, &fields, &mac), Err(StoreError::Altered(_))));
        }
        for length in [0, KEY_ID_BYTES - 1, KEY_ID_BYTES, mac.len() - 1] {
            assert!(keys.verify("rows", &["one", "two"], &mac[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn an_earlier_key_is_accepted_while_it_is_named() {
        let mac = keys(1, &[]).authenticate("rows", &["one"]);
        keys(2, &[1]).verify("rows", &["one"], &mac).unwrap();
        assert!(keys(2, &[]).verify("rows", &["one"], &mac).is_err());
        let new = keys(2, &[1]).authenticate("rows", &["one"]);
        assert!(keys(1, &[]).verify("rows", &["one"], &new).is_err());
        assert_ne!(*keys(1, &[]).derive(b"purpose"), *keys(2, &[1]).derive(b"purpose"));
        assert_eq!(format!("{:?}", keys(2, &[1])), "RowKeys(2)");
    }
}
