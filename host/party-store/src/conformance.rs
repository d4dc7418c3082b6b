//! The contract of every party store, as tests. An adapter's tests are `crate::conformance::suite!(async { … a fresh
//! store … })`.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use quorate_backends::database::{StoreError, sql};
use quorate_core::abort::{AbortCode, AbortNotice};
use quorate_core::acknowledgement::Acknowledgement;
use quorate_core::ban::Ban;
use quorate_core::certificate::{Activation, Certificate, KeyOutputs, Ready};
use quorate_core::codec::Bytes;
use quorate_core::hello::{Hello, SignedHello};
use quorate_core::identity::{PublicKey, SecretKey};
use quorate_core::promise::Contradiction;
use quorate_core::user_share::ShareEntries;
use quorate_core::{
    AccountId, DatabaseId, Digest, ExecutionId, KeyRecord, KeySpec, OrderId, PartyIndex, PlanHash,
    SealingKeyId, SessionId, Threshold, UnixMillis, UnixSeconds,
};
use zeroize::Zeroizing;

use crate::bans::{REFRESH_REQUIRED, REFRESH_WANTED};
use crate::{
    BannedParty, COUNTER_SETTLING_PERIOD, Claim, ClaimOutcome, Confirmation, DecidedIn, DeliveryState,
    KeptBans, NewDelivery, ORDER_RETENTION_SECONDS, OwnBan, PartyStore, PeerStanding, PromiseState,
    PromisedShare, Refusal, RefusalOutcome, SealedDelivery, SessionResult, ShareLookup, ShareState, Started,
    Unreported, WaitingPlan,
};

const CLAIMED: ClaimOutcome = ClaimOutcome::Claimed { refresh_wanted: false };

macro_rules! suite {
    ($fresh:expr) => {
        quorate_backends::conformance_tests! {
            crate::conformance, $fresh;
            a_session_is_claimed_once,
            claims_at_the_same_time_have_one_winner,
            an_order_has_no_more_sessions_than_it_may_and_none_after_success,
            a_signing_that_was_given_up_before_it_began_is_no_session_of_its_order,
            one_keygen_or_refresh_of_an_account_at_a_time,
            a_share_is_active_only_after_its_certificate,
            an_activation_happens_once_and_retires_the_share_before,
            a_promise_and_an_abort_exclude_each_other,
            a_released_promise_frees_the_account_and_can_still_activate,
            a_restart_finds_what_runs_and_what_nobody_knows,
            a_session_is_abandoned_by_its_replica_or_when_its_time_is_over,
            an_operator_frees_an_account_and_readmits_a_peer,
            bans_stay_and_raise_the_counter_once,
            a_lifted_ban_ends_with_the_one_refresh_that_it_permits,
            a_ban_holds_at_a_party_that_has_lost_its_share,
            a_lift_is_void_when_its_party_cheats_again_and_for_every_other_refresh,
            a_lost_ban_is_taken_up_again_and_a_lifted_one_is_not,
            what_a_party_knows_of_an_account_and_of_itself_can_not_be_changed_by_others,
            a_ban_ends_the_session_in_which_it_was_decided,
            open_signings_with_one_counterparty_are_bounded,
            a_batch_takes_a_place_for_each_bit_that_it_may_tell,
            signings_of_unknown_outcome_ask_for_new_shares_and_then_for_nothing_else,
            a_peer_that_went_back_is_noticed,
            a_party_that_was_set_back_stops_until_its_operator_accepts_it,
            a_peer_with_another_database_is_noticed_until_it_is_readmitted,
            time_and_orders_are_remembered_for_a_day,
            an_order_is_remembered_for_a_day_after_its_latest_form,
            the_stored_time_follows_orders_and_is_set_back_only,
            orders_from_before_the_database_are_not_taken,
            a_day_has_so_many_signatures_of_an_account,
            a_claim_on_what_has_changed_since_admission_is_stale,
            a_suspended_component_is_remembered,
            a_promise_that_lost_to_another_holds_nothing_and_comes_back_only_by_an_order,
            a_claim_and_a_refusal_exclude_each_other,
            refusals_of_one_order_are_bounded,
            old_shares_are_erased_with_the_word_of_all_parties_and_an_order,
            a_contradiction_is_kept_once,
            a_retired_share_set_that_comes_back_is_reported,
            a_delivered_share_is_promised_only_when_it_is_confirmed,
            a_delivery_that_nobody_confirms_expires_and_frees_the_account,
            a_plan_waits_until_its_session_is_claimed,
            a_number_is_used_for_one_order,
            a_claim_serves_for_the_share_of_one_order,
            sealing_keys_are_random_rotated_and_deleted,
            replicas_make_one_sealing_key,
            what_is_in_the_pool_is_taken_once,
            a_row_that_comes_back_opens_nothing,
            an_entry_is_used_for_its_purpose_only,
            a_pool_dies_with_its_share_set_and_its_component,
            the_newest_entries_of_a_quorum_stay,
            only_a_running_session_stocks,
            what_fails_on_the_way_is_used_up,
            what_a_suspended_component_has_made_is_not_used,
            an_order_is_stocked_for_once,
            an_entry_that_is_too_long_is_not_kept,
            another_process_opens_no_entry_and_clears_those_of_its_replica,
            a_repair_is_permitted_by_the_operator_once_for_each_account,
            material_is_kept_for_its_owner_and_protocol,
            a_protocol_keeps_no_more_than_its_quota,
        }
    };
}
pub(crate) use suite;

pub(crate) use crate::pool::conformance::*;
pub(crate) use crate::repair_permits::conformance::*;

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
pub(crate) const ACCOUNT: AccountId = AccountId([1; 16]);

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn claim(order: u8, session: u8, exclusive: bool) -> Claim {
    Claim {
        session: SessionId([session; 32]),
        plan: PlanHash([session; 32]),
        order: OrderId([order; 32]),
        issued_at: NOW,
        expires_at: NOW + secs(600),
        account: ACCOUNT,
        exclusive,
        share_set: None,
        lost: None,
        me: PartyIndex::FIRST,
        digest: Digest([4; 32]),
        signers: PartyIndex::all(2).collect(),
        open_signings: None,
        signatures: u32::from(!exclusive),
        signatures_per_day: None,
        replica: "a".into(),
        deadline: (NOW + secs(60)).into(),
        now: NOW,
        at_most: 3,
        repaired: vec![],
    }
}

fn secrets() -> Vec<SecretKey> {
    (1..=2).map(|seed| SecretKey::from_seed(&[seed; 32])).collect()
}

fn keys() -> Vec<PublicKey> {
    secrets().iter().map(SecretKey::public).collect()
}

fn readies(session: u8, epoch: u32) -> Vec<Ready> {
    let activation = Activation {
        plan: PlanHash([session; 32]),
        execution: ExecutionId([2; 32]),
        account: ACCOUNT,
        epoch,
        threshold: Threshold::new(2, 2).unwrap(),
        digest: Digest([4; 32]),
        outputs: key().hash(),
    };
    PartyIndex::all(2).zip(&secrets()).map(|(p, key)| Ready::sign(activation.clone(), p, key)).collect()
}

pub(crate) fn certificate(session: u8, epoch: u32) -> Certificate {
    Certificate::of(&readies(session, epoch), &keys()).unwrap()
}

fn key() -> KeyOutputs {
    KeyOutputs {
        scheme: "ecdsa-secp256k1".into(),
        public_key: Bytes(vec![2; 33]),
        chain_code: Some([6; 32]),
        verifying_shares: vec![Bytes(vec![3; 33]), Bytes(vec![2; 33])],
    }
}

pub(crate) fn record(epoch: u32) -> KeyRecord {
    KeyRecord {
        spec: KeySpec {
            account: ACCOUNT,
            scheme: "ecdsa-secp256k1".into(),
            protocol: "dkls23".into(),
            threshold: Threshold::new(2, 2).unwrap(),
            parties: keys(),
            mandatory: vec![],
        },
        epoch,
        key: key(),
        written_by: "0.1.0".parse().unwrap(),
        share_format: 1,
    }
}

pub(crate) fn entries(value: u8) -> ShareEntries {
    [("share".to_owned(), Zeroizing::new(vec![value; 1_000]))].into()
}

/// Claims a keygen or refresh and promises its share.
pub(crate) async fn promise(store: &PartyStore, session: u8, epoch: u32) {
    let share_set =
        store.admission_facts(OrderId([0; 32]), ACCOUNT, PlanHash([1; 32])).await.unwrap().share_set;
    let claim = Claim { share_set, ..claim(session, session, true) };
    assert_eq!(store.claim(&claim).await.unwrap(), CLAIMED);
    store.promise(&readies(session, epoch)[0], &record(epoch), &entries(session)).await.unwrap();
}

async fn active(store: &PartyStore) -> Option<u8> {
    let share = store.admission_facts(OrderId([0; 32]), ACCOUNT, PlanHash([1; 32])).await.unwrap().record?;
    assert_eq!(store.active_share_set(ACCOUNT, share.epoch + 1).await.unwrap(), None);
    let share_set = store.active_share_set(ACCOUNT, share.epoch).await.unwrap()?;
    store.entries(ACCOUNT, share_set).await.unwrap().map(|entries| entries["share"][0])
}

async fn counter(store: &PartyStore) -> u64 {
    store.admission_facts(OrderId([0; 32]), ACCOUNT, PlanHash([1; 32])).await.unwrap().counter
}

pub(crate) async fn a_session_is_claimed_once(store: &PartyStore) {
    assert_eq!(store.claim(&claim(1, 1, false)).await.unwrap(), CLAIMED);
    assert_eq!(store.claim(&claim(1, 1, false)).await.unwrap(), ClaimOutcome::AlreadyClaimed);
    let same_plan = Claim { session: SessionId([9; 32]), ..claim(1, 1, false) };
    assert_eq!(store.claim(&same_plan).await.unwrap(), ClaimOutcome::AlreadyClaimed);
    let admission_facts = store.admission_facts(OrderId([1; 32]), ACCOUNT, PlanHash([1; 32])).await.unwrap();
    assert_eq!((admission_facts.sessions_of_order, admission_facts.claimed), (1, true));
    assert!(!store.admission_facts(OrderId([1; 32]), ACCOUNT, PlanHash([2; 32])).await.unwrap().claimed);
}

pub(crate) async fn claims_at_the_same_time_have_one_winner(store: &PartyStore) {
    let one = claim(1, 1, true);
    let (a, b, c) = tokio::join!(store.claim(&one), store.claim(&one), store.claim(&one));
    let mut claimed = [a.unwrap(), b.unwrap(), c.unwrap()].map(|c| c == ClaimOutcome::AlreadyClaimed);
    claimed.sort_unstable();
    assert_eq!(claimed, [false, true, true]);
}

pub(crate) async fn an_order_has_no_more_sessions_than_it_may_and_none_after_success(store: &PartyStore) {
    for session in 1..=3 {
        assert_eq!(store.claim(&claim(1, session, false)).await.unwrap(), CLAIMED);
    }
    assert_eq!(store.claim(&claim(1, 4, false)).await.unwrap(), ClaimOutcome::OrderIsOver);
    assert_eq!(store.claim(&claim(2, 5, false)).await.unwrap(), CLAIMED);
    store.finish(PlanHash([5; 32])).await.unwrap();
    assert_eq!(store.claim(&claim(2, 6, false)).await.unwrap(), ClaimOutcome::OrderIsOver);
    let admission_facts = store.admission_facts(OrderId([2; 32]), ACCOUNT, PlanHash([1; 32])).await.unwrap();
    assert_eq!((admission_facts.sessions_of_order, admission_facts.order_succeeded), (1, true));
}

pub(crate) async fn a_signing_that_was_given_up_before_it_began_is_no_session_of_its_order(
    store: &PartyStore,
) {
    for session in 1..=6 {
        assert_eq!(store.claim(&claim(1, session, false)).await.unwrap(), CLAIMED, "{session}");
        for _ in 0..2 {
            store.abort_not_begun(PlanHash([session; 32])).await.unwrap();
        }
    }
    for session in 7..=9 {
        assert_eq!(store.claim(&claim(1, session, false)).await.unwrap(), CLAIMED, "{session}");
        store.abort(PlanHash([session; 32])).await.unwrap();
        store.abort_not_begun(PlanHash([session; 32])).await.unwrap();
    }
    assert_eq!(store.claim(&claim(1, 10, false)).await.unwrap(), ClaimOutcome::OrderIsOver);
    // A keygen is counted all the same.
    for session in 11..=13 {
        assert_eq!(store.claim(&claim(2, session, true)).await.unwrap(), CLAIMED, "{session}");
        store.abort_not_begun(PlanHash([session; 32])).await.unwrap();
    }
    assert_eq!(store.claim(&claim(2, 14, true)).await.unwrap(), ClaimOutcome::OrderIsOver);
}

pub(crate) async fn one_keygen_or_refresh_of_an_account_at_a_time(store: &PartyStore) {
    assert_eq!(store.claim(&claim(1, 1, true)).await.unwrap(), CLAIMED);
    assert_eq!(store.claim(&claim(2, 2, true)).await.unwrap(), ClaimOutcome::Locked);
    assert_eq!(
        store.admission_facts(OrderId([2; 32]), ACCOUNT, PlanHash([1; 32])).await.unwrap().sessions_of_order,
        0
    );
    let other = Claim { account: AccountId([9; 16]), ..claim(3, 3, true) };
    assert_eq!(store.claim(&other).await.unwrap(), CLAIMED);
    assert_eq!(store.claim(&claim(4, 4, false)).await.unwrap(), CLAIMED, "signing needs no lock");
    store.abort(PlanHash([1; 32])).await.unwrap();
    assert_eq!(store.claim(&claim(2, 2, true)).await.unwrap(), CLAIMED);
}

pub(crate) async fn a_share_is_active_only_after_its_certificate(store: &PartyStore) {
    promise(store, 1, 1).await;
    assert_eq!(active(store).await, None);
    for certificate in [certificate(2, 1), certificate(1, 2)] {
        let refused = store.activate(&certificate).await;
        assert!(matches!(refused, Err(StoreError::Conflict(_))), "{refused:?}");
    }
    assert!(
        store.admission_facts(OrderId([1; 32]), ACCOUNT, PlanHash([1; 32])).await.unwrap().record.is_none()
    );
    store.activate(&certificate(1, 1)).await.unwrap();
    assert_eq!(active(store).await, Some(1));
    let admission_facts = store.admission_facts(OrderId([1; 32]), ACCOUNT, PlanHash([1; 32])).await.unwrap();
    assert_eq!(
        (admission_facts.record, admission_facts.order_succeeded, admission_facts.counter),
        (Some(record(1)), true, 1)
    );
    let nothing = store.activate(&certificate(7, 2)).await;
    assert!(matches!(nothing, Err(StoreError::Conflict(_))), "{nothing:?}");
}

pub(crate) async fn an_activation_happens_once_and_retires_the_share_before(store: &PartyStore) {
    promise(store, 1, 1).await;
    store.activate(&certificate(1, 1)).await.unwrap();
    store.activate(&certificate(1, 1)).await.unwrap();
    assert_eq!(counter(store).await, 1);
    promise(store, 2, 2).await;
    assert_eq!(active(store).await, Some(1), "the old share serves until the certificate");
    store.activate(&certificate(2, 2)).await.unwrap();
    assert_eq!((active(store).await, counter(store).await), (Some(2), 2));
    // The old certificate again: nothing goes back, and nobody may believe that it is active.
    let again = store.activate(&certificate(1, 1)).await;
    assert!(matches!(again, Err(StoreError::Conflict(_))), "{again:?}");
    assert_eq!(active(store).await, Some(2));
    acknowledge(store, 2).await;
    assert_eq!(erase(store, 2, 2).await, 1);
    assert_eq!(erase(store, 2, 2).await, 0);
    // The party does not report that the session of an erased share made nothing: it had promised.
    let told: Vec<Started> = store.unreported().await.unwrap().into_iter().map(|u| u.started).collect();
    assert_eq!(told, [started(2)]);
    assert_eq!(active(store).await, Some(2));
    // A second share of the same epoch is not even promised.
    let claim = Claim { share_set: Some(PlanHash([2; 32])), ..claim(3, 3, true) };
    assert_eq!(store.claim(&claim).await.unwrap(), CLAIMED);
    let again = store.promise(&readies(3, 2)[0], &record(2), &entries(3)).await;
    assert!(matches!(again, Err(StoreError::Conflict(_))), "{again:?}");
    store.abort(PlanHash([3; 32])).await.unwrap();
}

pub(crate) async fn a_promise_and_an_abort_exclude_each_other(store: &PartyStore) {
    promise(store, 1, 1).await;
    assert!(matches!(store.abort(PlanHash([1; 32])).await, Err(StoreError::Conflict(_))));
    store.release(PlanHash([1; 32])).await.unwrap();
    store.claim(&claim(2, 2, true)).await.unwrap();
    store.abort(PlanHash([2; 32])).await.unwrap();
    store.abort(PlanHash([2; 32])).await.unwrap();
    let promised = store.promise(&readies(2, 1)[0], &record(1), &entries(2)).await;
    assert!(matches!(promised, Err(StoreError::Conflict(_))), "{promised:?}");
    let unclaimed = store.promise(&readies(8, 1)[0], &record(1), &entries(8)).await;
    assert!(matches!(unclaimed, Err(StoreError::Conflict(_))), "{unclaimed:?}");
}

pub(crate) async fn a_released_promise_frees_the_account_and_can_still_activate(store: &PartyStore) {
    promise(store, 1, 1).await;
    assert_eq!(store.claim(&claim(2, 2, true)).await.unwrap(), ClaimOutcome::Locked);
    store.release(PlanHash([1; 32])).await.unwrap();
    assert_eq!(store.claim(&claim(2, 2, true)).await.unwrap(), CLAIMED);
    let released_running = store.release(PlanHash([2; 32])).await;
    assert!(matches!(released_running, Err(StoreError::Conflict(_))), "{released_running:?}");
    assert!(store.admission_facts(OrderId([0; 32]), ACCOUNT, PlanHash([1; 32])).await.unwrap().promised);
    store.activate(&certificate(1, 1)).await.unwrap();
    assert_eq!(active(store).await, Some(1));
    // The other session can't promise any more: that would be a second key.
    let second = store.promise(&readies(2, 1)[0], &record(1), &entries(2)).await;
    assert!(matches!(second, Err(StoreError::Conflict(_))), "{second:?}");
}

pub(crate) fn refusal(order: u8, session: u8, plan: u8) -> Refusal {
    let Claim { expires_at, account, me, digest, replica, deadline, .. } = claim(order, session, true);
    Refusal {
        session: SessionId([session; 32]),
        plan: PlanHash([plan; 32]),
        order: OrderId([order; 32]),
        expires_at,
        account,
        me,
        digest,
        replica,
        deadline,
    }
}

/// Variants of a plan share its session: whichever comes first, the others are neither claimed nor denied.
pub(crate) async fn a_claim_and_a_refusal_exclude_each_other(store: &PartyStore) {
    let variant = |plan| Claim { plan: PlanHash([plan; 32]), ..claim(1, 1, true) };
    assert_eq!(store.refuse(&refusal(1, 1, 1)).await.unwrap(), RefusalOutcome::Recorded);
    assert_eq!(store.refuse(&refusal(1, 1, 1)).await.unwrap(), RefusalOutcome::KnownBefore);
    assert_eq!(store.refuse(&refusal(1, 1, 2)).await.unwrap(), RefusalOutcome::KnownBefore);
    for plan in [1, 2] {
        assert_eq!(store.claim(&variant(plan)).await.unwrap(), ClaimOutcome::AlreadyClaimed);
    }
    // A refusal locks nothing and counts as no session of the order.
    assert_eq!(store.claim(&Claim { at_most: 1, ..claim(1, 3, true) }).await.unwrap(), CLAIMED);
    for plan in [3, 4] {
        assert_eq!(store.refuse(&refusal(1, 3, plan)).await.unwrap(), RefusalOutcome::KnownBefore);
    }
    let told = store.unreported().await.unwrap();
    assert_eq!(told.iter().map(|told| &told.result).collect::<Vec<_>>(), [&SessionResult::Nothing]);
    // At two replicas at once.
    for session in 10..20 {
        let account = AccountId([session; 16]);
        let one = Claim { account, ..claim(session, session, true) };
        let other = Refusal { account, ..refusal(session, session, session + 100) };
        let (claimed, refused) = tokio::join!(store.claim(&one), store.refuse(&other));
        let (claimed, refused) = (claimed.unwrap() == CLAIMED, refused.unwrap() == RefusalOutcome::Recorded);
        assert!(claimed != refused, "{session}: claimed {claimed}, refused {refused}");
    }
}

pub(crate) async fn refusals_of_one_order_are_bounded(store: &PartyStore) {
    for session in 1..=16 {
        assert_eq!(store.refuse(&refusal(1, session, session)).await.unwrap(), RefusalOutcome::Recorded);
    }
    assert_eq!(store.refuse(&refusal(1, 17, 17)).await.unwrap(), RefusalOutcome::TooMany);
    assert_eq!(store.refuse(&refusal(2, 18, 18)).await.unwrap(), RefusalOutcome::Recorded);
}

/// The other party's word that it has activated a share set.
async fn acknowledge(store: &PartyStore, session: u8) {
    let by = PartyIndex::try_from(2).unwrap();
    let word = Acknowledgement::sign(PlanHash([session; 32]), by, &secrets()[1]);
    store.keep_acknowledgements(&[word.clone(), word]).await.unwrap();
}

/// Erases by an order that names the share set of a session.
async fn erase(store: &PartyStore, named: u8, epoch: u32) -> u64 {
    store.erase_replaced(ACCOUNT, PlanHash([named; 32]), epoch, 2).await.unwrap()
}

async fn has_retired(store: &PartyStore) -> bool {
    store.admission_facts(OrderId([0; 32]), ACCOUNT, PlanHash([1; 32])).await.unwrap().has_retired
}

pub(crate) async fn old_shares_are_erased_with_the_word_of_all_parties_and_an_order(store: &PartyStore) {
    // Nothing is known of it yet: the word is lost.
    acknowledge(store, 1).await;
    promise(store, 1, 1).await;
    store.activate(&certificate(1, 1)).await.unwrap();
    for session in 2..=3 {
        promise(store, session, session.into()).await;
        store.activate(&certificate(session, session.into())).await.unwrap();
    }
    assert!(has_retired(store).await);
    assert_eq!(erase(store, 3, 3).await, 0, "the other party may still be at the first share set");
    acknowledge(store, 2).await;
    // The second set is acknowledged, and the order names a later one. The third may be at this party only.
    assert_eq!(erase(store, 3, 3).await, 1);
    assert_eq!(erase(store, 3, 3).await, 0);
    assert!(store.promised(PlanHash([2; 32])).await.unwrap().is_some());
    acknowledge(store, 3).await;
    assert_eq!(erase(store, 3, 3).await, 1);
    assert!(!has_retired(store).await);
    assert_eq!(active(store).await, Some(3));
}

/// Days after its order has expired, its session is still there to be reported.
pub(crate) async fn a_retired_share_set_that_comes_back_is_reported(store: &PartyStore) {
    for session in 1..=2 {
        promise(store, session, 1).await;
        store.release(PlanHash([session; 32])).await.unwrap();
    }
    for session in 1..=2 {
        store.activate_named(&certificate(session, 1)).await.unwrap();
        store.mark_reported(PlanHash([session; 32])).await.unwrap();
    }
    let later = NOW + secs(200_000);
    let signing = Claim { issued_at: later, now: later, expires_at: later + secs(600), ..claim(9, 9, false) };
    let signing = Claim { share_set: Some(PlanHash([2; 32])), ..signing };
    assert_eq!(store.claim(&signing).await.unwrap(), CLAIMED);
    store.forget_expired().await.unwrap();
    assert_eq!(store.unreported().await.unwrap(), []);
    store.activate_named(&certificate(1, 1)).await.unwrap();
    let told: Vec<Started> = store.unreported().await.unwrap().into_iter().map(|told| told.started).collect();
    assert_eq!(told, [started(1)]);
}

pub(crate) async fn a_contradiction_is_kept_once(store: &PartyStore) {
    let (ready, key) = (readies(1, 1)[1].clone(), &secrets()[1]);
    let notice = AbortNotice { plan: ready.activation.plan, by: ready.by, code: AbortCode::Timeout };
    let contradiction = Contradiction::of(ready, notice.sign(key), &key.public()).unwrap();
    assert!(store.keep_contradiction(&contradiction).await.unwrap());
    assert!(!store.keep_contradiction(&contradiction).await.unwrap());
}

pub(crate) async fn a_promise_that_lost_to_another_holds_nothing_and_comes_back_only_by_an_order(
    store: &PartyStore,
) {
    promise(store, 1, 1).await;
    store.release(PlanHash([1; 32])).await.unwrap();
    promise(store, 2, 1).await;
    // The one that was given up turns out to be certified: it takes the place of the other.
    store.activate(&certificate(1, 1)).await.unwrap();
    assert_eq!(active(store).await, Some(1));
    let lost = store.activate(&certificate(2, 1)).await;
    assert!(matches!(lost, Err(StoreError::Conflict(_))), "{lost:?}");
    // The first is acknowledged, but no order names it.
    acknowledge(store, 1).await;
    assert_eq!(erase(store, 2, 1).await, 0);
    // The account service has chosen the other one.
    store.activate_named(&certificate(2, 1)).await.unwrap();
    assert_eq!(active(store).await, Some(2));
    store.activate_named(&certificate(1, 1)).await.unwrap();
    assert_eq!(active(store).await, Some(1));
    let refresh = Claim { share_set: Some(PlanHash([1; 32])), ..claim(3, 3, true) };
    assert_eq!(store.claim(&refresh).await.unwrap(), CLAIMED, "the one that lost still holds the account");
    store.abort(PlanHash([3; 32])).await.unwrap();
    promise(store, 4, 2).await;
    store.activate(&certificate(4, 2)).await.unwrap();
    let earlier = store.activate_named(&certificate(2, 1)).await;
    assert!(
        matches!(earlier, Err(StoreError::Conflict(_))),
        "no order brings an earlier epoch back: {earlier:?}"
    );
}

pub(crate) async fn a_claim_on_what_has_changed_since_admission_is_stale(store: &PartyStore) {
    promise(store, 1, 1).await;
    store.activate(&certificate(1, 1)).await.unwrap();
    let signing =
        |session, set| Claim { share_set: Some(PlanHash([set; 32])), ..claim(session, session, false) };
    assert_eq!(store.claim(&claim(2, 2, true)).await.unwrap(), ClaimOutcome::Stale, "a keygen beside a key");
    assert_eq!(store.claim(&signing(3, 2)).await.unwrap(), ClaimOutcome::Stale, "another share set");
    assert_eq!(store.claim(&signing(4, 1)).await.unwrap(), CLAIMED);
    store.ban(&[banned(Some(1), 2)], decided_in(4)).await.unwrap();
    assert_eq!(store.claim(&signing(5, 1)).await.unwrap(), ClaimOutcome::Stale, "a banned signer");
}

fn started(session: u8) -> Started {
    let claim = claim(session, session, false);
    let Claim { plan, session, order, me, digest, .. } = claim;
    Started { plan, session, order, me, digest }
}

pub(crate) async fn a_restart_finds_what_runs_and_what_nobody_knows(store: &PartyStore) {
    store.claim(&claim(1, 1, false)).await.unwrap();
    store.claim(&claim(2, 2, false)).await.unwrap();
    store.finish(PlanHash([2; 32])).await.unwrap();
    promise(store, 3, 1).await;
    assert_eq!(abandoned(store, Some("a")).await, [started(1)]);
    let promised = SessionResult::Promise(readies(3, 1)[0].clone(), key());
    let unreported = |session, result| Unreported { started: started(session), result };
    assert_eq!(store.unreported().await.unwrap(), [unreported(3, promised)]);
    let pending = PromisedShare { record: record(1), state: ShareState::Pending, certificate: None };
    assert_eq!(store.promised(PlanHash([3; 32])).await.unwrap(), Some(pending));
    assert_eq!(store.promised(PlanHash([1; 32])).await.unwrap(), None);
    store.mark_reported(PlanHash([3; 32])).await.unwrap();
    assert_eq!(store.unreported().await.unwrap(), []);
    store.abort(PlanHash([1; 32])).await.unwrap();
    store.activate(&certificate(3, 1)).await.unwrap();
    let made = || unreported(3, SessionResult::Share(certificate(3, 1), key()));
    assert_eq!(store.unreported().await.unwrap(), [made()], "an activation is news");
    store.mark_reported(PlanHash([3; 32])).await.unwrap();
    assert_eq!(store.unreported().await.unwrap(), []);
    store.report_again(ACCOUNT).await.unwrap();
    assert_eq!(store.unreported().await.unwrap(), [made()]);
    let other = Claim { account: AccountId([9; 16]), ..claim(4, 4, true) };
    store.claim(&other).await.unwrap();
    store.abort(PlanHash([4; 32])).await.unwrap();
    assert_eq!(store.unreported().await.unwrap().len(), 2);
    assert!(store.unreported().await.unwrap().contains(&unreported(4, SessionResult::Nothing)));
    assert!(abandoned(store, Some("a")).await.is_empty());
}

/// The session in which a ban is decided.
fn decided_in(session: u8) -> DecidedIn {
    DecidedIn { session: SessionId([session; 32]), plan: PlanHash([session; 32]) }
}

/// A ban of the party with this index, on the share set that a session has made.
fn banned(share_set: Option<u8>, party: u16) -> BannedParty {
    let share_set = share_set.map(|session| PlanHash([session; 32]));
    BannedParty { account: ACCOUNT, share_set, party: PartyIndex::try_from(party).unwrap() }
}

pub(crate) async fn bans_stay_and_raise_the_counter_once(store: &PartyStore) {
    promise(store, 1, 1).await;
    store.activate(&certificate(1, 1)).await.unwrap();
    promise(store, 2, 2).await;
    let before = counter(store).await;
    for _ in 0..2 {
        store.ban(&[banned(Some(1), 2), banned(Some(1), 1)], decided_in(9)).await.unwrap();
    }
    let facts = store.admission_facts(OrderId([1; 32]), ACCOUNT, PlanHash([1; 32])).await.unwrap();
    assert_eq!((facts.banned, facts.counter), (PartyIndex::all(2).collect(), before + 1));
    let other = store.admission_facts(OrderId([1; 32]), AccountId([9; 16]), PlanHash([1; 32])).await.unwrap();
    assert!(other.banned.is_empty());
    // It is of one share set. It goes over to one that was promised before: only an operator lifts a ban.
    assert_eq!(store.banned(ACCOUNT, None, PlanHash([7; 32])).await.unwrap(), []);
    store.activate(&certificate(2, 2)).await.unwrap();
    let facts = store.admission_facts(OrderId([1; 32]), ACCOUNT, PlanHash([1; 32])).await.unwrap();
    assert_eq!(facts.banned, PartyIndex::all(2).collect::<Vec<_>>());
    assert_eq!(store.banned(ACCOUNT, Some(PlanHash([1; 32])), PlanHash([7; 32])).await.unwrap().len(), 2);
}

fn refresh(session: u8, share_set: u8) -> Claim {
    Claim { share_set: Some(PlanHash([share_set; 32])), ..claim(session, session, true) }
}

async fn banned_on(store: &PartyStore, share_set: u8) -> Vec<PartyIndex> {
    store.banned(ACCOUNT, Some(PlanHash([share_set; 32])), PlanHash([99; 32])).await.unwrap()
}

pub(crate) async fn a_lifted_ban_ends_with_the_one_refresh_that_it_permits(store: &PartyStore) {
    let second = PartyIndex::try_from(2).unwrap();
    assert!(!store.lift_ban(ACCOUNT, second).await.unwrap(), "an account without a share");
    promise(store, 1, 1).await;
    store.activate(&certificate(1, 1)).await.unwrap();
    store.ban(&[banned(Some(1), 2)], decided_in(9)).await.unwrap();
    assert!(!store.lift_ban(ACCOUNT, PartyIndex::FIRST).await.unwrap(), "a party that is not banned");
    assert_eq!(store.claim(&refresh(2, 1)).await.unwrap(), ClaimOutcome::Stale, "no lift");
    let before = counter(store).await;
    assert!(store.lift_ban(ACCOUNT, second).await.unwrap());
    let signing = Claim { exclusive: false, ..refresh(3, 1) };
    assert_eq!(store.claim(&signing).await.unwrap(), ClaimOutcome::Stale, "a signing");
    // The refresh that uses it up ends without shares.
    assert_eq!(store.claim(&refresh(4, 1)).await.unwrap(), CLAIMED);
    assert_eq!(counter(store).await, before + 2);
    store.abort(PlanHash([4; 32])).await.unwrap();
    assert_eq!(store.claim(&refresh(5, 1)).await.unwrap(), ClaimOutcome::Stale, "a second refresh");
    assert!(store.lift_ban(ACCOUNT, second).await.unwrap());
    assert_eq!(store.claim(&refresh(6, 1)).await.unwrap(), CLAIMED);
    let running = store.banned(ACCOUNT, Some(PlanHash([1; 32])), PlanHash([6; 32])).await.unwrap();
    assert_eq!(running, [], "the refresh itself");
    store.promise(&readies(6, 2)[0], &record(2), &entries(6)).await.unwrap();
    assert_eq!(banned_on(store, 1).await, [second], "it ended before the new shares are active");
    store.activate(&certificate(6, 2)).await.unwrap();
    assert_eq!(banned_on(store, 6).await, []);
    assert_eq!(banned_on(store, 1).await, [second], "the older share set");
    let signing = Claim { exclusive: false, ..refresh(7, 6) };
    assert_eq!(store.claim(&signing).await.unwrap(), CLAIMED);
}

/// The database is new, and a plan has told of a ban that the party had decided in the one before.
pub(crate) async fn a_ban_holds_at_a_party_that_has_lost_its_share(store: &PartyStore) {
    let second = PartyIndex::try_from(2).unwrap();
    let lost = Some(PlanHash([1; 32]));
    store.ban(&[banned(Some(1), 2)], decided_in(9)).await.unwrap();
    let mut facts = store.admission_facts(OrderId([1; 32]), ACCOUNT, PlanHash([1; 32])).await.unwrap();
    assert_eq!(facts.banned, [], "there is no active share set");
    store.take_bans_on(&mut facts, ACCOUNT, lost).await.unwrap();
    assert_eq!((facts.banned, facts.lifted), (vec![second], vec![]));
    let repair = |session| Claim { lost, ..claim(session, session, true) };
    assert_eq!(store.claim(&repair(2)).await.unwrap(), ClaimOutcome::Stale);
    assert!(store.lift_ban(ACCOUNT, second).await.unwrap());
    assert_eq!(store.claim(&repair(3)).await.unwrap(), CLAIMED);
    store.abort(PlanHash([3; 32])).await.unwrap();
    // Without another lift the ban goes over to the new share set.
    assert_eq!(store.claim(&repair(4)).await.unwrap(), ClaimOutcome::Stale, "a lift serves once");
}

pub(crate) async fn a_lift_is_void_when_its_party_cheats_again_and_for_every_other_refresh(
    store: &PartyStore,
) {
    let second = PartyIndex::try_from(2).unwrap();
    promise(store, 1, 1).await;
    store.activate(&certificate(1, 1)).await.unwrap();
    // A refresh that was promised before the ban, and waits.
    promise(store, 2, 2).await;
    store.release(PlanHash([2; 32])).await.unwrap();
    store.ban(&[banned(Some(1), 2)], decided_in(9)).await.unwrap();
    store.lift_ban(ACCOUNT, second).await.unwrap();
    assert_eq!(store.claim(&refresh(3, 1)).await.unwrap(), CLAIMED);
    store.promise(&readies(3, 2)[0], &record(2), &entries(3)).await.unwrap();
    store.activate(&certificate(3, 2)).await.unwrap();
    assert_eq!(banned_on(store, 3).await, []);
    // It comes back because an order names it: the lift was not for it.
    store.activate_named(&certificate(2, 2)).await.unwrap();
    assert_eq!(banned_on(store, 2).await, [second]);
    store.lift_ban(ACCOUNT, second).await.unwrap();
    assert_eq!(store.claim(&refresh(4, 2)).await.unwrap(), CLAIMED);
    store.promise(&readies(4, 3)[0], &record(3), &entries(4)).await.unwrap();
    store.ban(&[banned(Some(2), 2)], decided_in(8)).await.unwrap();
    store.activate(&certificate(4, 3)).await.unwrap();
    assert_eq!(banned_on(store, 4).await, [second], "it has cheated again");
}

pub(crate) async fn a_lost_ban_is_taken_up_again_and_a_lifted_one_is_not(store: &PartyStore) {
    promise(store, 1, 1).await;
    store.activate(&certificate(1, 1)).await.unwrap();
    let second = PartyIndex::try_from(2).unwrap();
    let own = OwnBan { banned: banned(Some(1), 2), session: SessionId([9; 32]) };
    let before = counter(store).await;
    for restored in [vec![own], vec![]] {
        assert_eq!(store.restore_bans(ACCOUNT, &[own]).await.unwrap(), restored);
    }
    assert_eq!(counter(store).await, before + 1);
    assert_eq!(store.claim(&refresh(2, 1)).await.unwrap(), ClaimOutcome::SetBack, "it has lost one");
    assert!(store.accept_set_back().await.unwrap());
    assert_eq!(store.claim(&refresh(2, 1)).await.unwrap(), ClaimOutcome::Stale);
    store.lift_ban(ACCOUNT, second).await.unwrap();
    store.restore_bans(ACCOUNT, &[own]).await.unwrap();
    assert_eq!(store.claim(&refresh(2, 1)).await.unwrap(), CLAIMED, "a report has voided a lift");
    // Those of others bind nobody, and are kept once.
    let of_other = Ban {
        account: ACCOUNT,
        share_set: Some(PlanHash([1; 32])),
        by: second,
        banned: PartyIndex::FIRST,
        session: SessionId([9; 32]),
    };
    let of_other = of_other.sign(&secrets()[1]);
    for _ in 0..2 {
        store.keep_ban_reports(ACCOUNT, std::slice::from_ref(&of_other)).await.unwrap();
    }
    let kept = store.kept_bans(ACCOUNT, Some(PlanHash([1; 32]))).await.unwrap();
    assert_eq!(kept, KeptBans { own: vec![own], of_others: vec![of_other] });
    assert_eq!(store.kept_bans(ACCOUNT, None).await.unwrap(), KeptBans::default());
    assert_eq!(banned_on(store, 1).await, [second]);
    assert_eq!(store.accounts().await.unwrap(), [ACCOUNT]);
}

/// A database that was changed by another program, without a commit.
async fn altered(store: &PartyStore, harm: &'static str) -> bool {
    let mut tx = store.database().begin(b"").await.unwrap();
    let changed = sql(harm).execute(&mut tx).await.unwrap();
    assert_eq!(changed, 1, "{harm}");
    let account = store.account_state(&mut tx, ACCOUNT).await.err();
    let party = store.change_state(&mut tx, |_| {}).await.err();
    [account, party].into_iter().flatten().any(|error| matches!(error, StoreError::Altered(_)))
}

pub(crate) async fn what_a_party_knows_of_an_account_and_of_itself_can_not_be_changed_by_others(
    store: &PartyStore,
) {
    promise(store, 1, 1).await;
    store.activate(&certificate(1, 1)).await.unwrap();
    promise(store, 2, 2).await;
    store.activate(&certificate(2, 2)).await.unwrap();
    store.ban(&[banned(Some(2), 2)], decided_in(9)).await.unwrap();
    let of_other = Ban {
        account: ACCOUNT,
        share_set: Some(PlanHash([2; 32])),
        by: PartyIndex::try_from(2).unwrap(),
        banned: PartyIndex::FIRST,
        session: SessionId([9; 32]),
    };
    store.keep_ban_reports(ACCOUNT, &[of_other.sign(&secrets()[1])]).await.unwrap();
    let third = Claim { share_set: Some(PlanHash([2; 32])), ..exposed(4, &[1, 3]) };
    store.claim(&third).await.unwrap();
    store.abort_unknown(PlanHash([4; 32])).await.unwrap();
    assert!(!altered(store, "UPDATE state SET id = id").await, "nothing was changed");
    for harm in [
        "DELETE FROM bans",
        "UPDATE bans SET party = 3",
        "UPDATE bans SET lifted = TRUE",
        "DELETE FROM ban_reports",
        "UPDATE ban_reports SET report = account",
        "DELETE FROM unknown_outcomes",
        "UPDATE unknown_outcomes SET sessions = 0",
        "DELETE FROM shares WHERE state = 'retired'",
        "DELETE FROM shares WHERE state = 'active'",
        "UPDATE shares SET state = 'retired' WHERE state = 'active'",
        "UPDATE shares SET epoch = 3 WHERE state = 'active'",
        "DELETE FROM account_macs",
        "DELETE FROM state",
        "UPDATE state SET counter = counter + 1",
        "UPDATE state SET latest_seen = 0",
        "UPDATE state SET orders_from = 1",
        "UPDATE state SET once_counter = 1",
    ] {
        assert!(altered(store, harm).await, "{harm}");
    }
}

pub(crate) async fn a_ban_ends_the_session_in_which_it_was_decided(store: &PartyStore) {
    store.claim(&claim(1, 1, true)).await.unwrap();
    store.ban(&[banned(None, 2)], decided_in(1)).await.unwrap();
    assert!(abandoned(store, Some("a")).await.is_empty(), "the session still runs");
    assert_eq!(store.claim(&claim(2, 2, true)).await.unwrap(), ClaimOutcome::Stale, "the pair makes a key");
    let alone = Claim { signers: vec![PartyIndex::FIRST], ..claim(3, 3, true) };
    assert_eq!(store.claim(&alone).await.unwrap(), CLAIMED, "the account is still locked");
}

/// A signing under a protocol that bans, with at most two open sessions with each counterparty.
fn exposed(session: u8, signers: &[u16]) -> Claim {
    Claim {
        share_set: Some(PlanHash([1; 32])),
        signers: signers.iter().map(|&party| PartyIndex::try_from(party).unwrap()).collect(),
        open_signings: Some(2),
        ..claim(session, session, false)
    }
}

pub(crate) async fn open_signings_with_one_counterparty_are_bounded(store: &PartyStore) {
    promise(store, 1, 1).await;
    store.activate(&certificate(1, 1)).await.unwrap();
    let second = PartyIndex::try_from(2).unwrap();
    for session in [2, 3] {
        assert_eq!(store.claim(&exposed(session, &[1, 2])).await.unwrap(), CLAIMED);
    }
    let of_another_replica = Claim { replica: "b".into(), ..exposed(4, &[1, 2, 3]) };
    assert_eq!(store.claim(&of_another_replica).await.unwrap(), ClaimOutcome::Full(second));
    assert_eq!(store.claim(&exposed(5, &[1, 3])).await.unwrap(), CLAIMED, "another counterparty");
    let unbounded = Claim { open_signings: None, ..exposed(6, &[1, 2]) };
    assert_eq!(store.claim(&unbounded).await.unwrap(), CLAIMED, "a protocol that bans nobody");
    let refresh = Claim { open_signings: Some(2), ..exposed(7, &[1, 2]) };
    let refresh = Claim { exclusive: true, ..refresh };
    assert_eq!(store.claim(&refresh).await.unwrap(), CLAIMED, "a refresh was held back");
    store.finish(PlanHash([2; 32])).await.unwrap();
    assert_eq!(store.claim(&exposed(4, &[1, 2])).await.unwrap(), CLAIMED, "a place was free");
    assert_eq!(store.claim(&exposed(8, &[1, 2])).await.unwrap(), ClaimOutcome::Full(second));
}

pub(crate) async fn a_batch_takes_a_place_for_each_bit_that_it_may_tell(store: &PartyStore) {
    promise(store, 1, 1).await;
    store.activate(&certificate(1, 1)).await.unwrap();
    let second = PartyIndex::try_from(2).unwrap();
    let batch =
        |session, signatures| Claim { signatures, open_signings: Some(16), ..exposed(session, &[1, 2]) };
    // 7 bits of 64 items, twice; 2 bits of three.
    for (session, items) in [(2, 64), (3, 64), (4, 3)] {
        assert_eq!(store.claim(&batch(session, items)).await.unwrap(), CLAIMED, "{items} items");
    }
    assert_eq!(store.claim(&batch(5, 1)).await.unwrap(), ClaimOutcome::Full(second));
    store.finish(PlanHash([4; 32])).await.unwrap();
    assert_eq!(store.claim(&batch(6, 4)).await.unwrap(), ClaimOutcome::Full(second), "4 items have 3 bits");
    assert_eq!(store.claim(&batch(7, 1)).await.unwrap(), CLAIMED);
    assert_eq!(store.claim(&batch(8, 1)).await.unwrap(), CLAIMED);
    assert_eq!(store.claim(&batch(9, 1)).await.unwrap(), ClaimOutcome::Full(second));
    // One that never fits goes alone.
    for session in [2, 3, 7, 8] {
        store.finish(PlanHash([session; 32])).await.unwrap();
    }
    let large = Claim { open_signings: Some(2), ..batch(10, 64) };
    assert_eq!(store.claim(&large).await.unwrap(), CLAIMED);
    let beside = Claim { open_signings: Some(2), ..batch(11, 1) };
    assert_eq!(store.claim(&beside).await.unwrap(), ClaimOutcome::Full(second));
}

pub(crate) async fn signings_of_unknown_outcome_ask_for_new_shares_and_then_for_nothing_else(
    store: &PartyStore,
) {
    promise(store, 1, 1).await;
    store.activate(&certificate(1, 1)).await.unwrap();
    let second = PartyIndex::try_from(2).unwrap();
    let before = counter(store).await;
    for unknown in 0..REFRESH_REQUIRED {
        let session = u8::try_from(unknown + 10).unwrap();
        let refresh_wanted = unknown >= REFRESH_WANTED;
        let claimed = store.claim(&exposed(session, &[1, 2])).await.unwrap();
        assert_eq!(claimed, ClaimOutcome::Claimed { refresh_wanted }, "after {unknown}");
        for _ in 0..2 {
            store.abort_unknown(PlanHash([session; 32])).await.unwrap();
        }
    }
    assert_eq!(counter(store).await, before + u64::from(REFRESH_REQUIRED));
    let refused = store.claim(&exposed(200, &[1, 2, 3])).await.unwrap();
    assert_eq!(refused, ClaimOutcome::RefreshRequired(second));
    assert_eq!(store.claim(&exposed(201, &[1, 3])).await.unwrap(), CLAIMED, "another counterparty");
    // A signing that ended with a known outcome, or under a protocol that bans nobody, counts nothing.
    store.abort(PlanHash([201; 32])).await.unwrap();
    store.abort_unknown(PlanHash([201; 32])).await.unwrap();
    let unbounded = Claim { open_signings: None, ..exposed(202, &[1, 3]) };
    store.claim(&unbounded).await.unwrap();
    store.abort_unknown(PlanHash([202; 32])).await.unwrap();
    assert_eq!(store.claim(&exposed(203, &[1, 3])).await.unwrap(), CLAIMED);
    let refresh = Claim { exclusive: true, ..exposed(2, &[1, 2]) };
    assert_eq!(store.claim(&refresh).await.unwrap(), CLAIMED, "the refresh itself was refused");
    store.promise(&readies(2, 2)[0], &record(2), &entries(2)).await.unwrap();
    store.activate(&certificate(2, 2)).await.unwrap();
    let on_new_shares = Claim { share_set: Some(PlanHash([2; 32])), ..exposed(204, &[1, 2]) };
    assert_eq!(store.claim(&on_new_shares).await.unwrap(), CLAIMED, "new shares begin with no count");
}

pub(crate) async fn a_suspended_component_is_remembered(store: &PartyStore) {
    assert_eq!(store.suspended().await.unwrap(), []);
    for digest in [2, 1, 2] {
        store.suspend(Digest([digest; 32])).await.unwrap();
    }
    assert_eq!(store.suspended().await.unwrap(), [Digest([1; 32]), Digest([2; 32])]);
    let claim = claim(9, 9, false);
    store.suspend(claim.digest).await.unwrap();
    assert_eq!(
        store.claim(&claim).await.unwrap(),
        ClaimOutcome::Suspended,
        "another replica has suspended it"
    );
}

pub(crate) async fn a_peer_that_went_back_is_noticed(store: &PartyStore) {
    let late = NOW + COUNTER_SETTLING_PERIOD;
    use PeerStanding::{Current, WentBack};
    for (now, counter, expected) in [
        (NOW, 5, Current),
        (NOW, 7, Current),
        (NOW, 6, Current),
        (late, 7, Current),
        (late, 6, Current),
        (late + COUNTER_SETTLING_PERIOD, 6, WentBack),
        (late + COUNTER_SETTLING_PERIOD, 8, Current),
        (late + COUNTER_SETTLING_PERIOD, 7, Current),
        (late + 3 * COUNTER_SETTLING_PERIOD, 7, WentBack),
        (late + 3 * COUNTER_SETTLING_PERIOD, 8, Current),
    ] {
        assert_eq!(
            store.check_peer(keys()[1], &peer_state(counter), now).await.unwrap(),
            expected,
            "{counter} at {now:?}"
        );
    }
    assert_eq!(store.check_peer(keys()[0], &peer_state(0), NOW).await.unwrap(), Current);
    assert_eq!(store.highest_hello(keys()[1]).await.unwrap(), Some(peer_state(8)));
    assert_eq!(store.highest_hello(PublicKey([9; 32])).await.unwrap(), None);
}

fn hello(counter: u64, database: u8) -> SignedHello {
    let hello = Hello {
        plan: PlanHash([1; 32]),
        index: PartyIndex::FIRST,
        ephemeral: [1; 32],
        fresh: [1; 32],
        counter,
        database: DatabaseId([database; 16]),
    };
    hello.sign(&secrets()[1])
}

fn peer_state(counter: u64) -> SignedHello {
    hello(counter, 1)
}

pub(crate) async fn a_party_that_was_set_back_stops_until_its_operator_accepts_it(store: &PartyStore) {
    promise(store, 1, 1).await;
    store.activate(&certificate(1, 1)).await.unwrap();
    let before = store.admission_facts(OrderId([0; 32]), ACCOUNT, PlanHash([1; 32])).await.unwrap().database;
    let sessions = std::cell::Cell::new(10);
    let is_stopped = async || {
        sessions.set(sessions.get() + 1);
        let signing = claim(sessions.get(), sessions.get(), false);
        let signing = Claim { share_set: Some(PlanHash([1; 32])), ..signing };
        let stopped = store.was_set_back().await.unwrap();
        let expected = if stopped { ClaimOutcome::SetBack } else { CLAIMED };
        assert_eq!(store.claim(&signing).await.unwrap(), expected);
        stopped
    };
    store.note_once_counter(counter(store).await, before).await.unwrap();
    store.note_once_counter(u64::MAX, before).await.unwrap();
    assert!(!is_stopped().await && !store.accept_set_back().await.unwrap());
    store.note_once_counter(9, before).await.unwrap();
    store.note_once_counter(8, before).await.unwrap();
    // What raises its own counter does not make it forget that.
    store.ban(&[banned(Some(1), 3)], decided_in(99)).await.unwrap();
    for _ in 0..10 {
        store.lift_ban(ACCOUNT, PartyIndex::try_from(3).unwrap()).await.unwrap();
    }
    assert!(is_stopped().await && store.accept_set_back().await.unwrap());
    // From there on it counts under a new id of the database, and a second time is noticed too.
    let after = store.admission_facts(OrderId([0; 32]), ACCOUNT, PlanHash([1; 32])).await.unwrap().database;
    assert_ne!(after, before);
    assert!(!is_stopped().await && !store.accept_set_back().await.unwrap());
    store.note_once_counter(9, before).await.unwrap();
    assert!(!is_stopped().await, "an old hello that comes late");
    store.note_once_counter(1_000, after).await.unwrap();
    assert!(is_stopped().await);
}

pub(crate) async fn a_peer_with_another_database_is_noticed_until_it_is_readmitted(store: &PartyStore) {
    let other = &hello(9, 2);
    let (peer, late) = (keys()[1], NOW + 3 * COUNTER_SETTLING_PERIOD);
    assert_eq!(store.check_peer(peer, &peer_state(9), NOW).await.unwrap(), PeerStanding::Current);
    for now in [NOW, late] {
        assert_eq!(store.check_peer(peer, other, now).await.unwrap(), PeerStanding::OtherDatabase);
    }
    assert_eq!(store.check_peer(peer, &peer_state(9), late).await.unwrap(), PeerStanding::Current);
    assert!(store.readmit(peer).await.unwrap());
    assert_eq!(store.check_peer(peer, other, late).await.unwrap(), PeerStanding::Current);
    assert_eq!(store.check_peer(peer, &peer_state(9), late).await.unwrap(), PeerStanding::OtherDatabase);
}

pub(crate) async fn time_and_orders_are_remembered_for_a_day(store: &PartyStore) {
    store.claim(&claim(1, 1, false)).await.unwrap();
    store.claim(&Claim { now: NOW - secs(50), ..claim(2, 2, false) }).await.unwrap();
    store.finish(PlanHash([1; 32])).await.unwrap();
    let sessions = |order, latest| async move {
        let admission_facts =
            store.admission_facts(OrderId([order; 32]), ACCOUNT, PlanHash([1; 32])).await.unwrap();
        assert_eq!(admission_facts.latest_seen, latest);
        admission_facts.sessions_of_order
    };
    store.forget_expired().await.unwrap();
    assert_eq!(sessions(1, NOW).await, 1);
    let day = NOW + secs(600) + secs(ORDER_RETENTION_SECONDS.into());
    for (now, left) in [(day, 1), (day + secs(1), 0)] {
        store
            .claim(&Claim {
                now,
                issued_at: now,
                ..claim(9, u8::try_from(now.0 % 100).unwrap() + 100, false)
            })
            .await
            .unwrap();
        store.forget_expired().await.unwrap();
        assert_eq!(sessions(1, now).await, left);
    }
    assert_eq!(sessions(2, day + secs(1)).await, 1, "a session that still runs was forgotten");
}

/// An order is signed anew when it is submitted again: its sessions are counted together.
pub(crate) async fn an_order_is_remembered_for_a_day_after_its_latest_form(store: &PartyStore) {
    store.claim(&claim(1, 1, false)).await.unwrap();
    store.abort(PlanHash([1; 32])).await.unwrap();
    let later = NOW + secs(86_400);
    store
        .claim(&Claim { expires_at: later, now: later, issued_at: later, ..claim(1, 2, false) })
        .await
        .unwrap();
    store.abort(PlanHash([2; 32])).await.unwrap();
    let now = NOW + secs(600) + secs(ORDER_RETENTION_SECONDS.into()) + secs(1);
    store.claim(&Claim { now, issued_at: now, ..claim(9, 9, false) }).await.unwrap();
    store.forget_expired().await.unwrap();
    let facts = store.admission_facts(OrderId([1; 32]), ACCOUNT, PlanHash([1; 32])).await.unwrap();
    assert_eq!(facts.sessions_of_order, 2);
}

pub(crate) async fn the_stored_time_follows_orders_and_is_set_back_only(store: &PartyStore) {
    let facts =
        || async { store.admission_facts(OrderId([1; 32]), ACCOUNT, PlanHash([1; 32])).await.unwrap() };
    let ahead = NOW + secs(172_800);
    store.claim(&Claim { now: NOW + secs(500), ..claim(1, 1, false) }).await.unwrap();
    assert_eq!(facts().await.latest_seen, NOW + secs(60), "further than the order's own time allows");
    assert!(
        !store.set_time_back(NOW + secs(60)).await.unwrap() && facts().await.orders_from == UnixSeconds(0)
    );
    store.claim(&Claim { now: ahead, issued_at: ahead, ..claim(2, 2, false) }).await.unwrap();
    assert!(!store.set_time_back(ahead + secs(1)).await.unwrap(), "the time was moved forward");
    assert!(!store.set_time_back(ahead - secs(60)).await.unwrap(), "clocks may be a minute apart");
    assert!(store.set_time_back(NOW).await.unwrap());
    assert_eq!((facts().await.latest_seen, facts().await.orders_from), (NOW, NOW + secs(660)));
}

pub(crate) async fn orders_from_before_the_database_are_not_taken(store: &PartyStore) {
    let from = || async {
        let facts = store.admission_facts(OrderId([1; 32]), ACCOUNT, PlanHash([1; 32])).await.unwrap();
        facts.orders_from
    };
    store.begin_orders(NOW).await.unwrap();
    store.begin_orders(NOW + secs(100)).await.unwrap();
    assert_eq!(from().await, NOW, "a database begins once");
    // The clock was ahead when the party first began: its operator sets the time back as after any jump.
    let before = NOW - secs(86_400);
    assert!(store.set_time_back(before).await.unwrap());
    assert_eq!(from().await, before + secs(660));
}

pub(crate) async fn a_day_has_so_many_signatures_of_an_account(store: &PartyStore) {
    let of_day =
        |session, order| Claim { signatures_per_day: NonZeroU32::new(2), ..claim(order, session, false) };
    let is_claimed = async |claim: Claim| match store.claim(&claim).await.unwrap() {
        ClaimOutcome::Claimed { .. } => true,
        ClaimOutcome::DailyMaximum => false,
        other => panic!("{other:?}"),
    };
    let several = Claim { signatures: 3, ..of_day(1, 1) };
    assert!(!is_claimed(several).await);
    assert!(is_claimed(of_day(2, 2)).await);
    // Another session of the order makes the same signature.
    assert!(is_claimed(of_day(3, 2)).await);
    assert!(is_claimed(of_day(4, 3)).await);
    assert!(!is_claimed(of_day(5, 4)).await);
    let facts = store.admission_facts(OrderId([4; 32]), ACCOUNT, PlanHash([5; 32])).await.unwrap();
    assert_eq!((facts.sessions_of_order, facts.claimed), (0, false), "what was refused counts");
    let other = AccountId([9; 16]);
    assert!(is_claimed(Claim { account: other, ..of_day(6, 5) }).await, "another account has none");
    assert!(is_claimed(claim(6, 7, false)).await, "it is bounded without a maximum");
    let counted = async || {
        let row = sql("SELECT count(*) AS days, CAST(sum(signatures) AS BIGINT) AS signatures
             FROM daily_signatures WHERE account = $1")
        .bind(ACCOUNT.as_bytes())
        .fetch_one(&store.database)
        .await
        .unwrap();
        (row.get::<u32>("days").unwrap(), row.get::<u32>("signatures").unwrap())
    };
    assert_eq!(counted().await, (1, 2), "what has no maximum is counted");
    let next = NOW + secs(86_400);
    let tomorrow = |session, order| Claim { now: next, issued_at: next, ..of_day(session, order) };
    assert!(is_claimed(tomorrow(8, 7)).await);
    store.forget_expired().await.unwrap();
    assert!(is_claimed(tomorrow(9, 8)).await);
    assert!(!is_claimed(tomorrow(10, 9)).await, "what is not over was forgotten");
    assert_eq!(counted().await, (2, 4));
    let third = next + secs(86_400);
    assert!(is_claimed(Claim { now: third, issued_at: third, ..of_day(11, 10) }).await);
    store.forget_expired().await.unwrap();
    assert_eq!(counted().await, (2, 3), "days that are over are kept");
}

async fn abandoned(store: &PartyStore, replica: Option<&str>) -> Vec<Started> {
    store.abandoned(replica, NOW.into()).await.unwrap()
}

pub(crate) async fn a_session_is_abandoned_by_its_replica_or_when_its_time_is_over(store: &PartyStore) {
    store.claim(&claim(1, 1, false)).await.unwrap();
    store.claim(&Claim { replica: "b".into(), ..claim(2, 2, false) }).await.unwrap();
    assert_eq!(abandoned(store, Some("a")).await.len(), 1);
    assert_eq!(abandoned(store, Some("b")).await.len(), 1);
    assert!(abandoned(store, None).await.is_empty() && abandoned(store, Some("c")).await.is_empty());
    assert_eq!(store.abandoned(None, (NOW + secs(600)).into()).await.unwrap().len(), 2);
}

pub(crate) async fn an_operator_frees_an_account_and_readmits_a_peer(store: &PartyStore) {
    store.claim(&claim(1, 1, true)).await.unwrap();
    assert!(!store.unlock(ACCOUNT).await.unwrap(), "a session that runs was unlocked");
    store.promise(&readies(1, 1)[0], &record(1), &entries(1)).await.unwrap();
    assert!(store.unlock(ACCOUNT).await.unwrap() && !store.unlock(ACCOUNT).await.unwrap());
    store.activate(&certificate(1, 1)).await.unwrap();
    let peer = keys()[1];
    assert_eq!(store.check_peer(peer, &peer_state(9), NOW).await.unwrap(), PeerStanding::Current);
    let later = NOW + 3 * COUNTER_SETTLING_PERIOD;
    assert_eq!(store.check_peer(peer, &peer_state(3), later).await.unwrap(), PeerStanding::WentBack);
    assert!(store.readmit(peer).await.unwrap() && !store.readmit(peer).await.unwrap());
    assert_eq!(store.check_peer(peer, &peer_state(3), later).await.unwrap(), PeerStanding::Current);
}

/// Claims a keygen and delivers its share to a user, until a second after `NOW`.
async fn deliver(store: &PartyStore, session: u8) {
    assert_eq!(store.claim(&claim(session, session, true)).await.unwrap(), CLAIMED);
    let sealed = Some(SealedDelivery { recipient: [8; 32], bytes: vec![9; 100] });
    let (session_id, certificate) = (SessionId([session; 32]), certificate(session, 1));
    let new_delivery = NewDelivery {
        session: session_id,
        order: OrderId([session; 32]),
        certificate,
        sealed,
        claim_hash: [session; 32],
        expires_at: UnixMillis::from(NOW) + ms(1_000),
    };
    store.deliver(&readies(session, 1)[0], &record(1), &entries(session), &new_delivery).await.unwrap();
}

pub(crate) async fn a_delivered_share_is_promised_only_when_it_is_confirmed(store: &PartyStore) {
    deliver(store, 1).await;
    let (session, plan, now) = (SessionId([1; 32]), PlanHash([1; 32]), UnixMillis::from(NOW));
    let admission_facts = store.admission_facts(OrderId([0; 32]), ACCOUNT, plan).await.unwrap();
    assert!(!admission_facts.promised && admission_facts.record.is_none());
    assert!(store.unreported().await.unwrap().is_empty(), "a promise that was not given yet is reported");
    assert!(store.abandoned(None, UnixSeconds(u32::MAX.into()).into()).await.unwrap().is_empty());
    assert!(matches!(store.abort(plan).await, Err(StoreError::Conflict(_))));
    assert!(matches!(store.activate(&certificate(1, 1)).await, Err(StoreError::Conflict(_))));
    assert_eq!(store.promise_state(plan).await.unwrap(), PromiseState::NotPromised);
    let delivery = store.delivery(ShareLookup::Order(OrderId([1; 32]))).await.unwrap().unwrap();
    assert_eq!((delivery.state, delivery.recipient), (DeliveryState::Delivered, Some([8; 32])));
    assert_eq!((delivery.sealed, delivery.certificate), (Some(vec![9; 100]), certificate(1, 1)));
    assert_eq!(delivery.claim_hash, [1; 32]);
    assert_eq!(store.confirm(SessionId([2; 32]), None, now).await.unwrap(), Confirmation::Unknown);
    assert_eq!(store.confirm(session, Some([3; 32]), now).await.unwrap(), Confirmation::Confirmed);
    assert_eq!(store.confirm(session, Some([3; 32]), now).await.unwrap(), Confirmation::Confirmed);
    for by in [None, Some([4; 32])] {
        assert_eq!(store.confirm(session, by, now).await.unwrap(), Confirmation::AlreadyConfirmed);
    }
    let delivery = store.delivery(ShareLookup::Session(session)).await.unwrap().unwrap();
    assert_eq!((delivery.state, delivery.sealed), (DeliveryState::Confirmed, None));
    assert_eq!(store.promise_state(plan).await.unwrap(), PromiseState::Promised);
    assert_eq!(store.unreported().await.unwrap().len(), 1);
    store.expire_deliveries(now + ms(2_000)).await.unwrap();
    store.activate(&certificate(1, 1)).await.unwrap();
    assert_eq!(store.promise_state(plan).await.unwrap(), PromiseState::Active);
    assert_eq!(active(store).await, Some(1));
}

pub(crate) async fn a_delivery_that_nobody_confirms_expires_and_frees_the_account(store: &PartyStore) {
    deliver(store, 1).await;
    let now = UnixMillis::from(NOW);
    assert!(!store.unlock(ACCOUNT).await.unwrap(), "the account was freed while a user may still confirm");
    assert_eq!(store.expire_deliveries(now).await.unwrap(), 0);
    // It is too late even before anybody has looked.
    assert_eq!(
        store.confirm(SessionId([1; 32]), None, now + ms(1_001)).await.unwrap(),
        Confirmation::Expired
    );
    assert_eq!(store.expire_deliveries(now + ms(1_001)).await.unwrap(), 1);
    assert_eq!(store.expire_deliveries(now + ms(1_001)).await.unwrap(), 0);
    assert_eq!(store.confirm(SessionId([1; 32]), None, now).await.unwrap(), Confirmation::Expired);
    let delivery = store.delivery(ShareLookup::Session(SessionId([1; 32]))).await.unwrap().unwrap();
    assert_eq!((delivery.state, delivery.sealed), (DeliveryState::Expired, None));
    let unreported = store.unreported().await.unwrap();
    assert!(matches!(&unreported[..], [Unreported { result: SessionResult::Nothing, .. }]), "{unreported:?}");
    assert_eq!(store.claim(&claim(2, 2, true)).await.unwrap(), CLAIMED);
}

pub(crate) async fn a_plan_waits_until_its_session_is_claimed(store: &PartyStore) {
    let plan = WaitingPlan {
        session: SessionId([1; 32]),
        order: OrderId([1; 32]),
        plan: vec![7; 300],
        token: "token".into(),
        deadline: NOW.into(),
    };
    for _ in 0..2 {
        store.keep_plan(&plan).await.unwrap();
    }
    let waiting = store.waiting_plans(ShareLookup::Order(plan.order)).await.unwrap();
    assert_eq!(waiting, std::slice::from_ref(&plan));
    let waiting = store.waiting_plans(ShareLookup::Session(plan.session)).await.unwrap();
    assert_eq!(waiting, std::slice::from_ref(&plan));
    assert!(store.waiting_plans(ShareLookup::Session(SessionId([2; 32]))).await.unwrap().is_empty());
    assert!(!store.is_running(plan.session, NOW.into()).await.unwrap());
    let claim = claim(1, 1, true);
    assert_eq!(store.claim(&claim).await.unwrap(), CLAIMED);
    assert!(store.waiting_plans(ShareLookup::Order(plan.order)).await.unwrap().is_empty());
    assert!(store.is_running(plan.session, claim.deadline).await.unwrap());
    assert!(
        !store.is_running(plan.session, claim.deadline + ms(1)).await.unwrap(),
        "running after its deadline"
    );
    store.keep_plan(&WaitingPlan { session: SessionId([3; 32]), ..plan.clone() }).await.unwrap();
    store.expire_deliveries(UnixMillis::from(NOW) + ms(1)).await.unwrap();
    assert!(store.waiting_plans(ShareLookup::Order(plan.order)).await.unwrap().is_empty());
}

pub(crate) async fn a_number_is_used_for_one_order(store: &PartyStore) {
    let (order, other) = (OrderId([1; 32]), OrderId([2; 32]));
    assert!(store.use_nonce([5; 32], order, NOW).await.unwrap());
    assert!(store.use_nonce([5; 32], order, NOW).await.unwrap(), "the same request can't be repeated");
    assert!(!store.use_nonce([5; 32], other, NOW).await.unwrap());
    store.expire_deliveries((NOW + secs(86_400)).into()).await.unwrap();
    assert!(!store.use_nonce([5; 32], other, NOW).await.unwrap(), "a number was forgotten within a day");
}

pub(crate) async fn a_claim_serves_for_the_share_of_one_order(store: &PartyStore) {
    assert_eq!(store.claimed_by([1; 32]).await.unwrap(), None);
    deliver(store, 1).await;
    assert_eq!(store.claimed_by([1; 32]).await.unwrap(), Some(OrderId([1; 32])));
    // Nobody has confirmed the share: the account is free, and the claim is used.
    let late = (NOW + secs(1_000_000_000)).into();
    assert_eq!(store.expire_deliveries(late).await.unwrap(), 1);
    assert_eq!(store.claim(&claim(2, 2, true)).await.unwrap(), CLAIMED);
    let again = NewDelivery {
        session: SessionId([2; 32]),
        order: OrderId([2; 32]),
        certificate: certificate(2, 1),
        sealed: None,
        claim_hash: [1; 32],
        expires_at: late,
    };
    let refused = store.deliver(&readies(2, 1)[0], &record(1), &entries(2), &again).await;
    assert!(matches!(refused, Err(StoreError::Conflict(_))), "a claim served twice");
    store
        .deliver(&readies(2, 1)[0], &record(1), &entries(2), &NewDelivery { claim_hash: [2; 32], ..again })
        .await
        .unwrap();
}

pub(crate) async fn sealing_keys_are_random_rotated_and_deleted(store: &PartyStore) {
    let (period, second) = (secs(100), secs(1));
    let first = store.current_sealing_key(NOW, period).await.unwrap();
    assert_eq!((first.not_before, first.not_after), (NOW, NOW + 2 * period));
    assert_eq!(store.current_sealing_key(NOW + period - second, period).await.unwrap(), first);
    let next = store.current_sealing_key(NOW + period, period).await.unwrap();
    assert!(next.id != first.id && next.key != first.key, "a key was not replaced");
    // Both open what was sealed to them, the first until its end.
    for (key, until) in [(&first, NOW + 2 * period), (&next, NOW + 3 * period)] {
        let held = store.sealing_key(key.id, until - second).await.unwrap();
        assert_eq!(held.map(|secret| secret.public()), Some(key.key));
        assert!(store.sealing_key(key.id, until).await.unwrap().is_none(), "a key serves for ever");
    }
    assert!(store.sealing_key(SealingKeyId([1; 16]), NOW).await.unwrap().is_none());
    store.delete_sealing_keys(NOW + 2 * period - second).await.unwrap();
    assert!(store.sealing_key(first.id, NOW).await.unwrap().is_some());
    store.delete_sealing_keys(NOW + 2 * period).await.unwrap();
    assert!(store.sealing_key(first.id, NOW).await.unwrap().is_none(), "a key is kept after its end");
    assert!(store.sealing_key(next.id, NOW + 2 * period).await.unwrap().is_some());
    // By a clock that was ahead for a while: what it made is neither given out early nor kept.
    assert!(store.sealing_key(next.id, NOW).await.unwrap().is_none());
    let current = store.current_sealing_key(NOW, period).await.unwrap();
    assert_ne!(current.id, next.id);
    store.delete_sealing_keys(NOW).await.unwrap();
    assert!(store.sealing_key(next.id, NOW + period).await.unwrap().is_none(), "a key of the future is kept");
    // The party signs what the row says: nobody else can make a key serve longer.
    sql("UPDATE sealing_keys SET not_after = not_after + 1").execute(&store.database).await.unwrap();
    let altered = store.current_sealing_key(NOW, period).await;
    assert!(matches!(altered, Err(StoreError::Sealed(_))), "{altered:?}");
}

/// Replicas that start at once give out one key.
pub(crate) async fn replicas_make_one_sealing_key(store: &PartyStore) {
    let asked = (0..4).map(|_| store.current_sealing_key(NOW, secs(100)));
    let keys: BTreeSet<SealingKeyId> =
        futures::future::join_all(asked).await.into_iter().map(|key| key.unwrap().id).collect();
    assert_eq!(keys.len(), 1);
}
