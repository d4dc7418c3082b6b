//! `quorate deployment test-api`: creates an account and signs with it, as a backend on this machine would.

use std::net::SocketAddr;

use quorate_core::code::Code;
use serde_json::{Value, json};

use super::check::reachable;
use super::settings::DeploymentSettings;
use crate::cli::client::{CallError, Client};
use crate::cli::{Failure, print};

/// Fails if the API does not do what it is for.
pub(super) async fn test_api(settings: &DeploymentSettings) -> Result<(), Failure> {
    let port = settings.text("ACCOUNT_PORT").parse().map_err(|_| "ACCOUNT_PORT in .env is not a port")?;
    let address = SocketAddr::new(reachable(settings), port);
    let client = Client::new(address, settings.text("MPC_API_KEY"))?;
    calls(&client).await.map_err(|failure| explained(failure, settings))
}

async fn calls(client: &Client) -> Result<(), Failure> {
    let account = client.post("/accounts", &json!({ "user_id": "deploy.sh test-api" })).await?.body;
    let id = text(&account, "id")?;
    print(&format!("account {id}: {}", text(&account, "ethereum_address")?));
    let mut digest = [0; 32];
    getrandom::fill(&mut digest)?;
    let message = json!({ "message": hex::encode(digest) });
    let signed = client.post(&format!("/accounts/{id}/sign"), &message).await?.body;
    print(&format!("signature: {}", text(&signed, "signature")?));
    Ok(())
}

fn text<'a>(answer: &'a Value, field: &str) -> Result<&'a str, Failure> {
    answer[field].as_str().ok_or_else(|| format!("the answer has no {field}").into())
}

/// The failure, with what an operator looks at first.
fn explained(failure: Failure, settings: &DeploymentSettings) -> Failure {
    match failure.downcast_ref::<CallError>() {
        Some(CallError::Refused { code, .. }) if code == Code::AddressNotAllowed.text() => format!(
            "{failure}. Calls from this machine come from the first address of EDGE_SUBNET, {}: is it in ALLOWED_IPS?",
            settings.text("EDGE_SUBNET")
        )
        .into(),
        Some(CallError::NoAnswer { .. }) => {
            format!("{failure}: ./deploy.sh health tells which service does not run").into()
        }
        _ => failure,
    }
}
