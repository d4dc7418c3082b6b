//! Whole sessions over a network that drops, duplicates, reorders, replays, injects, flips bits and delivers to the
//! wrong session, with parties that restart and one that lies. Each run follows from a seed: `MODEL_SEED=n cargo test
//! -p quorate-core model` runs one again.
//!
//! The properties that hold in every run:
//! - no two honest parties finish one plan with different results;
//! - an honest party that does not finish has aborted by the deadline, and blames no honest party;
//! - if no party lies or restarts and the network delivers from some point on, all parties finish;
//! - a share that an honest party has activated is active or promised at every other honest party, and once the network delivers
//!   it becomes active everywhere; a promise is released only if no party can have activated.

mod component;
mod world;

use world::{Liar, World};

/// Small, and good enough to choose what goes wrong (SplitMix64).
pub(super) struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap_or(0)
    }

    /// True in `percent` of a hundred cases.
    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn bytes32(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_be_bytes());
        }
        bytes
    }
}

/// Runs `check` for many seeds, or for the one in `MODEL_SEED`.
fn for_seeds(count: u64, check: impl Fn(Dice)) {
    if let Some(seed) = std::env::var("MODEL_SEED").ok().and_then(|seed| seed.parse().ok()) {
        return check(Dice(seed));
    }
    for seed in 0..count {
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(Dice(seed))));
        assert!(run.is_ok(), "seed {seed}: MODEL_SEED={seed} runs it again");
    }
}

#[test]
fn all_finish_alike_over_a_network_that_delivers_from_some_point_on() {
    for_seeds(150, |mut dice| {
        let parties = 2 + dice.below(3);
        let mut world = World::new(&mut dice, parties, Liar::Nobody);
        world.chaos(&mut dice, 400, false);
        world.calm(&mut dice);
        world.assert_agreement();
        world.assert_all_active();
    });
}

#[test]
fn restarts_leave_no_share_half_active_and_delete_no_promise() {
    for_seeds(150, |mut dice| {
        let parties = 2 + dice.below(3);
        let mut world = World::new(&mut dice, parties, Liar::Nobody);
        world.chaos(&mut dice, 600, true);
        world.calm(&mut dice);
        world.assert_agreement();
        world.assert_nothing_open();
        world.assert_active_everywhere_or_nowhere();
    });
}

#[test]
fn a_network_that_goes_dead_ends_every_session_at_its_deadline() {
    for_seeds(50, |mut dice| {
        let mut world = World::new(&mut dice, 3, Liar::Nobody);
        world.chaos(&mut dice, 60, false);
        world.dead(&mut dice);
        world.assert_agreement();
        world.assert_nothing_runs();
        world.assert_activation_is_all_or_nothing();
    });
}

#[test]
fn a_party_that_promises_to_some_and_denies_it_to_others_makes_nobody_lose_a_share() {
    for_seeds(60, |mut dice| {
        let parties = 3 + dice.below(2);
        let mut world = World::new(&mut dice, parties, Liar::Promise);
        world.chaos(&mut dice, 200, false);
        world.calm(&mut dice);
        world.assert_agreement();
        world.assert_nothing_open();
        world.assert_active_everywhere_or_nowhere();
    });
    // The lie matters: on a quiet network the party that was promised to activates, and the others with it.
    let mut dice = Dice(1);
    let mut world = World::new(&mut dice, 3, Liar::Promise);
    world.calm_after_sessions(&mut dice);
    world.assert_all_active();
}

#[test]
fn a_liar_is_caught_or_changes_nothing() {
    for liar in [Liar::Hello, Liar::Broadcast, Liar::Envelope] {
        for_seeds(60, |mut dice| {
            let parties = 3 + dice.below(2);
            let mut world = World::new(&mut dice, parties, liar);
            world.chaos(&mut dice, 200, false);
            world.calm(&mut dice);
            world.assert_agreement();
            world.assert_nobody_honest_is_blamed();
        });
        // On a quiet network every lie is noticed, by name where one network of three can prove it.
        let mut dice = Dice(1);
        let mut world = World::new(&mut dice, 3, liar);
        world.calm(&mut dice);
        world.assert_agreement();
        world.assert_nobody_honest_is_blamed();
        assert!(world.aborts() > 0, "{liar:?}: nobody noticed");
    }
}
