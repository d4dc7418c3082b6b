//! Facts about the container engine, as `deploy.sh` sends them: one a line, its kind first.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};

use ipnet::Ipv4Net;
use zeroize::Zeroizing;

use crate::cli::output::CliError;

/// The most bytes of facts that are read.
const MAX_FACTS_BYTES: u64 = 1 << 20;

/// The engine, as far as it is known: a fact that is missing is not checked.
#[derive(Default)]
pub(super) struct Engine {
    /// The version of the Docker engine.
    pub(super) version: Option<String>,
    /// The version of `docker-compose`, where `docker compose` is missing.
    pub(super) standalone_compose: Option<String>,
    /// The engine's own description of its isolation.
    pub(super) security: String,
    /// Networks of the engine, with their addresses.
    pub(super) networks: Vec<(String, Vec<Ipv4Net>)>,
    /// Ports that this deployment has published already.
    pub(super) published: Vec<u16>,
    /// Where programs on this machine listen.
    pub(super) listening: Vec<SocketAddr>,
    /// Variables of the shell that calls `deploy.sh`.
    pub(super) shell: BTreeMap<String, Zeroizing<String>>,
    /// Free space for volumes in MiB, and the folder with the volumes.
    pub(super) space: Option<(u64, String)>,
    /// The volumes of this deployment.
    pub(super) volumes: Vec<String>,
    /// The data of PostgreSQL and the image that is to open it.
    pub(super) postgres: Option<PostgresData>,
    /// There is such data, and the image did not tell its version.
    pub(super) postgres_is_unknown: bool,
    /// The newest migration of each database.
    pub(super) schemas: Vec<(String, i64)>,
}

/// Data of PostgreSQL, and an image.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PostgresData {
    /// The number of the user who owns the data.
    pub(super) owner: u32,
    /// The number of the user as whom the image runs PostgreSQL.
    pub(super) image_user: u32,
    /// The major version that made the data.
    pub(super) version: u32,
    /// The major version of the image.
    pub(super) image_version: u32,
}

impl Engine {
    /// Reads facts from standard input.
    ///
    /// # Errors
    /// When they can't be read.
    pub(super) fn from_stdin() -> Result<Self, CliError> {
        // Values of the shell may be secrets.
        let mut text = Zeroizing::new(String::new());
        std::io::stdin().take(MAX_FACTS_BYTES).read_to_string(&mut text)?;
        Ok(Self::parse(&text))
    }

    /// Reads facts. Malformed lines are ignored: their facts stay unknown.
    fn parse(text: &str) -> Self {
        let mut engine = Self::default();
        for line in text.lines() {
            let (kind, rest) = line.trim_end().split_once(' ').unwrap_or((line, ""));
            engine.add(kind, rest);
        }
        engine
    }

    fn add(&mut self, kind: &str, rest: &str) {
        match kind {
            "engine" if !rest.is_empty() => self.version = Some(rest.to_owned()),
            "docker-compose" => self.standalone_compose = Some(rest.to_owned()),
            "security" => rest.clone_into(&mut self.security),
            "network" => {
                let (name, subnets) = rest.split_once(' ').unwrap_or((rest, ""));
                let subnets = subnets.split(' ').filter_map(|subnet| subnet.parse().ok()).collect();
                self.networks.push((name.to_owned(), subnets));
            }
            "published" => self.published.extend(ports_of(rest)),
            "socket" => self.listening.extend(listening(rest)),
            "shell" => {
                let variable = rest.split_once('=');
                let variable =
                    variable.map(|(name, value)| (name.to_owned(), Zeroizing::new(value.to_owned())));
                self.shell.extend(variable);
            }
            "space" => {
                let space = rest.split_once(' ').and_then(|(kib, folder)| {
                    Some((kib.parse::<u64>().ok()? / 1_024, folder.trim().to_owned()))
                });
                self.space = space;
            }
            "volume" => self.volumes.push(rest.to_owned()),
            "postgres" => {
                self.postgres = postgres(rest);
                self.postgres_is_unknown = self.postgres.is_none();
            }
            "schema" => {
                let schema = rest
                    .split_once(' ')
                    .and_then(|(name, version)| Some((name.to_owned(), version.parse().ok()?)));
                self.schemas.extend(schema);
            }
            _ => {}
        }
    }
}

/// The ports of the machine in a list like `127.0.0.1:4000->4000/tcp, 5432/tcp`.
fn ports_of(list: &str) -> impl Iterator<Item = u16> {
    let published = list.split(',').filter_map(|item| item.trim().split_once("->"));
    published.filter_map(|(outside, _)| outside.rsplit(':').next()?.parse().ok())
}

/// The address of a socket that listens, in a line of Linux's `/proc/net/tcp` or `tcp6`: a number, the local address
/// in hex (each group of four bytes in the byte order of the machine, which is little-endian), the remote address,
/// and the state, of which 0A is listening.
fn listening(line: &str) -> Option<SocketAddr> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let (local, _, state) = (words.next()?, words.next()?, words.next()?);
    let (address, port) = local.split_once(':').filter(|_| state == "0A")?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let bytes = hex::decode(address).ok()?;
    let ordered: Vec<u8> = bytes.chunks(4).flat_map(|group| group.iter().rev().copied()).collect();
    let address = match <[u8; 4]>::try_from(ordered.as_slice()) {
        Ok(bytes) => IpAddr::from(bytes),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(ordered.as_slice()).ok()?),
    };
    Some(SocketAddr::new(address.to_canonical(), port))
}

/// Owner, user of the image and version of the data; then what `postgres --version` prints.
fn postgres(text: &str) -> Option<PostgresData> {
    let mut words = text.split(' ');
    let mut number = || words.next()?.parse::<u32>().ok();
    let (owner, image_user, version) = (number()?, number()?, number()?);
    let (_, image) = text.split_once("PostgreSQL) ")?;
    let major = image.split(|character: char| !character.is_ascii_digit()).next()?;
    Some(PostgresData { owner, image_user, version, image_version: major.parse().ok()? })
}

/// Whether a version like `20.10.24+dfsg1` is a later one than `20.10`, or that one.
pub(super) fn is_at_least(version: &str, wanted: &[u32]) -> bool {
    let numbers = version.trim_start_matches('v').split(|c: char| !c.is_ascii_digit());
    let numbers: Vec<u32> = numbers.map_while(|part| part.parse().ok()).collect();
    numbers.as_slice() >= wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read_by_kind() {
        let engine = Engine::parse(
            "engine 20.10.24+dfsg1\ndocker-compose 1.29.2\nsecurity [name=rootless]\n\
             network quorate_edge 10.213.99.0/24 fd00::/64\nnetwork none\n\
             published 127.0.0.1:4000->4000/tcp, [::]:8083->8083/tcp, 5432/tcp\nspace 2097152 /var/lib/docker\n\
             volume quorate_postgres-data\npostgres 999 70 15 postgres (PostgreSQL) 16.1 (Debian)\n\
             schema account 2\nschema party_1\nnonsense\nshell EMPTY=\nshell LANG=C=x y\n",
        );
        assert_eq!(engine.version.as_deref(), Some("20.10.24+dfsg1"));
        assert_eq!(engine.standalone_compose.as_deref(), Some("1.29.2"));
        assert_eq!(engine.security, "[name=rootless]");
        let networks = [
            ("quorate_edge".to_owned(), vec!["10.213.99.0/24".parse().unwrap()]),
            ("none".to_owned(), vec![]),
        ];
        assert_eq!(engine.networks, networks);
        assert_eq!(engine.published, [4_000, 8_083]);
        assert_eq!(engine.space, Some((2_048, "/var/lib/docker".to_owned())));
        assert_eq!(engine.volumes, ["quorate_postgres-data"]);
        let data = PostgresData { owner: 999, image_user: 70, version: 15, image_version: 16 };
        assert_eq!((engine.postgres, engine.postgres_is_unknown), (Some(data), false));
        assert_eq!(engine.schemas, [("account".to_owned(), 2)]);
        assert_eq!(engine.shell["EMPTY"].as_str(), "");
        assert_eq!(engine.shell["LANG"].as_str(), "C=x y");
        assert!(Engine::parse("postgres\n").postgres_is_unknown);
    }

    #[test]
    fn sockets_that_listen_are_read_from_the_kernels_tables() {
        let engine = Engine::parse(
            "socket sl  local_address rem_address   st tx_queue\n\
             socket 0: 0100007F:0FA0 00000000:0000 0A 00000000:00000000\n\
             socket 1: 0100007F:1F92 0200007F:C350 01 00000000:00000000\n\
             socket 2: 00000000000000000000000000000000:1F91 00000000000000000000000000000000:0000 0A 0\n\
             socket 3: 0000000000000000FFFF00000100007F:1F93 00000000000000000000000000000000:0000 0A 0\n",
        );
        let wanted = ["127.0.0.1:4000", "[::]:8081", "127.0.0.1:8083"];
        assert_eq!(engine.listening, wanted.map(|address| address.parse().unwrap()));
    }

    #[test]
    fn versions_are_compared_by_number() {
        for version in ["20.10", "20.10.24+dfsg1", "28.0.1", "v20.11"] {
            assert!(is_at_least(version, &[20, 10]), "{version}");
        }
        for version in ["19.03.1", "20.9", "", "dev"] {
            assert!(!is_at_least(version, &[20, 10]), "{version}");
        }
    }
}
