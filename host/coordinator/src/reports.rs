//! Reports on their way from parties to whoever waits for them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use quorate_backends::database::StoreError;
use quorate_control_store::{NewSession, SessionStatus};
use quorate_core::codec::decode;
use quorate_core::order::{Order, SignedOrder};
use quorate_core::report::{Outcome, SignedReport};
use quorate_core::{PartyIndex, SessionId};
use quorate_verify::proof::{proved, proved_by_promises};
use tokio::sync::mpsc;

use super::Coordinator;
use super::verdict::{Verdict, verdict};

/// Reports of one session that wait to be looked at: one of each party, and a few repetitions.
const WAITING: usize = 64;

/// The longest report: a certificate and the public outputs of 16 parties take 3 kB.
const REPORT_BYTES: usize = 16 << 10;

/// Who waits for the reports of which session.
#[derive(Default)]
pub(super) struct Waiting(Mutex<HashMap<SessionId, Expected>>);

/// A session whose reports are waited for.
#[derive(Clone)]
struct Expected {
    session: Arc<Expectation>,
    /// An order that was submitted twice is waited for twice.
    senders: Vec<mpsc::Sender<Weighed>>,
}

/// A report, and how much it proves: that takes a signature or a certificate to be verified, once.
#[derive(Clone)]
pub(super) struct Weighed {
    pub(super) signed: SignedReport,
    weight: u8,
}

impl Weighed {
    /// Whether it proves a result by itself.
    pub(super) fn is_proof(&self) -> bool {
        self.weight == PROOF
    }

    /// The word that nothing was promised is worth more than an abort without it.
    fn worth(&self) -> (u8, bool) {
        let word = matches!(self.signed.report.outcome, Outcome::Aborted { notice: Some(_), .. });
        (self.weight, word)
    }
}

/// The weight of a report that proves a result, and of one that promises a share.
const PROOF: u8 = 2;
const PROMISE: u8 = 1;

/// What is known of it.
struct Expectation {
    order: Order,
    signers: Vec<PartyIndex>,
    chain_code: Option<[u8; 32]>,
    /// What its parties have reported so far.
    reports: Mutex<BTreeMap<PartyIndex, Weighed>>,
}

/// A wait for the reports of one session. It ends when it is dropped.
pub(super) struct Wait<'a> {
    waiting: &'a Waiting,
    session: SessionId,
    sender: mpsc::Sender<Weighed>,
    pub(super) reports: mpsc::Receiver<Weighed>,
}

impl Waiting {
    pub(super) fn wait(&self, session: &NewSession, order: &Order) -> Wait<'_> {
        let (sender, reports) = mpsc::channel(WAITING);
        let expectation = Expectation {
            order: order.clone(),
            signers: session.signers.clone(),
            chain_code: session.chain_code,
            reports: Mutex::default(),
        };
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let expected = waiting
            .entry(session.id)
            .or_insert_with(|| Expected { session: Arc::new(expectation), senders: vec![] });
        // What the others have heard already is no news any more.
        for report in expected.session.reports.lock().unwrap_or_else(PoisonError::into_inner).values() {
            let _ = sender.try_send(report.clone());
        }
        expected.senders.push(sender.clone());
        Wait { waiting: self, session: session.id, sender, reports }
    }

    fn find(&self, session: SessionId) -> Option<Expected> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&session).cloned()
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let mut waiting = self.waiting.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(expected) = waiting.get_mut(&self.session) {
            expected.senders.retain(|sender| !sender.same_channel(&self.sender));
            if expected.senders.is_empty() {
                waiting.remove(&self.session);
            }
        }
    }
}

impl Expectation {
    /// How much an outcome proves.
    fn weight(&self, outcome: &Outcome) -> u8 {
        match outcome {
            Outcome::Promised { .. } => PROMISE,
            outcome if proved(&self.order, self.chain_code.as_ref(), outcome).is_some() => PROOF,
            _ => 0,
        }
    }
}

/// Who brings a report.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Its party.
    Party,
    /// Another coordinator, which has kept it.
    Coordinator,
}

/// Where a report is waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waited {
    Here,
    /// At another coordinator, or nowhere.
    Elsewhere,
}

/// The topic on which coordinators tell each other of reports.
pub(super) const REPORTS: &str = "reports";

/// Why a report is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotTaken {
    #[error("that is no report")]
    Malformed,
    #[error("the report contains more than a party has to say")]
    TooMuch,
    #[error("there is no such session")]
    Unknown,
    #[error("the report is not signed by the party that it names, or is about another order")]
    NotSigned,
    #[error("the report was lost on its way into the database")]
    Died,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Coordinator {
    /// Keeps a report that a party gives, and passes it on to whoever waits for it: here, or at another coordinator.
    pub(super) async fn take_report(self: &Arc<Self>, bytes: &[u8]) -> Result<(), NotTaken> {
        // It is kept or forgotten, whether its party waits for the answer or not: one that was noted and not kept would be
        // no news when it comes again.
        let (noting, kept) = (Arc::clone(self), bytes.to_vec());
        let noted = tokio::spawn(async move { noting.note_report(&kept, Source::Party).await });
        if noted.await.map_err(|_| NotTaken::Died)?? == Waited::Elsewhere {
            // If they do not hear it, whoever waits for it finds it in the store.
            self.announce(REPORTS, bytes.to_vec());
        }
        Ok(())
    }

    /// Takes in a report that another coordinator has kept, if it is waited for here.
    pub(super) async fn hear_report(&self, bytes: &[u8]) {
        let Ok(signed) = decode::<SignedReport>(bytes) else { return };
        if self.waiting.find(signed.report.session).is_some()
            && let Err(error) = self.note_report(bytes, Source::Coordinator).await
        {
            tracing::debug!(%error, "a report of another coordinator was not taken in");
        }
    }

    /// Takes in the reports of a session that other coordinators have kept.
    pub(super) async fn look_for_reports(&self, session: SessionId) {
        match self.setup.store.session(session).await {
            Ok(Some(record)) => {
                for report in &record.reports {
                    self.hear_report(report).await;
                }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the reports of a session could not be read"),
        }
    }

    async fn note_report(&self, bytes: &[u8], source: Source) -> Result<Waited, NotTaken> {
        if bytes.len() > REPORT_BYTES {
            return Err(NotTaken::TooMuch);
        }
        let signed: SignedReport = decode(bytes).map_err(|_| NotTaken::Malformed)?;
        let report = &signed.report;
        let waiting = self.waiting.find(report.session);
        let session = match &waiting {
            Some(expected) => Arc::clone(&expected.session),
            None => Arc::new(self.recall(report.session).await?),
        };
        let order = &session.order;
        let about_this = report.order == order.id && session.signers.contains(&report.by);
        if !about_this || signed.verify(&order.parties).is_err() {
            return Err(NotTaken::NotSigned);
        }
        if !report.outcome.is_tame(order.threshold.parties()) {
            return Err(NotTaken::TooMuch);
        }
        let (id, by) = (report.session, report.by);
        let weighed = Weighed { weight: session.weight(&report.outcome), signed };
        let (weight, word) = weighed.worth();
        let worth = 2 * u16::from(weight) + u16::from(word);
        let Noted { store, completes, is_news } = session.note(&weighed);
        // What another coordinator has kept is in the store; that it completes the session may show only here.
        if store && (source == Source::Party || completes) {
            let completed = completes.then(|| self.setup.clock.millis());
            if let Err(error) = self.setup.store.add_report(id, by, bytes, worth, completed).await {
                // It comes again, and must then be new.
                session.forget(by);
                return Err(error.into());
            }
        }
        match waiting {
            Some(expected) => {
                for sender in expected.senders.iter().filter(|_| is_news) {
                    let _ = sender.try_send(weighed.clone());
                }
                Ok(Waited::Here)
            }
            None => {
                self.end_if_over(id, &session).await?;
                Ok(Waited::Elsewhere)
            }
        }
    }

    /// Ends a session that nobody waits for any more, when all its parties have reported and none has a result.
    async fn end_if_over(&self, id: SessionId, session: &Expectation) -> Result<(), StoreError> {
        let outcomes: BTreeMap<PartyIndex, Outcome> = {
            let reports = session.reports.lock().unwrap_or_else(PoisonError::into_inner);
            reports.iter().map(|(by, kept)| (*by, kept.signed.report.outcome.clone())).collect()
        };
        let promised = outcomes.values().all(|outcome| matches!(outcome, Outcome::Promised { .. }));
        if promised || outcomes.len() < session.signers.len() {
            return Ok(());
        }
        let Verdict { code, reason, culprits } = verdict(&session.signers, &outcomes);
        let at = self.setup.clock.millis();
        // One that has completed stays so.
        let failed = SessionStatus::Failed { at, code: code.text().into(), reason, culprits };
        self.setup.store.end_session(id, &failed).await
    }

    /// A session that nobody waits for any more.
    async fn recall(&self, id: SessionId) -> Result<Expectation, NotTaken> {
        let record = self.setup.store.session(id).await?.ok_or(NotTaken::Unknown)?;
        let order: SignedOrder = decode(&record.session.ordered).map_err(|_| NotTaken::Unknown)?;
        let order: Order = decode(order.bytes()).map_err(|_| NotTaken::Unknown)?;
        let session = Expectation {
            order,
            signers: record.session.signers,
            chain_code: record.session.chain_code,
            reports: Mutex::default(),
        };
        for signed in record.reports.iter().filter_map(|bytes| decode::<SignedReport>(bytes).ok()) {
            session.note(&Weighed { weight: session.weight(&signed.report.outcome), signed });
        }
        Ok(session)
    }
}

impl Expectation {
    fn forget(&self, by: PartyIndex) {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).remove(&by);
    }

    /// Takes note of a report. What proves more stays: a party may not take back what it has proved or promised.
    fn note(&self, report: &Weighed) -> Noted {
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        let by = report.signed.report.by;
        let is_news = reports.get(&by).is_none_or(|kept| kept.worth() < report.worth());
        if !is_news {
            return Noted { store: false, completes: false, is_news };
        }
        // One proof is enough to be kept: the others say the same.
        let store = !reports.values().any(Weighed::is_proof);
        reports.insert(by, report.clone());
        let by_promises = || {
            let outcomes = reports.values().map(|kept| &kept.signed.report.outcome);
            proved_by_promises(&self.order, self.chain_code.as_ref(), outcomes).is_some()
        };
        let completes = report.is_proof() || report.weight == PROMISE && by_promises();
        Noted { store, completes, is_news }
    }
}

/// What a report is good for.
struct Noted {
    /// It is to be kept.
    store: bool,
    /// The session has a result with it.
    completes: bool,
    /// It says more than what its party said before.
    is_news: bool,
}

#[cfg(test)]
mod tests {
    use quorate_core::abort::{AbortCode, AbortNotice};
    use quorate_core::codec::Bytes;
    use quorate_core::identity::SecretKey;
    use quorate_core::order::{HashFunction, LIFETIME, Operation, Signing, Terms, Version};
    use quorate_core::report::Report;
    use quorate_core::{AccountId, Digest, OrderId, PlanHash, Threshold};

    use super::*;

    fn keys() -> Vec<SecretKey> {
        (1..=2).map(|seed| SecretKey::from_seed(&[seed; 32])).collect()
    }

    fn expectation() -> Expectation {
        let signing = Signing {
            message: Bytes(vec![7; 32]),
            hash: HashFunction::None,
            path: vec![],
            tweak: None,
            presignatures: false,
        };
        let terms = Terms {
            operation: Operation::Sign(signing),
            account: AccountId([1; 16]),
            scheme: "ecdsa-secp256k1".into(),
            protocol: "dkls23".into(),
            threshold: Threshold::new(2, 2).unwrap(),
            parties: keys().iter().map(SecretKey::public).collect(),
            mandatory: vec![],
            minimum_plugin: Version::default(),
            epoch: 1,
            public_key: vec![2; 33],
            recipient: None,
        };
        let order = Order::new(OrderId([2; 32]), terms, 0, LIFETIME);
        let signers = PartyIndex::all(2).collect();
        Expectation { order, signers, chain_code: None, reports: Mutex::default() }
    }

    fn noted(session: &Expectation, outcome: Outcome, weight: u8) -> (bool, bool, bool) {
        let (by, digest) = (PartyIndex::FIRST, Digest([3; 32]));
        let report = Report { session: SessionId([4; 32]), order: OrderId([2; 32]), by, digest, outcome };
        let Noted { store, completes, is_news } =
            session.note(&Weighed { signed: report.sign(&keys()[0]), weight });
        (store, completes, is_news)
    }

    fn aborted(reason: &str, with_notice: bool) -> Outcome {
        let code = AbortCode::Timeout;
        let notice = AbortNotice { plan: PlanHash([5; 32]), by: PartyIndex::FIRST, code };
        let notice = with_notice.then(|| notice.sign(&keys()[0]));
        Outcome::Aborted { code, culprits: vec![], reason: reason.into(), notice }
    }

    #[test]
    fn a_party_may_say_more_than_before_and_never_less() {
        let session = expectation();
        let signed = Outcome::Signed { signature: Bytes(vec![1; 64]), recovery_id: Some(0) };
        assert_eq!(session.weight(&signed), 0, "an invented signature proves something");
        let (news, nothing) = ((true, false, true), (false, false, false));
        assert_eq!(noted(&session, aborted("first", false), 0), news);
        assert_eq!(noted(&session, aborted("second", false), 0), nothing);
        assert_eq!(noted(&session, aborted("third", true), 0), news);
        assert_eq!(noted(&session, aborted("fourth", false), 0), nothing);
        assert_eq!(noted(&session, signed.clone(), PROOF), (true, true, true));
        assert_eq!(noted(&session, aborted("fifth", true), 0), nothing);
        // What could not be stored is new when it comes again.
        session.forget(PartyIndex::FIRST);
        assert_eq!(noted(&session, signed, PROOF), (true, true, true));
    }
}
