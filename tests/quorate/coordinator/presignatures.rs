//! Presignatures that parties report: a coordinator names each in one plan, and goes on without them where they are gone.

use bitcoin::hashes::{Hash, sha256};
use quorate_core::codec::Bytes;
use quorate_core::order::{HashFunction, Operation, SignItem, SignItems};
use quorate_core::report::{Outcome, RefusedCode};
use quorate_core::{ExecutionId, PoolId, PreparedId};

use super::scripted::{POOL, ScriptedParties, answer};

const EXECUTION: ExecutionId = ExecutionId([6; 32]);
const KNOWN: &[u8] = b"a message that the parties hash";

fn item(presignatures: bool) -> SignItem {
    let message = Bytes(KNOWN.to_vec());
    SignItem { message, hash: HashFunction::Sha256, path: vec![], merkle_root: None, presignatures }
}

fn signing(items: &[SignItem]) -> Operation {
    Operation::Sign(SignItems::new(items.to_vec()).unwrap())
}

fn ids(numbers: std::ops::Range<u16>) -> Vec<Option<PreparedId>> {
    numbers.map(|number| Some(PreparedId::of(&EXECUTION, number))).collect()
}

async fn presign(scripted: &mut ScriptedParties, pool: PoolId) {
    let events = scripted.submit_to(Operation::Presign { at_most: 4 }).await;
    let plan = scripted.plan().await;
    for party in 1..=2 {
        let prepared = Outcome::Prepared { execution: EXECUTION, pool, count: 4 };
        scripted.report(party, &plan, prepared).await;
    }
    assert_eq!(answer(events).await.failure_code, None);
}

/// Has an order for these items carried out, and gives the presignatures that its plan names.
async fn sign(scripted: &mut ScriptedParties, items: &[SignItem]) -> Vec<Option<PreparedId>> {
    let events = scripted.submit_to(signing(items)).await;
    let plan = scripted.plan().await;
    let digest = sha256::Hash::hash(KNOWN).to_byte_array();
    let signed = scripted.signed_digests(&vec![digest; items.len()]);
    scripted.report(1, &plan, signed.clone()).await;
    scripted.report(2, &plan, signed).await;
    assert_eq!(answer(events).await.failure_code, None);
    assert_eq!(plan.pools, if plan.prepared.is_empty() { vec![] } else { vec![POOL; 2] });
    plan.prepared
}

#[tokio::test]
async fn a_presignature_is_named_in_one_plan_and_only_where_the_order_allows_it() {
    let mut scripted = ScriptedParties::start().await;
    assert!(sign(&mut scripted, &[item(true)]).await.is_empty());
    presign(&mut scripted, POOL).await;
    assert!(sign(&mut scripted, &[item(false)]).await.is_empty());
    assert!(sign(&mut scripted, &[item(true), item(false)]).await.is_empty(), "for all items or none");
    assert_eq!(sign(&mut scripted, &[item(true)]).await, ids(0..1));
    assert_eq!(sign(&mut scripted, &[item(true), item(true)]).await, ids(1..3));
    assert!(sign(&mut scripted, &[item(true), item(true)]).await.is_empty(), "there is only one more");
    assert_eq!(sign(&mut scripted, &[item(true)]).await, ids(3..4));
    assert!(sign(&mut scripted, &[item(true)]).await.is_empty());
}

#[tokio::test]
async fn an_order_goes_on_without_presignatures_that_are_gone() {
    let mut scripted = ScriptedParties::start().await;
    presign(&mut scripted, POOL).await;
    let events = scripted.submit_to(signing(&[item(true)])).await;
    let plan = scripted.plan().await;
    assert_eq!(plan.prepared, ids(0..1));
    let (code, reason) = (RefusedCode::NoRoom, "another process".to_owned());
    scripted.report(2, &plan, Outcome::Refused { culprits: vec![], code, reason, notice: None }).await;
    let plan = scripted.plan().await;
    assert!(plan.prepared.is_empty() && plan.pools.is_empty());
    let signed = scripted.signed_digests(&[sha256::Hash::hash(KNOWN).to_byte_array()]);
    scripted.report(1, &plan, signed.clone()).await;
    scripted.report(2, &plan, signed).await;
    assert_eq!(answer(events).await.failure_code, None);
    assert!(sign(&mut scripted, &[item(true)]).await.is_empty(), "the others are gone too");
    // Of a process that is not there.
    presign(&mut scripted, PoolId([9; 16])).await;
    assert!(sign(&mut scripted, &[item(true)]).await.is_empty());
}
