//! Resident memory of a server with three parties: at rest, after few and after many signatures, and while 16 callers
//! are served.

use std::time::Duration;

use quorate_tests::single_process::Server;
use serde_json::{Value, json};

use crate::block_on;
use crate::end_to_end::{many, sign};
use crate::stats::round;

const CALLERS: usize = 16;

/// Longer than anything lingers after a session.
const QUIET_DURATION: Duration = Duration::from_secs(15);

pub(crate) fn measure() -> Value {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(folder.path(), 3);
        server.first_answer().await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let at_rest = server.memory();
        let account = server.caller.create().await;
        let signs =
            |count: usize| many(&server.caller, CALLERS, count / CALLERS, |c| sign(c, account.clone()));
        signs(208).await;
        let busy = server.memory();
        tokio::time::sleep(QUIET_DURATION).await;
        let few = server.memory();
        signs(1_792).await;
        tokio::time::sleep(QUIET_DURATION).await;
        let many = server.memory();
        json!({
            "what": "MiB; quiet for a while before each but the second",
            "at_rest": round(at_rest),
            "right_after_208_signatures_of_16_callers": round(busy),
            "per_session_at_that_time": round((busy - at_rest) / CALLERS as f64),
            "after_208_signatures": round(few),
            "after_2000_signatures": round(many),
            "growth": round(many / few),
        })
    })
}
