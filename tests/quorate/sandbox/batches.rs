//! A batch is one question to every signer: the answer to a cheat does not tell in which item it was.

use quorate_core::order::SignItems;
use quorate_kit::{Hop, Parties, message};
use quorate_runtime::{
    Grants, Plugin, Runtime, RuntimeConfig, SessionError, SessionErrorKind, SignTask, Task,
};
use quorate_tests::components;
use quorate_tests::sandbox_tasks::keygen;

const ITEMS: usize = 64;

/// A place in a payload of the first round that belongs to the oblivious transfers.
const OT_OFFSET_BYTES: usize = 5_000;

fn sign(items: usize) -> Task {
    let items = SignItems::new(vec![message(vec![7; 32]); items]).unwrap();
    Task::Sign(SignTask::new("ecdsa-secp256k1", &items))
}

/// The answer of party 1 to a bit that party 2 has flipped in the oblivious transfers of an item.
struct Answer {
    failure: SessionError,
    /// Messages of party 1 after the round in which party 2 cheated.
    later_messages: usize,
    /// Instructions of all steps: the first of both parties, and of each the one in which it has the other's message.
    instructions: u64,
}

async fn cheat(runtime: &Runtime, parties: &mut Parties, plugin: &Plugin, place: usize) -> Answer {
    let begin = runtime.instructions();
    let (mut before, mut later_messages) = (0, 0);
    let bend = |mut hop: Hop| {
        match (hop.message.from.number(), hop.message.round) {
            (2, 1) => {
                let bytes = hop.message.payload.len() - 1;
                if (before..before + bytes).contains(&place) {
                    hop.message.payload[1 + place - before] ^= 1;
                }
                before += bytes;
            }
            (1, 2..) => later_messages += 1,
            _ => {}
        }
        Some(hop)
    };
    let mut ended = parties.try_run_with(plugin, &[1, 2], &sign(ITEMS), bend).await;
    let failure = ended.remove(&1).unwrap().unwrap_err();
    Answer { failure, later_messages, instructions: runtime.instructions() - begin }
}

/// Bytes of one item in a message of the first round, with their length before them.
async fn item_bytes(parties: &mut Parties, plugin: &Plugin) -> usize {
    let mut bytes = 0;
    let measure = |hop: Hop| {
        if hop.message.round == 1 {
            bytes = hop.message.payload.len() - 1;
        }
        Some(hop)
    };
    parties.try_run_with(plugin, &[1, 2], &sign(1), measure).await;
    bytes
}

#[tokio::test]
async fn a_cheat_in_any_item_has_the_same_answer_after_the_same_work() {
    let config = RuntimeConfig { count_instructions: true, ..RuntimeConfig::default() };
    let runtime = Runtime::new(config).unwrap();
    let plugin = runtime.load(&components::bytes("dkls23"), &Grants::default()).await.unwrap();
    let mut parties = Parties::new(2, 2);
    parties.run(&plugin, &[1, 2], &keygen()).await;
    let item_bytes = item_bytes(&mut parties, &plugin).await;
    let mut answers = Vec::new();
    for item in [0, ITEMS / 2, ITEMS - 1] {
        answers.push(cheat(&runtime, &mut parties, &plugin, item * item_bytes + OT_OFFSET_BYTES).await);
    }
    for answer in &answers {
        let SessionErrorKind::Fault(fault) = &answer.failure.kind else { panic!("{}", answer.failure) };
        assert!(fault.ban, "{}", answer.failure);
        assert_eq!(answer.failure.to_string(), answers[0].failure.to_string());
        assert_eq!(answer.later_messages, 0, "a message of the round in which party 2 cheated has left");
        // An answer as soon as the cheat is found would leave out up to a quarter of all.
        let ratio = answer.instructions as f64 / answers[0].instructions as f64;
        assert!((ratio - 1.0).abs() < 0.01, "{ratio} times the instructions for the first item");
    }
}
