//! Bans as they travel: what this party tells of them, and what it keeps of what others tell (rule 8).
//!
//! A signed ban binds nobody but the party that has decided it. Others keep it for that party, which may be set back to a
//! state from before its ban, and takes it up again when it is shown it.

use std::collections::BTreeMap;

use quorate_backends::database::StoreError;
use quorate_core::abort::AbortCode;
use quorate_core::ban::{Ban, BanExport, ExportRefused, MAX_BANS, SignedBan, SignedBanExport};
use quorate_core::codec::decode;
use quorate_core::identity::{PublicKey, SecretKey};
use quorate_core::order::Order;
use quorate_core::report::{Outcome, RefusedCode, Report};
use quorate_core::{AccountId, PartyIndex};
use quorate_net::telemetry::chain;
use quorate_party_store::{AdmissionFacts, BannedParty, KeptBans, OwnBan};

use crate::party::Party;

/// Why this party is not readmitted by its operator.
#[derive(Debug, thiserror::Error)]
pub enum ReadmitRefused {
    /// An export is not one that counts.
    #[error(transparent)]
    Export(#[from] ExportRefused),
    /// It does not decode.
    #[error("a file with bans is not what `quorate admin bans` has written")]
    Malformed,
    /// Its maker is not pinned.
    #[error("an export of bans is by {0}, which is no party that this one works with (QUORATE_PARTY_KEYS)")]
    NotPinned(PublicKey),
    /// A party has not given its bans.
    #[error(
        "party {0} has not told which bans it keeps for this one: its operator runs `quorate admin bans` with this party's key, \
         and this one's names the file with --bans; if that party is lost for ever, name it with --without"
    )]
    Missing(PublicKey),
    /// The store failed.
    #[error("the party's store failed: the log says why")]
    Store(#[from] StoreError),
}

/// Why a party does not tell the bans that it keeps.
#[derive(Debug, thiserror::Error)]
pub enum ExportFailed {
    /// It may have lost some itself.
    #[error(
        "this party was set back to an earlier state itself: its operator accepts that first (quorate admin readmit)"
    )]
    SetBack,
    /// The store failed.
    #[error("the party's store failed: the log says why")]
    Store(#[from] StoreError),
}

/// Signs what a party keeps of an account, in which it is `me`.
fn signed(kept: KeptBans, me: PartyIndex, key: &SecretKey) -> Vec<SignedBan> {
    let sign = |OwnBan { banned, session }: OwnBan| {
        let BannedParty { account, share_set, party } = banned;
        Ban { account, share_set, by: me, banned: party, session }.sign(key)
    };
    kept.own.into_iter().map(sign).chain(kept.of_others).collect()
}

/// Whether an outcome tells of a ban.
fn tells_of_ban(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Aborted { code: AbortCode::Ban, .. } | Outcome::Refused { code: RefusedCode::Banned, .. }
    )
}

impl Party {
    /// A report with the bans on an order's share set, if it tells of one.
    pub(crate) async fn with_bans(&self, report: Report, order: &Order) -> Report {
        if !tells_of_ban(&report.outcome) {
            return report;
        }
        match self.store.kept_bans(order.spec.account, order.share_set).await {
            Ok(kept) => {
                let mut bans = signed(kept, report.by, &self.key());
                bans.truncate(MAX_BANS);
                report.with_bans(bans)
            }
            Err(error) => {
                tracing::warn!(error = %chain(&error), "bans not reported; they are with the next refusal");
                report
            }
        }
    }

    /// The bans that this party keeps on an order's share set, for the peers of a session. A coordinator could keep from them
    /// what this party has decided; and a peer that was set back may have lost what it had decided itself.
    pub(crate) async fn bans_for_peers(&self, order: &Order, facts: &AdmissionFacts) -> Vec<SignedBan> {
        if !facts.keeps_bans {
            return vec![];
        }
        let Some(me) = self.index_in(order) else { return vec![] };
        match self.store.kept_bans(order.spec.account, order.share_set).await {
            Ok(kept) => signed(kept, me, &self.key()),
            Err(error) => {
                tracing::warn!(error = %chain(&error), "bans not told to peers; they are with the next session");
                vec![]
            }
        }
    }

    /// Keeps the bans that a plan or a peer tells of on the share set of an order, and takes those up again that this party has
    /// decided itself and lost. The order is genuine.
    pub(crate) async fn take_bans(&self, order: &Order, bans: &[SignedBan]) -> Result<(), StoreError> {
        if bans.is_empty() {
            return Ok(());
        }
        let account = order.spec.account;
        // They come with every session. Most often there is nothing new.
        let kept = self.store.kept_bans(account, order.share_set).await?;
        let me = self.index_in(order);
        let is_new = |signed: &&SignedBan| match me == Some(signed.ban.by) {
            true => !kept.own.contains(&OwnBan::of(&signed.ban)),
            false => !kept.of_others.contains(signed),
        };
        let bans: Vec<&SignedBan> = bans.iter().take(MAX_BANS).filter(is_new).collect();
        if bans.is_empty() {
            return Ok(());
        }
        // A key is made by the parties of its order; from then on those count that were sealed with the share.
        let sealed = self.store.record(account).await?.map(|record| record.spec);
        let of_order = order.former_spec();
        let spec = sealed.as_ref().unwrap_or(&of_order);
        let is_of_order = |signed: &&SignedBan| {
            (signed.ban.account, signed.ban.share_set) == (account, order.share_set)
                && signed.ban.by != signed.ban.banned
                && spec.party(signed.ban.banned).is_some()
        };
        let (mut own, mut of_others) = (vec![], vec![]);
        for signed in bans.into_iter().filter(is_of_order) {
            let Some(key) = spec.party(signed.ban.by) else { continue };
            match signed.verify(key) {
                // Nobody else can make them: what this party finds to be missing stops it.
                Ok(()) if *key == self.identity() => own.push(OwnBan::of(&signed.ban)),
                // A new identity begins without the bans of the one before: all its material is new.
                Ok(()) if me == Some(signed.ban.by) => {}
                Ok(()) => of_others.push(signed.clone()),
                Err(_) => {}
            }
        }
        self.restore_bans(account, &own).await?;
        self.store.keep_ban_reports(account, &of_others).await
    }

    /// Takes bans up again that this party has decided and lost. If it has, it was set back.
    async fn restore_bans(&self, account: AccountId, bans: &[OwnBan]) -> Result<(), StoreError> {
        let restored = self.store.restore_bans(account, bans).await?;
        for OwnBan { banned, session } in &restored {
            tracing::error!(
                %account, party = %banned.party, %session,
                "this party has lost a ban that it had decided, and takes it up again: its database was set back"
            );
            self.follow_ban(*banned);
        }
        if restored.is_empty() { Ok(()) } else { self.check_set_back().await }
    }

    /// The bans of another party that this one keeps, signed for that one: it was set back.
    ///
    /// # Errors
    /// See [`ExportFailed`].
    pub async fn export_bans(&self, to: PublicKey) -> Result<SignedBanExport, ExportFailed> {
        if self.is_set_back() {
            return Err(ExportFailed::SetBack);
        }
        let mut bans = Vec::new();
        for account in self.store.accounts().await? {
            let kept = self.store.all_kept_bans(account).await?.of_others;
            bans.extend(kept.into_iter().filter(|signed| signed.verify(&to).is_ok()));
        }
        let export = BanExport { by: self.identity(), to, at: self.clock.seconds(), bans };
        Ok(export.sign(&self.key()))
    }

    /// Goes on in the state that this party was set back to. Before that it takes up the bans that it has lost since, from the
    /// exports of all parties that it works with, except those of `without`, which are lost for ever: a coordinator alone could
    /// keep them from it. Says whether it was set back.
    ///
    /// # Errors
    /// See [`ReadmitRefused`].
    pub async fn accept_set_back(
        &self,
        exports: &[Vec<u8>],
        without: &[PublicKey],
    ) -> Result<bool, ReadmitRefused> {
        // Perhaps no peer has noticed yet: a ban that is found to be missing shows it too.
        if exports.is_empty() && !self.store.was_set_back().await? {
            return Ok(false);
        }
        let mut given: BTreeMap<PublicKey, Vec<SignedBan>> = BTreeMap::new();
        for export in exports {
            let export: SignedBanExport = decode(export).map_err(|_| ReadmitRefused::Malformed)?;
            let BanExport { by, bans, .. } = export.open(&self.identity(), self.clock.seconds())?;
            if !self.pinned.contains(&by) {
                return Err(ReadmitRefused::NotPinned(by));
            }
            given.entry(by).or_default().extend(bans);
        }
        let others = self.pinned.iter().filter(|key| **key != self.identity());
        if let Some(missing) = others.copied().find(|key| !given.contains_key(key) && !without.contains(key))
        {
            return Err(ReadmitRefused::Missing(missing));
        }
        let mut own: BTreeMap<AccountId, Vec<OwnBan>> = BTreeMap::new();
        // Its own signature is proof enough: the share that a ban is about may be one that it has still to hear of.
        for signed in given.into_values().flatten().filter(|signed| signed.verify(&self.identity()).is_ok()) {
            own.entry(signed.ban.account).or_default().push(OwnBan::of(&signed.ban));
        }
        for (account, bans) in own {
            self.restore_bans(account, &bans).await?;
        }
        let accepted = self.store.accept_set_back().await?;
        self.check_set_back().await?;
        Ok(accepted)
    }

    /// Permits one refresh of an account with a party that this one has banned. Says whether it has.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn lift_ban(&self, account: AccountId, party: PartyIndex) -> Result<bool, StoreError> {
        self.store.lift_ban(account, party).await
    }
}
