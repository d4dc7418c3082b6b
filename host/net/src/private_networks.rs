//! Where connections without verified TLS may go in production: to this machine, and to what the operator has declared to be
//! a private network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Which targets may be reached without verified TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unencrypted {
    /// All: a try.
    Anywhere,
    /// This machine, and these.
    Within(PrivateNetworks),
}

/// Address ranges and host names that an operator has declared to be private.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrivateNetworks {
    ranges: Vec<IpNet>,
    names: Vec<String>,
}

/// A list of private networks that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither a private range like 10.0.0.0/8 nor a host name")]
pub struct InvalidNetwork(String);

/// Why a target is not connected to: the operator must act.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPrivate {
    /// The operator has not declared its network.
    #[error(
        "{0} would be reached without verified TLS, and is neither this machine nor in QUORATE_PRIVATE_NETWORKS: use TLS with a \
         verified certificate, or declare the network if nobody else can read or change what passes there"
    )]
    NotDeclared(String),
    /// A declared name leads out of the private networks.
    #[error(
        "{0} is in QUORATE_PRIVATE_NETWORKS and resolves to {1}, which is a public address: use TLS with a verified certificate, or \
         mend the name's resolution"
    )]
    Public(String, IpAddr),
}

/// The ranges that are not routed in the internet (RFC 1918, RFC 6598, RFC 3927, RFC 4193, RFC 4291), and this machine.
fn private_ranges() -> [IpNet; 8] {
    let four = |a, b, bits| IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, 0, 0), bits));
    let six = |first, bits| IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0), bits));
    [
        four(10, 0, 8),
        four(172, 16, 12),
        four(192, 168, 16),
        four(100, 64, 10),
        four(169, 254, 16),
        four(127, 0, 8),
        six(0xfc00, 7),
        six(0xfe80, 10),
    ]
}

fn is_public(address: IpAddr) -> bool {
    !address.is_loopback() && !private_ranges().iter().any(|range| range.contains(&address))
}

impl FromStr for PrivateNetworks {
    type Err = InvalidNetwork;

    /// Ranges like `10.0.0.0/8`, addresses and host names, separated by commas.
    fn from_str(list: &str) -> Result<Self, InvalidNetwork> {
        let mut networks = Self::default();
        for item in list.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let invalid = || InvalidNetwork(item.to_owned());
            let range = item.parse::<IpNet>().or_else(|_| item.parse::<IpAddr>().map(IpNet::from));
            match range {
                Ok(range) if private_ranges().iter().any(|private| private.contains(&range.trunc())) => {
                    networks.ranges.push(range);
                }
                Ok(_) => return Err(invalid()),
                Err(_) if is_host_name(item) => networks.names.push(item.to_ascii_lowercase()),
                Err(_) => return Err(invalid()),
            }
        }
        Ok(networks)
    }
}

fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    // Numbers alone are a mistyped address.
    text.split('.').all(is_label) && text.bytes().any(|byte| byte.is_ascii_alphabetic())
}

impl PrivateNetworks {
    /// Whether nothing is declared.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty() && self.names.is_empty()
    }

    /// Checks a target whose name leads to these addresses.
    fn check(&self, host: &str, resolved: impl IntoIterator<Item = IpAddr>) -> Result<(), NotPrivate> {
        let is_named = self.names.contains(&host.to_ascii_lowercase());
        for address in resolved {
            let address = address.to_canonical();
            let is_declared =
                address.is_loopback() || self.ranges.iter().any(|range| range.contains(&address));
            match (is_named, is_declared) {
                (_, true) => {}
                (true, false) if is_public(address) => {
                    return Err(NotPrivate::Public(host.to_owned(), address));
                }
                (true, false) => {}
                (false, false) => return Err(NotPrivate::NotDeclared(host.to_owned())),
            }
        }
        Ok(())
    }
}

impl Unencrypted {
    /// Resolves a target that is to be reached without verified TLS. A connection goes to the addresses that come back: the name
    /// may lead elsewhere a moment later.
    ///
    /// # Errors
    /// When the name does not resolve; [`NotPrivate`], as the cause, when the target may not be reached in this way.
    pub async fn resolve(&self, host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
        let addresses: Vec<_> = tokio::net::lookup_host((host, port)).await?.collect();
        if let Self::Within(networks) = self {
            networks.check(host, addresses.iter().map(SocketAddr::ip)).map_err(std::io::Error::other)?;
        }
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_private_ranges_and_names_are_declared() {
        for good in ["", "10.1.0.0/16", "192.168.7.4", "fd00::/8, postgres", "db.internal,_srv.local"] {
            assert!(good.parse::<PrivateNetworks>().is_ok(), "{good}");
        }
        for bad in
            ["0.0.0.0/0", "10.0.0.0/7", "8.8.8.8", "::/0", "2001:db8::/32", "10.0.0", "a b", "http://db"]
        {
            assert!(bad.parse::<PrivateNetworks>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_target_is_this_machine_or_declared_and_no_declared_name_is_public() {
        let networks: PrivateNetworks = "10.0.0.0/8,postgres".parse().unwrap();
        let check = |host: &str, addresses: &[&str]| {
            networks.check(host, addresses.iter().map(|address| address.parse().unwrap()))
        };
        assert_eq!(check("localhost", &["127.0.0.1", "::1"]), Ok(()));
        assert_eq!(check("10.2.3.4", &["10.2.3.4"]), Ok(()));
        assert_eq!(check("db", &["10.2.3.4", "::ffff:10.2.3.5"]), Ok(()));
        assert_eq!(check("Postgres", &["172.18.0.2"]), Ok(()));
        let not_declared = |host: &str| Err(NotPrivate::NotDeclared(host.into()));
        assert_eq!(check("172.18.0.2", &["172.18.0.2"]), not_declared("172.18.0.2"));
        assert_eq!(check("db", &["10.2.3.4", "172.18.0.2"]), not_declared("db"));
        assert_eq!(check("db", &["203.0.113.9"]), not_declared("db"));
        let public = "203.0.113.9".parse().unwrap();
        assert_eq!(
            check("postgres", &["172.18.0.2", "203.0.113.9"]),
            Err(NotPrivate::Public("postgres".into(), public))
        );
        assert!(PrivateNetworks::default().check("::1", ["::1".parse().unwrap()]).is_ok());
        assert!(PrivateNetworks::default().check("10.0.0.1", ["10.0.0.1".parse().unwrap()]).is_err());
    }

    #[tokio::test]
    async fn in_development_everything_is_reached() {
        let target = "203.0.113.9:1".parse().unwrap();
        assert_eq!(Unencrypted::Anywhere.resolve("203.0.113.9", 1).await.unwrap(), [target]);
        let refused =
            Unencrypted::Within(PrivateNetworks::default()).resolve("203.0.113.9", 1).await.unwrap_err();
        assert!(refused.to_string().contains("QUORATE_PRIVATE_NETWORKS"), "{refused}");
    }
}
