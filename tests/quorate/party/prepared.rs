//! Nonces that parties make ahead of time: used once, by the processes that made them, for the key and the signers that they were made
//! with.

use ed25519_dalek::{Signature as Ed25519, VerifyingKey};
use quorate_core::admission::Refused;
use quorate_core::codec::Bytes;
use quorate_core::order::{HashFunction, Operation, SignItem, SignItems};
use quorate_core::plan::Plan;
use quorate_core::report::Outcome;
use quorate_core::{ExecutionId, PoolId, PreparedId};
use quorate_party::{PlanRefusal, recovery};
use quorate_tests::sandbox_tasks::load;

use super::cluster::{Cluster, count};

/// What two parties have made.
struct Stock {
    execution: ExecutionId,
    pools: Vec<PoolId>,
}

async fn with_key() -> Cluster {
    let mut cluster = Cluster::new(vec![load("frost-ed25519").await]).await;
    cluster.keygen().await;
    cluster
}

async fn prepare(cluster: &Cluster, signers: &[u16], at_most: u16) -> Stock {
    let ended = cluster.run(&cluster.plan(Operation::Presign { at_most }, signers)).await;
    let made: Vec<(ExecutionId, PoolId)> = ended
        .into_iter()
        .map(|ended| match ended {
            Ok(Outcome::Prepared { execution, pool, count }) if count == at_most => (execution, pool),
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(made.windows(2).all(|pair| pair[0].0 == pair[1].0), "{made:?}");
    Stock { execution: made[0].0, pools: made.into_iter().map(|(_, pool)| pool).collect() }
}

fn item(message: &[u8]) -> SignItem {
    SignItem {
        message: Bytes(message.to_vec()),
        hash: HashFunction::None,
        path: vec![],
        merkle_root: None,
        presignatures: true,
    }
}

/// A plan to sign messages with the material of these numbers.
fn plan(cluster: &Cluster, signers: &[u16], stock: &Stock, messages: &[&[u8]], numbers: &[u16]) -> Plan {
    let items = messages.iter().map(|message| item(message)).collect();
    let operation = Operation::Sign(SignItems::new(items).unwrap());
    Plan {
        pools: stock.pools.clone(),
        prepared: numbers.iter().map(|&number| Some(PreparedId::of(&stock.execution, number))).collect(),
        ..cluster.plan(operation, signers)
    }
}

async fn assert_signs(cluster: &Cluster, plan: &Plan, messages: &[&[u8]]) {
    let key = VerifyingKey::from_bytes(cluster.public_key.as_slice().try_into().unwrap()).unwrap();
    for ended in cluster.run(plan).await {
        let Ok(Outcome::Signed(signatures)) = ended else { panic!("{ended:?}") };
        assert_eq!(signatures.len(), messages.len());
        for (signature, message) in signatures.iter().zip(messages) {
            key.verify_strict(message, &Ed25519::from_bytes(&signature.bytes)).unwrap();
        }
    }
}

/// Every signer refuses the plan before it claims it.
async fn assert_refused(cluster: &Cluster, plan: &Plan, why: &str) {
    for ended in cluster.run(plan).await {
        let Err(PlanRefusal::Refused(Refused::Presignatures(_) | Refused::NoPresignatures(_))) = ended else {
            panic!("{why}: {ended:?}")
        };
    }
}

#[tokio::test]
async fn prepared_nonces_sign_once_and_never_two_messages() {
    let cluster = with_key().await;
    let stock = prepare(&cluster, &[1, 2], 4).await;
    let rows = "SELECT count(*) FROM pool";
    assert_eq!(count(&cluster.file(0), rows).await, 4);
    let one = plan(&cluster, &[1, 2], &stock, &[b"a message"], &[0]);
    assert_signs(&cluster, &one, &[b"a message"]).await;
    let two = plan(&cluster, &[1, 2], &stock, &[b"one", b"another"], &[1, 2]);
    assert_signs(&cluster, &two, &[b"one", b"another"]).await;
    assert_eq!((count(&cluster.file(0), rows).await, count(&cluster.file(1), rows).await), (1, 1));

    let again = plan(&cluster, &[1, 2], &stock, &[b"another message"], &[0]);
    assert_refused(&cluster, &again, "a second message").await;
    let twice = plan(&cluster, &[1, 2], &stock, &[b"one", b"two"], &[3, 3]);
    assert_refused(&cluster, &twice, "two messages of one batch").await;
    let none = plan(&cluster, &[1, 2], &stock, &[b"message"], &[9]);
    assert_refused(&cluster, &none, "there is none of this number").await;
    // Two orders at once: at most one has the nonces.
    let (a, b) =
        (plan(&cluster, &[1, 2], &stock, &[b"a"], &[3]), plan(&cluster, &[1, 2], &stock, &[b"b"], &[3]));
    let (a, b) = tokio::join!(cluster.run(&a), cluster.run(&b));
    let signed = |ended: &[Result<Outcome, PlanRefusal>]| {
        ended.iter().filter(|ended| matches!(ended, Ok(Outcome::Signed(_)))).count()
    };
    assert!(signed(&a) == 0 || signed(&b) == 0, "two messages were signed with one pair: {a:?} {b:?}");
    assert_eq!(count(&cluster.file(0), rows).await, 0);
}

#[tokio::test]
async fn prepared_nonces_die_with_their_process_their_share_set_and_for_other_signers() {
    let mut cluster = with_key().await;
    let stock = prepare(&cluster, &[1, 2], 2).await;
    let other_signers = Stock { pools: stock.pools.clone(), ..stock };
    assert_refused(&cluster, &plan(&cluster, &[1, 3], &other_signers, &[b"m"], &[0]), "other signers").await;
    let swapped = Stock { pools: stock.pools.iter().rev().copied().collect(), ..stock };
    assert_refused(&cluster, &plan(&cluster, &[1, 2], &swapped, &[b"m"], &[0]), "other pools").await;

    // A process that starts anew has no key to what its predecessor has left.
    cluster.parties[0] = cluster.start(0).await;
    recovery::recover(&cluster.parties[0]).await.unwrap();
    assert_eq!(count(&cluster.file(0), "SELECT count(*) FROM pool").await, 0);
    let plan_of_before = plan(&cluster, &[1, 2], &stock, &[b"m"], &[0]);
    let refused = super::cluster::run(&cluster.parties[0], plan_of_before).await;
    assert!(matches!(refused, Err(PlanRefusal::Refused(Refused::NoPresignatures(_)))), "{refused:?}");

    let stock = prepare(&cluster, &[1, 2], 2).await;
    cluster.activate(Operation::Refresh).await;
    assert_refused(&cluster, &plan(&cluster, &[1, 2], &stock, &[b"m"], &[0]), "new shares").await;
    for party in [0, 1] {
        assert_eq!(count(&cluster.file(party), "SELECT count(*) FROM pool").await, 0);
    }
    let stock = prepare(&cluster, &[1, 2], 1).await;
    assert_signs(&cluster, &plan(&cluster, &[1, 2], &stock, &[b"m"], &[0]), &[b"m"]).await;
}

#[tokio::test]
async fn a_presign_order_is_refused_for_a_plugin_that_does_not_presign() {
    let mut cluster = Cluster::new(vec![load("dkls23").await]).await;
    cluster.keygen().await;
    for ended in cluster.run(&cluster.plan(Operation::Presign { at_most: 1 }, &[1, 2])).await {
        assert!(matches!(ended, Err(PlanRefusal::Refused(Refused::Plugin(_)))), "{ended:?}");
    }
}
