//! After a session nothing of the share is left in the process, whether the session ended well or trapped.
//!
//! A child process runs the sessions and then reads all of its own writable memory. It knows the share only in a
//! masked form, so that the search does not find itself.

use std::process::Command;

use quorate_kit::Parties;
use quorate_runtime::capabilities::vault::{EntryName, Scope};
use quorate_runtime::{SecretBytes, Task};

use quorate_tests::own_memory::MaskedSecret;
use quorate_tests::sandbox_tasks::{keygen, load, sign};

const CHILD: &str = "QUORATE_TEST_WIPE";

#[test]
fn nothing_of_a_share_is_left_in_memory() {
    for mode in ["good", "trap"] {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["sandbox::wipe::child", "--exact", "--nocapture", "--test-threads=1"])
            .env(CHILD, mode)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{mode}: {text}\n{}", String::from_utf8_lossy(&output.stderr));
        // The control: while the share is held, the same search finds it.
        assert!(text.contains("before: found"), "{mode}: {text}");
        assert!(text.contains("after: 0"), "{mode}: {text}");
    }
}

#[test]
#[allow(clippy::print_stdout)]
fn child() {
    let Ok(mode) = std::env::var(CHILD) else { return };
    let async_runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (masked, before) = async_runtime.block_on(async {
        let plugin = load("dkls23").await;
        let mut parties = Parties::new(2, 2);
        parties.run(&plugin, &[1, 2], &keygen()).await;
        let name = EntryName::new(Scope::Key, "share").unwrap();
        let share: SecretBytes = parties.kept(1)[&name].clone();
        // 32 bytes from the middle: seeds of the oblivious transfers.
        let middle = share.expose().len() / 2;
        let masked = MaskedSecret::of(&share.expose()[middle..middle + 32]);
        drop(share);
        if mode == "good" {
            parties.run(&plugin, &[1, 2], &sign([1; 32])).await;
        } else {
            let faulty = load("faulty").await;
            let Task::Sign(mut task) = sign([0; 32]) else { unreachable!() };
            task.items[0].item.message.0 = b"trap-in-step".to_vec();
            let ended = parties.try_run(&faulty, &[1, 2], &Task::Sign(task)).await;
            assert!(ended.values().all(Result::is_err));
        }
        let before = masked.copies_in_memory();
        (masked, before)
    });
    drop(async_runtime);
    println!("before: {}", if before > 0 { "found" } else { "not found" });
    println!("after: {}", masked.copies_in_memory());
}
