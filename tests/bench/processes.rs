//! All roles as separate processes on PostgreSQL, RabbitMQ and Redis, all on this machine: what that costs, and how
//! long signing stands still when a party is killed.

use std::time::Instant;

use quorate_tests::fleet::{Fleet, FleetSetup, Member};
use serde_json::{Value, json};

use crate::block_on;
use crate::end_to_end::{many, percentiles, sign};
use crate::stats::{percentile, round};

/// Callers, signatures of each, accounts of each.
const LOADS: [(usize, usize, usize); 2] = [(1, 200, 7), (16, 40, 1)];

/// How often a party is killed.
const KILLS: usize = 9;

pub(crate) fn measure() -> Value {
    block_on(async {
        let mut fleet = Fleet::start(FleetSetup::default()).await;
        let caller = fleet.caller(0);
        let account = caller.create().await;
        many(&caller, 1, 20, |caller| sign(caller, account.clone())).await;
        let (mut signs, mut keygens) = (serde_json::Map::new(), serde_json::Map::new());
        for (callers, each, accounts) in LOADS {
            let began = Instant::now();
            let times = many(&caller, callers, each, |caller| sign(caller, account.clone())).await;
            let mut row = percentiles(&times);
            #[allow(clippy::cast_precision_loss)]
            let count = times.len() as f64;
            row["per_second"] = round(count / began.elapsed().as_secs_f64()).into();
            signs.insert(format!("{callers} callers"), row);
            let times = many(&caller, callers, accounts, |caller| async move {
                caller.create().await;
            });
            keygens.insert(format!("{callers} callers"), percentiles(&times.await));
        }
        let mut longest = Vec::new();
        for kill in 0..KILLS {
            longest.push(stand_still(&mut fleet, &account, Member::Party(kill % 3)).await);
        }
        json!({
            "what": "2-of-3 over HTTP; 3 parties, 2 coordinators, 2 routers, 2 account services, PostgreSQL, RabbitMQ, \
                     Redis and the callers on the same processors; milliseconds",
            "longest_request_when_a_party_is_killed_ms": {
                "p50": round(percentile(&longest, 0.5)), "max": round(percentile(&longest, 1.0)), "runs": KILLS,
            },
            "sign": signs,
            "keygen": keygens,
        })
    })
}

/// The longest of the signatures that are asked for one after the other while a party is killed and does not come back.
async fn stand_still(fleet: &mut Fleet, account: &str, party: Member) -> f64 {
    let caller = fleet.caller(0);
    let signing = many(&caller, 2, 12, |caller| sign(caller, account.to_owned()));
    let pid = fleet.pid(party);
    let killing = async {
        tokio::time::sleep(std::time::Duration::from_millis(150)).await;
        std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap();
    };
    let (times, ()) = tokio::join!(signing, killing);
    fleet.restart(party).await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    percentile(&times, 1.0)
}
