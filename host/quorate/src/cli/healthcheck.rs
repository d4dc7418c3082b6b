//! `quorate healthcheck`: whether a role that runs on this machine is well, for supervisors and containers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use clap::Args;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use quorate_net::tls;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::output::{CliError, print};
use super::serve::RoleArgument;
use crate::config::Config;

/// How long the answer may take.
const HEALTHCHECK_TIMEOUT: Duration = Duration::from_secs(4);

/// How much of the answer is read.
const MAX_HEALTH_REPORT_BYTES: usize = 4_096;

/// The role whose health is asked for.
#[derive(Args)]
pub(super) struct HealthcheckArguments {
    /// The role; where it listens is read from the same settings
    role: RoleArgument,
}

/// Prints what the role says of itself, and ends well if it can do its work, with or without its cache.
pub(super) async fn healthcheck(config: Config, arguments: HealthcheckArguments) -> Result<(), CliError> {
    let roles = &config.roles;
    let listens = match arguments.role {
        RoleArgument::All | RoleArgument::Account => config.http.listen,
        RoleArgument::Coordinator => roles.coordinator_listen,
        RoleArgument::Router => roles.router_listen,
        RoleArgument::Party => roles.party_listen,
        RoleArgument::PartyApi => roles.party_api_listen,
    };
    let asked = async {
        let stream = TcpStream::connect(reachable(listens)).await.map_err(|error| {
            format!(
                "no role answers at {listens}, the address in this command's settings: start the role, or give this \
                 command the role's settings ({error})"
            )
        })?;
        match &config.tls.files.identity {
            None => ask(stream).await,
            Some(identity) => ask(tls::connect_to_self(identity, stream).await?).await,
        }
    };
    let late = |_| {
        CliError::from(format!("{listens} did not answer within {} seconds", HEALTHCHECK_TIMEOUT.as_secs()))
    };
    let (status, report) = tokio::time::timeout(HEALTHCHECK_TIMEOUT, asked).await.map_err(late)??;
    print(&report)?;
    if status.is_success() { Ok(()) } else { Err(format!("{listens} answered {status}").into()) }
}

/// Where to connect to, to reach what listens on an address.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    (ip, address.port()).into()
}

async fn ask<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
) -> Result<(hyper::StatusCode, String), CliError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = hyper::Request::get("/health").header("host", "localhost");
    let response = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
    let status = response.status();
    let report = Limited::new(response.into_body(), MAX_HEALTH_REPORT_BYTES).collect().await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&report).into_owned()))
}
