//! How long the operations of a plugin take natively: the baseline of the sandbox benchmark.

use std::time::Instant;

use quorate_plugin_sdk::{HashFunction, Protocol, SignItem, SignTask, Task};

use crate::Cluster;

/// Runs keygens, signings and refreshes of a key of 2 of 3, all parties one after the other on this thread, as often as the three arguments
/// of the program say. Prints one JSON object: for each operation the milliseconds of every run.
///
/// # Panics
/// Without three numbers, and when a run fails.
#[allow(clippy::print_stdout)]
pub fn print_native_times<P: Protocol>() {
    let counts: Vec<usize> =
        std::env::args().skip(1).map(|count| count.parse().expect("a number of runs")).collect();
    let [keygens, signs, refreshes] = counts[..] else {
        panic!("usage: KEYGENS SIGNS REFRESHES");
    };
    let scheme = P::describe().schemes[0];
    let keygen = Task::Keygen { scheme: scheme.into() };
    let item = SignItem {
        message: vec![7; 32],
        hash: HashFunction::None,
        path: vec![],
        merkle_root: None,
        presignature: None,
    };
    let sign = Task::Sign(SignTask { scheme: scheme.into(), items: vec![item] });
    let mut cluster = Cluster::new(2, 3);
    let keygen = times(keygens, || drop(cluster.run::<P>(&[1, 2, 3], &keygen)));
    let sign = times(signs, || drop(cluster.run::<P>(&[1, 2], &sign)));
    let refresh = times(refreshes, || drop(cluster.run::<P>(&[1, 2, 3], &Task::Refresh)));
    println!("{{\"keygen\":{keygen:?},\"sign\":{sign:?},\"refresh\":{refresh:?}}}");
}

fn times(count: usize, mut run: impl FnMut()) -> Vec<f64> {
    (0..count)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect()
}
