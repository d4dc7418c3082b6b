//! The memory of components: a session takes it before it is claimed.

use std::time::Duration;

use quorate_core::Threshold;
use quorate_party::PlanRefusal;
use quorate_runtime::{Grants, Runtime, RuntimeConfig, SessionNeed};
use quorate_tests::components;
use quorate_tests::sandbox_tasks::{keygen, load, sign};

use super::cluster::{ACCOUNT, Cluster, run, signing};

#[tokio::test]
async fn a_session_that_finds_no_memory_is_not_claimed_and_another_one_signs_later() {
    let measured = load("dkls23").await;
    let need = |task| measured.need(&task, Threshold::new(2, 3).unwrap()).unwrap().memory_bytes;
    // For a keygen of the three parties, which share a process here, in the half that keygens may have.
    let memory_bytes = 6 * need(keygen()).next_multiple_of(64 << 10);
    let runtime = Runtime::new(RuntimeConfig { memory_bytes, ..RuntimeConfig::default() }).unwrap();
    let plugin = runtime.load(&components::bytes("dkls23"), &Grants::default()).await.unwrap();
    let mut cluster = Cluster::new(vec![plugin.clone()]).await;
    cluster.keygen().await;

    // All but a little less than a signing needs.
    let held = SessionNeed {
        signs: true,
        message_bytes: 0,
        message_parts: 1,
        memory_bytes: memory_bytes - need(sign([1; 32])) + (64 << 10),
    };
    let held = plugin.take_memory(held).await.unwrap();
    let mut plan = cluster.plan(signing([1; 32]), &[1, 2]);
    plan.deadline = cluster.clock_millis() + Duration::from_secs(1);
    let refusal = run(&cluster.parties[0], plan.clone()).await.unwrap_err();
    assert!(matches!(refusal, PlanRefusal::NoMemory(_)), "{refusal}");
    let store = cluster.store(0).await;
    let order = plan.order.read(&[cluster.originator.public()]).unwrap();
    let facts = store.admission_facts(order.id, ACCOUNT, plan.hash()).await.unwrap();
    assert_eq!((facts.claimed, facts.sessions_of_order), (false, 0), "what was refused counts");
    drop(held);
    cluster.sign(&[1, 2], [2; 32]).await;
}
