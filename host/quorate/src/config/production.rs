//! Settings that production refuses.

use std::net::SocketAddr;

use quorate_net::private_networks::Unencrypted;

use super::Config;
use super::environment::Environment;
use super::read::ConfigError;

impl Config {
    /// In production, what callers reach over plain HTTP must lie behind a proxy, and no secret may be that of an
    /// example. A port that is for `roles` has TLS, or lies in a network that is declared to be private.
    ///
    /// # Errors
    /// See [`ConfigError`]. In development, never.
    pub fn check_for_production(
        &self,
        public: &[(&'static str, SocketAddr)],
        roles: &[(&'static str, SocketAddr)],
    ) -> Result<(), ConfigError> {
        if self.environment == Environment::Development {
            return Ok(());
        }
        if let Some(name) = self.examples.first() {
            return Err(ConfigError::Example(name));
        }
        let is_open = |(_, address): &&(&str, SocketAddr)| !address.ip().is_loopback();
        let is_declared = match &self.services.unencrypted {
            Unencrypted::Anywhere => true,
            Unencrypted::Within(networks) => !networks.is_empty(),
        };
        if self.tls.files.identity.is_none()
            && !is_declared
            && let Some((name, _)) = roles.iter().find(is_open)
        {
            return Err(ConfigError::UnprotectedFromRoles(name));
        }
        let protected = self.tls.files.identity.is_some() || self.http.proxies.is_restricted();
        match public.iter().find(is_open) {
            Some((name, _)) if !protected => Err(ConfigError::Unprotected(name)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(settings: &[(&str, &str)]) -> Result<(), ConfigError> {
        let variables = settings.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let config = Config::read(variables).unwrap();
        let for_roles = ("QUORATE_ROUTER_LISTEN", config.roles.router_listen);
        config.check_for_production(&[("QUORATE_LISTEN", config.http.listen)], &[for_roles])
    }

    #[test]
    fn production_takes_no_example_and_no_plain_http_from_everywhere() {
        let public = ("QUORATE_LISTEN", "0.0.0.0:4000");
        let production = ("ENVIRONMENT", "production");
        let example = ("MPC_API_KEY", "change-me-to-something-long");
        assert!(check(&[public, example]).is_ok(), "development is for a try");
        let error = check(&[production, example]).unwrap_err().to_string();
        assert!(error.contains("MPC_API_KEY") && !error.contains("something-long"), "{error}");
        assert!(check(&[production, ("CRYPTO_MASTER_KEY", &"0".repeat(64))]).is_err());
        assert!(check(&[production]).is_ok(), "this machine only");
        assert!(check(&[production, public]).unwrap_err().to_string().contains("QUORATE_LISTEN"));
        assert!(check(&[production, public, ("TRUSTED_PROXIES", "10.0.0.1")]).is_ok());
        let tls = [("TLS_CERT_FILE", "cert.pem"), ("TLS_KEY_FILE", "key.pem")];
        assert!(check(&[production, public, tls[0], tls[1]]).is_ok());
        let for_roles = ("QUORATE_ROUTER_LISTEN", "0.0.0.0:8082");
        assert!(check(&[for_roles]).is_ok());
        let error = check(&[production, for_roles]).unwrap_err().to_string();
        assert!(
            error.contains("QUORATE_ROUTER_LISTEN") && error.contains("QUORATE_PRIVATE_NETWORKS"),
            "{error}"
        );
        assert!(check(&[production, for_roles, ("QUORATE_PRIVATE_NETWORKS", "10.0.0.0/8")]).is_ok());
        assert!(check(&[production, for_roles, tls[0], tls[1]]).is_ok());
    }
}
