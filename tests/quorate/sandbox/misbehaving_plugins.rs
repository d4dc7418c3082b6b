//! A component that misbehaves: the failure is typed and names plugin and party, the host lives on, and the next
//! session of a good plugin works.

use std::time::{Duration, Instant};

use quorate_core::{ExecutionId, GroupId, Threshold};
use quorate_kit::{party, random32};
use quorate_runtime::limits::MAX_MEMORY_BYTES;
use quorate_runtime::{
    Capabilities, ComponentOutcome, Grants, Misbehaviour, Plugin, PluginText, Progress, Roster, Runtime,
    RuntimeConfig, SessionError, SessionErrorKind, SessionSpec, Task,
};

use quorate_tests::components;
use quorate_tests::sandbox_tasks::{keygen, load, sign};

fn mode(name: &str) -> Task {
    let Task::Sign(mut task) = sign([0; 32]) else { unreachable!() };
    task.items[0].item.message.0 = name.as_bytes().to_vec();
    Task::Sign(task)
}

fn two_of_three() -> Threshold {
    Threshold::new(2, 3).unwrap()
}

fn spec(task: Task, deadline: Duration) -> SessionSpec {
    SessionSpec {
        roster: Roster {
            me: party(1),
            signers: vec![party(1), party(2)],
            threshold: two_of_three(),
            group_id: GroupId([7; 32]),
            execution_id: ExecutionId(random32()),
        },
        task,
        capabilities: Capabilities { texts: PluginText::Recorded, ..Capabilities::without_backends() },
        memory: None,
        deadline: Instant::now() + deadline,
    }
}

/// Starts and steps until something fails.
async fn fail(plugin: &Plugin, task: Task, deadline: Duration) -> SessionError {
    fail_in(plugin, spec(task, deadline)).await
}

async fn fail_in(plugin: &Plugin, spec: SessionSpec) -> SessionError {
    let mut session = match plugin.start(spec).await {
        Ok(session) => session,
        Err(error) => return error,
    };
    loop {
        session = match session.step(vec![]).await {
            Ok(step) => match step.progress {
                Progress::Waiting(session) | Progress::Again(session) => session,
                Progress::Done { outcome, .. } => panic!("it ended well: {outcome:?}"),
            },
            Err(error) => return error,
        };
    }
}

pub(super) async fn misbehaviour(name: &str) -> Misbehaviour {
    let plugin = load("faulty").await;
    let error = fail(&plugin, mode(name), Duration::from_secs(60)).await;
    assert_eq!((error.plugin.as_str(), error.party), ("faulty", party(1)));
    assert!(error.to_string().contains("plugin faulty"), "{error}");
    match error.kind {
        SessionErrorKind::Misbehaviour(misbehaviour) => misbehaviour,
        other => panic!("{name}: {other}"),
    }
}

#[tokio::test]
async fn a_trap_is_a_typed_failure() {
    for name in ["trap-in-start", "trap-in-step"] {
        assert!(matches!(misbehaviour(name).await, Misbehaviour::Trap(_)), "{name}");
    }
}

#[tokio::test]
async fn an_endless_loop_ends_at_the_deadline() {
    let plugin = load("faulty").await;
    let started = Instant::now();
    let error = fail(&plugin, mode("endless-loop"), Duration::from_millis(300)).await;
    assert!(matches!(error.kind, SessionErrorKind::Deadline), "{error}");
    assert!(started.elapsed() < Duration::from_secs(10), "it ran on for {:?}", started.elapsed());
}

#[tokio::test]
async fn a_memory_bomb_stops_at_the_limit() {
    let bomb = misbehaviour("memory-bomb").await;
    assert!(matches!(bomb, Misbehaviour::Memory { .. }), "{bomb}");
}

#[tokio::test]
async fn a_session_gets_no_more_than_its_plugin_has_announced() {
    let plugin = load("faulty").await;
    let keygen = |mode| fail(&plugin, faulty_keygen(mode), Duration::from_secs(60));
    let announced = plugin.need(&faulty_keygen("memory-bomb"), two_of_three()).unwrap();
    let bomb = keygen("memory-bomb").await;
    let limit = announced.memory_bytes;
    let expected = Misbehaviour::Memory { resource: "bytes of memory", limit };
    assert!(matches!(&bomb.kind, SessionErrorKind::Misbehaviour(found) if *found == expected), "{bomb}");
    assert!(limit < MAX_MEMORY_BYTES / 2);
    let long = keygen("longer-than-it-says").await;
    assert!(long.to_string().contains("a message that is too long"), "{long}");
}

#[tokio::test]
async fn a_session_waits_for_memory_that_others_have() {
    let task = faulty_keygen("idle-for-ever");
    let need = load("faulty").await.need(&task, two_of_three()).unwrap();
    let for_two = RuntimeConfig { memory_bytes: 2 * need.memory_bytes, ..RuntimeConfig::default() };
    let bytes = components::bytes("faulty");
    let error = Runtime::new(for_two).unwrap().load(&bytes, &Grants::default()).await.unwrap_err();
    let says = error.to_string();
    assert!(says.contains("64 MiB") && says.contains("QUORATE_SANDBOX_MEMORY_MB"), "{says}");
    // What does not sign has half of it.
    let for_five = RuntimeConfig { memory_bytes: 10 * need.memory_bytes, ..RuntimeConfig::default() };
    let plugin = Runtime::new(for_five).unwrap().load(&bytes, &Grants::default()).await.unwrap();
    let begin = |within: Duration| plugin.start(spec(task.clone(), within));
    let mut running = Vec::new();
    for _ in 0..5 {
        running.push(begin(Duration::from_secs(60)).await.map_err(|error| error.to_string()).unwrap());
    }
    let Err(late) = begin(Duration::from_millis(200)).await else { panic!("it has memory of another") };
    assert!(matches!(late.kind, SessionErrorKind::Deadline), "{late}");
    running.pop();
    assert!(begin(Duration::from_secs(60)).await.is_ok(), "what a session had is gone with it");
}

#[tokio::test]
async fn deep_recursion_exhausts_the_guests_stack_and_not_ours() {
    assert_eq!(misbehaviour("deep-recursion").await, Misbehaviour::StackOverflow);
}

#[tokio::test]
async fn a_flood_of_handles_stops_at_the_limit() {
    assert_eq!(misbehaviour("handle-flood").await, Misbehaviour::Handles);
}

#[tokio::test]
async fn more_than_one_call_may_carry_is_refused_before_it_is_copied() {
    assert_eq!(misbehaviour("huge-output").await, Misbehaviour::HostcallBytes);
}

#[tokio::test]
async fn output_that_the_contract_does_not_allow_is_refused() {
    for (name, why) in [
        ("huge-message", "too long"),
        ("many-messages", "more messages"),
        ("same-message-twice", "more messages"),
        ("blames-millions", "somebody who is not a peer"),
        ("round-0", "a round that is past"),
        ("falling-rounds", "a round that is past"),
        ("to-itself", "not a peer"),
        ("to-nobody", "not a peer"),
        ("wrong-outcome", "an outcome"),
        ("recovery-id-9", "recovery id"),
        ("two-signatures", "not one signature"),
        ("blames-nobody-with-a-ban", "somebody who is not a peer"),
        ("blames-itself", "somebody who is not a peer"),
    ] {
        let output = misbehaviour(name).await;
        assert!(
            matches!(&output, Misbehaviour::InvalidOutput(what) if what.contains(why)),
            "{name}: {output}"
        );
    }
}

fn faulty_keygen(mode: &str) -> Task {
    Task::Keygen { scheme: mode.into() }
}

#[tokio::test]
async fn a_key_that_is_not_as_announced_is_refused() {
    let plugin = load("faulty").await;
    for (task, why) in [
        (keygen(), "a share of a format"),
        (Task::Refresh, "without a share"),
        (faulty_keygen("keygen-of-a-strange-format"), "another scheme"),
    ] {
        let error = fail(&plugin, task, Duration::from_secs(60)).await;
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[tokio::test]
async fn a_component_that_only_asks_for_more_steps_is_stopped() {
    let idle = misbehaviour("idle-for-ever").await;
    assert!(idle.to_string().contains("step after step"), "{idle}");
}

#[tokio::test]
async fn the_vault_refuses_what_is_not_the_sessions_to_write_or_take() {
    let plugin = load("faulty").await;
    for (task, why) in [
        (faulty_keygen("keygen-of-too-much"), "Quota"),
        (mode("bad-vault-name"), "InvalidName"),
        (mode("replaces-its-share"), "Denied"),
        (mode("takes-what-it-likes"), "Denied"),
    ] {
        let error = fail(&plugin, task, Duration::from_secs(60)).await;
        assert!(
            matches!(&error.kind, SessionErrorKind::Internal(text) if text.to_string().contains(why)),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_component_that_calls_without_end_is_stopped() {
    let calls = misbehaviour("calls-without-end").await;
    assert_eq!(calls, Misbehaviour::Quota("capability calls"));
}

#[tokio::test]
async fn in_production_a_failure_tells_its_kind_and_a_listed_code_and_nothing_else() {
    let plugin = load("faulty").await;
    for (name, told, code) in [
        ("fails-with-a-listed-code", "the plugin reports a bug of its own: plugin code 7", Some(7)),
        ("fails-with-an-unlisted-code", "the task can't be done: plugin code unlisted", Some(u16::MAX)),
        ("fails-without-a-code", "the stored share can't be used: plugin code none", None),
        ("blames-with-a-code", "a peer is at fault: plugin code 7", Some(7)),
    ] {
        let mut spec = spec(mode(name), Duration::from_secs(60));
        spec.capabilities.texts = PluginText::Discarded;
        let error = fail_in(&plugin, spec).await;
        assert_eq!((error.kind.to_string().as_str(), error.kind.plugin_code()), (told, code));
        assert!(!format!("{error} {error:?}").contains("a part of a share"), "{error:?}");
        let recorded = fail(&plugin, mode(name), Duration::from_secs(60)).await;
        assert!(recorded.to_string().contains("a part of a share"), "{recorded}");
    }
}

#[tokio::test]
async fn a_failure_text_can_not_forge_log_lines() {
    let plugin = load("faulty").await;
    let error = fail(&plugin, mode("start-fails"), Duration::from_secs(60)).await;
    assert!(matches!(error.kind, SessionErrorKind::InvalidShare(_)), "{error}");
    assert!(!error.to_string().contains('\n'));
}

#[tokio::test]
async fn a_good_session_works_beside_and_after_a_bad_one() {
    let (good, bad) = (load("dkls23").await, load("faulty").await);
    let mut parties = quorate_kit::Parties::new(2, 2);
    let all = parties.all();
    let key = keygen();
    let (outcome, error) = tokio::join!(
        parties.run(&good, &all, &key),
        fail(&bad, mode("endless-loop"), Duration::from_secs(2))
    );
    assert!(matches!(outcome, ComponentOutcome::Key(_)));
    assert!(matches!(error.kind, SessionErrorKind::Deadline));
    assert!(matches!(parties.run(&good, &all, &sign([1; 32])).await, ComponentOutcome::Signatures(_)));
}

/// What a session leaves in the memory of its component, no other finds: each has an instance of its own.
#[tokio::test]
async fn no_session_finds_what_another_has_left() {
    let plugin = load("faulty").await;
    for _ in 0..3 {
        let session = plugin.start(spec(mode("remembers"), Duration::from_secs(60))).await;
        let session = session.map_err(|error| error.to_string()).unwrap();
        let step = session.step(vec![]).await.unwrap();
        assert!(matches!(step.progress, Progress::Done { .. }), "{:?}", step.progress);
    }
}
