//! Bans that parties report: a coordinator keeps them, and every later plan carries them to all.

use quorate_core::abort::AbortCode;
use quorate_core::ban::{Ban, SignedBan};
use quorate_core::identity::SecretKey;
use quorate_core::order::Operation;
use quorate_core::report::Outcome;
use quorate_core::{AccountId, PartyIndex, PlanHash, SessionId};

use super::scripted::{ACCOUNT, SHARE_SET, ScriptedParties, answer, failure_without_session};

fn second() -> PartyIndex {
    PartyIndex::try_from(2).unwrap()
}

fn ban(key: &SecretKey, account: AccountId, share_set: PlanHash) -> SignedBan {
    let session = SessionId([9; 32]);
    Ban { account, share_set: Some(share_set), by: PartyIndex::FIRST, banned: second(), session }.sign(key)
}

fn banned() -> Outcome {
    Outcome::Aborted {
        code: AbortCode::Ban,
        plugin_code: None,
        culprits: vec![second()],
        reason: "it has cheated".into(),
        notice: None,
    }
}

#[tokio::test]
async fn a_ban_that_was_reported_travels_with_every_later_plan_of_its_share_set() {
    let mut scripted = ScriptedParties::start().await;
    let events = scripted.submit().await;
    let plan = scripted.plan().await;
    assert!(plan.bans.is_empty());
    let good = ban(&scripted.parties[0], ACCOUNT, SHARE_SET);
    let bans = vec![
        ban(&scripted.parties[1], ACCOUNT, SHARE_SET),
        ban(&scripted.parties[0], AccountId([2; 16]), SHARE_SET),
        ban(&scripted.parties[0], ACCOUNT, PlanHash([2; 32])),
        good.clone(),
    ];
    scripted.report_with(1, &plan, banned(), bans).await;
    scripted.report(2, &plan, banned()).await;
    assert_eq!(answer(events).await.failure_code.as_deref(), Some("blocked_by_ban"));
    // Another coordinator on the same database knows of it: it begins no signing of the pair.
    let mut second = scripted.start_again().await;
    let events = second.submit().await;
    assert_eq!(failure_without_session(events).await.as_deref(), Some("blocked_by_ban"));
    // A refresh is tried: its operators may have lifted the ban.
    let _events = second.submit_to(Operation::Refresh).await;
    assert_eq!(second.plan().await.bans, [good]);
}
