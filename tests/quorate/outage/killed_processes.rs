//! Processes that are killed and connections that are cut in the middle of an operation: what was promised holds,
//! what failed says why, and the next operation works. `FAULT_SEED` chooses other moments.

use quorate_tests::fault_injection::{Case, FAULTS, Faults, OPERATIONS, moment};
use quorate_tests::fleet::Member;
use quorate_tests::random::Random;

/// Parts of an operation, in each of which a fault happens.
const PHASES: u32 = 2;

/// One fault in each phase of each operation; kills and cuts take turns.
async fn faults(member: Member) {
    let seed = std::env::var("FAULT_SEED").map_or(1, |seed| seed.parse().expect("FAULT_SEED is a number"));
    let mut random = Random(seed);
    let mut faults = Faults::start().await;
    let (mut turn, mut in_time, mut results) = (0, 0, 0);
    for operation in OPERATIONS {
        for phase in 0..PHASES {
            let case =
                Case { operation, member, at: moment(phase, PHASES, &mut random), fault: FAULTS[turn % 2] };
            let happened = faults.happen(case).await;
            eprintln!("{case:?}: {happened:?}");
            in_time += usize::from(happened.in_time);
            results += usize::from(happened.had_result);
            turn += 1;
        }
        // The next operation begins with the other fault.
        turn += 1;
    }
    // The early faults of keygen and refresh always come in time; a signature may be faster than its fault. A refresh
    // may be turned away because what the fault has left behind of it holds its account for a while.
    assert!(
        in_time >= 2 && results >= 4,
        "of 6 faults {in_time} came in time, and {results} operations had a result"
    );
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
