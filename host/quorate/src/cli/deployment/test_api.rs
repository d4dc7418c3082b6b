//! `quorate deployment test-api`: creates an account and signs with it, as a backend on this machine would.

use std::net::SocketAddr;

use clap::Args;
use quorate_core::code::Code;
use serde_json::{Value, json};

use crate::cli::client::{CallError, Client};
use crate::cli::input::{MAX_API_KEYS_BYTES, read_text};
use crate::cli::output::{CliError, print};

/// The API to try. Its keys come from standard input, with commas between; the first is used.
#[derive(Args)]
pub(super) struct TestApiArguments {
    /// Where the API listens
    #[arg(long, default_value = "127.0.0.1:4000")]
    address: SocketAddr,
}

/// Fails if the API does not do what it is for.
pub(super) async fn test_api(arguments: &TestApiArguments) -> Result<(), CliError> {
    let keys = read_text(std::io::stdin(), MAX_API_KEYS_BYTES)?;
    let key = keys.split(',').next().unwrap_or_default().trim();
    let client = Client::new(arguments.address, key)?;
    calls(&client).await.map_err(explained)
}

async fn calls(client: &Client) -> Result<(), CliError> {
    let account = client.post("/accounts", &json!({ "user_id": "deploy.sh test-api" })).await?.body;
    let id = text(&account, "id")?;
    print(&format!("account {id}: {}", text(&account, "ethereum_address")?))?;
    let mut digest = [0; 32];
    getrandom::fill(&mut digest)?;
    let message = json!({ "message": hex::encode(digest) });
    let signed = client.post(&format!("/accounts/{id}/sign"), &message).await?.body;
    print(&format!("signature: {}", text(&signed, "signature")?))
}

fn text<'a>(answer: &'a Value, field: &str) -> Result<&'a str, CliError> {
    answer[field].as_str().ok_or_else(|| format!("the answer has no {field}").into())
}

/// The failure, with the first thing for an operator to look at.
fn explained(failure: CliError) -> CliError {
    match failure.downcast_ref::<CallError>() {
        Some(CallError::Refused { code, .. }) if code == Code::AddressNotAllowed.text() => format!(
            "{failure}. Calls from this machine come from the first address of EDGE_SUBNET: is it in ALLOWED_IPS?"
        )
        .into(),
        Some(CallError::NoAnswer { .. }) => {
            format!("{failure}: ./deploy.sh health tells which service does not run").into()
        }
        _ => failure,
    }
}
