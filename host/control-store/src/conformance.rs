//! The contract of both stores, as tests. An adapter's tests are `accounts_suite!(async { … a fresh store … })` and
//! `sessions_suite!(…)`.

use quorate_backends::database::{StoreError, sql};
use quorate_core::acknowledgement::Acknowledgement;
use quorate_core::certificate::{Activation, Certificate, KeyOutputs, Ready};
use quorate_core::codec::{Bytes, encode};
use quorate_core::identity::{PublicKey, SecretKey};
use quorate_core::{
    AccountId, Digest, ExecutionId, KeySpec, OrderId, OutputHash, PartyIndex, PlanHash, SessionId, Threshold,
    UnixMillis,
};
use std::time::Duration;

use crate::{
    Account, AccountState, AccountStore, Acquisition, IdempotencyKey, IdempotentRequest, KEY_RETENTION,
    LEASE_DURATION, NewSession, OpenOrder, RecordOutcome, SESSION_RETENTION, SessionRecord, SessionStatus,
    SessionStore,
};

macro_rules! accounts_suite {
    ($fresh:expr) => {
        quorate_backends::conformance_tests! {
            crate::conformance, $fresh;
            an_account_becomes_active_once_per_epoch_and_never_goes_back,
            a_failed_keygen_can_still_turn_out_well,
            an_account_that_somebody_else_wrote_is_refused,
            an_open_order_that_somebody_else_wrote_is_refused,
            rows_of_an_earlier_key_are_authenticated_anew,
            an_answer_that_somebody_else_wrote_is_refused,
            a_renewed_lease_is_not_taken_over,
            a_key_stands_for_one_request_and_one_owner,
            attempts_at_the_same_time_have_one_owner,
            an_interrupted_request_is_taken_over_with_its_ids,
            old_keys_are_forgotten,
        }
    };
}
pub(crate) use accounts_suite;

macro_rules! sessions_suite {
    ($fresh:expr) => {
        quorate_backends::conformance_tests! {
            crate::conformance, $fresh;
            reports_and_outcomes_of_sessions_are_kept,
            a_completed_session_is_found_before_a_failed_one,
            an_attempt_at_an_order_is_recorded_once,
            acknowledgements_are_kept_until_all_have_acknowledged_newer_shares,
            sessions_past_their_deadline_end,
            a_plan_is_unpublished_until_somebody_has_published_it,
            old_sessions_are_forgotten,
        }
    };
}
pub(crate) use sessions_suite;

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
const ACCOUNT: AccountId = AccountId([1; 16]);

fn secrets() -> Vec<SecretKey> {
    (1..=2).map(|seed| SecretKey::from_seed(&[seed; 32])).collect()
}

fn parties() -> Vec<PublicKey> {
    secrets().iter().map(SecretKey::public).collect()
}

fn account() -> Account {
    Account {
        spec: KeySpec {
            account: ACCOUNT,
            scheme: "ecdsa-secp256k1".into(),
            protocol: "dkls23".into(),
            threshold: Threshold::new(2, 2).unwrap(),
            parties: parties(),
            mandatory: vec![PartyIndex::FIRST],
        },
        user_id: "user123".into(),
        state: AccountState::Creating,
        user_party: Some(PartyIndex::FIRST),
        claim_hash: Some([9; 32]),
        open: vec![opened(6)],
        created: NOW,
    }
}

fn opened(order: u8) -> OpenOrder {
    OpenOrder { id: OrderId([order; 32]), expires: NOW + ms(600_000) }
}

fn key(epoch: u8) -> KeyOutputs {
    KeyOutputs {
        scheme: "ecdsa-secp256k1".into(),
        public_key: Bytes(vec![2; 33]),
        chain_code: None,
        verifying_shares: vec![Bytes(vec![epoch; 33])],
    }
}

fn certificate(account: AccountId, epoch: u8) -> Certificate {
    let activation = Activation {
        plan: PlanHash([epoch; 32]),
        execution: ExecutionId([2; 32]),
        account,
        epoch: epoch.into(),
        threshold: Threshold::new(2, 2).unwrap(),
        digest: Digest([4; 32]),
        outputs: key(epoch).hash(),
    };
    let readies: Vec<Ready> =
        PartyIndex::all(2).zip(&secrets()).map(|(p, key)| Ready::sign(activation.clone(), p, key)).collect();
    Certificate::of(&readies, &parties()).unwrap()
}

async fn state(store: &AccountStore) -> AccountState {
    store.account(ACCOUNT).await.unwrap().unwrap().state
}

fn active(epoch: u8) -> AccountState {
    AccountState::Active { certificate: certificate(ACCOUNT, epoch), key: key(epoch) }
}

pub(crate) async fn an_account_becomes_active_once_per_epoch_and_never_goes_back(store: &AccountStore) {
    assert_eq!(store.account(ACCOUNT).await.unwrap(), None);
    store.create_account(&account()).await.unwrap();
    assert_eq!(store.account(ACCOUNT).await.unwrap(), Some(account()));
    let same_id = Account { user_id: "another".into(), ..account() };
    store.create_account(&same_id).await.unwrap();
    assert_eq!(store.account(ACCOUNT).await.unwrap(), Some(account()), "an account was overwritten");
    for (epoch, then) in [(1, 1), (2, 2), (1, 2), (2, 2)] {
        store.activate_account(&account().spec, &certificate(ACCOUNT, epoch), &key(epoch)).await.unwrap();
        assert_eq!(state(store).await, active(then));
    }
    store.fail_account(ACCOUNT).await.unwrap();
    assert_eq!(state(store).await, active(2));
    let open = || async { store.account(ACCOUNT).await.unwrap().unwrap().open };
    let orders = [8, 7].map(opened);
    assert_eq!(open().await, []);
    for order in [orders[0], orders[1], orders[0]] {
        store.open_order(ACCOUNT, order).await.unwrap();
    }
    assert_eq!(open().await, orders);
    let later = OpenOrder { expires: NOW + ms(700_000), ..orders[1] };
    store.open_order(ACCOUNT, later).await.unwrap();
    assert_eq!(
        open().await,
        [orders[0], later],
        "an order that is given once more lives as long as the last"
    );
    store.activate_account(&account().spec, &certificate(ACCOUNT, 2), &key(2)).await.unwrap();
    store.close_order(ACCOUNT, orders[0].id).await.unwrap();
    assert_eq!(open().await, [later], "nothing new was activated");
    store.activate_account(&account().spec, &certificate(ACCOUNT, 3), &key(3)).await.unwrap();
    assert_eq!(open().await, []);
    // A repair replaces the identity of a party, and nothing else of the key.
    let mut repaired = account().spec;
    repaired.parties.swap(0, 1);
    let other = KeySpec { scheme: "ed25519".into(), ..repaired.clone() };
    let refused = store.activate_account(&other, &certificate(ACCOUNT, 4), &key(4)).await;
    assert!(matches!(refused, Err(StoreError::Conflict(_))), "{refused:?}");
    store.activate_account(&repaired, &certificate(ACCOUNT, 4), &key(4)).await.unwrap();
    assert_eq!(store.account(ACCOUNT).await.unwrap().unwrap().spec, repaired);
    let nobody = store.activate_account(&account().spec, &certificate(AccountId([9; 16]), 1), &key(1)).await;
    assert!(matches!(nobody, Err(StoreError::Conflict(_))), "{nobody:?}");
}

pub(crate) async fn a_failed_keygen_can_still_turn_out_well(store: &AccountStore) {
    store.create_account(&account()).await.unwrap();
    store.fail_account(ACCOUNT).await.unwrap();
    assert_eq!(state(store).await, AccountState::Failed);
    store.activate_account(&account().spec, &certificate(ACCOUNT, 1), &key(1)).await.unwrap();
    assert_eq!(state(store).await, active(1));
}

/// Does what another user of the database could do.
async fn write(store: &AccountStore, statement: &'static str) {
    let changed = sql(statement).execute(&store.database).await.unwrap();
    assert_eq!(changed, 1, "{statement}");
}

async fn assert_altered(store: &AccountStore, statement: &str) {
    let read = store.account(ACCOUNT).await;
    assert!(matches!(read, Err(StoreError::Altered(_))), "{statement}: {read:?}");
}

pub(crate) async fn an_account_that_somebody_else_wrote_is_refused(store: &AccountStore) {
    store.create_account(&account()).await.unwrap();
    for statement in [
        "UPDATE accounts SET user_id = 'another'",
        "UPDATE accounts SET scheme = 'bip340'",
        "UPDATE accounts SET protocol = 'another'",
        "UPDATE accounts SET user_party = 2",
        "UPDATE accounts SET user_party = NULL",
        "UPDATE accounts SET claim_hash = NULL",
        "UPDATE accounts SET created = created + 1",
        "UPDATE accounts SET mac = (SELECT mac FROM open_orders)",
    ] {
        write(store, statement).await;
        assert_altered(store, statement).await;
        write(store, "DELETE FROM accounts").await;
        store.create_account(&account()).await.unwrap();
    }
    let others: [(&'static str, Vec<u8>); 4] = [
        ("UPDATE accounts SET threshold = $1", encode(&Threshold::new(2, 3).unwrap())),
        ("UPDATE accounts SET parties = $1", encode(&parties().into_iter().rev().collect::<Vec<_>>())),
        ("UPDATE accounts SET mandatory = $1", encode(&Vec::<PartyIndex>::new())),
        ("UPDATE accounts SET claim_hash = $1", vec![8; 32]),
    ];
    for (statement, value) in others {
        sql(statement).bind(value).execute(&store.database).await.unwrap();
        assert_altered(store, statement).await;
        write(store, "DELETE FROM accounts").await;
        store.create_account(&account()).await.unwrap();
    }
    for (statement, is_about_epoch) in [
        ("UPDATE accounts SET epoch = epoch + 1", true),
        ("UPDATE accounts SET epoch = 0", true),
        ("UPDATE accounts SET state = 'failed'", false),
        ("UPDATE accounts SET key_mac = mac", false),
    ] {
        store.activate_account(&account().spec, &certificate(ACCOUNT, 2), &key(2)).await.unwrap();
        write(store, statement).await;
        assert_altered(store, statement).await;
        let another = store.activate_account(&account().spec, &certificate(ACCOUNT, 1), &key(1)).await;
        assert_eq!(another.is_err(), is_about_epoch, "{statement}");
        write(store, "DELETE FROM accounts").await;
        store.create_account(&account()).await.unwrap();
    }
    // Another key, which its parties have certified.
    let other_key = KeyOutputs { public_key: Bytes(vec![3; 33]), ..key(2) };
    store.activate_account(&account().spec, &certificate(ACCOUNT, 2), &key(2)).await.unwrap();
    let statement = "UPDATE accounts SET outputs = $1";
    sql(statement).bind(encode(&other_key)).execute(&store.database).await.unwrap();
    assert_altered(store, statement).await;
    write(store, "DELETE FROM accounts").await;
    store.create_account(&account()).await.unwrap();
    // The good row, under the id of another account.
    let other = AccountId([2; 16]);
    write(store, "DELETE FROM open_orders").await;
    sql("UPDATE accounts SET id = $1").bind(other.as_bytes()).execute(&store.database).await.unwrap();
    let copied = store.account(other).await;
    assert!(matches!(copied, Err(StoreError::Altered(_))), "{copied:?}");
}

pub(crate) async fn rows_of_an_earlier_key_are_authenticated_anew(store: &AccountStore) {
    store.create_account(&account()).await.unwrap();
    store.activate_account(&account().spec, &certificate(ACCOUNT, 1), &key(1)).await.unwrap();
    store.open_order(ACCOUNT, opened(8)).await.unwrap();
    let before = store.account(ACCOUNT).await.unwrap();
    let [earlier, next, wrong] = [7, 8, 9].map(|byte| zeroize::Zeroizing::new([byte; 32]));
    let open = async |current, earlier| {
        AccountStore::open(store.database.clone(), crate::RowKeys::new(current, earlier)).await
    };
    assert!(matches!(open(wrong, vec![]).await, Err(StoreError::WrongRowKeys)));
    assert!(open(next.clone(), vec![]).await.is_err(), "the earlier key is not named");
    let both = open(next.clone(), vec![earlier]).await.unwrap();
    assert_eq!(both.account(ACCOUNT).await.unwrap(), before);
    assert_eq!((both.renew_row_macs().await.unwrap(), both.renew_row_macs().await.unwrap()), (1, 0));
    // A replica that still has the earlier key activates a share set.
    store.activate_account(&account().spec, &certificate(ACCOUNT, 2), &key(2)).await.unwrap();
    let before = both.account(ACCOUNT).await.unwrap();
    assert_eq!(both.renew_row_macs().await.unwrap(), 1);
    let after = open(next, vec![]).await.unwrap();
    assert_eq!(after.account(ACCOUNT).await.unwrap(), before);
    assert!(matches!(store.account(ACCOUNT).await, Err(StoreError::Altered(_))), "the key that is gone");
}

pub(crate) async fn an_open_order_that_somebody_else_wrote_is_refused(store: &AccountStore) {
    store.create_account(&account()).await.unwrap();
    let statement = "UPDATE open_orders SET expires = expires - 1";
    write(store, statement).await;
    assert_altered(store, statement).await;
    write(store, "UPDATE open_orders SET expires = expires + 1").await;
    assert_eq!(store.account(ACCOUNT).await.unwrap(), Some(account()));
    let statement = "UPDATE open_orders SET order_id = $1";
    sql(statement).bind(&[5_u8; 32][..]).execute(&store.database).await.unwrap();
    assert_altered(store, statement).await;
}

pub(crate) async fn an_answer_that_somebody_else_wrote_is_refused(store: &AccountStore) {
    for statement in [
        "UPDATE idempotency SET status = 201, answer = 'made up'",
        "UPDATE idempotency SET ids = owner, held_until = 0",
        "UPDATE idempotency SET name = 'other'",
        "UPDATE idempotency SET started = started + 1",
    ] {
        store.acquire(&IdempotentRequest { ids: vec![9; 16], ..request(1) }, NOW).await.unwrap();
        write(store, statement).await;
        let other = IdempotencyKey { name: "other".into(), ..request(1).key };
        let key = if statement.contains("name") { other } else { request(1).key };
        let acquired = store.acquire(&IdempotentRequest { key, ..request(2) }, NOW).await;
        assert!(matches!(acquired, Err(StoreError::Altered(_))), "{statement}: {acquired:?}");
        write(store, "DELETE FROM idempotency").await;
    }
    for statement in [
        "UPDATE idempotency SET answer = 'another'",
        "UPDATE idempotency SET status = 200",
        "UPDATE idempotency SET started = started + 1",
        "UPDATE idempotency SET status = NULL, answer = NULL, held_until = 0",
    ] {
        store.acquire(&request(1), NOW).await.unwrap();
        store.complete(&request(1), 201, "answer").await.unwrap();
        write(store, statement).await;
        let acquired = store.acquire(&request(2), NOW).await;
        assert!(matches!(acquired, Err(StoreError::Altered(_))), "{statement}: {acquired:?}");
        write(store, "DELETE FROM idempotency").await;
    }
}

fn session(id: u8, created: UnixMillis) -> NewSession {
    NewSession {
        id: SessionId([id; 32]),
        order: OrderId([7; 32]),
        attempt: u32::from(id),
        account: ACCOUNT,
        ordered: vec![8; 100],
        signers: PartyIndex::all(2).collect(),
        chain_code: Some([9; 32]),
        digest: Digest([4; 32]),
        created,
        deadline: created + ms(10_000),
    }
}

fn failed() -> SessionStatus {
    SessionStatus::Failed {
        at: NOW + ms(3),
        code: "peer_fault".into(),
        reason: "party 2 broke the protocol".into(),
        culprits: PartyIndex::all(2).skip(1).collect(),
    }
}

pub(crate) async fn reports_and_outcomes_of_sessions_are_kept(store: &SessionStore) {
    let id = SessionId([1; 32]);
    assert_eq!(store.session(id).await.unwrap(), None);
    assert!(matches!(
        store.add_report(id, PartyIndex::FIRST, b"early", 1, None).await,
        Err(StoreError::Conflict(_))
    ));
    store.record_session(&session(1, NOW), b"plan").await.unwrap();
    let [one, two]: [PartyIndex; 2] = PartyIndex::all(2).collect::<Vec<_>>().try_into().unwrap();
    store.add_report(id, two, b"second", 1, None).await.unwrap();
    store.add_report(id, one, b"first", 1, None).await.unwrap();
    store.add_report(id, one, b"first, corrected", 1, None).await.unwrap();
    let reports = vec![b"first, corrected".to_vec(), b"second".to_vec()];
    let record = |status| {
        let (session, reports) = (session(1, NOW), reports.clone());
        Some(SessionRecord { session, status, is_final: false, reports })
    };
    assert_eq!(store.session(id).await.unwrap(), record(SessionStatus::Running));
    assert!(store.end_session(id, &SessionStatus::Running).await.is_err());
    store.end_session(id, &failed()).await.unwrap();
    assert_eq!(store.session(id).await.unwrap(), record(failed()));
    let completed = SessionStatus::Completed { at: NOW + ms(5) };
    store.add_report(id, one, b"says less", 0, None).await.unwrap();
    store.add_report(id, two, b"second", 1, Some(NOW + ms(5))).await.unwrap();
    store.add_report(id, two, b"second", 1, Some(NOW + ms(9))).await.unwrap();
    store.end_session(id, &failed()).await.unwrap();
    assert_eq!(store.session(id).await.unwrap(), record(completed));
}

pub(crate) async fn a_completed_session_is_found_before_a_failed_one(store: &SessionStore) {
    let found = async || {
        let sessions = store.sessions_of(OrderId([7; 32])).await.unwrap();
        sessions.iter().map(|record| record.session.id.0[0]).collect::<Vec<u8>>()
    };
    assert!(found().await.is_empty());
    for (id, created, order) in [(1, NOW, vec![1]), (2, NOW, vec![2, 1]), (3, NOW + ms(1), vec![3, 2, 1])] {
        assert_eq!(
            store.record_session(&session(id, created), b"plan").await.unwrap(),
            RecordOutcome::Recorded
        );
        assert_eq!(found().await, order);
    }
    store.end_session(SessionId([1; 32]), &SessionStatus::Completed { at: NOW }).await.unwrap();
    assert_eq!(found().await, [1, 3, 2]);
    store.mark_final(SessionId([3; 32])).await.unwrap();
    let last =
        store.sessions_of(OrderId([7; 32])).await.unwrap().into_iter().filter(|record| record.is_final);
    assert_eq!(last.map(|record| record.session.id).collect::<Vec<_>>(), [SessionId([3; 32])]);
}

pub(crate) async fn an_attempt_at_an_order_is_recorded_once(store: &SessionStore) {
    let attempt = |id, attempt| NewSession { attempt, ..session(id, NOW) };
    let of_another = NewSession { order: OrderId([8; 32]), ..attempt(9, 1) };
    let (one, two, three) = (attempt(1, 1), attempt(2, 1), attempt(3, 1));
    let (a, b, c) = tokio::join!(
        store.record_session(&one, b"plan"),
        store.record_session(&two, b"plan"),
        store.record_session(&three, b"plan"),
    );
    let recorded =
        [a, b, c].into_iter().filter(|recorded| *recorded.as_ref().unwrap() == RecordOutcome::Recorded);
    assert_eq!(recorded.count(), 1);
    assert_eq!(store.record_session(&of_another, b"plan").await.unwrap(), RecordOutcome::Recorded);
    // That it has failed makes no room for another with its number.
    let first = store.sessions_of(OrderId([7; 32])).await.unwrap()[0].session.id;
    store.end_session(first, &failed()).await.unwrap();
    assert_eq!(store.record_session(&attempt(4, 1), b"plan").await.unwrap(), RecordOutcome::AttemptTaken);
    assert_eq!(store.record_session(&attempt(5, 2), b"plan").await.unwrap(), RecordOutcome::Recorded);
    let sessions = store.sessions_of(OrderId([7; 32])).await.unwrap();
    assert_eq!(sessions.iter().map(|record| record.session.attempt).collect::<Vec<_>>(), [2, 1]);
    // A plan that was not recorded is not published either.
    assert_eq!(store.unpublished(NOW + ms(1), NOW).await.unwrap().len(), 2);
}

pub(crate) async fn acknowledgements_are_kept_until_all_have_acknowledged_newer_shares(store: &SessionStore) {
    let activation = |epoch: u32| {
        let plan = PlanHash([u8::try_from(epoch).unwrap(); 32]);
        let threshold = Threshold::new(2, 2).unwrap();
        let (execution, outputs) = (ExecutionId([1; 32]), OutputHash([1; 32]));
        Activation { plan, execution, account: ACCOUNT, epoch, threshold, digest: Digest([4; 32]), outputs }
    };
    let word = |epoch: u32, by: u16| {
        let by = PartyIndex::try_from(by).unwrap();
        Acknowledgement::sign(activation(epoch).plan, by, &SecretKey::from_seed(&[1; 32]))
    };
    for (epoch, by, before) in [(1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 1, 2), (2, 2, 0)] {
        store.add_acknowledgement(&activation(epoch), &word(epoch, by)).await.unwrap();
        let first = store.acknowledgements(activation(1).plan).await.unwrap();
        assert_eq!(first.len(), before, "{epoch} {by}");
    }
    let second = store.acknowledgements(activation(2).plan).await.unwrap();
    assert_eq!(second, [word(2, 1), word(2, 2)]);
}

pub(crate) async fn sessions_past_their_deadline_end(store: &SessionStore) {
    store.record_session(&session(1, NOW), b"plan").await.unwrap();
    store.record_session(&session(2, NOW + ms(1)), b"plan").await.unwrap();
    assert_eq!(store.end_overdue(NOW + ms(10_000)).await.unwrap(), 0);
    assert_eq!(store.end_overdue(NOW + ms(10_001)).await.unwrap(), 1);
    assert_eq!(store.end_overdue(NOW + ms(10_001)).await.unwrap(), 0);
    let status = store.session(SessionId([1; 32])).await.unwrap().unwrap().status;
    assert!(matches!(status, SessionStatus::Failed { code, .. } if code == "deadline_passed"));
    assert_eq!(store.session(SessionId([2; 32])).await.unwrap().unwrap().status, SessionStatus::Running);
    assert_eq!(store.end_interrupted(NOW + ms(5)).await.unwrap(), 1);
    let SessionRecord { status, is_final, .. } = store.session(SessionId([2; 32])).await.unwrap().unwrap();
    assert!(is_final, "the only process that there is was restarted: nothing follows");
    assert!(
        matches!(status, SessionStatus::Failed { code, at, .. } if code == "unavailable" && at == NOW + ms(5))
    );
}

fn request(owner: u8) -> IdempotentRequest {
    let key = IdempotencyKey { caller: "caller".into(), name: "name".into() };
    IdempotentRequest { key, request: [1; 32], ids: vec![owner; 16], started: NOW, owner: [owner; 16] }
}

const OURS: Acquisition = Acquisition::Acquired { earlier: None };

pub(crate) async fn a_key_stands_for_one_request_and_one_owner(store: &AccountStore) {
    assert_eq!(store.acquire(&request(1), NOW).await.unwrap(), OURS);
    assert_eq!(store.acquire(&request(2), NOW + LEASE_DURATION).await.unwrap(), Acquisition::InProgress);
    let other_request = IdempotentRequest { request: [2; 32], ..request(2) };
    assert_eq!(store.acquire(&other_request, NOW).await.unwrap(), Acquisition::Mismatch);
    let other_caller = IdempotencyKey { caller: "other".into(), ..request(1).key };
    assert_eq!(
        store.acquire(&IdempotentRequest { key: other_caller, ..request(3) }, NOW).await.unwrap(),
        OURS
    );
    assert!(store.complete(&request(2), 201, "not ours").await.is_err());
    store.complete(&request(1), 201, "answer").await.unwrap();
    assert!(store.complete(&request(1), 201, "twice").await.is_err());
    let over = Acquisition::Completed { status: 201, answer: "answer".into() };
    assert_eq!(store.acquire(&request(2), NOW + KEY_RETENTION).await.unwrap(), over);
    assert_eq!(store.acquire(&other_request, NOW).await.unwrap(), Acquisition::Mismatch);
    assert_eq!(
        store.acquire(&other_request, NOW + KEY_RETENTION + ms(1)).await.unwrap(),
        OURS,
        "a day later"
    );
}

pub(crate) async fn attempts_at_the_same_time_have_one_owner(store: &AccountStore) {
    let [a, b, c] = [request(1), request(2), request(3)];
    let (a, b, c) = tokio::join!(store.acquire(&a, NOW), store.acquire(&b, NOW), store.acquire(&c, NOW));
    let ours = [a, b, c].into_iter().filter(|r| *r.as_ref().unwrap() == OURS).count();
    assert_eq!(ours, 1);
}

pub(crate) async fn an_interrupted_request_is_taken_over_with_its_ids(store: &AccountStore) {
    assert_eq!(store.acquire(&request(1), NOW).await.unwrap(), OURS);
    let earlier = |owner: u8| Acquisition::Acquired { earlier: Some(vec![owner; 16]) };
    assert_eq!(store.acquire(&request(2), NOW + LEASE_DURATION + ms(1)).await.unwrap(), earlier(1));
    assert!(store.complete(&request(1), 201, "too late").await.is_err());
    store.rebind(&request(2)).await.unwrap();
    store.release(&request(2)).await.unwrap();
    assert_eq!(store.acquire(&request(3), NOW).await.unwrap(), earlier(2));
    assert!(store.rebind(&request(2)).await.is_err());
    store.release_all().await.unwrap();
    assert_eq!(store.acquire(&request(4), NOW).await.unwrap(), earlier(2));
    store.complete(&request(4), 200, "at last").await.unwrap();
    store.release_all().await.unwrap();
    let over = Acquisition::Completed { status: 200, answer: "at last".into() };
    assert_eq!(store.acquire(&request(5), NOW).await.unwrap(), over);
}

pub(crate) async fn old_keys_are_forgotten(store: &AccountStore) {
    store.acquire(&request(1), NOW).await.unwrap();
    store.complete(&request(1), 200, "answer").await.unwrap();
    store.forget_old_keys(NOW + KEY_RETENTION).await.unwrap();
    assert!(matches!(store.acquire(&request(2), NOW).await.unwrap(), Acquisition::Completed { .. }));
    store.forget_old_keys(NOW + KEY_RETENTION + ms(1)).await.unwrap();
    assert_eq!(store.acquire(&request(2), NOW).await.unwrap(), OURS);
}

pub(crate) async fn old_sessions_are_forgotten(store: &SessionStore) {
    store.record_session(&session(1, NOW), b"plan").await.unwrap();
    store.record_session(&session(2, NOW), b"plan").await.unwrap();
    store.add_report(SessionId([1; 32]), PartyIndex::FIRST, b"report", 1, None).await.unwrap();
    store.end_session(SessionId([1; 32]), &failed()).await.unwrap();
    store.forget_old_sessions(NOW + SESSION_RETENTION).await.unwrap();
    assert!(store.session(SessionId([1; 32])).await.unwrap().is_some());
    store.forget_old_sessions(NOW + SESSION_RETENTION + ms(1)).await.unwrap();
    assert!(store.session(SessionId([1; 32])).await.unwrap().is_none());
    assert!(store.session(SessionId([2; 32])).await.unwrap().is_some(), "one that runs was forgotten");
}

pub(crate) async fn a_plan_is_unpublished_until_somebody_has_published_it(store: &SessionStore) {
    let unpublished = async |before| store.unpublished(before, NOW).await.unwrap();
    store.record_session(&session(1, NOW), b"one").await.unwrap();
    store.record_session(&session(2, NOW + ms(1)), b"two").await.unwrap();
    assert_eq!(unpublished(NOW).await, Vec::<Vec<u8>>::new(), "a plan that has just been recorded");
    assert_eq!(unpublished(NOW + ms(2)).await, [b"one", b"two"]);
    store.mark_published(SessionId([1; 32])).await.unwrap();
    store.mark_published(SessionId([1; 32])).await.unwrap();
    assert_eq!(unpublished(NOW + ms(2)).await, [b"two"]);
    store.end_session(SessionId([2; 32]), &SessionStatus::Completed { at: NOW + ms(2) }).await.unwrap();
    assert!(unpublished(NOW + ms(2)).await.is_empty(), "a session that is over");
    store.record_session(&session(3, NOW), b"three").await.unwrap();
    let late = store.session(SessionId([3; 32])).await.unwrap().unwrap().session.deadline;
    assert!(store.unpublished(late, late).await.unwrap().is_empty(), "a session whose time is over");
}

pub(crate) async fn a_renewed_lease_is_not_taken_over(store: &AccountStore) {
    let (first, second) = (request(1), request(2));
    assert_eq!(store.acquire(&first, NOW).await.unwrap(), Acquisition::Acquired { earlier: None });
    store.renew(&first, NOW + LEASE_DURATION).await.unwrap();
    assert_eq!(store.acquire(&second, NOW + LEASE_DURATION + ms(1)).await.unwrap(), Acquisition::InProgress);
    let taken_over = store.acquire(&second, NOW + 2 * LEASE_DURATION + ms(1)).await.unwrap();
    assert_eq!(taken_over, Acquisition::Acquired { earlier: Some(first.ids.clone()) });
    assert!(matches!(store.renew(&first, NOW).await, Err(StoreError::Conflict(_))));
}
