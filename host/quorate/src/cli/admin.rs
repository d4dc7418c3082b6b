//! Implements `quorate admin`: what only an operator may do at a party, over its socket.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use quorate_core::identity::PublicKey;
use quorate_core::{AccountId, Digest};
use quorate_party::admin;
use quorate_proto::v1::admin_client::AdminClient;
use quorate_proto::v1::{
    ExportBansRequest, LiftBanRequest, PermitRepairRequest, ReadmitRequest, RegistryRequest,
    SetTimeBackRequest, SuspendRequest, UnlockRequest,
};

use super::output::{CliError, print};
use crate::config::Config;

/// An action at a party, on its machine and as its user.
#[derive(Args)]
pub(super) struct AdminArguments {
    /// The party's socket (QUORATE_ADMIN_SOCKET; admin.sock in QUORATE_DATA)
    #[arg(long, value_name = "FILE")]
    socket: Option<PathBuf>,
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand)]
enum Act {
    /// Free an account of a keygen or refresh whose promises will never be completed
    Unlock {
        /// The account's id
        account: AccountId,
    },
    /// Let a peer that was set back to an earlier state take part again, or this party itself
    Readmit {
        /// The public identity key of the peer, or of this party
        peer: PublicKey,
        /// For this party itself: what `quorate admin bans` has written at each of the other parties
        #[arg(long, value_name = "FILE")]
        bans: Vec<PathBuf>,
        /// For this party itself: a party that is lost for ever and can't tell its bans
        #[arg(long, value_name = "KEY")]
        without: Vec<PublicKey>,
    },
    /// Permit to repair the shares that a party has lost, after you have heard from its operator that they are lost: whoever has the
    /// party's identity key gets new ones
    PermitRepair {
        /// The public identity key that the party has now. If it is a new one, QUORATE_PARTY_KEYS of this party has it already
        peer: PublicKey,
        /// The public identity key that the party had, if it has a new one
        #[arg(long, value_name = "KEY")]
        replaces: Option<PublicKey>,
        /// The account, once. Without it: each account of the party, once
        #[arg(long, value_name = "ID")]
        account: Option<AccountId>,
        /// For how many hours
        #[arg(long, value_name = "NUMBER", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=168))]
        hours: u32,
    },
    /// Write the bans that this party keeps of the accounts of a party that was set back, for the operator of that one
    Bans {
        /// The public identity key of the party that was set back
        peer: PublicKey,
    },
    /// Permit one refresh of an account with a party that this one has banned: the ban ends with the new shares
    LiftBan {
        /// The account's id
        account: AccountId,
        /// The number of the banned party
        party: u16,
    },
    /// Set the party's stored time back, after a clock that was ahead is set right; orders are taken again eleven minutes later
    Clock,
    /// List the components of the party
    Registry,
    /// Let no new session run on a component, for good
    Suspend {
        /// SHA-256 of the component
        digest: Digest,
    },
}

pub(super) async fn admin(config: Config, arguments: AdminArguments) -> Result<(), CliError> {
    let path = arguments.socket.unwrap_or_else(|| config.admin_socket());
    let failed = |error: tonic::transport::Error| -> CliError {
        let name = path.display();
        let remedy = "name the party's socket with --socket, and run as the party's user or root";
        format!("{name}: no party listens here, or not to this user: {remedy} ({error})").into()
    };
    let refused = |status: tonic::Status| format!("the party refused: {}", status.message());
    let mut client = AdminClient::new(admin::connect(&path).await.map_err(failed)?)
        .max_decoding_message_size(admin::MAX_ADMIN_MESSAGE_BYTES)
        .max_encoding_message_size(admin::MAX_ADMIN_MESSAGE_BYTES);
    let done = match arguments.act {
        Act::Unlock { account } => {
            let account = account.as_bytes().to_vec().into();
            client.unlock(UnlockRequest { account }).await.map_err(refused)?.into_inner().done
        }
        Act::Readmit { peer, bans, without } => {
            let bans = bans.iter().map(|file| read_export(file).map(Into::into)).collect::<Result<_, _>>()?;
            let without = without.iter().map(|key| key.0.to_vec().into()).collect();
            let request = ReadmitRequest { peer: peer.0.to_vec().into(), bans, without };
            client.readmit(request).await.map_err(refused)?.into_inner().done
        }
        Act::PermitRepair { peer, replaces, account, hours } => {
            let account = account.map(|account| account.as_bytes().to_vec().into());
            let replaces = replaces.map(|former| former.0.to_vec().into());
            let request = PermitRepairRequest { peer: peer.0.to_vec().into(), account, hours, replaces };
            client.permit_repair(request).await.map_err(refused)?.into_inner().done
        }
        Act::Bans { peer } => {
            let request = ExportBansRequest { to: peer.0.to_vec().into() };
            let export = client.export_bans(request).await.map_err(refused)?.into_inner().export;
            return print(&hex::encode(export));
        }
        Act::LiftBan { account, party } => {
            let account = account.as_bytes().to_vec().into();
            let request = LiftBanRequest { account, party: party.into() };
            client.lift_ban(request).await.map_err(refused)?.into_inner().done
        }
        Act::Suspend { digest } => {
            let digest = digest.as_bytes().to_vec().into();
            client.suspend(SuspendRequest { digest }).await.map_err(refused)?.into_inner().done
        }
        Act::Clock => client.set_time_back(SetTimeBackRequest {}).await.map_err(refused)?.into_inner().done,
        Act::Registry => {
            for entry in client.registry(RegistryRequest {}).await.map_err(refused)?.into_inner().entries {
                let state = if entry.suspended { "suspended" } else { "active" };
                print(&format!(
                    "{} {state} {} {}",
                    hex::encode(entry.digest),
                    entry.protocol,
                    entry.version
                ))?;
            }
            return Ok(());
        }
    };
    print(if done { "done" } else { "there was nothing to do" })
}

/// Reads what `quorate admin bans` has written.
fn read_export(file: &Path) -> Result<Vec<u8>, CliError> {
    let name = file.display();
    let text = std::fs::read_to_string(file).map_err(|error| format!("{name}: {error}"))?;
    let bytes = hex::decode(text.trim());
    Ok(bytes.map_err(|_| format!("{name} is not what `quorate admin bans` has written"))?)
}
