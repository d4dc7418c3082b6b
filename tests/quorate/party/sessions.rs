//! Parties with real components and real databases, over the router's hub: orders, plans, sessions, activation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quorate_core::abort::{AbortCode, AbortNotice};
use quorate_core::admission::Refused;
use quorate_core::certificate::{Certificate, Ready};
use quorate_core::codec::encode;
use quorate_core::identity::{PublicKey, SecretKey};
use quorate_core::order::{Operation, Order, OrderRefused, OrderTerms};
use quorate_core::plan::Plan;
use quorate_core::report::Outcome;
use quorate_core::session::Frame;
use quorate_core::{AccountId, Digest, OrderId, PartyIndex, PlanHash, SessionId};
use quorate_kit::random32;
use quorate_net::clock::Clock;
use quorate_party::{PlanRefusal, ReadmitRefused, recovery};
use quorate_party_store::{BannedParty, DecidedIn};
use quorate_verify::proof::{Proved, proved_together};

use quorate_tests::hostile_router::hostile;
use quorate_tests::sandbox_tasks::load;

use super::cluster::{ACCOUNT, Cluster, ORDER_LIFETIME, count, run, signing};

#[tokio::test]
async fn parties_make_a_key_sign_with_every_quorum_refresh_and_go_on_after_a_restart() {
    let mut cluster = Cluster::new(vec![load("dkls23").await]).await;
    cluster.keygen().await;
    for (i, signers) in [[1, 2], [1, 3], [2, 3]].into_iter().enumerate() {
        let digest = [u8::try_from(i).unwrap() + 1; 32];
        cluster.assert_signed(&cluster.sign(&signers, digest).await, digest);
    }
    let certificate = cluster.activate(Operation::Refresh).await;
    assert_eq!(certificate.activation.epoch, 2);
    cluster.assert_signed(&cluster.sign(&[2, 3], [7; 32]).await, [7; 32]);
    // Orders of the old epoch are over.
    let old = OrderTerms { epoch: 1, ..cluster.terms(signing([8; 32])) };
    let mut plan = cluster.plan(signing([8; 32]), &[1, 2]);
    plan.order = Order::new(OrderId(random32()), old, cluster.clock.seconds(), ORDER_LIFETIME)
        .sign(&cluster.originator);
    for ended in cluster.run(&plan).await {
        assert!(matches!(ended, Err(PlanRefusal::Stale)), "{ended:?}");
    }
    cluster.parties[1] = cluster.start(1).await;
    // Its share has not been reported yet; that of the session before needs no report any more.
    let reports = recovery::recover(&cluster.parties[1]).await.unwrap();
    let [Outcome::Activated { certificate, .. }] = [&reports[0].report.outcome] else {
        panic!("{reports:?}")
    };
    assert_eq!((reports.len(), certificate.activation.epoch), (1, 2));
    cluster.assert_signed(&cluster.sign(&[1, 2], [9; 32]).await, [9; 32]);
}

/// The account service would never accept it, and the account could get no other.
#[tokio::test]
async fn no_party_promises_a_key_that_is_none() {
    let cluster = Cluster::new(vec![load("imposter").await]).await;
    let ended = cluster.run(&cluster.plan(Operation::Keygen, &[1, 2, 3])).await;
    let reasons = ended.iter().map(|ended| match ended {
        Ok(Outcome::Aborted { code, reason, .. }) => (*code, reason.clone()),
        other => panic!("{other:?}"),
    });
    // Who hears of it from another party has not come so far itself.
    let mut own = reasons.filter(|(code, _)| *code != AbortCode::PeerAborted).peekable();
    assert!(own.peek().is_some(), "{ended:?}");
    assert!(own.all(|(code, reason)| code == AbortCode::Plugin && reason.contains("none of the account's scheme")));
}

#[tokio::test]
async fn a_plan_is_run_once_and_an_account_has_one_key() {
    let mut cluster = Cluster::new(vec![load("dkls23").await]).await;
    cluster.keygen().await;
    let plan = cluster.plan(signing([1; 32]), &[1, 2]);
    // The queue delivers it to party 1 twice.
    let one = &cluster.parties[0];
    let (first, second, other) =
        tokio::join!(run(one, plan.clone()), run(one, plan.clone()), run(&cluster.parties[1], plan.clone()));
    assert!(matches!(other, Ok(Outcome::Signed(_))), "{other:?}");
    let mut claimed = [&first, &second].map(|ended| matches!(ended, Err(PlanRefusal::ClaimedBefore)));
    claimed.sort_unstable();
    assert_eq!(claimed, [false, true], "{first:?} {second:?}");
    // The same order under a new nonce: it has succeeded.
    let again = Plan { nonce: random32(), ..plan };
    for ended in cluster.run(&again).await {
        assert!(matches!(ended, Err(PlanRefusal::Refused(Refused::Succeeded))), "{ended:?}");
    }
    for ended in cluster.run(&cluster.plan(Operation::Keygen, &[1, 2, 3])).await {
        assert!(matches!(ended, Err(PlanRefusal::Refused(Refused::Share(_)))), "{ended:?}");
    }
}

#[tokio::test]
async fn forged_and_foreign_orders_start_nothing() {
    let mut cluster = Cluster::new(vec![load("dkls23").await]).await;
    cluster.keygen().await;
    let mut forged = cluster.plan(signing([1; 32]), &[1, 2]);
    let stranger = SecretKey::from_seed(&random32());
    forged.order = Order::new(
        OrderId(random32()),
        cluster.terms(signing([1; 32])),
        cluster.clock.seconds(),
        ORDER_LIFETIME,
    )
    .sign(&stranger);
    for ended in cluster.run(&forged).await {
        assert!(
            matches!(ended, Err(PlanRefusal::Refused(Refused::Order(OrderRefused::NotSigned)))),
            "{ended:?}"
        );
    }
    let other_plugin = cluster.plan_on(signing([1; 32]), &[1, 2], Digest([9; 32]));
    for ended in cluster.run(&other_plugin).await {
        assert!(matches!(ended, Err(PlanRefusal::Refused(Refused::PluginNotActive))), "{ended:?}");
    }
}

#[tokio::test]
async fn a_missing_party_is_a_timeout_that_blames_nobody_and_the_next_session_works() {
    let mut cluster = Cluster::new(vec![load("dkls23").await]).await;
    cluster.keygen().await;
    let mut plan = cluster.plan(signing([1; 32]), &[1, 2]);
    plan.deadline = cluster.clock.millis() + Duration::from_millis(700);
    let ended = run(&cluster.parties[0], plan).await;
    let Ok(Outcome::Aborted { code, culprits, reason, .. }) = ended else { panic!() };
    assert_eq!((code, culprits.len()), (AbortCode::Timeout, 0));
    assert!(reason.contains("hellos of parties 2"), "{reason}");
    cluster.assert_signed(&cluster.sign(&[1, 2], [2; 32]).await, [2; 32]);
}

#[tokio::test]
async fn a_party_that_closes_ends_its_sessions_and_gives_its_word_on_it() {
    let mut cluster = Cluster::new(vec![load("dkls23").await]).await;
    cluster.keygen().await;
    let plan = cluster.plan(signing([1; 32]), &[1, 2]);
    let party = Arc::clone(&cluster.parties[0]);
    let hash = plan.hash();
    let running = tokio::spawn(async move { run(&party, plan).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    cluster.parties[0].close();
    let ended = running.await.unwrap();
    let Ok(Outcome::Aborted { code: AbortCode::Unavailable, notice: Some(notice), .. }) = ended else {
        panic!("{ended:?}")
    };
    assert_eq!(notice.notice.plan, hash);
    notice.verify(&cluster.keys()[0]).unwrap();
    cluster.parties[0] = cluster.start(0).await;
    cluster.assert_signed(&cluster.sign(&[1, 2], [2; 32]).await, [2; 32]);
}

#[tokio::test]
async fn a_component_of_another_protocol_never_gets_near_a_share() {
    let (good, bad) = (load("dkls23").await, load("faulty").await);
    let mut cluster = Cluster::new(vec![good]).await;
    cluster.keygen().await;
    for party in &cluster.parties {
        party.install(&bad).unwrap();
    }
    let plan = cluster.plan_on(signing([1; 32]), &[1, 2], bad.digest());
    for ended in cluster.run(&plan).await {
        assert!(matches!(ended, Err(PlanRefusal::Refused(Refused::Plugin(_)))), "{ended:?}");
    }
}

pub(super) fn is_about_promises(frame: &Frame) -> bool {
    matches!(frame, Frame::Ready(_) | Frame::Certificate(_))
}

/// A keygen that ends before all promises have arrived everywhere.
async fn interrupted_keygen(cluster: &Cluster) -> (Plan, Vec<Outcome>) {
    let mut plan = cluster.plan(Operation::Keygen, &[1, 2, 3]);
    plan.deadline = cluster.clock.millis() + Duration::from_millis(10_000);
    let ended = cluster.run(&plan).await;
    (plan, ended.into_iter().map(Result::unwrap).collect())
}

#[tokio::test]
async fn a_party_that_missed_the_certificate_rolls_forward_with_the_next_plan() {
    let router =
        hostile(|_, to, frame, sent| if to == 3 && is_about_promises(frame) { vec![] } else { vec![sent] });
    let mut cluster = Cluster::over(router, vec![load("dkls23").await]).await;
    let (_, outcomes) = interrupted_keygen(&cluster).await;
    let [Outcome::Activated { certificate, key }, Outcome::Activated { .. }, Outcome::Promised { .. }] =
        outcomes.as_slice()
    else {
        panic!("{outcomes:?}")
    };
    (cluster.epoch, cluster.public_key) = (1, key.public_key.0.clone());
    cluster.certificate = Some(certificate.clone());
    let sign = |cluster: &Cluster, digest: [u8; 32]| cluster.plan(signing(digest), &[1, 3]);
    let without = Plan { certificate: None, ..sign(&cluster, [1; 32]) };
    let without = run(&cluster.parties[2], without).await;
    assert!(matches!(without, Err(PlanRefusal::Refused(Refused::ShareLost))), "{without:?}");
    // What others have signed is no certificate.
    let mut forged = sign(&cluster, [2; 32]);
    let strangers: Vec<SecretKey> = (0..3).map(|_| SecretKey::from_seed(&random32())).collect();
    let readies: Vec<Ready> = PartyIndex::all(3)
        .zip(&strangers)
        .map(|(p, key)| Ready::sign(certificate.activation.clone(), p, key))
        .collect();
    let identities: Vec<PublicKey> = strangers.iter().map(SecretKey::public).collect();
    forged.certificate = Certificate::of(&readies, &identities);
    let refused = run(&cluster.parties[2], forged).await;
    assert!(matches!(refused, Err(PlanRefusal::Refused(Refused::ShareLost))), "{refused:?}");
    cluster.assert_signed(&cluster.sign(&[1, 3], [3; 32]).await, [3; 32]);
}

#[tokio::test]
async fn promises_that_reached_nobody_are_reported_after_a_restart_and_make_the_key_active() {
    let router = hostile(|_, _, frame, sent| if is_about_promises(frame) { vec![] } else { vec![sent] });
    let mut cluster = Cluster::over(router, vec![load("dkls23").await]).await;
    let (plan, outcomes) = interrupted_keygen(&cluster).await;
    assert!(outcomes.iter().all(|o| matches!(o, Outcome::Promised { .. })), "{outcomes:?}");
    let mut reported = BTreeMap::new();
    for index in 0..3 {
        cluster.parties[index] = cluster.start(index).await;
        let reports = recovery::recover(&cluster.parties[index]).await.unwrap();
        let [report] = reports.as_slice() else { panic!("{reports:?}") };
        report.verify(&cluster.keys()).unwrap();
        reported.insert(report.report.by, report.report.outcome.clone());
    }
    let order = plan.order.open(&[cluster.originator.public()], cluster.clock.seconds()).unwrap();
    let mut two = reported.clone();
    two.pop_last();
    assert_eq!(proved_together(&order, None, &plan.signers, &two), None, "two of three are no certificate");
    let proved = proved_together(&order, None, &plan.signers, &reported);
    let Some(Proved::Shares { certificate, key }) = proved else { panic!("{proved:?}") };
    (cluster.epoch, cluster.public_key) = (1, key.public_key.0);
    cluster.certificate = Some(certificate);
    cluster.assert_signed(&cluster.sign(&[2, 3], [4; 32]).await, [4; 32]);
}

#[tokio::test]
async fn a_refresh_that_one_party_never_finished_does_not_stand_in_the_way_of_the_next() {
    // The last messages to party 3 are lost, and so is its word that it has ended.
    let is_lost = Arc::new(AtomicBool::new(false));
    let for_router = Arc::clone(&is_lost);
    let router = hostile(move |from, to, frame, sent| {
        let last = matches!(frame, Frame::Envelope(envelope) if to == 3 && envelope.header.round == LAST_REFRESH_ROUND);
        let end = matches!(frame, Frame::Abort(_)) && from == 3;
        if (last || end) && for_router.load(Ordering::Relaxed) { vec![] } else { vec![sent] }
    });
    let mut cluster = Cluster::over(router, vec![load("dkls23").await]).await;
    cluster.keygen().await;
    is_lost.store(true, Ordering::Relaxed);
    let mut plan = cluster.plan(Operation::Refresh, &[1, 2, 3]);
    plan.deadline = cluster.clock.millis() + Duration::from_millis(8_000);
    let ended = cluster.run(&plan).await;
    let [
        Ok(Outcome::Promised { .. }),
        Ok(Outcome::Promised { .. }),
        Ok(Outcome::Aborted { notice: Some(notice), .. }),
    ] = ended.as_slice()
    else {
        panic!("{ended:?}")
    };
    is_lost.store(false, Ordering::Relaxed);
    // The old shares still sign, but no party can refresh.
    cluster.assert_signed(&cluster.sign(&[1, 2], [8; 32]).await, [8; 32]);
    let mut again = cluster.plan(Operation::Refresh, &[1, 2, 3]);
    again.deadline = cluster.clock.millis() + Duration::from_millis(2_000);
    assert!(matches!(run(&cluster.parties[0], again).await, Err(PlanRefusal::Locked)));
    cluster.aborts.push(notice.clone());
    assert_eq!(cluster.activate(Operation::Refresh).await.activation.epoch, 2);
    cluster.assert_signed(&cluster.sign(&[1, 3], [9; 32]).await, [9; 32]);
}

/// The round of DKLs23's refresh after whose messages a party is done.
const LAST_REFRESH_ROUND: u16 = 3;

#[tokio::test]
async fn a_word_that_nothing_was_promised_frees_those_who_have_promised_in_vain() {
    // No promise reaches another party.
    let router = hostile(|_, _, frame, sent| if is_about_promises(frame) { vec![] } else { vec![sent] });
    let mut cluster = Cluster::over(router, vec![load("dkls23").await]).await;
    let (plan, outcomes) = interrupted_keygen(&cluster).await;
    assert!(outcomes.iter().all(|o| matches!(o, Outcome::Promised { .. })));
    let locked = |cluster: &Cluster| {
        let party = Arc::clone(&cluster.parties[0]);
        let plan = cluster.plan(Operation::Keygen, &[1, 2, 3]);
        async move { run(&party, plan).await }
    };
    let before = locked(&cluster).await;
    assert!(matches!(before, Err(PlanRefusal::Refused(Refused::Share(_)))), "{before:?}");
    let notice = |index: u16, key: &[u8; 32]| {
        let by = PartyIndex::try_from(index).unwrap();
        let code = AbortCode::Unavailable;
        AbortNotice { plan: plan.hash(), by, code }.sign(&SecretKey::from_seed(key))
    };
    let stranger = random32();
    for (abort, frees) in [
        (notice(3, &stranger), false),
        (notice(1, &cluster.seeds[0]), false),
        (notice(3, &cluster.seeds[2]), true),
    ] {
        cluster.aborts = vec![abort];
        let _ = locked(&cluster).await;
        assert_eq!(locks(&cluster.file(0)).await == 0, frees);
    }
}

#[tokio::test]
async fn a_router_that_loses_doubles_and_changes_frames_costs_time_and_nothing_else() {
    let is_good = Arc::new(AtomicBool::new(true));
    let for_router = Arc::clone(&is_good);
    let router = hostile(move |_, _, _, sent| {
        if for_router.load(Ordering::Relaxed) {
            return vec![sent];
        }
        let mut changed = sent.clone();
        let mut bytes = changed.frame.to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        changed.frame = bytes.into();
        match random32()[0] % 5 {
            0 => vec![],
            1 => vec![changed],
            _ => vec![changed, sent.clone(), sent],
        }
    });
    let mut cluster = Cluster::over(router, vec![load("dkls23").await]).await;
    // A keygen has many frames: it would wait for them to be sent again many times.
    cluster.keygen().await;
    is_good.store(false, Ordering::Relaxed);
    cluster.assert_signed(&cluster.sign(&[1, 3], [5; 32]).await, [5; 32]);
}

#[tokio::test]
async fn a_party_that_was_set_back_is_refused_by_its_peers() {
    let mut cluster = Cluster::new(vec![load("dkls23").await]).await;
    cluster.keygen().await;
    let backup = cluster.backup(0).await;
    // Something that raises its counter, and a session in which its peer hears of it.
    let elsewhere = BannedParty { account: AccountId([1; 16]), share_set: None, party: PartyIndex::FIRST };
    let decided_in = DecidedIn { session: SessionId([9; 32]), plan: PlanHash([9; 32]) };
    cluster.store(0).await.ban(&[elsewhere], decided_in).await.unwrap();
    cluster.assert_signed(&cluster.sign(&[1, 2], [6; 32]).await, [6; 32]);
    cluster.restore(0, &backup).await;
    // Hellos may overtake each other for a while; after that they are refused.
    cluster.clock.0.fetch_add(130_000, Ordering::Relaxed);
    let mut plan = cluster.plan(signing([7; 32]), &[1, 2]);
    plan.deadline = cluster.clock.millis() + Duration::from_millis(5_000);
    let ended = cluster.run(&plan).await;
    let Ok(Outcome::Aborted { code, culprits, reason, .. }) = &ended[1] else { panic!("{ended:?}") };
    assert_eq!((*code, culprits.len()), (AbortCode::PeerFault, 1), "{reason}");
    assert!(reason.contains("party 1 was set back"), "{reason}");
    // It has learned of it, and works with nobody any more: not with who never heard of the later state either, nor after a
    // restart.
    for restart in [false, true] {
        if restart {
            cluster.parties[0] = cluster.start(0).await;
        }
        let stopped = run(&cluster.parties[0], cluster.plan(signing([8; 32]), &[1, 3])).await;
        assert!(matches!(stopped, Err(PlanRefusal::SetBack)), "{stopped:?}");
    }
    let own = cluster.keys()[0];
    // Its operator accepts it with the bans of all other parties.
    let [second, third] = [1, 2].map(|peer| Arc::clone(&cluster.parties[peer]));
    let [second, third] = [second.export_bans(own).await.unwrap(), third.export_bans(own).await.unwrap()];
    let (second, third) = (encode(&second), encode(&third));
    let accept = async |exports: &[Vec<u8>]| cluster.parties[0].accept_set_back(exports, &[]).await;
    for some in [vec![], vec![second.clone()], vec![third.clone(), third.clone()]] {
        assert!(matches!(accept(&some).await, Err(ReadmitRefused::Missing(_))));
    }
    let both = [second, third];
    assert!(accept(&both).await.unwrap() && !accept(&both).await.unwrap());
    // Its peers hold it against the party, until their operators decide too. What was accepted is no news.
    for (peer, digest) in [(2, [8; 32]), (3, [9; 32])] {
        let mut plan = cluster.plan(signing(digest), &[1, peer]);
        plan.deadline = cluster.clock.millis() + Duration::from_millis(5_000);
        let ended = cluster.run(&plan).await;
        assert!(matches!(ended[1], Ok(Outcome::Aborted { code: AbortCode::PeerFault, .. })), "{ended:?}");
        assert!(cluster.parties[usize::from(peer) - 1].readmit(own).await.unwrap());
        cluster.assert_signed(&cluster.sign(&[1, peer], digest).await, digest);
    }
}

/// Two processes with one identity would each keep half of what the party must remember.
#[tokio::test]
async fn a_process_with_the_same_identity_and_another_database_is_refused_by_its_peers() {
    let mut cluster = Cluster::new(vec![load("dkls23").await]).await;
    cluster.keygen().await;
    // A copy of the first one's database, under another id.
    let copy = cluster.backup(0).await;
    let store = cluster.store_in(0, &copy).await;
    let database =
        store.admission_facts(OrderId([0; 32]), ACCOUNT, PlanHash([0; 32])).await.unwrap().database;
    store.note_once_counter(1_000, database).await.unwrap();
    assert!(store.accept_set_back().await.unwrap());
    let second = cluster.start_on(0, store).await;
    let first = std::mem::replace(&mut cluster.parties[0], second);
    let mut plan = cluster.plan(signing([7; 32]), &[1, 2]);
    plan.deadline = cluster.clock.millis() + Duration::from_millis(5_000);
    let ended = cluster.run(&plan).await;
    let Ok(Outcome::Aborted { code, culprits, reason, .. }) = &ended[1] else { panic!("{ended:?}") };
    assert_eq!((*code, culprits.as_slice()), (AbortCode::PeerFault, &[PartyIndex::FIRST][..]), "{reason}");
    assert!(reason.contains("party 1 has another database"), "{reason}");
    // The first process goes on, until the operator of a peer decides for the second.
    let second = std::mem::replace(&mut cluster.parties[0], first);
    cluster.assert_signed(&cluster.sign(&[1, 2], [8; 32]).await, [8; 32]);
    assert!(cluster.parties[1].readmit(cluster.keys()[0]).await.unwrap());
    cluster.parties[0] = second;
    cluster.assert_signed(&cluster.sign(&[1, 2], [9; 32]).await, [9; 32]);
}

/// The clocks of a whole deployment jump two days ahead, and are set right again.
#[tokio::test]
async fn after_a_jump_of_the_clocks_no_order_counts_as_new_that_was_seen_before() {
    let mut cluster = Cluster::new(vec![load("dkls23").await]).await;
    cluster.keygen().await;
    let seen = cluster.plan(signing([6; 32]), &[1, 2]);
    assert!(cluster.run(&seen).await.iter().all(Result::is_ok));
    let two_days = 2 * 86_400_000;
    cluster.clock.0.fetch_add(two_days, Ordering::Relaxed);
    cluster.assert_signed(&cluster.sign(&[1, 2], [7; 32]).await, [7; 32]);
    for index in 0..3 {
        // The order from before has expired two days ago by now, and its id is forgotten.
        cluster.store(index).await.forget_expired().await.unwrap();
    }
    cluster.clock.0.fetch_sub(two_days, Ordering::Relaxed);
    let refused = |ended: &[Result<Outcome, PlanRefusal>], refused: fn(&Refused) -> bool| {
        ended.iter().all(|ended| matches!(ended, Err(PlanRefusal::Refused(why)) if refused(why)))
    };
    let ended = cluster.run(&cluster.plan(signing([8; 32]), &[1, 2])).await;
    assert!(refused(&ended, |why| *why == Refused::ClockWentBack), "{ended:?}");
    for party in &cluster.parties[..2] {
        assert!(party.set_time_back().await.unwrap() && !party.set_time_back().await.unwrap());
    }
    let again = Plan { nonce: random32(), ..seen };
    for plan in [again, cluster.plan(signing([9; 32]), &[1, 2])] {
        let ended = cluster.run(&plan).await;
        assert!(refused(&ended, |why| matches!(why, Refused::ClockSetBack(_))), "{ended:?}");
    }
    cluster.clock.0.fetch_add(661_000, Ordering::Relaxed);
    cluster.assert_signed(&cluster.sign(&[1, 2], [5; 32]).await, [5; 32]);
}

/// A consistent copy of a party's database.
async fn locks(file: &std::path::Path) -> i64 {
    count(file, "SELECT count(*) FROM locks").await
}
