//! What every store promises of permits.

use std::time::Duration;

use quorate_core::identity::PublicKey;

use super::*;
use crate::ClaimOutcome;
use crate::conformance::{ACCOUNT, claim};

const PEER: RepairedParty = RepairedParty { former: PublicKey([4; 32]), identity: PublicKey([5; 32]) };
const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
const LATER: UnixSeconds = UnixSeconds(1_800_000_100);

fn repair(session: u8, account: AccountId) -> Claim {
    Claim { account, repaired: vec![PEER], ..claim(session, session, true) }
}

pub(crate) async fn a_repair_is_permitted_by_the_operator_once_for_each_account(store: &PartyStore) {
    let other = AccountId([9; 16]);
    let repairable = async |account, now| store.repairable(account, now).await.unwrap();
    let is_claimed = async |claim: Claim| {
        let outcome = store.claim(&claim).await.unwrap();
        store.abort(claim.plan).await.ok();
        matches!(outcome, ClaimOutcome::Claimed { .. })
    };
    assert!(!is_claimed(repair(1, ACCOUNT)).await, "nothing was permitted");
    store.permit_repair(PEER, Some(ACCOUNT), LATER).await.unwrap();
    assert_eq!(repairable(ACCOUNT, NOW).await, [PEER]);
    assert_eq!(repairable(other, NOW).await, []);
    assert_eq!(repairable(ACCOUNT, LATER).await, [], "a permit ends");
    let counter = store.state().await.unwrap().counter;
    assert!(is_claimed(repair(2, ACCOUNT)).await);
    assert!(store.state().await.unwrap().counter > counter, "a use is a consumption");
    assert!(!is_claimed(repair(3, ACCOUNT)).await, "a permit was used twice");
    // A permit for the whole party serves for each account once.
    store.permit_repair(PEER, None, LATER).await.unwrap();
    for account in [ACCOUNT, other] {
        let number = account.as_bytes()[0] * 10;
        assert!(is_claimed(repair(number, account)).await);
        assert!(!is_claimed(repair(number + 1, account)).await);
    }
    // One of another party, or of another time, is none.
    for other in [
        RepairedParty { identity: PublicKey([6; 32]), ..PEER },
        RepairedParty { former: PEER.identity, ..PEER },
    ] {
        store.permit_repair(other, None, LATER).await.unwrap();
    }
    store.permit_repair(PEER, None, NOW).await.unwrap();
    assert!(!is_claimed(repair(40, ACCOUNT)).await);
    let late = Claim { now: NOW + Duration::from_secs(50), ..repair(41, ACCOUNT) };
    store.permit_repair(PEER, Some(ACCOUNT), NOW + Duration::from_secs(50)).await.unwrap();
    assert!(!is_claimed(late).await);
    // Another program has made a permit, or has forgotten that one was used.
    let forgotten = sql("DELETE FROM used_permits WHERE account = $1").bind(other.as_bytes());
    forgotten.execute(&store.database).await.unwrap();
    assert!(matches!(store.repairable(other, NOW).await, Err(StoreError::Altered(_))));
    sql("UPDATE repair_permits SET account = $1")
        .bind(Vec::<u8>::new())
        .execute(&store.database)
        .await
        .unwrap();
    assert!(matches!(store.repairable(ACCOUNT, NOW).await, Err(StoreError::Altered(_))));
}
