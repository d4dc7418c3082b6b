//! Calls that wait for the reports of a session, and the reports received so far.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use quorate_control_store::NewSession;
use quorate_core::order::Order;
use quorate_core::report::{Outcome, SignedReport};
use quorate_core::{PartyIndex, SessionId};
use quorate_verify::proof::{proved, proved_together};
use tokio::sync::mpsc;

/// Reports of one session that wait to be looked at: one of each party, and a few repetitions.
const MAX_WAITING_REPORTS: usize = 64;

/// The calls that wait for reports, by session.
#[derive(Default)]
pub(super) struct Waiters(Mutex<HashMap<SessionId, WaitEntry>>);

/// A session whose reports are waited for, and where they go.
#[derive(Clone)]
pub(super) struct WaitEntry {
    pub(super) session: Arc<WatchedSession>,
    /// An order that was submitted twice is waited for twice.
    pub(super) senders: Vec<mpsc::Sender<RankedReport>>,
}

/// A report, and how much it proves: that takes a signature or a certificate to be verified, once.
#[derive(Clone)]
pub(super) struct RankedReport {
    pub(super) signed: SignedReport,
    pub(super) evidence: Evidence,
}

impl RankedReport {
    /// Whether it proves a result by itself.
    pub(super) fn is_proof(&self) -> bool {
        self.evidence == Evidence::Result
    }

    /// The rank of a report among those of one party, by evidence: an abort or refusal with a signed notice that its party
    /// will never promise outranks one without.
    pub(super) fn rank(&self) -> u16 {
        let has_notice = self.signed.report.outcome.denial().is_some();
        2 * self.evidence as u16 + u16::from(has_notice)
    }
}

/// How much a report proves, in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Evidence {
    /// Nothing: a party says why it has no result.
    None,
    /// A part of a result, which it is together with those of all other parties: the promise of a share, or presignatures.
    Part,
    /// A result.
    Result,
}

/// A session, and what its parties have reported so far.
pub(super) struct WatchedSession {
    pub(super) order: Order,
    pub(super) signers: Vec<PartyIndex>,
    chain_code: Option<[u8; 32]>,
    /// The reports of its parties so far.
    reports: Mutex<BTreeMap<PartyIndex, RankedReport>>,
}

/// A wait for the reports of one session. It ends when it is dropped.
pub(super) struct Wait<'a> {
    waiting: &'a Waiters,
    session: SessionId,
    sender: mpsc::Sender<RankedReport>,
    pub(super) reports: mpsc::Receiver<RankedReport>,
}

impl Waiters {
    pub(super) fn wait(&self, session: &NewSession, order: &Order) -> Wait<'_> {
        let (sender, reports) = mpsc::channel(MAX_WAITING_REPORTS);
        let watched = WatchedSession::new(order.clone(), session.signers.clone(), session.chain_code);
        let mut waiting = self.0.lock();
        let expected = waiting
            .entry(session.id)
            .or_insert_with(|| WaitEntry { session: Arc::new(watched), senders: vec![] });
        // The other coordinators know of these reports already.
        for report in expected.session.reports().values() {
            let _ = sender.try_send(report.clone());
        }
        expected.senders.push(sender.clone());
        Wait { waiting: self, session: session.id, sender, reports }
    }

    pub(super) fn find(&self, session: SessionId) -> Option<WaitEntry> {
        self.0.lock().get(&session).cloned()
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let mut waiting = self.waiting.0.lock();
        if let Some(expected) = waiting.get_mut(&self.session) {
            expected.senders.retain(|sender| !sender.same_channel(&self.sender));
            if expected.senders.is_empty() {
                waiting.remove(&self.session);
            }
        }
    }
}

impl WatchedSession {
    pub(super) fn new(order: Order, signers: Vec<PartyIndex>, chain_code: Option<[u8; 32]>) -> Self {
        Self { order, signers, chain_code, reports: Mutex::default() }
    }

    fn reports(&self) -> MutexGuard<'_, BTreeMap<PartyIndex, RankedReport>> {
        self.reports.lock()
    }

    /// The last outcome of each party.
    pub(super) fn outcomes(&self) -> BTreeMap<PartyIndex, Outcome> {
        outcomes_of(&self.reports())
    }

    /// How much an outcome proves.
    pub(super) fn evidence_of(&self, outcome: &Outcome) -> Evidence {
        match outcome {
            Outcome::Promised { .. } | Outcome::Prepared { .. } => Evidence::Part,
            outcome if proved(&self.order, self.chain_code.as_ref(), outcome).is_some() => Evidence::Result,
            _ => Evidence::None,
        }
    }

    /// Forgets the report of a party, so that it is new when it comes again.
    pub(super) fn forget(&self, by: PartyIndex) {
        self.reports().remove(&by);
    }

    /// Records a report, unless the party's earlier one ranks at least as high: a party can't take back a proof or a
    /// promise.
    pub(super) fn ingest(&self, report: &RankedReport) -> Ingested {
        let mut reports = self.reports();
        let by = report.signed.report.by;
        let changed = reports.get(&by).is_none_or(|kept| kept.rank() < report.rank());
        if !changed {
            return Ingested { store: false, completes: false, changed };
        }
        // One proof is enough to be kept: the others say the same.
        let store = !reports.values().any(RankedReport::is_proof);
        reports.insert(by, report.clone());
        let together = || {
            let outcomes = outcomes_of(&reports);
            proved_together(&self.order, self.chain_code.as_ref(), &self.signers, &outcomes).is_some()
        };
        let completes = report.is_proof() || report.evidence == Evidence::Part && together();
        Ingested { store, completes, changed }
    }
}

fn outcomes_of(reports: &BTreeMap<PartyIndex, RankedReport>) -> BTreeMap<PartyIndex, Outcome> {
    reports.iter().map(|(by, kept)| (*by, kept.signed.report.outcome.clone())).collect()
}

/// How a report is handled.
pub(super) struct Ingested {
    /// It is to be kept.
    pub(super) store: bool,
    /// The session has a result with it.
    pub(super) completes: bool,
    /// It says more than what its party said before.
    pub(super) changed: bool,
}

#[cfg(test)]
mod tests {
    use quorate_core::abort::{AbortCode, AbortNotice};
    use quorate_core::codec::Bytes;
    use quorate_core::identity::SecretKey;
    use quorate_core::order::{HashFunction, MAX_ORDER_LIFETIME, Operation, OrderTerms, SignItem, Version};
    use quorate_core::report::{RefusedCode, Report};
    use quorate_core::{
        AccountId, Digest, KeySpec, OrderId, PlanHash, SchemeSignature, Threshold, UnixSeconds,
    };

    use super::*;

    fn keys() -> Vec<SecretKey> {
        (1..=2).map(|seed| SecretKey::from_seed(&[seed; 32])).collect()
    }

    fn watched() -> WatchedSession {
        let item = SignItem {
            message: Bytes(vec![7; 32]),
            hash: HashFunction::None,
            path: vec![],
            merkle_root: None,
            presignatures: false,
        };
        let terms = OrderTerms {
            operation: Operation::Sign(item.into()),
            spec: KeySpec {
                account: AccountId([1; 16]),
                scheme: "ecdsa-secp256k1".into(),
                protocol: "dkls23".into(),
                threshold: Threshold::new(2, 2).unwrap(),
                parties: keys().iter().map(SecretKey::public).collect(),
                mandatory: vec![],
            },
            minimum_plugin: Version::default(),
            epoch: 1,
            share_set: Some(PlanHash([1; 32])),
            public_key: vec![2; 33],
            recipient: None,
        };
        let order = Order::new(OrderId([2; 32]), terms, UnixSeconds(0), MAX_ORDER_LIFETIME);
        let signers = PartyIndex::all(2).collect();
        WatchedSession::new(order, signers, None)
    }

    fn noted(session: &WatchedSession, outcome: Outcome, evidence: Evidence) -> (bool, bool, bool) {
        let (by, digest) = (PartyIndex::FIRST, Digest([3; 32]));
        let report = Report::new(SessionId([4; 32]), OrderId([2; 32]), by, digest, outcome);
        let Ingested { store, completes, changed } =
            session.ingest(&RankedReport { signed: report.sign(&keys()[0]), evidence });
        (store, completes, changed)
    }

    fn aborted(reason: &str, with_notice: bool) -> Outcome {
        let code = AbortCode::Timeout;
        let notice = AbortNotice { plan: PlanHash([5; 32]), by: PartyIndex::FIRST, code };
        let notice = with_notice.then(|| notice.sign(&keys()[0]));
        Outcome::Aborted { code, plugin_code: None, culprits: vec![], reason: reason.into(), notice }
    }

    #[test]
    fn a_denial_outranks_a_refusal_that_may_pass() {
        let session = watched();
        let (code, reason) = (RefusedCode::Busy, String::from("busy"));
        let refused = |notice| Outcome::Refused { culprits: vec![], code, reason: reason.clone(), notice };
        assert_eq!(noted(&session, refused(None), Evidence::None), (true, false, true));
        let Outcome::Aborted { notice, .. } = aborted("", true) else { panic!() };
        assert_eq!(noted(&session, refused(notice), Evidence::None), (true, false, true));
        assert_eq!(noted(&session, refused(None), Evidence::None), (false, false, false));
    }

    #[test]
    fn a_party_may_say_more_than_before_and_never_less() {
        let session = watched();
        let signed = Outcome::Signed(vec![SchemeSignature { bytes: [1; 64], recovery_id: Some(0) }]);
        assert_eq!(session.evidence_of(&signed), Evidence::None, "an invented signature proves something");
        let (news, nothing) = ((true, false, true), (false, false, false));
        assert_eq!(noted(&session, aborted("first", false), Evidence::None), news);
        assert_eq!(noted(&session, aborted("second", false), Evidence::None), nothing);
        assert_eq!(noted(&session, aborted("third", true), Evidence::None), news);
        assert_eq!(noted(&session, aborted("fourth", false), Evidence::None), nothing);
        assert_eq!(noted(&session, signed.clone(), Evidence::Result), (true, true, true));
        assert_eq!(noted(&session, aborted("fifth", true), Evidence::None), nothing);
        // A report that could not be stored counts as new when it comes again.
        session.forget(PartyIndex::FIRST);
        assert_eq!(noted(&session, signed, Evidence::Result), (true, true, true));
    }
}
