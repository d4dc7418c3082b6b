//! The views of accounts, signatures and sessions that callers see. Bytes are lower-case hex without `0x`.

use serde::Serialize;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// t of n.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ThresholdView {
    /// How many parties are required to sign.
    #[schema(minimum = 2, maximum = 16)]
    pub t: u16,
    /// How many there are.
    #[schema(minimum = 2, maximum = 16)]
    pub n: u16,
}

/// How far an account is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AccountStateView {
    /// Its key is being made.
    Creating,
    /// Its user has still to confirm the share: nothing is shown or signed before.
    Pending,
    /// It has a key.
    Active,
    /// Its key generation has no result, as far as is known. A late one still activates the account.
    Failed,
}

/// The purpose of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OperationView {
    /// Make a key.
    Keygen,
    /// Sign.
    Sign,
    /// New shares of the same key.
    Refresh,
    /// Lost shares made again, and new shares of the same key for all.
    Repair,
    /// Make presignatures ahead of time.
    Presign,
}

/// How far a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum StatusView {
    /// It has no result yet.
    Running,
    /// It has one.
    Completed,
    /// It has none, as far as is known.
    Failed,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct AccountView {
    /// Its id.
    #[schema(format = "uuid")]
    pub id: String,
    /// The user, in the caller's words.
    pub user_id: String,
    /// Keys and addresses are there only when it is active.
    pub state: AccountStateView,
    /// The signature scheme.
    #[schema(example = "ecdsa-secp256k1")]
    pub scheme: String,
    /// The protocol that holds its shares.
    #[schema(example = "dkls23")]
    pub protocol: String,
    /// t of n.
    pub threshold: ThresholdView,
    /// The version of its share set: 1 after its creation, one more after each refresh; 0 while there is none.
    pub epoch: u32,
    /// Only where a user keeps a share: whether nothing is signed without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_share_mandatory: Option<bool>,
    /// The session whose new share the user has still to confirm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// That share, sealed, in hex. It is added to answers and never kept with them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_share: Option<String>,
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// Its key.
    #[serde(flatten)]
    #[schema(schema_with = key_of_active_account)]
    pub key: Option<KeyView>,
}

/// The schema of [`KeyView`] without required fields: an account that is not active has none of them.
fn key_of_active_account() -> RefOr<Schema> {
    without_required(KeyView::schema())
}

fn without_required(mut schema: RefOr<Schema>) -> RefOr<Schema> {
    if let RefOr::T(Schema::Object(object)) = &mut schema {
        object.required.clear();
    }
    schema
}

/// A key and its addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct KeyView {
    /// SHA-256 of the component that made the current shares.
    pub plugin_digest: String,
    /// The public key: of `ecdsa-secp256k1` 33 bytes, compressed SEC 1; of `ed25519` (RFC 8032) and `bip340` 32 bytes.
    pub public_key: String,
    /// Of `ecdsa-secp256k1` only: the public key in 65 bytes, uncompressed SEC 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key_uncompressed: Option<String>,
    /// The BIP-32 chain code, for deriving child keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain_code: Option<String>,
    /// Of `ecdsa-secp256k1` only: the Ethereum address, with the checksum of EIP-55.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "0x52908400098527886E0F7030069857D2E4169EE7")]
    pub ethereum_address: Option<String>,
    /// The Bitcoin address on the main network: of `ecdsa-secp256k1` P2WPKH (BIP-173), of `bip340` P2TR (BIP-350), whose output key is
    /// the account's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bitcoin_address: Option<String>,
    /// Of `ed25519` only: the Solana address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub solana_address: Option<String>,
    /// The output that the key makes with the scripts that were asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taproot_output: Option<TaprootOutputView>,
}

/// The Taproot output that an account's key makes, as internal key, with scripts (BIP-341).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct TaprootOutputView {
    /// The merkle root of the scripts: 32 bytes.
    pub merkle_root: String,
    /// The output key: 32 bytes. What is signed with this merkle root verifies under it.
    pub public_key: String,
    /// Its address on the main network: P2TR (BIP-350).
    pub bitcoin_address: String,
}

/// The signatures of a request, made together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct SigningView {
    /// The account.
    #[schema(format = "uuid")]
    pub account_id: String,
    /// The session that made them.
    pub session_id: String,
    /// The signature scheme.
    pub scheme: String,
    /// The signature of `message`.
    #[serde(flatten)]
    #[schema(schema_with = signature_of_one_message)]
    pub signature: Option<SignatureView>,
    /// The signatures of `items`, in their order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signatures: Option<Vec<SignatureView>>,
    /// The parties that signed.
    pub signers: Vec<u16>,
    /// SHA-256 of the component that they ran.
    pub plugin_digest: String,
    /// How long it took, from the order to the first verified report.
    pub milliseconds: u64,
}

/// The schema of [`SignatureView`] without required fields: the answer to a request with `items` has a list instead.
fn signature_of_one_message() -> RefOr<Schema> {
    without_required(SignatureView::schema())
}

/// A signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct SignatureView {
    /// The digest that is signed. Not with `ed25519`, which signs the message itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The first half of the signature, 32 bytes: r, or R.
    pub r: String,
    /// The second half of the signature, 32 bytes: s. Of `ecdsa-secp256k1` never more than half the order (BIP-62).
    pub s: String,
    /// Of `ecdsa-secp256k1` only, 0 or 1: which of the two public keys that fit the signature is the right one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery_id: Option<u8>,
    /// Both halves, 64 bytes: as Ed25519 and BIP-340 write a signature.
    pub signature: String,
    /// Of `ecdsa-secp256k1` only: the signature in DER.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub der: Option<String>,
    /// The public key that it verifies under: the account's, its child at the derivation path, or the output key that it makes with the
    /// merkle root.
    pub public_key: String,
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct SessionView {
    /// Its id.
    pub id: String,
    /// The account.
    #[schema(format = "uuid")]
    pub account_id: String,
    /// The purpose of the session.
    pub operation: OperationView,
    /// How far it is.
    pub status: StatusView,
    /// The parties of the session.
    pub signers: Vec<u16>,
    /// SHA-256 of the component that they run.
    pub plugin_digest: String,
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// When it must be over, in milliseconds since 1970.
    pub deadline_at_ms: u64,
    /// When it ended, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at_ms: Option<u64>,
    /// The signatures that it made, in the order of the items.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<SignatureView>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorView>,
    /// What the plugins of the parties say while it runs, as far as this account service has heard of it. No proof.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<EventView>,
}

/// What the plugin of a party says while a session runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct EventView {
    /// The party.
    pub party: u16,
    /// What it is about.
    pub kind: EventKindView,
    /// Of `progress`: how many steps are done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<u32>,
    /// Of `progress`: how many steps there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<u32>,
    /// Of `pool_level`: how many presignatures, or other items for one use, there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<u32>,
    /// Of `note`: a code of the plugin (docs/plugin-codes.md); 65535 for one that it does not list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventKindView {
    /// How far the session is.
    Progress,
    /// How many presignatures there are.
    PoolLevel,
    /// A code of the plugin.
    Note,
}

/// Why a session failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ErrorView {
    /// A stable code.
    pub code: String,
    /// For people.
    pub reason: String,
    /// Parties that another party accuses. No proof.
    pub culprits: Vec<u16>,
}
