//! Processes that are killed and connections that are cut in the middle of an operation: what was promised holds, what failed
//! says why, and the next operation works. `FAULT_SEED` chooses other moments.

use quorate_tests::faults::{Case, FAULTS, Faults, OPERATIONS};
use quorate_tests::fleet::Member;
use quorate_tests::random::Random;

/// Parts of an operation, in each of which a fault happens.
const PHASES: u32 = 2;

/// One fault in each phase of each operation; kills and cuts take turns.
async fn faults(member: Member) {
    let seed = std::env::var("FAULT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut random = Random(seed);
    let mut faults = Faults::start().await;
    let (mut turn, mut results) = (0, 0);
    for operation in OPERATIONS {
        for phase in 0..PHASES {
            let after = operation.moment(phase, PHASES, &mut random);
            let case = Case { operation, member, after, fault: FAULTS[turn % 2] };
            let had_result = faults.happen(case).await;
            eprintln!("{case:?}: {}", if had_result { "a result" } else { "no result" });
            results += usize::from(had_result);
            turn += 1;
        }
        // The next operation begins with the other one.
        turn += 1;
    }
    // Callers who try again are served in the end, but for what a fault can take from them for good.
    assert!(results >= 4, "only {results} of 6 operations had a result");
}

#[tokio::test]
async fn an_account_service_that_fails_makes_nothing_twice_and_loses_nothing() {
    faults(Member::Account(0)).await;
}

#[tokio::test]
async fn a_coordinator_that_fails_is_taken_over_from() {
    faults(Member::Coordinator(0)).await;
}

#[tokio::test]
async fn a_router_that_fails_is_gone_around() {
    faults(Member::Router(0)).await;
}

#[tokio::test]
async fn a_party_that_fails_loses_no_share() {
    faults(Member::Party(0)).await;
}

#[tokio::test]
async fn a_party_api_that_fails_loses_no_share() {
    faults(Member::PartyApi(0)).await;
}
