//! Sealing at rest: AES-256-GCM under keys that come from the master key.
//!
//! Each share set has a random data key of its own, which is sealed under a key of its account (HKDF-SHA256, RFC 5869) and stands in
//! one row: once that row is gone, nothing of the share set opens. The associated data says where a row belongs; a row
//! that is moved to another table, party, account, epoch or name does not open.

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use quorate_backends::database::StoreError;
use quorate_core::codec::{Bytes, encode};
use quorate_core::identity::{PublicKey, SecretKey, Signature, Tag};
use quorate_core::{AccountId, PlanHash};
use sha2::Sha256;
use zeroize::Zeroizing;

const NONCE_BYTES: usize = 12;

/// A party's master key.
pub struct MasterKey(Zeroizing<[u8; 32]>);

/// A malformed master key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a master key is 64 hexadecimal characters, for example from `openssl rand -hex 32`")]
pub struct MasterKeyError;

impl MasterKey {
    /// The key of 64 hexadecimal characters.
    ///
    /// # Errors
    /// When it is anything else. The error does not repeat it.
    pub fn from_hex(text: &str) -> Result<Self, MasterKeyError> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(MasterKeyError);
        }
        let mut key = Zeroizing::new([0; 32]);
        for (byte, pair) in key.iter_mut().zip(digits.chunks(2)) {
            let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
            let (high, low) = (digit(pair[0]), digit(pair[1]));
            *byte = high.zip(low).map(|(high, low)| high << 4 | low).ok_or(MasterKeyError)?;
        }
        Ok(Self(key))
    }

    /// The key with which the party's process authenticates the code that it has compiled.
    #[must_use]
    pub fn compile_cache_key(&self) -> Zeroizing<[u8; 32]> {
        derive(self, b"quorate 1 compile cache")
    }
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey")
    }
}

/// The key of one share set, or of one entry of the pool: 32 random bytes.
///
/// It stays where it is made: a value that is moved would leave a copy behind.
pub(super) struct DataKey(Box<Zeroizing<[u8; 32]>>);

impl DataKey {
    /// A new key.
    pub(super) fn random() -> Result<Self, StoreError> {
        let mut key = Box::new(Zeroizing::new([0; 32]));
        getrandom::fill(key.as_mut_slice()).map_err(|_| StoreError::Conflict("no randomness"))?;
        Ok(Self(key))
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new(self.0.as_slice().into())
    }
}

impl std::fmt::Debug for DataKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DataKey")
    }
}

/// Where a sealed value belongs.
pub(super) struct RowContext<'a> {
    pub(super) table: &'static str,
    pub(super) account: AccountId,
    pub(super) epoch: u32,
    /// The session that made the share: two shares of one epoch are not to be mixed.
    pub(super) plan: PlanHash,
    pub(super) name: &'a str,
}

/// Seals and opens the rows of one party.
#[derive(Debug)]
pub struct Crypter {
    master: MasterKey,
    party: PublicKey,
    key_id: String,
}

impl Crypter {
    /// For the rows of `party`, under its master key.
    #[must_use]
    pub fn new(master: MasterKey, party: PublicKey) -> Self {
        let id = derive(&master, b"quorate 1 key id");
        let key_id = id.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self { master, party, key_id }
    }

    /// A public name of the master key: it tells keys apart and nothing more.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// A public name of the master key, which only a holder of the key can issue to this party: a key that signs the
    /// party's identity. Two parties with the same name have the same master key.
    #[must_use]
    pub fn proved_name(&self) -> (PublicKey, Signature) {
        let key = SecretKey::from_seed(&derive(&self.master, b"quorate 1 key name"));
        (key.public(), key.sign(Tag::KeyName, &self.party.0))
    }

    /// Seals a value under the key of its account.
    pub(super) fn seal(&self, context: &RowContext<'_>, value: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.seal_with(&self.cipher(context.account), context, value)
    }

    pub(super) fn open(
        &self,
        context: &RowContext<'_>,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        self.open_with(&self.cipher(context.account), context, sealed)
    }

    /// A new data key for a share set, and its sealed form.
    pub(super) fn new_data_key(&self, context: &RowContext<'_>) -> Result<(DataKey, Vec<u8>), StoreError> {
        let key = DataKey::random()?;
        let sealed = self.seal(context, key.0.as_slice())?;
        Ok((key, sealed))
    }

    /// Opens the data key of a share set.
    pub(super) fn open_data_key(
        &self,
        context: &RowContext<'_>,
        sealed: &[u8],
    ) -> Result<DataKey, StoreError> {
        let opened = self.open(context, sealed)?;
        let mut key = Box::new(Zeroizing::new([0; 32]));
        if opened.len() != key.len() {
            return Err(StoreError::Sealed(context.table));
        }
        key.copy_from_slice(&opened);
        Ok(DataKey(key))
    }

    /// Seals a value of a share set under its data key.
    pub(super) fn seal_under(
        &self,
        key: &DataKey,
        context: &RowContext<'_>,
        value: &[u8],
    ) -> Result<Vec<u8>, StoreError> {
        self.seal_with(&key.cipher(), context, value)
    }

    /// Opens a value of a share set.
    pub(super) fn open_under(
        &self,
        key: &DataKey,
        context: &RowContext<'_>,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        self.open_with(&key.cipher(), context, sealed)
    }

    fn seal_with(
        &self,
        cipher: &Aes256Gcm,
        context: &RowContext<'_>,
        value: &[u8],
    ) -> Result<Vec<u8>, StoreError> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|_| StoreError::Conflict("no randomness"))?;
        let payload = Payload { msg: value, aad: &self.associated(context) };
        let sealed = cipher
            .encrypt(Nonce::from_slice(&nonce), payload)
            .map_err(|_| StoreError::Conflict("a value too long to seal"))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    fn open_with(
        &self,
        cipher: &Aes256Gcm,
        context: &RowContext<'_>,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let wrong = || StoreError::Sealed(context.table);
        let (nonce, sealed) = sealed.split_at_checked(NONCE_BYTES).ok_or_else(wrong)?;
        let payload = Payload { msg: sealed, aad: &self.associated(context) };
        let opened = cipher.decrypt(Nonce::from_slice(nonce), payload);
        opened.map(Zeroizing::new).map_err(|_| wrong())
    }

    /// A MAC (HMAC-SHA256, RFC 2104) over what rows of a table tell in the clear.
    pub(super) fn mac(&self, table: &'static str, told: &[u8]) -> Vec<u8> {
        self.keyed(table, told).finalize().into_bytes().to_vec()
    }

    /// Whether this party has written that MAC over what rows of a table tell.
    pub(super) fn is_mac(&self, table: &'static str, told: &[u8], mac: &[u8]) -> bool {
        self.keyed(table, told).verify_slice(mac).is_ok()
    }

    fn keyed(&self, table: &'static str, told: &[u8]) -> Hmac<Sha256> {
        let key = derive(&self.master, b"quorate 1 row mac");
        // HMAC takes keys of any length.
        #[allow(clippy::expect_used)]
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(key.as_slice()).expect("a key of 32 bytes");
        mac.update(&encode(&(self.party, table.to_owned())));
        mac.update(told);
        mac
    }

    /// The cipher with an account's key. Its key schedule is wiped when it is dropped: the features that
    /// Cargo.toml asks of `aes` and `polyval` see to that. What HKDF keeps on its stack is not.
    fn cipher(&self, account: AccountId) -> Aes256Gcm {
        let info = [b"quorate 1 account key".as_slice(), account.as_bytes()].concat();
        Aes256Gcm::new(derive(&self.master, &info).as_ref().into())
    }

    fn associated(&self, context: &RowContext<'_>) -> Vec<u8> {
        let mut bytes = encode(&Bytes(context.table.as_bytes().to_vec()));
        bytes.extend(encode(&self.party));
        bytes.extend(encode(&context.account));
        bytes.extend(encode(&context.epoch));
        bytes.extend(encode(&context.plan));
        bytes.extend(encode(&context.name.to_owned()));
        bytes.extend(encode(&self.key_id));
        bytes
    }
}

fn derive(master: &MasterKey, info: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    // 32 bytes are far below what HKDF can expand to.
    #[allow(clippy::expect_used)]
    Hkdf::<Sha256>::new(None, master.0.as_slice()).expand(info, key.as_mut_slice()).expect("32 bytes");
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crypter(key: u8, party: u8) -> Crypter {
        Crypter::new(MasterKey(Zeroizing::new([key; 32])), PublicKey([party; 32]))
    }

    fn context<'a>(table: &'static str, account: u8, epoch: u32, name: &'a str) -> RowContext<'a> {
        RowContext { table, account: AccountId([account; 16]), epoch, plan: PlanHash([0; 32]), name }
    }

    #[test]
    fn a_row_opens_only_where_it_was_sealed() {
        let here = || context("entries", 1, 1, "share");
        let sealed = crypter(1, 1).seal(&here(), b"secret").unwrap();
        assert_eq!(*crypter(1, 1).open(&here(), &sealed).unwrap(), b"secret");
        for elsewhere in [
            context("other", 1, 1, "share"),
            context("entries", 2, 1, "share"),
            context("entries", 1, 2, "share"),
            context("entries", 1, 1, "other"),
            RowContext { plan: PlanHash([1; 32]), ..here() },
        ] {
            assert!(crypter(1, 1).open(&elsewhere, &sealed).is_err());
        }
        assert!(crypter(2, 1).open(&here(), &sealed).is_err(), "another master key");
        assert!(crypter(1, 2).open(&here(), &sealed).is_err(), "another party");
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(crypter(1, 1).open(&here(), &flipped).is_err(), "bit {bit}");
        }
        assert!(crypter(1, 1).open(&here(), &sealed[..11]).is_err());
        assert_ne!(crypter(1, 1).seal(&here(), b"secret").unwrap(), sealed, "a nonce was used twice");
    }

    #[test]
    fn what_a_share_set_has_opens_under_its_own_key_only() {
        let (crypter, context) = (crypter(1, 1), context("shares", 1, 1, "data key"));
        let (key, sealed_key) = crypter.new_data_key(&context).unwrap();
        let (other, _) = crypter.new_data_key(&context).unwrap();
        let sealed = crypter.seal_under(&key, &context, b"share").unwrap();
        let opened = crypter.open_data_key(&context, &sealed_key).unwrap();
        assert_eq!(*crypter.open_under(&opened, &context, &sealed).unwrap(), b"share");
        assert!(crypter.open_under(&other, &context, &sealed).is_err(), "another share set's key");
        assert!(
            crypter.open(&context, &sealed).is_err(),
            "the account's key opens it without the row of the data key"
        );
        let short = crypter.seal(&context, b"short").unwrap();
        assert!(crypter.open_data_key(&context, &short).is_err());
        assert_eq!(format!("{key:?}"), "DataKey");
    }

    /// Golden bytes: rows that were sealed before must open for ever, and a party's name for its key must stay the
    /// same.
    #[test]
    fn sealed_rows_keep_their_form() {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let context = RowContext { plan: PlanHash([4; 32]), ..context("entries", 7, 3, "share") };
        let crypter = crypter(1, 2);
        assert_eq!(hex(&crypter.associated(&context)), GOLDEN_ASSOCIATED_DATA);
        let digits = |at: usize| u8::from_str_radix(&GOLDEN_ROW[at..at + 2], 16).unwrap();
        let row: Vec<u8> = (0..GOLDEN_ROW.len()).step_by(2).map(digits).collect();
        assert_eq!(*crypter.open(&context, &row).unwrap(), b"secret");
        let (name, proof) = crypter.proved_name();
        assert_eq!((crypter.key_id(), hex(&name.0).as_str()), (GOLDEN_KEY_ID, GOLDEN_KEY_NAME));
        assert_eq!(hex(&proof.0), GOLDEN_KEY_PROOF);
    }

    const GOLDEN_ASSOCIATED_DATA: &str = concat!(
        "00000007656e7472696573020202020202020202020202020202020202020202020202020202020202020207",
        "0707070707070707070707070707070000000304040404040404040404040404040404040404040404040404",
        "040404040404040000000573686172650000001065366135393063656635336464396234",
    );
    const GOLDEN_ROW: &str = "f590f77e20e77f2a9924ecb19291429b897a78fcfcaeae3798106f13b7b949753b62";
    const GOLDEN_KEY_ID: &str = "e6a590cef53dd9b4";
    const GOLDEN_KEY_NAME: &str = "1c5c82faa797d5bd2d888593ef777330bf3c6ec3632d63b0b89e0b5d3b4145f2";
    const GOLDEN_KEY_PROOF: &str = concat!(
        "90e4c0ec7e7a0fb8bec3259dde8cec672f072bff5a238ea36fe36c9c99879ca2c19b4a083d056f3cae2953d4",
        "18398885cdf42e3f5ad6157db2fcf8d73b91f703",
    );

    #[test]
    fn a_master_key_is_64_hex_characters() {
        assert!(MasterKey::from_hex(&"0aF9".repeat(16)).is_ok());
        for bad in ["", &"0".repeat(63), &"0".repeat(65), &"g".repeat(64), &"ä".repeat(32)] {
            assert_eq!(MasterKey::from_hex(bad).err(), Some(MasterKeyError));
        }
        let key = MasterKey::from_hex(&"ab".repeat(32)).unwrap();
        assert_eq!(format!("{key:?}"), "MasterKey");
    }
}
