//! A file that is not a plugin is not loaded, and the error says why.

use quorate_runtime::{Capability, Grants, LoadError};
use quorate_tests::components;

use quorate_tests::sandbox_tasks::runtime;

async fn refused(bytes: &[u8], grants: &Grants) -> LoadError {
    runtime().load(bytes, grants).await.unwrap_err()
}

fn component(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

#[tokio::test]
async fn what_is_not_a_component_is_refused() {
    let module = component("(module)");
    for bytes in [b"".as_slice(), b"not wasm", &module, &components::bytes("dkls23")[..5000]] {
        let error = refused(bytes, &Grants::default()).await;
        assert!(matches!(error, LoadError::NotAComponent { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_component_of_another_world_is_refused() {
    let error = refused(&component("(component)"), &Grants::default()).await;
    assert!(matches!(error, LoadError::WrongWorld { .. }), "{error}");
}

#[tokio::test]
async fn an_unknown_import_is_refused_by_name() {
    let clock = component(
        r#"(component (import "wasi:clocks/monotonic-clock@0.2.0" (instance (export "now" (func (result u64))))))"#,
    );
    let error = refused(&clock, &Grants::all()).await;
    assert!(matches!(error, LoadError::UnknownImport { .. }), "{error}");
    assert!(error.to_string().contains("wasi:clocks/monotonic-clock@0.2.0"), "{error}");
}

#[tokio::test]
async fn a_capability_that_is_not_granted_is_refused_by_name() {
    let error = refused(&components::bytes("dkls23"), &Grants::of(&[Capability::Vault])).await;
    assert!(matches!(error, LoadError::NotGranted { .. }), "{error}");
    assert!(error.to_string().contains("entropy"), "{error}");
}

#[tokio::test]
async fn a_capability_is_granted_to_a_protocol() {
    let bytes = components::bytes("talkative");
    let granted = Grants::default().and_to("talkative", &[Capability::Cache, Capability::Bus]);
    runtime().load(&bytes, &granted).await.unwrap();
    let one = Grants::default().and_to("talkative", &[Capability::Cache]);
    let to_another = Grants::default().and_to("dkls23", &[Capability::Cache, Capability::Bus]);
    for (grants, missing) in [(Grants::default(), "cache"), (one, "bus"), (to_another, "cache")] {
        let error = refused(&bytes, &grants).await;
        assert!(matches!(error, LoadError::NotGranted { .. }), "{error}");
        assert!(error.to_string().contains(&format!("the capability {missing}")), "{error}");
        assert!(error.to_string().contains("QUORATE_PLUGIN_GRANTS"), "{error}");
    }
}

#[tokio::test]
async fn our_plugins_need_no_more_than_the_default_grants() {
    for name in ["dkls23", "frost-ed25519", "frost-secp256k1-tr", "cggmp24", "faulty"] {
        runtime().load(&components::bytes(name), &Grants::default()).await.unwrap();
    }
}
