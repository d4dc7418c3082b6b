//! What a counterparty learns when it cheats in the oblivious-transfer extension: one bit of the sender's secret
//! correlation for each extension, whether the check passes or fails. The check tells which value the bit has; it does not
//! keep the bit. This is why the host bounds the signings that are open with one counterparty at a time, and why one that was
//! caught is never signed with again.
#![allow(clippy::unwrap_used)]

use dkls23_core::utilities::ot::extension::{BATCH_SIZE, KAPPA, OTEReceiver, OTESender};
use k256::{Scalar, Secp256k1};

const SESSION: &[u8] = b"selective failure";

/// The base oblivious transfer whose bit the receiver is after.
const TARGET: usize = 77;

/// Sender and receiver after an honest setup: the sender has, for each bit of its correlation, the seed that the bit selects.
fn setup(bit: bool) -> (OTESender, OTEReceiver) {
    let seed = |index: usize, choice: u8| {
        let mut seed = [choice; 32];
        seed[..8].copy_from_slice(&index.to_be_bytes());
        seed
    };
    let all = 0..usize::from(KAPPA);
    let correlation: Vec<bool> =
        all.clone().map(|index| if index == TARGET { bit } else { index % 3 == 0 }).collect();
    let seeds = all.clone().map(|index| seed(index, u8::from(correlation[index]))).collect();
    let receiver = OTEReceiver {
        seeds0: all.clone().map(|index| seed(index, 0)).collect(),
        seeds1: all.map(|index| seed(index, 1)).collect(),
    };
    (OTESender { correlation, seeds }, receiver)
}

/// Runs one extension; whether the sender's check passes.
fn passes(sender: &OTESender, receiver: &OTEReceiver) -> bool {
    let choices: Vec<bool> = (0..BATCH_SIZE).map(|index| index % 2 == 0).collect();
    let (_, data) = receiver.run_phase1(SESSION, &choices).unwrap();
    let inputs = vec![vec![Scalar::ONE; usize::from(BATCH_SIZE)]];
    sender.run::<Secp256k1>(SESSION, 1, &inputs, &data).is_ok()
}

#[test]
fn a_cheat_that_passes_the_check_has_learned_as_much_as_one_that_fails_it() {
    for bit in [false, true] {
        let (sender, honest) = setup(bit);
        assert!(passes(&sender, &honest));
        // The other seed of one transfer is exchanged: what the receiver sends differs only where the bit is 1.
        let mut cheat = honest.clone();
        cheat.seeds1[TARGET] = [0xee; 32];
        assert_eq!(passes(&sender, &cheat), !bit, "the answer of the check is the bit, {bit}");
    }
}
