//! What a party does when a counterparty cheats, or may have cheated (rule 8). The test plugin bans on demand.

use std::sync::Arc;
use std::time::Duration;

use quorate_core::abort::AbortCode;
use quorate_core::admission::Refused;
use quorate_core::codec::Bytes;
use quorate_core::order::{HashFunction, Operation, SignItem};
use quorate_core::plan::Plan;
use quorate_core::report::Outcome;
use quorate_core::{PartyIndex, PlanHash};
use quorate_party::{PlanRefusal, recovery};
use quorate_party_store::BannedParty;
use quorate_tests::sandbox_tasks::load;
use tokio::task::JoinHandle;

use super::cluster::{ACCOUNT, Cluster, count, run};

/// How long sessions are given to exchange their first messages.
const UNDER_WAY: Duration = Duration::from_millis(1_500);

/// A key, made by the real protocol, and the test plugin to sign with.
async fn cluster() -> Cluster {
    let mut cluster = Cluster::new(vec![load("dkls23").await, load("imposter").await]).await;
    cluster.keygen().await;
    cluster
}

/// A plan to sign in one way to misbehave.
fn plan(cluster: &Cluster, mode: &str, signers: &[u16]) -> Plan {
    let item = SignItem {
        message: Bytes(mode.as_bytes().to_vec()),
        hash: HashFunction::None,
        path: vec![],
        tweak: None,
        presignatures: false,
    };
    cluster.plan_on(Operation::Sign(item.into()), signers, cluster.plugins[1].digest())
}

type Ended = Result<Outcome, PlanRefusal>;

/// Begins a plan at its signers, each on its own.
fn begin(cluster: &Cluster, plan: &Plan) -> Vec<JoinHandle<Ended>> {
    let parties = plan.signers.iter().map(|signer| &cluster.parties[usize::from(signer.number()) - 1]);
    let begin = |party: &Arc<_>| {
        let (party, plan) = (Arc::clone(party), plan.clone());
        tokio::spawn(async move { run(&party, plan).await })
    };
    parties.map(begin).collect()
}

async fn unknown_outcomes(cluster: &Cluster, party: usize) -> i64 {
    count(&cluster.file(party), "SELECT coalesce(sum(sessions), 0) FROM unknown_outcomes").await
}

#[tokio::test]
async fn a_ban_ends_every_session_of_its_pair_and_no_other() {
    let cluster = cluster().await;
    let pair = begin(&cluster, &plan(&cluster, "speaks-and-waits", &[1, 2]));
    let others = begin(&cluster, &plan(&cluster, "speaks-and-waits", &[1, 3]));
    tokio::time::sleep(UNDER_WAY).await;
    let cheating = begin(&cluster, &plan(&cluster, "first-bans-who-speaks", &[1, 2]));
    let second = PartyIndex::try_from(2).unwrap();
    for mut ended in [cheating, pair] {
        let ended = ended.remove(0).await.unwrap();
        let Ok(Outcome::Aborted { code: AbortCode::Ban, culprits, reason, .. }) = &ended else {
            panic!("{ended:?}")
        };
        assert_eq!(culprits, &[second], "{reason}");
    }
    assert!(others.iter().all(|other| !other.is_finished()), "another pair was stopped");
    let refused = run(&cluster.parties[0], plan(&cluster, "speaks-and-waits", &[1, 2])).await;
    let Err(PlanRefusal::Refused(refused)) = refused else { panic!("{refused:?}") };
    assert_eq!(refused, Refused::Banned(second));
    others.iter().for_each(JoinHandle::abort);
}

#[tokio::test]
async fn an_account_is_closed_while_its_ban_can_not_be_stored_and_a_kill_counts_as_one_unknown_outcome() {
    let mut cluster = cluster().await;
    let pool = sqlx::SqlitePool::connect(&format!("sqlite:{}", cluster.file(0).display())).await.unwrap();
    sqlx::query(
        "CREATE TRIGGER refuse BEFORE INSERT ON bans BEGIN SELECT RAISE(ABORT, 'the disk is full'); END",
    )
    .execute(&pool)
    .await
    .unwrap();
    let other = begin(&cluster, &plan(&cluster, "speaks-and-waits", &[1, 3]));
    tokio::time::sleep(UNDER_WAY).await;
    let mut banning = begin(&cluster, &plan(&cluster, "first-bans-who-speaks", &[1, 2]));
    let ended = banning.remove(0).await.unwrap();
    let Ok(Outcome::Aborted { code: AbortCode::Unavailable, culprits, .. }) = &ended else {
        panic!("{ended:?}")
    };
    assert!(culprits.is_empty(), "a ban was told that is not stored");
    let [at_first, at_third] = other.try_into().unwrap();
    let ended = at_first.await.unwrap();
    let Ok(Outcome::Aborted { code: AbortCode::Unavailable, reason, .. }) = &ended else {
        panic!("{ended:?}")
    };
    assert!(reason.contains("can't be stored"), "{reason}");
    at_third.abort();
    assert!(cluster.parties[0].trouble_text().unwrap().contains("can't be stored"));
    let refused = run(&cluster.parties[0], plan(&cluster, "speaks-and-waits", &[1, 3])).await;
    assert!(matches!(refused, Err(PlanRefusal::BanNotStored)), "{refused:?}");
    // The process dies with the ban; the next one can't know of it.
    sqlx::query("DROP TRIGGER refuse").execute(&pool).await.unwrap();
    pool.close().await;
    cluster.parties[0] = cluster.start(0).await;
    recovery::recover(&cluster.parties[0]).await.unwrap();
    assert_eq!(unknown_outcomes(&cluster, 0).await, 1);
}

#[tokio::test]
async fn only_signings_that_were_killed_or_cut_have_an_unknown_outcome() {
    let mut cluster = cluster().await;
    // An orderly stop.
    let stopped = begin(&cluster, &plan(&cluster, "speaks-and-waits", &[1, 2]));
    tokio::time::sleep(UNDER_WAY).await;
    cluster.parties[0].close();
    for ended in stopped {
        assert!(matches!(ended.await.unwrap(), Ok(Outcome::Aborted { .. })));
    }
    cluster.parties[0] = cluster.start(0).await;
    recovery::recover(&cluster.parties[0]).await.unwrap();
    assert_eq!(unknown_outcomes(&cluster, 0).await, 0, "an orderly stop");
    // A step that never ends.
    let mut looping = plan(&cluster, "loops-when-spoken-to", &[1, 2]);
    looping.deadline = cluster.clock_millis() + UNDER_WAY;
    for ended in cluster.run(&looping).await {
        assert!(matches!(ended, Ok(Outcome::Aborted { .. })), "{ended:?}");
    }
    assert_eq!(unknown_outcomes(&cluster, 0).await, 1, "a step that was cut");
    // A process that dies.
    let killed = begin(&cluster, &plan(&cluster, "speaks-and-waits", &[1, 2]));
    tokio::time::sleep(UNDER_WAY).await;
    killed.iter().for_each(JoinHandle::abort);
    cluster.parties[0] = cluster.start(0).await;
    recovery::recover(&cluster.parties[0]).await.unwrap();
    assert_eq!(unknown_outcomes(&cluster, 0).await, 2, "a process that died");
}

#[tokio::test]
async fn three_kills_with_all_places_taken_leave_an_honest_pair_signing() {
    let mut cluster = cluster().await;
    for _ in 0..3 {
        let plans: Vec<Plan> = (0..17).map(|_| plan(&cluster, "speaks-and-waits", &[1, 2])).collect();
        let begun: Vec<_> = plans.iter().flat_map(|plan| begin(&cluster, plan)).collect();
        tokio::time::sleep(2 * UNDER_WAY).await;
        let mut full = 0;
        for running in begun {
            if running.is_finished() {
                let ended = running.await.unwrap();
                full += u32::from(matches!(ended, Err(PlanRefusal::Full(_))));
            } else {
                running.abort();
            }
        }
        assert!(full >= 1, "the seventeenth signing was taken on");
        for party in [0, 1] {
            cluster.parties[party] = cluster.start(party).await;
            recovery::recover(&cluster.parties[party]).await.unwrap();
        }
    }
    assert!(unknown_outcomes(&cluster, 0).await >= 32, "the kills were not counted");
    cluster.assert_signed(&cluster.sign(&[1, 2], [7; 32]).await, [7; 32]);
}

/// The claim of a run was before the ban, the first message of its peer comes after it.
#[tokio::test]
async fn a_ban_of_another_replica_ends_a_run_before_its_first_message() {
    let cluster = cluster().await;
    // A run whose peer comes late: it is claimed, and waits for the hello.
    let late = plan(&cluster, "speaks-and-waits", &[1, 3]);
    let (party, own) = (Arc::clone(&cluster.parties[0]), late.clone());
    let at_first = tokio::spawn(async move { run(&party, own).await });
    tokio::time::sleep(UNDER_WAY).await;
    let third = PartyIndex::try_from(3).unwrap();
    let share_set = cluster.certificate.as_ref().map(|made| made.activation.plan);
    let banned = BannedParty { account: ACCOUNT, share_set, party: third };
    cluster.store(0).await.ban(&[banned], PlanHash([9; 32])).await.unwrap();
    let (party, theirs) = (Arc::clone(&cluster.parties[2]), late);
    let at_third = tokio::spawn(async move { run(&party, theirs).await });
    let ended = at_first.await.unwrap();
    let Ok(Outcome::Aborted { code: AbortCode::Ban, culprits, .. }) = &ended else { panic!("{ended:?}") };
    assert_eq!(culprits, &[third]);
    at_third.abort();
}
