//! From the start of the process to its first answers, with a cold and with a warm compile cache.

use std::path::Path;

use quorate_tests::single_process::Server;
use serde_json::{Value, json};

use crate::block_on;
use crate::end_to_end::sign;
use crate::stats::{median, round};

const STARTS: usize = 5;

pub(crate) fn measure() -> Value {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(folder.path(), 3);
        server.first_answer().await;
        let account = server.caller.create().await;
        drop(server);
        let mut starts = serde_json::Map::new();
        for (name, is_cold) in [("cold", true), ("warm", false)] {
            let (mut answers, mut signatures) = (vec![], vec![]);
            for _ in 0..STARTS {
                if is_cold {
                    std::fs::remove_dir_all(folder.path().join("compiled")).unwrap();
                }
                let (answer, signature) = start(folder.path(), &account).await;
                answers.push(answer);
                signatures.push(signature);
            }
            let row = json!({ "first_answer_ms": round(median(&answers)), "first_signature_ms": round(median(&signatures)) });
            starts.insert(name.into(), row);
        }
        json!({ "what": "medians; the API answers once its components are compiled; the first signature is with an account that was there before", "runs": STARTS, "starts": starts })
    })
}

async fn start(data: &Path, account: &str) -> (f64, f64) {
    let server = Server::start(data, 3);
    let answer = server.first_answer().await.as_secs_f64() * 1e3;
    sign(server.caller.clone(), account.to_owned()).await;
    (answer, server.started.elapsed().as_secs_f64() * 1e3)
}
