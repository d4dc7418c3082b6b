//! Implements `quorate share`: seals and opens users' shares.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use quorate_account::{DEFAULT_SCHEME, ItemText, SignRequest};
use quorate_core::AccountId;
use quorate_core::identity::PublicKey;
use quorate_core::order::SignItems;
use quorate_core::sealed_box::RecipientKey;
use quorate_core::sealing_key::SignedSealingKey;
use quorate_core::share_claim::ShareClaim;
use quorate_core::share_grant::{GrantHeader, NewShareTerms, Purpose, ShareGrant};
use quorate_core::user_share::UserShare;
use quorate_net::clock::{Clock, SystemClock};
use quorate_net::web::params::{claim_hash, recipient_key};
use quorate_party::api::{MalformedSealingKey, SealingKeyView};
use zeroize::Zeroizing;

use super::output::{CliError, print};
use crate::secret_file::{OWNER_ONLY_MODE, random, write_new};

/// How long a sealed share is good, if nothing is said, in seconds.
const DEFAULT_LIFETIME_SECONDS: u64 = 300;

/// The longest input, in bytes: a share of 2 MiB in hex.
const MAX_SHARE_FILE_BYTES: u64 = 4 << 20;

/// The longest file with a sealing key, in bytes.
const MAX_KEY_FILE_BYTES: u64 = 64 << 10;

/// The longest file with items to sign, in bytes: their messages have 128 KiB together, in hex.
const MAX_ITEMS_FILE_BYTES: u64 = 1 << 20;

/// An action with shares.
#[derive(Args)]
pub(super) struct ShareArguments {
    #[command(subcommand)]
    command: ShareCommand,
}

#[derive(Subcommand)]
enum ShareCommand {
    /// Make a new recipient key in a file, and print its public side: the `recipient_key` of requests
    NewRecipient {
        /// The file; it must not be there yet
        file: PathBuf,
    },
    /// Make a new claim to a share in a file, and print its hash: the `claim_hash` of requests
    NewClaim {
        /// The file; it must not be there yet. Its content is the `claim` of generate and confirm
        file: PathBuf,
    },
    /// Open a share that was sealed to a recipient key: hex on standard input, hex to a new file
    Open {
        /// The file with the recipient key
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// Where the share goes; the file must not be there yet
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Seal a share for one request: prints the `user_share` of that request
    Seal(Box<Seal>),
}

#[derive(Args)]
struct Seal {
    /// The file with the opened share
    #[arg(long, value_name = "FILE")]
    share: PathBuf,
    /// The file with the answer of the party API to GET /api/v1/shares/key
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// The identity key of the users' party, which must have signed that answer
    #[arg(long, value_name = "KEY")]
    party: PublicKey,
    /// The account
    #[arg(long, value_name = "ID")]
    account: AccountId,
    /// To sign this message, as in the sign request
    #[arg(long, value_name = "HEX", required_unless_present_any = ["items", "refresh"], conflicts_with_all = ["items", "refresh"])]
    message: Option<String>,
    /// To sign the items in this file: the JSON list of the sign request
    #[arg(long, value_name = "FILE", conflicts_with = "refresh")]
    items: Option<PathBuf>,
    /// The hash of the sign request, if it has one
    #[arg(long, requires = "message")]
    hash: Option<String>,
    /// The path of the sign request, if it has one
    #[arg(long, requires = "message")]
    path: Option<String>,
    /// The merkle root of the sign request, if it has one
    #[arg(long, value_name = "HEX", requires = "message")]
    merkle_root: Option<String>,
    /// The scheme of the account
    #[arg(long, default_value = DEFAULT_SCHEME)]
    scheme: String,
    /// To refresh the account: the new share is sealed to this key
    #[arg(long, value_name = "RECIPIENT_KEY", requires = "claim_hash")]
    refresh: Option<String>,
    /// The hash of the claim with which the new share is confirmed
    #[arg(long, value_name = "CLAIM_HASH", requires = "refresh")]
    claim_hash: Option<String>,
    /// For how many seconds it is good
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_LIFETIME_SECONDS)]
    good_for: u64,
}

pub(super) fn share(arguments: ShareArguments) -> Result<(), CliError> {
    match arguments.command {
        ShareCommand::NewRecipient { file } => {
            let key = RecipientKey::derive(&*random()?);
            write(&file, key.to_bytes().as_slice())?;
            print(&hex::encode(key.public()))?;
        }
        ShareCommand::NewClaim { file } => {
            let claim = random()?;
            write(&file, claim.as_slice())?;
            print(&hex::encode(ShareClaim::new(claim).hash()))?;
        }
        ShareCommand::Open { key, out } => {
            let bytes: [u8; 32] = read(&key)?
                .as_slice()
                .try_into()
                .map_err(|_| format!("{}: this is not a recipient key", key.display()))?;
            let bytes = Zeroizing::new(bytes);
            let key = RecipientKey::from_bytes(&bytes)?;
            let share = UserShare::open(&sealed()?, &key)?;
            write(&out, share.bytes())?;
            let share_id = share.id()?;
            let account = share_id.account;
            print(&format!("account {account}, epoch {}, party {}", share_id.epoch, share_id.party))?;
        }
        ShareCommand::Seal(seal) => print(&seal_for(*seal)?)?,
    }
    Ok(())
}

fn seal_for(seal: Seal) -> Result<String, CliError> {
    let share = UserShare::read(read(&seal.share)?)?;
    let signed = sealing_key(&seal.to)?;
    let to = signed.open(&seal.party, SystemClock.seconds());
    let to = to.map_err(|refused| format!("{}: {refused}", seal.to.display()))?;
    let account = seal.account;
    let share_id = share.id()?;
    if share_id.account != account {
        return Err(format!("{}: this share is of another account", seal.share.display()).into());
    }
    let purpose = match (&seal.message, &seal.items, &seal.refresh, &seal.claim_hash) {
        (Some(message), ..) => {
            let text = ItemText {
                message: message.clone(),
                hash: seal.hash.clone(),
                path: seal.path.clone(),
                merkle_root: seal.merkle_root.clone(),
            };
            Purpose::Sign(checked(SignRequest::read(&text, None)?, &seal.scheme)?)
        }
        (None, Some(file), ..) => Purpose::Sign(checked(items(file)?, &seal.scheme)?),
        (None, None, Some(recipient), Some(hash)) => Purpose::Refresh(NewShareTerms {
            recipient: recipient_key(recipient)?,
            claim_hash: claim_hash(hash)?,
        }),
        _ => {
            return Err("say what the share is for: --message, --items, or --refresh and --claim-hash".into());
        }
    };
    let expires_at = SystemClock.seconds() + Duration::from_secs(seal.good_for);
    let header = GrantHeader { nonce: *random()?, expires_at, account, epoch: share_id.epoch, purpose };
    Ok(hex::encode(ShareGrant { header, share }.seal(to, &*random()?)?))
}

/// The items of a request, which can be signed with this scheme.
fn checked(request: SignRequest, scheme: &str) -> Result<SignItems, CliError> {
    request.check_scheme(scheme)?;
    Ok(request.items)
}

/// The items in a file.
fn items(file: &Path) -> Result<SignRequest, CliError> {
    let text = read_text(file, MAX_ITEMS_FILE_BYTES)?;
    let texts: Vec<ItemText> = serde_json::from_str(&text)
        .map_err(|error| format!("{}: give the list `items` of the sign request: {error}", file.display()))?;
    Ok(SignRequest::read_batch(&texts, None)?)
}

/// The signed key in a file with the answer of the party API.
fn sealing_key(file: &Path) -> Result<SignedSealingKey, CliError> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let text = read_text(file, MAX_KEY_FILE_BYTES)?;
    let view: SealingKeyView = serde_json::from_str(&text).map_err(|_| failed(&MalformedSealingKey))?;
    Ok(view.signed_key().map_err(|error| failed(&error))?)
}

/// The beginning of a text file, so many bytes of it at most.
fn read_text(file: &Path, max_bytes: u64) -> Result<String, CliError> {
    let failed = |error| format!("{}: can't be read: {error}", file.display());
    let mut text = String::new();
    let opened = std::fs::File::open(file).map_err(failed)?;
    opened.take(max_bytes + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > max_bytes {
        return Err(format!("{}: longer than {max_bytes} bytes", file.display()).into());
    }
    Ok(text)
}

/// A sealed share from standard input.
fn sealed() -> Result<Vec<u8>, CliError> {
    let mut text = String::new();
    std::io::stdin().take(2 * MAX_SHARE_FILE_BYTES).read_to_string(&mut text)?;
    Ok(hex::decode(text.trim()).map_err(|_| "give a sealed share in hex on standard input")?)
}

fn read(file: &Path) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let failed = |error| format!("{}: can't be read: {error}", file.display());
    let mut text = Zeroizing::new(String::new());
    let opened = std::fs::File::open(file).map_err(failed)?;
    opened.take(2 * MAX_SHARE_FILE_BYTES).read_to_string(&mut text).map_err(failed)?;
    let bytes = hex::decode(text.trim()).map_err(|_| format!("{}: this is not hex", file.display()))?;
    Ok(Zeroizing::new(bytes))
}

/// Writes a secret to a new file that only its owner can read.
fn write(file: &Path, secret: &[u8]) -> Result<(), CliError> {
    let failed = |error| format!("{}: not written: {error}", file.display());
    let text = Zeroizing::new(hex::encode(secret) + "\n");
    Ok(write_new(file, &text, OWNER_ONLY_MODE).map_err(failed)?)
}
