//! Whether addresses, ports and proxies fit this machine and each other.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::super::engine_facts::Engine;
use super::super::finding::Finding;
use super::super::layout::PORTS;
use super::super::settings::DeploymentSettings;

/// Where ports are published, and through which proxy.
pub(super) fn check_publishing(settings: &DeploymentSettings) -> Vec<Finding> {
    let mut findings = Vec::new();
    let address = settings.text("PUBLISH_ADDRESS").parse::<Ipv4Addr>();
    if address.is_err() {
        let what = "PUBLISH_ADDRESS in .env is not an address like 127.0.0.1";
        findings.push(Finding::refused(what, "give an IPv4 address of this machine"));
    }
    match settings.text("ENVIRONMENT") {
        "development" => return findings,
        "production" => {}
        _ => {
            let what = "ENVIRONMENT in .env is neither production nor development";
            findings.push(Finding::refused(what, "set it to production for keys that matter"));
            return findings;
        }
    }
    if address.is_ok_and(|address| !address.is_loopback()) {
        let what = "PUBLISH_ADDRESS in .env is not this machine's own";
        findings.push(Finding::refused(
            what,
            "in production, publish on 127.0.0.1 and put a proxy with TLS before it",
        ));
    }
    if settings.get("TRUSTED_PROXIES").is_none() {
        let what = "TRUSTED_PROXIES in .env is empty";
        let remedy =
            "in production, name the proxy that has TLS; this machine is the first address of EDGE_SUBNET";
        findings.push(Finding::refused(what, remedy));
    }
    findings
}

/// The network that leads out of the deployment.
pub(super) fn check_subnet(settings: &DeploymentSettings, engine: &Engine) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(edge) = edge_subnet(settings) else {
        let what = "EDGE_SUBNET in .env is not a network";
        let remedy = "give one like 10.213.99.0/24, of 16 addresses or more, by its first address";
        findings.push(Finding::refused(what, remedy));
        return findings;
    };
    let own = format!("{}_edge", settings.text("COMPOSE_PROJECT_NAME"));
    for (name, subnets) in engine.networks.iter().filter(|(name, _)| *name != own) {
        let overlap = subnets.iter().find(|subnet| subnet.contains(&edge) || edge.contains(*subnet));
        if let Some(subnet) = overlap {
            let what = format!("EDGE_SUBNET in .env has addresses of the network {name} ({subnet})");
            findings.push(Finding::refused(what, "give another, and its first address to TRUSTED_PROXIES"));
        }
    }
    findings.extend(note_proxies(settings, edge));
    findings
}

/// A subnet of 16 to 65,536 addresses that is given by its first address.
fn edge_subnet(settings: &DeploymentSettings) -> Option<Ipv4Net> {
    let subnet: Ipv4Net = settings.text("EDGE_SUBNET").parse().ok()?;
    ((16..=28).contains(&subnet.prefix_len()) && subnet.network() == subnet.addr()).then_some(subnet)
}

/// A proxy on this machine has the first address of the subnet, as containers see it.
fn note_proxies(settings: &DeploymentSettings, edge: Ipv4Net) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(machine) = edge.hosts().next() else { return findings };
    let proxies = settings.text("TRUSTED_PROXIES").split(',').map(str::trim);
    let covers = |proxy: &str| match (proxy.parse::<IpNet>(), proxy.parse::<IpAddr>()) {
        (Ok(range), _) => range.contains(&IpAddr::V4(machine)),
        (_, Ok(address)) => address == IpAddr::V4(machine),
        _ => false,
    };
    if settings.is_production() && !{ proxies }.any(covers) {
        let what = format!(
            "TRUSTED_PROXIES does not name {machine}, the first address of EDGE_SUBNET, which a proxy on this machine has"
        );
        let remedy = "add it if there is such a proxy: otherwise its X-Forwarded-For is ignored";
        findings.push(Finding::note(what, remedy));
    }
    findings
}

/// Ports that two roles share, or that another program has.
pub(super) fn check_ports(settings: &DeploymentSettings, engine: &Engine) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut taken = BTreeMap::new();
    let used = if settings.has_replicas() { PORTS.len() } else { PORTS.len() - 1 };
    for name in &PORTS[..used] {
        let Some(port) = settings.text(name).parse::<u16>().ok().filter(|port| *port > 0) else { continue };
        if let Some(other) = taken.insert(port, *name) {
            let what = format!("{name} in .env is the port of another role too, {other}");
            findings.push(Finding::refused(what, "give each role a port of its own"));
        } else if !engine.published.contains(&port) && is_in_use(settings, engine, port) {
            let what = format!("port {port} is in use by another program");
            findings.push(Finding::refused(what, format!("stop it, or set {name} in .env")));
        }
    }
    findings
}

/// Whether another program listens where the port is to be published.
fn is_in_use(settings: &DeploymentSettings, engine: &Engine, port: u16) -> bool {
    let published = settings.text("PUBLISH_ADDRESS").parse::<IpAddr>().ok();
    let published = published.filter(|address| !address.is_unspecified());
    engine.listening.iter().any(|socket| {
        let is_same = published.is_none_or(|address| socket.ip() == address);
        socket.port() == port && (socket.ip().is_unspecified() || is_same)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::deployment::finding::what;
    use crate::cli::deployment::testing::TestDeployment;

    fn found(check: impl Fn(&DeploymentSettings) -> Vec<Finding>, set: &[(&str, &str)]) -> String {
        let deployment = TestDeployment::new();
        for (name, value) in set {
            deployment.set(name, value);
        }
        what(&check(&deployment.settings()))
    }

    #[test]
    fn production_publishes_on_this_machine_behind_a_proxy() {
        let found = |set: &[(&str, &str)]| found(check_publishing, set);
        assert_eq!(found(&[]), "");
        assert_eq!(
            found(&[("PUBLISH_ADDRESS", "127.0.0.256")]),
            "PUBLISH_ADDRESS in .env is not an address like 127.0.0.1"
        );
        assert_eq!(
            found(&[("PUBLISH_ADDRESS", "0.0.0.0")]),
            "PUBLISH_ADDRESS in .env is not this machine's own"
        );
        assert_eq!(found(&[("PUBLISH_ADDRESS", "0.0.0.0"), ("ENVIRONMENT", "development")]), "");
        assert_eq!(found(&[("TRUSTED_PROXIES", "")]), "TRUSTED_PROXIES in .env is empty");
        assert!(found(&[("ENVIRONMENT", "staging")]).contains("neither production nor development"));
    }

    #[test]
    fn the_subnet_is_a_network_of_its_own() {
        let networks = vec![
            ("quorate_edge".to_owned(), vec!["10.213.99.0/24".parse().unwrap()]),
            ("bridge".to_owned(), vec!["172.17.0.0/16".parse().unwrap()]),
        ];
        let engine = Engine { networks, ..Engine::default() };
        let found = |subnet| found(|settings| check_subnet(settings, &engine), &[("EDGE_SUBNET", subnet)]);
        assert_eq!(found("10.213.99.0/24"), "");
        for wrong in
            ["10.213.99.1/24", "10.213.99.0", "10.213.99.0/30", "10.0.0.0/8", "10.213.990.0/24", "fd00::/64"]
        {
            assert_eq!(found(wrong), "EDGE_SUBNET in .env is not a network", "{wrong}");
        }
        for overlap in ["172.17.0.0/16", "172.17.8.0/24"] {
            assert!(
                found(overlap).contains("has addresses of the network bridge (172.17.0.0/16)"),
                "{overlap}"
            );
        }
    }

    #[test]
    fn a_proxy_on_this_machine_that_is_not_believed_is_noted() {
        let found = |proxies| {
            let check = |settings: &DeploymentSettings| check_subnet(settings, &Engine::default());
            found(check, &[("TRUSTED_PROXIES", proxies)])
        };
        assert!(found("192.0.2.1,2001:db8::1").contains("does not name 10.213.99.1"));
        assert_eq!(found("192.0.2.1,10.213.0.0/16"), "");
        assert_eq!(found("10.213.99.1"), "");
    }

    #[test]
    fn a_port_is_free_and_of_one_role() {
        let (port, text) = (8_099, "8099".to_owned());
        let listens =
            |address: &str| Engine { listening: vec![address.parse().unwrap()], ..Engine::default() };
        let found =
            |engine: &Engine, set: &[(&str, &str)]| found(|settings| check_ports(settings, engine), set);
        let used = format!("port {port} is in use by another program");
        let on_router = [("ROUTER_PORT", text.as_str())];
        for address in ["127.0.0.1:8099", "0.0.0.0:8099", "[::]:8099"] {
            assert!(found(&listens(address), &on_router).contains(&used), "{address}");
        }
        for address in ["127.0.0.2:8099", "127.0.0.1:8098"] {
            assert_eq!(found(&listens(address), &on_router), "", "{address}");
        }
        let ours = Engine { published: vec![port], ..listens("127.0.0.1:8099") };
        assert!(!found(&ours, &[("ROUTER_PORT", &text)]).contains(&used));
        let twice = found(&ours, &[("ROUTER_PORT", &text), ("ACCOUNT_PORT", &text)]);
        assert!(
            twice.contains("ROUTER_PORT in .env is the port of another role too, ACCOUNT_PORT"),
            "{twice}"
        );
        let second = [("ACCOUNT_PORT", text.as_str()), ("ACCOUNT_2_PORT", text.as_str())];
        assert!(!found(&ours, &second).contains("ACCOUNT_2_PORT"), "one replica does not use it");
        let both = [second[0], second[1], ("REPLICAS", "2")];
        assert!(found(&ours, &both).contains("ACCOUNT_2_PORT"));
    }
}
