//! After a session nothing of the share is left in the process, whether the session ended well or trapped.
//!
//! A child process runs the sessions and then reads all of its own writable memory. It knows the share only in a
//! masked form, so that the search does not find itself.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;

use quorate_kit::Parties;
use quorate_runtime::capabilities::vault::{EntryName, Scope};
use quorate_runtime::{SecretBytes, Task};

use quorate_tests::sandbox_tasks::{keygen, load, sign};

const CHILD: &str = "QUORATE_TEST_WIPE";
const MASK: u8 = 0xa5;

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
        let masked: Vec<u8> = share.expose()[middle..middle + 32].iter().map(|b| b ^ MASK).collect();
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
        let before = copies_in_memory(&masked);
        (masked, before)
    });
    drop(async_runtime);
    println!("before: {}", if before > 0 { "found" } else { "not found" });
    println!("after: {}", copies_in_memory(&masked));
}

/// How often the unmasked bytes occur in this process's writable memory.
fn copies_in_memory(masked: &[u8]) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let memory = File::open("/proc/self/mem").unwrap();
    let mut found = 0;
    // One buffer for all, wiped after each read: it must not be found itself.
    let mut buffer = vec![0_u8; 1 << 20];
    let buffer_at = buffer.as_ptr() as u64..buffer.as_ptr() as u64 + buffer.len() as u64;
    for line in maps.lines().filter(|l| l.split(' ').nth(1).is_some_and(|p| p.starts_with("rw"))) {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let (from, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        let mut at = from;
        while at < to {
            let want = usize::try_from((to - at).min(buffer.len() as u64)).unwrap();
            let Ok(got) = memory.read_at(&mut buffer[..want], at) else { break };
            let hits = positions(&buffer[..got], masked);
            found += hits.iter().filter(|&&hit| !buffer_at.contains(&(at + hit as u64))).count();
            buffer[..got].fill(0);
            // Overlap, so that nothing hides on a border.
            at += if got == want && want > masked.len() && at + (want as u64) < to {
                (want - masked.len()) as u64
            } else {
                want as u64
            };
        }
    }
    found
}

fn positions(haystack: &[u8], masked: &[u8]) -> Vec<usize> {
    let first = masked[0] ^ MASK;
    let here = |w: &[u8]| w.iter().zip(masked).all(|(b, m)| *b == m ^ MASK);
    haystack
        .windows(masked.len())
        .enumerate()
        .filter(|(_, w)| w[0] == first && here(w))
        .map(|(i, _)| i)
        .collect()
}
