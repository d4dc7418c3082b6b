//! SHA-256 with the host's instructions: a component hashes only where that is granted, and no more than it may. That it hashes right,
//! each component that hashes finds out when it is loaded.

use quorate_runtime::{Capability, Grants, LoadError, Misbehaviour};
use quorate_tests::components;
use quorate_tests::sandbox_tasks::runtime;

use super::misbehaving_plugins::misbehaviour;

#[tokio::test]
async fn a_component_that_hashes_loads_only_where_that_is_granted() {
    let without = Grants::of(&[Capability::Vault, Capability::Entropy, Capability::Log]);
    let error = runtime().load(&components::bytes("dkls23"), &without).await.unwrap_err();
    assert!(matches!(error, LoadError::NotGranted { .. }) && error.to_string().contains("hash"), "{error}");
    // This one does not hash.
    runtime().load(&components::bytes("imposter"), &without).await.unwrap();
}

#[tokio::test]
async fn a_component_that_hashes_too_much_is_stopped() {
    for name in ["hashes-half-a-block", "hashes-nothing", "hashes-too-much-at-once"] {
        let stopped = misbehaviour(name).await;
        assert!(stopped.to_string().contains("blocks of a hash call"), "{name}: {stopped}");
    }
    assert_eq!(misbehaviour("hashes-without-end").await, Misbehaviour::Quota("hash"));
}
