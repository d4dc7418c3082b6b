//! Having an order carried out: the coordinator's word is worth nothing, a report that proves itself ends the wait.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_core::abort::SignedAbort;
use quorate_core::certificate::{Certificate, KeyOutputs};
use quorate_core::code::Code;
use quorate_core::codec::{decode, encode};
use quorate_core::order::Order;
use quorate_core::report::{Outcome, Report, SignedReport};
use quorate_core::submission::Submission;
use quorate_core::{Digest, PartyIndex, SessionId};
use quorate_net::grpc::{MESSAGE_BYTES, is_unavailable};
use quorate_net::problem::Problem;
use quorate_proto::v1::coordinator_client::CoordinatorClient;
use quorate_proto::v1::submit_event::Event;
use quorate_proto::v1::{Failure, Started, SubmitRequest};
use quorate_verify::proof::{Proved, proved, proved_by_promises};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code as Grpc, Status};

use super::AccountService;

/// How long after its time limit the coordinator may still say how an order ended.
pub(super) const LATE: Duration = Duration::from_secs(2);

/// How long a coordinator or a party API may take to answer what it knows by itself, or to take an order.
pub(super) const ANSWER: Duration = Duration::from_secs(3);

/// How long to wait before another coordinator takes over.
const TAKE_OVER: Duration = Duration::from_millis(100);

/// Calls of a coordinator.
pub(super) fn client(channel: Channel) -> CoordinatorClient<Channel> {
    CoordinatorClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES)
        .max_encoding_message_size(MESSAGE_BYTES)
}

/// An order to be carried out, and what that takes.
pub(super) struct Errand {
    pub(super) order: Order,
    /// The account's current key, and what made its shares active.
    pub(super) key: Option<(Certificate, KeyOutputs)>,
    pub(super) signers: Vec<PartyIndex>,
    /// Parties' word that they ended an earlier keygen or refresh of the account.
    pub(super) aborts: Vec<SignedAbort>,
    pub(super) limit: Duration,
    /// Whether it may have been submitted before.
    pub(super) again: bool,
}

/// What an order has led to.
pub(super) struct Submitted {
    pub(super) proved: Proved,
    pub(super) session: SessionId,
    pub(super) signers: Vec<u16>,
    pub(super) digest: Digest,
}

/// The session that was begun last.
struct Session {
    id: SessionId,
    signers: Vec<u16>,
    /// The last report of each party.
    outcomes: BTreeMap<PartyIndex, Outcome>,
}

impl AccountService {
    /// Signs the order, submits it and waits for its result.
    pub(super) async fn submit(&self, errand: Errand) -> Result<Submitted, Problem> {
        self.submit_and_tell(errand, None).await
    }

    /// The same, and tells of the first session when it is there.
    pub(super) async fn submit_and_tell(
        &self,
        errand: Errand,
        mut tell: Option<oneshot::Sender<SessionId>>,
    ) -> Result<Submitted, Problem> {
        let Errand { order, key, signers, aborts, limit, again } = errand;
        let originator = self.originator_key();
        let chain_code = key.as_ref().and_then(|(_, key)| key.chain_code);
        let submission = Submission {
            order: order.sign(&originator),
            time_limit: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
            signers,
            certificate: key.map(|(certificate, _)| certificate),
            aborts,
            chain_code,
            again,
        };
        let until = Instant::now() + limit + LATE;
        let (mut session, mut calls) = (None, u32::from(again));
        let waiting = self.wait(submission, &order, &mut session, &mut tell, &mut calls);
        let waited = tokio::time::timeout_at(until, waiting).await;
        let id = session.map(|session| session.id);
        waited.unwrap_or_else(|_| Err(too_late())).map_err(|problem| match id {
            // Who was called first may have made one, and only the last has said why there is none.
            None if calls > 1 && is_turned_away(&problem) => Problem::new(
                Code::Unavailable,
                "a coordinator was lost, and it is not known what it has begun: try again later",
            ),
            session => Problem { session, ..problem },
        })
    }

    /// Waits for the result; when a coordinator is gone in the middle, another takes over.
    async fn wait(
        &self,
        mut submission: Submission,
        order: &Order,
        session: &mut Option<Session>,
        tell: &mut Option<oneshot::Sender<SessionId>>,
        calls: &mut u32,
    ) -> Result<Submitted, Problem> {
        let tries = self.coordinators.count() + 1;
        let mut turn = 1;
        loop {
            match self.wait_once(&mut submission, order, session, tell, calls).await {
                Err(Ended::Gone(status)) if turn < tries => {
                    tracing::warn!(order = %order.id, %status, "a coordinator is gone; another takes over");
                    turn += 1;
                    tokio::time::sleep(TAKE_OVER).await;
                }
                Err(Ended::Gone(status)) => return Err(problem(&status)),
                Err(Ended::Problem(problem)) => return Err(problem),
                Ok(submitted) => return Ok(submitted),
            }
        }
    }

    async fn wait_once(
        &self,
        submission: &mut Submission,
        order: &Order,
        session: &mut Option<Session>,
        tell: &mut Option<oneshot::Sender<SessionId>>,
        calls: &mut u32,
    ) -> Result<Submitted, Ended> {
        let (chain_code, originator) = (submission.chain_code, self.originator_key());
        let submitting = self.coordinators.call(ANSWER, |channel| {
            let request = SubmitRequest { submission: encode(&submission.sign(&originator)).into() };
            submission.again = true;
            *calls += 1;
            async { client(channel).submit(request).await }
        });
        let mut events = submitting.await?.into_inner();
        while let Some(event) = events.message().await? {
            match event.event {
                Some(Event::Started(started)) => {
                    *session = read(&started);
                    if let (Some(session), Some(tell)) = (session.as_ref(), tell.take()) {
                        let _ = tell.send(session.id);
                    }
                }
                Some(Event::Report(bytes)) => {
                    let Some(session) = session else { continue };
                    let Some(report) = genuine(order, session.id, &bytes) else { continue };
                    let digest = report.digest;
                    let found = proved(order, chain_code.as_ref(), &report.outcome);
                    session.outcomes.insert(report.by, report.outcome);
                    let promises =
                        || proved_by_promises(order, chain_code.as_ref(), session.outcomes.values());
                    if let Some(proved) = found.or_else(promises) {
                        let (session, signers) = (session.id, session.signers.clone());
                        return Ok(Submitted { proved, session, signers, digest });
                    }
                }
                Some(Event::Ended(failure)) => return Err(Ended::Problem(failed(failure))),
                None => {}
            }
        }
        Err(Ended::Problem(too_late()))
    }
}

/// Whether a coordinator says that it has made no session: then there is none, unless another has.
pub(super) fn is_turned_away(problem: &Problem) -> bool {
    let codes = [Code::PartiesUnavailable, Code::PluginUnavailable, Code::BlockedByBan, Code::Overloaded];
    problem.session.is_none() && codes.contains(&problem.code)
}

/// Why a wait has ended without a result.
enum Ended {
    /// The coordinator is gone: another may carry on.
    Gone(Status),
    Problem(Problem),
}

impl From<Status> for Ended {
    fn from(status: Status) -> Self {
        if is_unavailable(&status) { Self::Gone(status) } else { Self::Problem(problem(&status)) }
    }
}

/// What a report says, if it is one of a party of the order about this session.
pub(super) fn genuine(order: &Order, session: SessionId, bytes: &[u8]) -> Option<Report> {
    let signed: SignedReport = decode(bytes).ok()?;
    let about_this = signed.report.order == order.id && signed.report.session == session;
    (about_this && signed.verify(&order.parties).is_ok()).then_some(signed.report)
}

fn read(started: &Started) -> Option<Session> {
    let id = SessionId(started.session.as_ref().try_into().ok()?);
    let signers = started.signers.iter().map(|s| u16::try_from(*s)).collect::<Result<_, _>>().ok()?;
    Some(Session { id, signers, outcomes: BTreeMap::new() })
}

pub(super) fn too_late() -> Problem {
    Problem::new(
        Code::DeadlinePassed,
        "there was no result in time; if a session is named, its result can still be read",
    )
}

fn failed(failure: Failure) -> Problem {
    let code = Code::of(&failure.code).unwrap_or(Code::Internal);
    let culprits = failure.culprits.iter().filter_map(|&c| u16::try_from(c).ok());
    let culprits = culprits.filter_map(|c| PartyIndex::try_from(c).ok()).collect();
    Problem { culprits, ..Problem::new(code, failure.reason) }
}

/// What the coordinator's refusal means to a caller.
pub(super) fn problem(status: &Status) -> Problem {
    match status.code() {
        Grpc::ResourceExhausted => {
            Problem::new(Code::Overloaded, "too many requests are being worked on: try again later")
        }
        Grpc::DeadlineExceeded => too_late(),
        Grpc::FailedPrecondition => {
            tracing::error!(%status, "the clock of this machine or that of the coordinator's is wrong");
            let detail =
                "the clocks of account service and coordinator are apart: the operator must set them";
            Problem::new(Code::ClockSkew, detail)
        }
        code if matches!(code, Grpc::Unavailable | Grpc::Cancelled) || is_unavailable(status) => {
            Problem::new(Code::Unavailable, "the coordinator does not answer: try again later")
        }
        _ => {
            tracing::error!(%status, "the coordinator refused");
            Problem::new(Code::Internal, "the coordinator refused: the operator finds the reason in the log")
        }
    }
}
