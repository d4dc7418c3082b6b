//! New accounts: what a request leaves open, this deployment decides.

use quorate_control_store::{Account, AccountState, OpenOrder};
use quorate_core::code::Code;
use quorate_core::identity::PublicKey;
use quorate_core::{AccountId, KeySpec, PartyIndex, Threshold, UnixMillis};
use quorate_net::problem::Problem;

use super::DEFAULT_SCHEME;
use super::coordinators::Coordinators;
use super::request::Creation;
use super::user_share::UserShareRequests;

/// Schemes whose signatures this host can verify and whose keys it can show, and the protocol of an account whose creator names none,
/// where several serve the scheme.
const SCHEMES: [(&str, &str); 3] =
    [(DEFAULT_SCHEME, "dkls23"), ("ed25519", "frost-ed25519"), ("bip340", "frost-secp256k1-tr")];

/// The choices of this deployment for new accounts.
pub(crate) struct AccountDefaults {
    /// The identity keys of the parties of this deployment.
    pub(crate) parties: Vec<PublicKey>,
    pub(crate) users: UserShareRequests,
    pub(crate) coordinators: Coordinators,
}

impl AccountDefaults {
    /// A new account as a request describes it. `open` is its keygen's order.
    pub(crate) async fn account(
        &self,
        id: AccountId,
        creation: Creation,
        open: OpenOrder,
        now: UnixMillis,
    ) -> Result<Account, Problem> {
        let Creation { user_id, scheme, protocol, threshold, user } = creation;
        let scheme = scheme.unwrap_or_else(|| DEFAULT_SCHEME.into());
        let Some((_, default_protocol)) = SCHEMES.iter().find(|(name, _)| *name == scheme) else {
            let detail =
                format!("scheme: this deployment serves {}", SCHEMES.map(|(name, _)| name).join(", "));
            return Err(Problem::new(Code::UnknownScheme, detail));
        };
        let (threshold, parties) = match &user {
            Some(_) => self.users.parties(&self.parties, threshold)?,
            None => {
                let threshold = self.threshold(threshold)?;
                let parties = self.parties.iter().take(usize::from(threshold.parties())).copied();
                (threshold, parties.collect())
            }
        };
        let user_party = user.as_ref().and_then(|_| PartyIndex::try_from(threshold.parties()).ok());
        let claim_hash = user.as_ref().map(|user| user.claim_hash);
        let is_mandatory = user.is_some_and(|user| user.mandatory);
        Ok(Account {
            spec: KeySpec {
                account: id,
                protocol: self.protocol(&scheme, protocol, default_protocol).await?,
                scheme,
                threshold,
                parties,
                mandatory: user_party.filter(|_| is_mandatory).into_iter().collect(),
            },
            user_id,
            state: AccountState::Creating,
            user_party,
            claim_hash,
            open: vec![open],
            created: now,
        })
    }

    fn threshold(&self, requested: Option<Threshold>) -> Result<Threshold, Problem> {
        let deployed = u16::try_from(self.parties.len()).unwrap_or(u16::MAX);
        let threshold = match requested {
            Some(threshold) => threshold,
            None => Threshold::new(2, deployed.clamp(2, 3))
                .map_err(|e| Problem::new(Code::InvalidThreshold, e.to_string()))?,
        };
        if threshold.parties() > deployed {
            let detail =
                format!("threshold: this deployment has {deployed} parties, so n is at most {deployed}");
            return Err(Problem::new(Code::InvalidThreshold, detail));
        }
        Ok(threshold)
    }

    /// The protocol for a scheme, among those that the online parties have a plugin of.
    async fn protocol(
        &self,
        scheme: &str,
        requested: Option<String>,
        default: &str,
    ) -> Result<String, Problem> {
        let plugins = self.coordinators.list_plugins().await?;
        let serving = plugins.iter().filter(|plugin| plugin.schemes.iter().any(|s| s == scheme));
        let mut protocols: Vec<&str> = serving.map(|plugin| plugin.protocol.as_str()).collect();
        protocols.sort_unstable();
        protocols.dedup();
        if protocols.is_empty() {
            // The parties may be about to start: the coordinator finds out whether they come in time.
            return Ok(requested.unwrap_or_else(|| default.into()));
        }
        match requested {
            Some(requested) if protocols.contains(&requested.as_str()) => Ok(requested),
            Some(_) => {
                let has = protocols.join(", ");
                let detail = format!("protocol: for the scheme {scheme} this deployment has {has}");
                Err(Problem::new(Code::UnknownProtocol, detail))
            }
            None if protocols.contains(&default) => Ok(default.into()),
            None => Ok(protocols[0].to_owned()),
        }
    }
}
