//! The contract of the pool and of the vault, as tests: see [`conformance`](crate::conformance).

use std::time::Duration;

use quorate_backends::database::{StoreError, sql};
use quorate_core::user_share::ShareEntries;
use quorate_core::{Digest, ExecutionId, GroupId, PartyIndex, PlanHash, PreparedId, UnixMillis};
use zeroize::Zeroizing;

use crate::conformance::{ACCOUNT, certificate, claim, promise};
use crate::{
    Claim, ClaimOutcome, KeptMaterial, MAX_POOLED_PER_QUORUM, MaterialOwner, NewMaterial, PartyStore,
    PoolPurpose,
};

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
const SHARE_SET: PlanHash = PlanHash([1; 32]);

fn purpose() -> PoolPurpose {
    PoolPurpose {
        account: ACCOUNT,
        share_set: SHARE_SET,
        signers: PartyIndex::all(2).collect(),
        share_format: 1,
    }
}

fn id(session: u8, index: u16) -> PreparedId {
    PreparedId::of(&ExecutionId([session; 32]), index)
}

/// Claims a session that writes no share.
async fn claimed(store: &PartyStore, session: u8) -> PlanHash {
    let facts = store.admission_facts(claim(1, 1, false).order, ACCOUNT, PlanHash([0; 32])).await.unwrap();
    let claim = Claim { share_set: facts.share_set, ..claim(session, session, false) };
    assert!(matches!(store.claim(&claim).await.unwrap(), ClaimOutcome::Claimed { .. }));
    claim.plan
}

/// Stocks so many entries, each with its index as its value.
async fn stock_at(
    store: &PartyStore,
    session: u8,
    count: u16,
    purpose: &PoolPurpose,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let plan = claimed(store, session).await;
    let value = |index: u16| Zeroizing::new(index.to_be_bytes().to_vec());
    let entries = (0..count).map(|index| (id(session, index), value(index))).collect();
    store.stock(NewMaterial { plan, purpose, digest: Digest([4; 32]), replica: "a", now, entries }).await
}

async fn stock(store: &PartyStore, session: u8, count: u16) {
    stock_at(store, session, count, &purpose(), NOW).await.unwrap();
}

async fn with_share(store: &PartyStore) {
    promise(store, 1, 1).await;
    store.activate(&certificate(1, 1)).await.unwrap();
}

async fn take(store: &PartyStore, id: PreparedId) -> Option<Vec<u8>> {
    store.take_pooled(&purpose(), id).await.unwrap().map(|value| value.to_vec())
}

async fn counter(store: &PartyStore) -> u64 {
    store.admission_facts(claim(1, 1, false).order, ACCOUNT, PlanHash([0; 32])).await.unwrap().counter
}

/// The rows of the pool, whoever may use them.
async fn rows(store: &PartyStore) -> i64 {
    let row = sql("SELECT count(*) AS entries FROM pool").fetch_one(store.database()).await.unwrap();
    row.get("entries").unwrap()
}

pub(crate) async fn what_is_in_the_pool_is_taken_once(store: &PartyStore) {
    with_share(store).await;
    stock(store, 2, 3).await;
    assert_eq!(store.pooled(&purpose()).await.unwrap().len(), 3);
    let before = counter(store).await;
    assert_eq!(take(store, id(2, 1)).await, Some(vec![0, 1]));
    assert_eq!(take(store, id(2, 1)).await, None);
    assert_eq!((counter(store).await, rows(store).await), (before + 1, 2));
    let left = store.pooled(&purpose()).await.unwrap();
    assert!(left.len() == 2 && !left.contains(&id(2, 1)), "{left:?}");
    // Of those that ask at once, one gets it.
    let (purpose, wanted) = (purpose(), id(2, 2));
    let (a, b, c) = tokio::join!(
        store.take_pooled(&purpose, wanted),
        store.take_pooled(&purpose, wanted),
        store.take_pooled(&purpose, wanted)
    );
    assert_eq!([a, b, c].iter().filter(|taken| matches!(taken, Ok(Some(_)))).count(), 1);
    assert_eq!(take(store, id(7, 0)).await, None, "there was never such an entry");
}

pub(crate) async fn a_row_that_comes_back_opens_nothing(store: &PartyStore) {
    with_share(store).await;
    stock(store, 2, 1).await;
    let keep = "CREATE TABLE backup AS SELECT * FROM pool";
    sql(keep).execute(store.database()).await.unwrap();
    assert_eq!(take(store, id(2, 0)).await, Some(vec![0, 0]));
    sql("INSERT INTO pool SELECT * FROM backup").execute(store.database()).await.unwrap();
    assert_eq!(rows(store).await, 1, "the database was set back");
    assert_eq!(take(store, id(2, 0)).await, None);
    assert_eq!(store.pooled(&purpose()).await.unwrap(), []);
}

pub(crate) async fn an_entry_is_used_for_its_purpose_only(store: &PartyStore) {
    with_share(store).await;
    stock(store, 2, 4).await;
    let others = [
        PoolPurpose { account: quorate_core::AccountId([9; 16]), ..purpose() },
        PoolPurpose { share_set: PlanHash([9; 32]), ..purpose() },
        PoolPurpose { signers: PartyIndex::all(3).collect(), ..purpose() },
        PoolPurpose { share_format: 2, ..purpose() },
    ];
    for (index, other) in (0..).zip(&others) {
        assert_eq!(store.pooled(other).await.unwrap(), [], "{other:?}");
        assert_eq!(store.take_pooled(other, id(2, index)).await.unwrap(), None, "{other:?}");
        // A wrong question uses it up: it is never used for two purposes.
        assert_eq!(take(store, id(2, index)).await, None, "{other:?}");
    }
    // A row that is moved to another purpose, or given the name of another, does not open.
    stock(store, 3, 2).await;
    sql("UPDATE pool SET share_format = 2").execute(store.database()).await.unwrap();
    let moved = PoolPurpose { share_format: 2, ..purpose() };
    let opened = store.take_pooled(&moved, id(3, 0)).await;
    assert!(matches!(opened, Err(StoreError::Sealed("pool"))), "{opened:?}");
    sql("UPDATE pool SET share_format = 1, signers = 7").execute(store.database()).await.unwrap();
    let moved = PoolPurpose { signers: PartyIndex::all(3).collect(), ..purpose() };
    let opened = store.take_pooled(&moved, id(3, 1)).await;
    assert!(matches!(opened, Err(StoreError::Sealed("pool"))), "{opened:?}");
}

pub(crate) async fn what_fails_on_the_way_is_used_up(store: &PartyStore) {
    with_share(store).await;
    stock(store, 2, 1).await;
    sql("ALTER TABLE pool RENAME TO away").execute(store.database()).await.unwrap();
    store.take_pooled(&purpose(), id(2, 0)).await.unwrap_err();
    sql("ALTER TABLE away RENAME TO pool").execute(store.database()).await.unwrap();
    assert_eq!(rows(store).await, 1);
    assert_eq!(take(store, id(2, 0)).await, None);
}

pub(crate) async fn what_a_suspended_component_has_made_is_not_used(store: &PartyStore) {
    with_share(store).await;
    store.suspend(Digest([4; 32])).await.unwrap();
    // A session that was running when its component was suspended.
    sql("DELETE FROM suspended").execute(store.database()).await.unwrap();
    let plan = claimed(store, 2).await;
    sql("INSERT INTO suspended (digest) VALUES ($1)")
        .bind(Digest([4; 32]).as_bytes())
        .execute(store.database())
        .await
        .unwrap();
    let (purpose, entries) = (purpose(), vec![(id(2, 0), Zeroizing::new(vec![1]))]);
    let digest = Digest([4; 32]);
    let material = NewMaterial { plan, purpose: &purpose, digest, replica: "a", now: NOW, entries };
    store.stock(material).await.unwrap();
    assert_eq!(store.pooled(&purpose).await.unwrap(), []);
    assert_eq!(take(store, id(2, 0)).await, None);
}

pub(crate) async fn an_order_is_stocked_for_once(store: &PartyStore) {
    with_share(store).await;
    let purpose = purpose();
    let facts = store.admission_facts(claim(2, 2, false).order, ACCOUNT, PlanHash([0; 32])).await.unwrap();
    for session in [2, 3] {
        let claim = Claim { share_set: facts.share_set, ..claim(2, session, false) };
        assert!(matches!(store.claim(&claim).await.unwrap(), ClaimOutcome::Claimed { .. }));
    }
    for (session, stocked) in [(2, true), (3, false)] {
        let entries = vec![(id(session, 0), Zeroizing::new(vec![1]))];
        let (plan, digest) = (PlanHash([session; 32]), Digest([4; 32]));
        let material = NewMaterial { plan, purpose: &purpose, digest, replica: "a", now: NOW, entries };
        let ended = store.stock(material).await;
        assert_eq!(ended.is_ok(), stocked, "{session}: {ended:?}");
    }
    assert_eq!(rows(store).await, 1);
}

pub(crate) async fn an_entry_that_is_too_long_is_not_kept(store: &PartyStore) {
    with_share(store).await;
    let (plan, purpose) = (claimed(store, 2).await, purpose());
    let entries = vec![(id(2, 0), Zeroizing::new(vec![0; (64 << 10) + 1]))];
    let digest = Digest([4; 32]);
    let material = NewMaterial { plan, purpose: &purpose, digest, replica: "a", now: NOW, entries };
    let stocked = store.stock(material).await;
    assert!(matches!(stocked, Err(StoreError::Conflict(_))), "{stocked:?}");
}

pub(crate) async fn a_pool_dies_with_its_share_set_and_its_component(store: &PartyStore) {
    with_share(store).await;
    stock(store, 2, 2).await;
    store.suspend(Digest([5; 32])).await.unwrap();
    assert_eq!(rows(store).await, 2, "another component");
    promise(store, 3, 2).await;
    store.activate(&certificate(3, 2)).await.unwrap();
    assert_eq!((rows(store).await, take(store, id(2, 0)).await), (0, None));
    let plan_of_before = stock_at(store, 4, 1, &purpose(), NOW).await;
    assert!(matches!(plan_of_before, Err(StoreError::Conflict(_))), "{plan_of_before:?}");
    let renewed = PoolPurpose { share_set: PlanHash([3; 32]), ..purpose() };
    stock_at(store, 5, 2, &renewed, NOW).await.unwrap();
    assert_eq!(store.pooled(&renewed).await.unwrap().len(), 2);
    store.suspend(Digest([4; 32])).await.unwrap();
    assert_eq!((rows(store).await, store.pooled(&renewed).await.unwrap().len()), (0, 0));
}

pub(crate) async fn the_newest_entries_of_a_quorum_stay(store: &PartyStore) {
    with_share(store).await;
    let half = u16::try_from(MAX_POOLED_PER_QUORUM / 2).unwrap();
    // The clock is set back meanwhile.
    for (session, earlier) in [(2, 0), (3, 1), (4, 2)] {
        stock_at(store, session, half, &purpose(), NOW - Duration::from_secs(earlier)).await.unwrap();
    }
    let left = store.pooled(&purpose()).await.unwrap();
    assert_eq!(left.len(), MAX_POOLED_PER_QUORUM);
    assert!(left.contains(&id(4, 0)) && left.contains(&id(3, half - 1)) && !left.contains(&id(2, 0)));
    assert_eq!(take(store, id(2, 0)).await, None);
}

pub(crate) async fn only_a_running_session_stocks(store: &PartyStore) {
    with_share(store).await;
    stock(store, 2, 1).await;
    let purpose = purpose();
    for plan in [PlanHash([2; 32]), PlanHash([77; 32])] {
        let entries = vec![(id(9, 0), Zeroizing::new(vec![1]))];
        let digest = Digest([4; 32]);
        let material = NewMaterial { plan, purpose: &purpose, digest, replica: "a", now: NOW, entries };
        let stocked = store.stock(material).await;
        assert!(matches!(stocked, Err(StoreError::Conflict(_))), "{stocked:?}");
    }
    assert_eq!(rows(store).await, 1);
}

pub(crate) async fn another_process_opens_no_entry_and_clears_those_of_its_replica(store: &PartyStore) {
    with_share(store).await;
    stock(store, 2, 2).await;
    // A process has its keys from its start: one with none is another process.
    let later =
        PartyStore { pool: std::sync::Arc::new(crate::pool_keys::PoolKeys::new().unwrap()), ..store.clone() };
    assert_eq!(later.pooled(&purpose()).await.unwrap(), []);
    assert_eq!(take(&later, id(2, 0)).await, None);
    assert_eq!(later.clear_pools("b", NOW).await.unwrap(), 0, "another replica's");
    assert_eq!(store.clear_pools("a", NOW).await.unwrap(), 0, "its own");
    assert_eq!(take(store, id(2, 0)).await, Some(vec![0, 0]));
    assert_eq!(later.clear_pools("a", NOW).await.unwrap(), 1);
    assert_eq!(take(store, id(2, 1)).await, None);
}

fn entries(values: &[(&str, u8)]) -> ShareEntries {
    values.iter().map(|(name, value)| ((*name).to_owned(), Zeroizing::new(vec![*value; 100]))).collect()
}

pub(crate) async fn material_is_kept_for_its_owner_and_protocol(store: &PartyStore) {
    with_share(store).await;
    let (group, party) = (MaterialOwner::Group(GroupId([7; 32])), MaterialOwner::Party);
    let kept = entries(&[("aux", 1), ("primes", 2)]);
    let plan = claimed(store, 2).await;
    let material = KeptMaterial { plan, owner: group, protocol: "toy", entries: &kept };
    store.keep_material(material).await.unwrap();
    assert_eq!(store.material(group, "toy").await.unwrap(), kept);
    for (owner, protocol) in
        [(party, "toy"), (MaterialOwner::Group(GroupId([8; 32])), "toy"), (group, "other")]
    {
        assert_eq!(
            store.material(owner, protocol).await.unwrap(),
            ShareEntries::new(),
            "{owner:?} {protocol}"
        );
    }
    let again = store.keep_material(material).await;
    assert!(matches!(again, Err(StoreError::Conflict(_))), "the session has ended: {again:?}");
    // A later session replaces what has the same name.
    let plan = claimed(store, 3).await;
    let newer = entries(&[("aux", 3)]);
    store.keep_material(KeptMaterial { plan, owner: group, protocol: "toy", entries: &newer }).await.unwrap();
    assert_eq!(store.material(group, "toy").await.unwrap(), entries(&[("aux", 3), ("primes", 2)]));
    // Moved to the party, it does not open.
    sql("UPDATE vault SET scope = 'party', owner = $1")
        .bind([0_u8; 32].as_slice())
        .execute(store.database())
        .await
        .unwrap();
    let moved = store.material(party, "toy").await;
    assert!(matches!(moved, Err(StoreError::Sealed(_))), "{moved:?}");
}

pub(crate) async fn a_protocol_keeps_no_more_than_its_quota(store: &PartyStore) {
    with_share(store).await;
    let owner = MaterialOwner::Party;
    let many: ShareEntries = (0..1_025).map(|i| (format!("e{i}"), Zeroizing::new(vec![1]))).collect();
    let plan = claimed(store, 2).await;
    let refused = store.keep_material(KeptMaterial { plan, owner, protocol: "toy", entries: &many }).await;
    assert!(matches!(refused, Err(StoreError::Conflict(_))), "{refused:?}");
    assert_eq!(store.material(owner, "toy").await.unwrap(), ShareEntries::new());
    let large = [("large".to_owned(), Zeroizing::new(vec![0; (16 << 20) + 1]))].into();
    let refused = store.keep_material(KeptMaterial { plan, owner, protocol: "toy", entries: &large }).await;
    assert!(matches!(refused, Err(StoreError::Conflict(_))), "{refused:?}");
    // The session was not ended by what was refused.
    store
        .keep_material(KeptMaterial { plan, owner, protocol: "toy", entries: &entries(&[("a", 1)]) })
        .await
        .unwrap();
}
