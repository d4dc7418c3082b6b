//! How long signatures take while the sandbox's background threads are busy.

use std::time::{Duration, Instant};

use quorate_core::{ExecutionId, GroupId, PartyIndex, Threshold};
use quorate_kit::random32;
use quorate_runtime::{Capabilities, Grants, Plugin, Progress, Roster, SessionSpec, Task};
use quorate_tests::components;
use quorate_tests::embedded::Deployment;
use serde_json::{Value, json};

use crate::block_on;
use crate::end_to_end::{many, sign};
use crate::stats::{percentile, round};

const SIGNS: usize = 200;

/// Background sessions at a time: more than there are background threads.
const SESSIONS: usize = 4;

pub(crate) fn measure() -> Value {
    block_on(async {
        let deployment = Deployment::start(3).await;
        let account = deployment.caller().create().await;
        let busy = components::bytes("faulty");
        let busy = deployment.embedded().runtime().load(&busy, &Grants::default()).await.unwrap();
        let signs = || many(deployment.caller(), 1, SIGNS, |caller| sign(caller, account.clone()));
        signs().await;
        let idle = signs().await;
        let work: Vec<_> = (0..SESSIONS).map(|_| tokio::spawn(keep_busy(busy.clone()))).collect();
        tokio::time::sleep(Duration::from_millis(500)).await;
        let loaded = signs().await;
        work.iter().for_each(tokio::task::JoinHandle::abort);
        let (idle, loaded) = (percentile(&idle, 0.95), percentile(&loaded, 0.95));
        json!({
            "what": format!("sign with one caller while {SESSIONS} background sessions compute without end; milliseconds"),
            "idle_p95": round(idle),
            "busy_p95": round(loaded),
            "busy_over_idle": round(loaded / idle),
        })
    })
}

async fn keep_busy(plugin: Plugin) {
    loop {
        let spec = SessionSpec {
            roster: Roster {
                me: PartyIndex::FIRST,
                signers: PartyIndex::all(2).collect(),
                threshold: Threshold::new(2, 2).unwrap(),
                group_id: GroupId([0; 32]),
                execution_id: ExecutionId(random32()),
            },
            task: Task::Prepare { items: 1 },
            capabilities: Capabilities::without_backends(),
            memory: None,
            deadline: Instant::now() + Duration::from_secs(60),
        };
        let mut session = plugin.start(spec).await.unwrap();
        // It ends when its CPU time is used up; then there is another.
        while let Ok(step) = session.step(vec![]).await {
            let Progress::Again(next) = step.progress else { break };
            session = next;
        }
    }
}
