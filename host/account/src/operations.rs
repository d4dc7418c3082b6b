//! What callers ask for: an account, a signature, new shares.

use std::time::Duration;

use quorate_control_store::{Account, AccountState};
use quorate_core::certificate::{Certificate, KeyOutputs};
use quorate_core::code::Code;
use quorate_core::order::{LIFETIME, Operation, Order, Terms, Version};
use quorate_core::submission::ABORTS;
use quorate_core::{OrderId, PartyIndex, Threshold};
use quorate_net::problem::Problem;
use quorate_proto::v1::PartiesRequest;
use quorate_verify::proof::Proved;

use super::present::{signature_view, view};
use super::request::{Creation, RefreshRequest, SignRequest};
use super::submit::{self, Errand, client};
use super::views::{AccountView, SignatureView};
use super::{AccountService, DEFAULT_SCHEME, Subject, user_share};

/// Schemes whose signatures this host can verify and whose keys it can show.
const SCHEMES: [&str; 1] = [DEFAULT_SCHEME];

/// The protocol that is taken where several serve a scheme and the caller names none.
const DEFAULT_PROTOCOL: &str = "dkls23";

/// How often a signing is tried again for which a party has newer shares than the order, and after how long each time: a
/// refresh is over at one party before it is at another, and before anybody here hears of it.
const STALE_TRIES: usize = 5;
const STALE_AGAIN: Duration = Duration::from_millis(300);

impl AccountService {
    /// Creates an account: a distributed key generation.
    ///
    /// # Errors
    /// A problem for the caller.
    pub async fn create(&self, subject: Subject, creation: Creation) -> Result<AccountView, Problem> {
        let _slot = self.slot()?;
        let scheme = creation.scheme.unwrap_or_else(|| DEFAULT_SCHEME.into());
        if !SCHEMES.contains(&scheme.as_str()) {
            let detail = format!("scheme: this deployment serves {}", SCHEMES.join(", "));
            return Err(Problem::new(Code::UnknownScheme, detail));
        }
        let user = creation.user;
        let (threshold, parties) = match &user {
            Some(_) => self.parties_with_user(creation.threshold)?,
            None => {
                let threshold = self.threshold(creation.threshold)?;
                let parties = self.parties.iter().take(usize::from(threshold.parties())).copied();
                (threshold, parties.collect())
            }
        };
        let user_party = user.as_ref().and_then(|_| PartyIndex::try_from(threshold.parties()).ok());
        let mandatory = user.as_ref().is_some_and(|user| user.mandatory);
        let protocol = self.protocol(&scheme, creation.protocol).await?;
        let account = Account {
            id: subject.account,
            user_id: creation.user_id,
            state: AccountState::Creating,
            scheme,
            protocol,
            threshold,
            parties,
            user_party,
            mandatory: user_party.filter(|_| mandatory).into_iter().collect(),
            open: vec![self.open_order(subject.order)],
            created: self.clock.millis(),
        };
        self.store.create_account(&account).await?;
        // Whoever began with it before has chosen.
        let account = self.find(subject.account).await?;
        let threshold = account.threshold;
        let recipient = user.and_then(|user| user.recipient);
        let mut order = self.order(subject.order, &account, Operation::Keygen, None);
        order.recipient = recipient;
        let with_user = account.user_party.is_some();
        let limit =
            if with_user { self.user_limit(recipient) } else { self.shares_limit(threshold.parties()) };
        let again = subject.again;
        let errand = Errand { order, key: None, signers: vec![], aborts: vec![], limit, again };
        match self.make_shares(errand, &account).await {
            Ok(view) => Ok(view),
            Err(problem) => {
                let begun = self.close_what_was_not_begun(&account, subject.order, &problem).await?;
                // What comes in late still makes it active. What waits for its user may still be waiting.
                if !begun || !with_user {
                    self.store.fail_account(account.id).await?;
                }
                Err(problem)
            }
        }
    }

    /// Signs with an account.
    ///
    /// # Errors
    /// A problem for the caller.
    pub async fn sign(&self, subject: Subject, request: SignRequest) -> Result<SignatureView, Problem> {
        let _slot = self.slot()?;
        let mut last = self.sign_now(subject, &request).await;
        for _ in 0..STALE_TRIES {
            // A refresh that ended in between: the same order, with the epoch of now. What a user has sealed is for one epoch.
            if request.user_share.is_some() || !matches!(&last, Err(problem) if problem.code == Code::Busy) {
                break;
            }
            tokio::time::sleep(STALE_AGAIN).await;
            last = self.sign_now(subject, &request).await;
        }
        last
    }

    async fn sign_now(&self, subject: Subject, request: &SignRequest) -> Result<SignatureView, Problem> {
        let (account, current) = self.active(subject.account).await?;
        let signers = user_share::signers(&account, request.signers.clone(), request.user_share.is_some())?;
        let signing = Operation::Sign(request.signing.clone());
        let order = self.order(subject.order, &account, signing, Some(&current));
        if let Some(share) = &request.user_share {
            self.lend(&order, share, self.limits.sign).await?;
        }
        let began = self.clock.millis();
        let key = current.1.clone();
        let errand = Errand {
            order,
            key: Some(current),
            signers,
            aborts: vec![],
            limit: self.limits.sign,
            again: subject.again,
        };
        let order = errand.order.clone();
        let result = self.submit(errand).await?;
        signature_view(&order, &key, &result, self.clock.millis().saturating_sub(began))
    }

    /// Gives all parties of an account new shares of the same key.
    ///
    /// # Errors
    /// A problem for the caller.
    pub async fn refresh(&self, subject: Subject, request: RefreshRequest) -> Result<AccountView, Problem> {
        let _slot = self.slot()?;
        let (account, current) = self.active(subject.account).await?;
        let recipient = request.check(&account)?;
        let mut order = self.order(subject.order, &account, Operation::Refresh, Some(&current));
        order.recipient = recipient;
        let limit = self.shares_limit(account.threshold.parties());
        // A refresh that came to nothing may still hold promises at some parties: others' word frees them.
        let mut aborts = Vec::new();
        for open in account.open.iter().rev() {
            aborts.extend(self.aborts_of(open.id).await?);
        }
        // What holds the account is most likely the latest.
        aborts.truncate(ABORTS);
        self.store.open_order(account.id, self.open_order(subject.order)).await?;
        let again = subject.again;
        if let Some(share) = &request.user_share
            && let Err(problem) = self.lend(&order, share, limit).await
        {
            // Whoever was at it before may have begun.
            if !again {
                self.store.close_order(account.id, subject.order).await?;
            }
            return Err(problem);
        }
        let errand = Errand { order, key: Some(current), signers: vec![], aborts, limit, again };
        match self.make_shares(errand, &account).await {
            Ok(view) => Ok(view),
            Err(problem) => {
                self.close_what_was_not_begun(&account, subject.order, &problem).await?;
                Err(problem)
            }
        }
    }

    fn threshold(&self, wanted: Option<Threshold>) -> Result<Threshold, Problem> {
        let there = u16::try_from(self.parties.len()).unwrap_or(u16::MAX);
        let threshold = match wanted {
            Some(threshold) => threshold,
            None => Threshold::new(2, there.clamp(2, 3))
                .map_err(|e| Problem::new(Code::InvalidThreshold, e.to_string()))?,
        };
        if threshold.parties() > there {
            let detail = format!("threshold: this deployment has {there} parties, so n is at most {there}");
            return Err(Problem::new(Code::InvalidThreshold, detail));
        }
        Ok(threshold)
    }

    /// The protocol for a scheme, among those that the parties that are there have a plugin of.
    async fn protocol(&self, scheme: &str, wanted: Option<String>) -> Result<String, Problem> {
        let asking = self
            .coordinators
            .call(submit::ANSWER, |channel| async { client(channel).parties(PartiesRequest {}).await });
        let parties = asking.await.map_err(|status| submit::problem(&status))?;
        let parties = parties.into_inner().parties;
        let plugins = parties.iter().flat_map(|party| &party.plugins);
        let serving = plugins.filter(|plugin| plugin.schemes.iter().any(|s| s == scheme));
        let mut protocols: Vec<&str> = serving.map(|plugin| plugin.protocol.as_str()).collect();
        protocols.sort_unstable();
        protocols.dedup();
        if protocols.is_empty() {
            // The parties may be about to start: whether they come in time is for the coordinator to see.
            return Ok(wanted.unwrap_or_else(|| DEFAULT_PROTOCOL.into()));
        }
        match wanted {
            Some(wanted) if protocols.contains(&wanted.as_str()) => Ok(wanted),
            Some(_) => {
                let detail = format!("protocol: for {scheme} this deployment has {}", protocols.join(", "));
                Err(Problem::new(Code::UnknownProtocol, detail))
            }
            None if protocols.contains(&DEFAULT_PROTOCOL) => Ok(DEFAULT_PROTOCOL.into()),
            None => Ok(protocols[0].to_owned()),
        }
    }

    fn order(
        &self,
        id: OrderId,
        account: &Account,
        operation: Operation,
        current: Option<&(Certificate, KeyOutputs)>,
    ) -> Order {
        let terms = Terms {
            operation,
            account: account.id,
            scheme: account.scheme.clone(),
            protocol: account.protocol.clone(),
            threshold: account.threshold,
            parties: account.parties.clone(),
            mandatory: account.mandatory.clone(),
            minimum_plugin: Version::default(),
            epoch: current.map_or(0, |(certificate, _)| certificate.activation.epoch),
            public_key: current.map(|(_, key)| key.public_key.0.clone()).unwrap_or_default(),
            recipient: None,
        };
        Order::new(id, terms, self.clock.seconds(), LIFETIME)
    }

    /// Closes an order that was turned away before any session was made for it; says whether there may be one.
    async fn close_what_was_not_begun(
        &self,
        account: &Account,
        order: OrderId,
        problem: &Problem,
    ) -> Result<bool, Problem> {
        // With any other problem, or when the answer was lost, there may be a session.
        let begun = !submit::is_turned_away(problem);
        if !begun {
            self.store.close_order(account.id, order).await?;
        }
        Ok(begun)
    }

    /// Has new shares made, and says what has become of the account: it is active, or waits for its user.
    async fn make_shares(&self, errand: Errand, account: &Account) -> Result<AccountView, Problem> {
        if account.user_party.is_some() {
            let session = self.hand_over(errand).await?;
            let session_id = Some(session.to_string());
            return Ok(AccountView { session_id, ..view(&self.find(account.id).await?)? });
        }
        let Proved::Shares { certificate, key } = self.submit(errand).await?.proved else {
            return Err(Problem::new(Code::Internal, "a signature where a key was asked for"));
        };
        self.store.activate_account(&certificate, &key).await?;
        view(&self.find(certificate.activation.account).await?)
    }
}
