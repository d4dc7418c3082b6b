//! API keys: each kind opens its own door, and processes that check keys hold their hashes only.

use quorate_tests::embedded::{Caller, KEY, OPERATOR_KEY, SHARES_KEY, send};
use quorate_tests::fleet::{Fleet, FleetSetup, Member, hash_of};
use reqwest::Method;

const NEXT_KEY: &str = "the key that takes its place";

#[tokio::test]
async fn each_kind_of_key_opens_its_own_door_and_a_hash_opens_none() {
    // A rotation: the old key and the new one are valid at once.
    let both = format!("{},{}", hash_of(KEY), hash_of(NEXT_KEY));
    let setup = FleetSetup {
        own_settings: vec![(Member::Account(0), "MPC_API_KEY_SHA256".into(), both)],
        // Many keys are tried here.
        settings: vec![("QUORATE_FAILED_KEYS_PER_MINUTE".into(), "0".into())],
        ..FleetSetup::small()
    };
    let fleet = Fleet::start(setup).await;
    let doors = [
        (Member::Account(0), "/api/v1/accounts/none", vec![KEY, NEXT_KEY]),
        (Member::PartyApi(0), "/api/v1/shares/key", vec![SHARES_KEY]),
        (Member::Coordinator(0), "/api/v1/parties", vec![OPERATOR_KEY]),
    ];
    let members = fleet.members();
    for (door, path, own) in &doors {
        let caller = Caller::new(fleet.address(*door));
        let opens = async |key: &str| {
            send(caller.bare(Method::GET, path).header("X-API-Key", key)).await.status != 401
        };
        for key in [KEY, NEXT_KEY, SHARES_KEY, OPERATOR_KEY] {
            assert_eq!(opens(key).await, own.contains(&key), "{door:?}: {key}");
        }
        assert_eq!(send(caller.bare(Method::GET, path)).await.status, 401, "{door:?}: no key");
        // Whatever a process was given: what it holds, it could present.
        for member in &members {
            let command = fleet.command(*member);
            for value in command.get_envs().filter_map(|(_, value)| value?.to_str()) {
                for part in value.split(',').chain([value]) {
                    assert!(!opens(part).await, "{member:?} holds a key of {door:?}");
                }
            }
        }
    }
}
