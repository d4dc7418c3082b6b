//! What a party does when a counterparty cheats, or may have cheated (rule 8). The test plugin bans on demand.

use std::sync::Arc;
use std::time::Duration;

use quorate_core::abort::AbortCode;
use quorate_core::admission::Refused;
use quorate_core::ban::{Ban, BanExport, SignedBan};
use quorate_core::codec::{Bytes, encode};
use quorate_core::identity::{PublicKey, SecretKey};
use quorate_core::order::{HashFunction, Operation, SignItem};
use quorate_core::plan::Plan;
use quorate_core::report::Outcome;
use quorate_core::{OrderId, PartyIndex, PlanHash, SessionId};
use quorate_net::clock::Clock;
use quorate_party::{PlanRefusal, ReadmitRefused, recovery};
use quorate_party_store::{BannedParty, DecidedIn, OwnBan};
use quorate_tests::sandbox_tasks::load;
use tokio::task::JoinHandle;

use super::cluster::{ACCOUNT, Cluster, count, run, signing};

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
        merkle_root: None,
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
    for (mut ended, told) in [(cheating, Some(7)), (pair, None)] {
        let ended = ended.remove(0).await.unwrap();
        let Ok(Outcome::Aborted { code: AbortCode::Ban, plugin_code, culprits, reason, .. }) = &ended else {
            panic!("{ended:?}")
        };
        assert_eq!((culprits, plugin_code), (&vec![second], &told), "{reason}");
        // What the component has written goes no further.
        assert!(!reason.contains("a part of a share"), "{reason}");
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
    let decided_in = DecidedIn { session: SessionId([9; 32]), plan: PlanHash([9; 32]) };
    cluster.store(0).await.ban(&[banned], decided_in).await.unwrap();
    let (party, theirs) = (Arc::clone(&cluster.parties[2]), late);
    let at_third = tokio::spawn(async move { run(&party, theirs).await });
    let ended = at_first.await.unwrap();
    let Ok(Outcome::Aborted { code: AbortCode::Ban, culprits, .. }) = &ended else { panic!("{ended:?}") };
    assert_eq!(culprits, &[third]);
    at_third.abort();
}

/// Who has banned party 2, for cheating in a signing with it.
async fn banned_by_first(cluster: &Cluster) -> SignedBan {
    for ended in begin(cluster, &plan(cluster, "first-bans-who-speaks", &[1, 2])) {
        assert!(matches!(ended.await.unwrap(), Ok(Outcome::Aborted { .. })));
    }
    let share_set = cluster.certificate.as_ref().map(|made| made.activation.plan);
    let kept = cluster.store(0).await.kept_bans(ACCOUNT, share_set).await.unwrap();
    let [OwnBan { banned: BannedParty { account, share_set, party }, session }] =
        kept.own.try_into().unwrap();
    let ban = Ban { account, share_set, by: PartyIndex::FIRST, banned: party, session };
    ban.sign(&SecretKey::from_seed(&cluster.seeds[0]))
}

/// Has a party forget nothing, and believe that it was set back.
async fn note_set_back(cluster: &Cluster, party: usize) {
    let store = cluster.store(party).await;
    let facts = store.admission_facts(OrderId([0; 32]), ACCOUNT, PlanHash([0; 32])).await.unwrap();
    store.note_once_counter(1_000, facts.database).await.unwrap();
}

fn is_banned(ended: &Ended) -> bool {
    let second = PartyIndex::try_from(2).unwrap();
    matches!(ended, Err(PlanRefusal::Refused(Refused::Banned(party))) if *party == second)
}

#[tokio::test]
async fn a_ban_that_a_restored_database_has_lost_is_taken_up_again_from_peers_and_from_plans() {
    let mut cluster = cluster().await;
    let backup = cluster.backup(0).await;
    let ban = banned_by_first(&cluster).await;
    // The third party hears of it from the first in a session, and keeps it. No coordinator tells it.
    let told = begin(&cluster, &plan(&cluster, "speaks-and-waits", &[1, 3]));
    tokio::time::sleep(UNDER_WAY).await;
    told.iter().for_each(JoinHandle::abort);
    let keys = cluster.keys();
    let export = cluster.parties[2].export_bans(keys[0]).await.unwrap();
    let kept = export.clone().open(&keys[0], cluster.clock.seconds()).unwrap().bans;
    assert_eq!(kept, std::slice::from_ref(&ban));
    for from_plan in [true, false] {
        cluster.restore(0, &backup).await;
        if from_plan {
            let mut carrying = plan(&cluster, "speaks-and-waits", &[1, 2]);
            carrying.bans = vec![ban.clone()];
            let stopped = run(&cluster.parties[0], carrying).await;
            assert!(matches!(stopped, Err(PlanRefusal::SetBack)), "a plan with the ban: {stopped:?}");
            assert!(cluster.parties[0].export_bans(keys[1]).await.is_err(), "it may have lost others");
        }
        let of_other = cluster.parties[1].export_bans(keys[0]).await.unwrap();
        let exports = [encode(&export), encode(&of_other)];
        assert!(cluster.parties[0].accept_set_back(&exports, &[]).await.unwrap());
        let without = run(&cluster.parties[0], plan(&cluster, "speaks-and-waits", &[1, 2])).await;
        assert!(is_banned(&without), "{without:?}");
    }
}

#[tokio::test]
async fn exports_of_bans_count_only_from_all_pinned_parties_and_for_the_party_that_they_are_for() {
    let cluster = cluster().await;
    let keys = cluster.keys();
    let [of_second, of_third] = [1, 2].map(|party: usize| Arc::clone(&cluster.parties[party]));
    let (good, other) = (
        encode(&of_second.export_bans(keys[0]).await.unwrap()),
        encode(&of_third.export_bans(keys[0]).await.unwrap()),
    );
    let for_another = encode(&of_second.export_bans(keys[2]).await.unwrap());
    let own = encode(&cluster.parties[0].export_bans(keys[0]).await.unwrap());
    let stranger = SecretKey::from_seed(&[77; 32]);
    let at = cluster.clock.seconds();
    let strange = BanExport { by: stranger.public(), to: keys[0], at, bans: vec![] }.sign(&stranger);
    let accept = async |exports: &[&Vec<u8>], without: &[PublicKey]| {
        note_set_back(&cluster, 0).await;
        let exports: Vec<Vec<u8>> = exports.iter().map(|export| (*export).clone()).collect();
        cluster.parties[0].accept_set_back(&exports, without).await
    };
    assert!(matches!(accept(&[&good], &[]).await, Err(ReadmitRefused::Missing(key)) if key == keys[2]));
    assert!(
        matches!(accept(&[&own, &other], &[]).await, Err(ReadmitRefused::Missing(key)) if key == keys[1])
    );
    assert!(matches!(accept(&[&for_another, &other], &[]).await, Err(ReadmitRefused::Export(_))));
    let strange = encode(&strange);
    assert!(matches!(accept(&[&good, &strange], &[]).await, Err(ReadmitRefused::NotPinned(_))));
    let broken = good[..good.len() - 1].to_vec();
    assert!(matches!(accept(&[&broken, &other], &[]).await, Err(ReadmitRefused::Malformed)));
    assert!(accept(&[&good], &[keys[2]]).await.unwrap(), "a party that is lost for ever");
    assert!(accept(&[&good, &other], &[]).await.unwrap());
}

#[tokio::test]
async fn a_ban_ends_with_a_refresh_that_the_operator_permits_and_no_report_revives_it() {
    let mut cluster = cluster().await;
    let ban = banned_by_first(&cluster).await;
    let (old, second) = (cluster.certificate.clone(), PartyIndex::try_from(2).unwrap());
    let refresh = |cluster: &Cluster| cluster.plan(Operation::Refresh, &[1, 2, 3]);
    assert!(is_banned(&run(&cluster.parties[0], refresh(&cluster)).await));
    assert!(cluster.parties[0].lift_ban(ACCOUNT, second).await.unwrap());
    assert!(is_banned(&run(&cluster.parties[0], plan(&cluster, "speaks-and-waits", &[1, 2])).await));
    cluster.activate(Operation::Refresh).await;
    cluster.assert_signed(&cluster.sign(&[1, 2], [7; 32]).await, [7; 32]);
    // The report of it is still about, and names the shares of before.
    let mut carrying = cluster.plan(signing([8; 32]), &[1, 2]);
    carrying.bans = vec![ban];
    let ended = cluster.run(&carrying).await;
    assert!(ended.iter().all(|ended| matches!(ended, Ok(Outcome::Signed(_)))), "{ended:?}");
    let (before, now) = (old.unwrap().activation.plan, cluster.certificate.clone().unwrap().activation.plan);
    let (store, none) = (cluster.store(0).await, PlanHash([0; 32]));
    assert_eq!(store.banned(ACCOUNT, Some(before), none).await.unwrap(), [second], "the older share set");
    assert_eq!(store.banned(ACCOUNT, Some(now), none).await.unwrap(), []);
}
