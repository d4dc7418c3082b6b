//! Share sets of one account beside each other: which one counts, and when the others are erased.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quorate_core::PartyIndex;
use quorate_core::abort::{AbortCode, AbortNotice, SignedAbort};
use quorate_core::acknowledgement::{Acknowledgement, ErasureCertificate};
use quorate_core::certificate::{Certificate, Ready};
use quorate_core::identity::SecretKey;
use quorate_core::order::Operation;
use quorate_core::plan::Plan;
use quorate_core::report::Outcome;
use quorate_core::session::Frame;
use quorate_tests::hostile_router::{honest, hostile};
use quorate_tests::sandbox_tasks::load;

use super::cluster::{ACCOUNT, Cluster, count, run, signing};
use super::sessions::is_about_promises;

async fn retired_shares(cluster: &Cluster, index: usize) -> i64 {
    count(&cluster.file(index), "SELECT count(*) FROM shares WHERE state = 'retired'").await
}

async fn acknowledgements(cluster: &Cluster, index: usize) -> i64 {
    let query = "SELECT count(*) FROM acknowledgements JOIN shares USING (plan) WHERE state = 'active'";
    count(&cluster.file(index), query).await
}

/// The word of all parties that the share set of a certificate is active.
fn erasure(cluster: &Cluster, certificate: &Certificate) -> ErasureCertificate {
    let plan = certificate.activation.plan;
    let words: Vec<Acknowledgement> = PartyIndex::all(3)
        .zip(&cluster.seeds)
        .map(|(by, seed)| Acknowledgement::sign(plan, by, &SecretKey::from_seed(seed)))
        .collect();
    ErasureCertificate::of(plan, &words, &cluster.keys()).unwrap()
}

#[tokio::test]
async fn old_shares_are_erased_when_all_parties_have_said_that_they_have_the_new_ones_and_an_order_names_them()
 {
    // The word of party 3 is lost.
    let router = hostile(move |from, _, frame, sent| {
        let is_word = matches!(frame, Frame::Acknowledgement(_)) && from == 3;
        if is_word { vec![] } else { vec![sent] }
    });
    let mut cluster = Cluster::over(router, vec![load("dkls23").await]).await;
    cluster.keygen().await;
    let refreshed = cluster.activate(Operation::Refresh).await;
    let heard = async {
        while acknowledgements(&cluster, 2).await < 2 || acknowledgements(&cluster, 0).await < 1 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), heard).await.expect("no acknowledgement was kept");
    for index in 0..3 {
        assert_eq!(
            retired_shares(&cluster, index).await,
            1,
            "party {} has erased without an order",
            index + 1
        );
    }
    cluster.assert_signed(&cluster.sign(&[1, 3], [1; 32]).await, [1; 32]);
    assert_eq!(retired_shares(&cluster, 0).await, 1, "party 1 has erased without the word of party 3");
    // Party 3 itself has heard from all.
    assert_eq!(retired_shares(&cluster, 2).await, 0);
    // What a plan carries counts if it is the word of all, of the share set that the order names.
    let genuine = erasure(&cluster, &refreshed);
    let mut other = refreshed.clone();
    other.activation.plan.0[0] ^= 1;
    let other = erasure(&cluster, &other);
    let carrying = |erasure| Plan { erasure: Some(erasure), ..cluster.plan(signing([2; 32]), &[1, 2]) };
    for (erasure, left) in [(other, 1), (genuine, 0)] {
        for ended in cluster.run(&carrying(erasure)).await {
            assert!(matches!(ended, Ok(Outcome::Signed(_))), "{ended:?}");
        }
        for index in 0..2 {
            assert_eq!(retired_shares(&cluster, index).await, left);
        }
    }
}

/// A refresh whose promises reach nobody: all parties have promised.
async fn promised_refresh(cluster: &Cluster) -> Certificate {
    let mut plan = cluster.plan(Operation::Refresh, &[1, 2, 3]);
    plan.deadline = cluster.clock_millis() + Duration::from_millis(8_000);
    let promised = cluster.run(&plan).await.into_iter().map(|ended| match ended {
        Ok(Outcome::Promised { ready, .. }) => ready,
        other => panic!("{other:?}"),
    });
    let readies: Vec<Ready> = promised.collect();
    Certificate::of(&readies, &cluster.keys()).unwrap()
}

fn denial(cluster: &Cluster, of: &Certificate, by: usize) -> SignedAbort {
    let party = PartyIndex::all(3).nth(by).unwrap();
    let notice = AbortNotice { plan: of.activation.plan, by: party, code: AbortCode::Timeout };
    notice.sign(&SecretKey::from_seed(&cluster.seeds[by]))
}

/// Party 3 promises a share set, and tells the others that it never did. They promise another one, and both sets get a
/// certificate. Party 1 hears of the second, party 2 of the first.
#[tokio::test]
async fn of_two_share_sets_the_one_that_orders_name_is_active_everywhere_and_the_liar_is_known() {
    let is_lost = Arc::new(AtomicBool::new(false));
    let for_router = Arc::clone(&is_lost);
    let router = hostile(move |_, _, frame, sent| {
        if is_about_promises(frame) && for_router.load(Ordering::Relaxed) { vec![] } else { vec![sent] }
    });
    let mut cluster = Cluster::over(router, vec![load("dkls23").await]).await;
    cluster.keygen().await;
    is_lost.store(true, Ordering::Relaxed);
    let first = promised_refresh(&cluster).await;
    cluster.aborts = vec![denial(&cluster, &first, 2)];
    cluster.parties[2].unlock(ACCOUNT).await.unwrap();
    let second = promised_refresh(&cluster).await;
    assert_eq!((first.activation.epoch, second.activation.epoch), (2, 2));
    // Everybody has promised both, and no party has activated one. A plan that carries a certificate makes it active although
    // its order is about the shares of before.
    let carries = |certificate: &Certificate| Plan {
        certificate: Some(certificate.clone()),
        ..cluster.plan(signing([1; 32]), &[1, 2])
    };
    let stale =
        [(0, &second), (1, &first)].map(|(party, made)| (Arc::clone(&cluster.parties[party]), carries(made)));
    for (party, plan) in stale {
        run(&party, plan).await.unwrap_err();
    }
    // The account service has chosen the first.
    (cluster.epoch, cluster.certificate) = (2, Some(first.clone()));
    for signers in [[1, 2], [1, 3], [2, 3]] {
        cluster.assert_signed(&cluster.sign(&signers, [2; 32]).await, [2; 32]);
    }
    for index in 0..3 {
        let retired = retired_shares(&cluster, index).await;
        assert_eq!(retired, 2, "party {} has erased what another party may need", index + 1);
    }
    for index in 0..2 {
        let lies = count(&cluster.file(index), "SELECT count(*) FROM contradictions WHERE party = 3").await;
        assert!(lies >= 1, "party 3 has contradicted itself, and party {} keeps no proof", index + 1);
    }
    let all = Plan { erasure: Some(erasure(&cluster, &first)), ..cluster.plan(signing([3; 32]), &[1, 2]) };
    assert!(cluster.run(&all).await.iter().all(Result::is_ok));
    assert_eq!((retired_shares(&cluster, 0).await, retired_shares(&cluster, 1).await), (0, 0));
    cluster.assert_signed(&cluster.sign(&[1, 2], [4; 32]).await, [4; 32]);
}

/// The same lie about a keygen: the others make no second key of the account.
#[tokio::test]
async fn an_account_gets_no_second_key_while_the_first_may_still_be_completed() {
    let mut cluster = Cluster::over(honest(), vec![load("dkls23").await]).await;
    let lost = hostile(|_, _, frame, sent| if is_about_promises(frame) { vec![] } else { vec![sent] });
    let honest = std::mem::replace(&mut cluster.router, lost);
    for index in 0..3 {
        cluster.parties[index] = cluster.start(index).await;
    }
    let mut plan = cluster.plan(Operation::Keygen, &[1, 2, 3]);
    plan.deadline = cluster.clock_millis() + Duration::from_millis(10_000);
    let ended = cluster.run(&plan).await;
    let readies: Vec<Ready> = ended
        .iter()
        .filter_map(|ended| match ended {
            Ok(Outcome::Promised { ready, .. }) => Some(ready.clone()),
            _ => None,
        })
        .collect();
    let certificate = Certificate::of(&readies, &cluster.keys()).unwrap();
    cluster.router = honest;
    for index in 0..3 {
        cluster.parties[index] = cluster.start(index).await;
    }
    cluster.aborts = vec![denial(&cluster, &certificate, 2)];
    for order in [plan.order.clone(), cluster.plan(Operation::Keygen, &[1, 2, 3]).order] {
        let again = Plan { order, ..cluster.plan(Operation::Keygen, &[1, 2, 3]) };
        for ended in cluster.run(&again).await {
            assert!(ended.is_err(), "{ended:?}");
        }
    }
    let Some(Ok(Outcome::Promised { key, .. })) = ended.first() else { panic!("{ended:?}") };
    (cluster.epoch, cluster.public_key) = (1, key.public_key.0.clone());
    cluster.certificate = Some(certificate);
    cluster.assert_signed(&cluster.sign(&[1, 2], [5; 32]).await, [5; 32]);
}
