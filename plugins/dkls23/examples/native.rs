//! The benchmark's baseline: DKLs23 natively, all parties one after the other on one thread, over the same SDK.
//!
//! `native KEYGENS SIGNS REFRESHES` prints one JSON object: for each operation the milliseconds of every run.
#![allow(clippy::unwrap_used)]

use std::time::Instant;

use quorate_dkls23::Dkls23;
use quorate_plugin_sdk::{HashFunction, SignItem, SignTask, Task};
use quorate_plugin_testkit::Cluster;

fn main() {
    let counts: Vec<usize> = std::env::args().skip(1).map(|a| a.parse().unwrap()).collect();
    let [keygens, signs, refreshes] = counts[..] else {
        panic!("usage: native KEYGENS SIGNS REFRESHES");
    };
    let keygen = Task::Keygen { scheme: "ecdsa-secp256k1".into() };
    let sign = Task::Sign(SignTask {
        scheme: "ecdsa-secp256k1".into(),
        items: vec![SignItem {
            message: vec![7; 32],
            hash: HashFunction::None,
            path: vec![],
            merkle_root: None,
            presignature: None,
        }],
    });
    let mut cluster = Cluster::new(2, 3);
    let keygen = measure(keygens, || drop(cluster.run::<Dkls23>(&[1, 2, 3], &keygen)));
    let sign = measure(signs, || drop(cluster.run::<Dkls23>(&[1, 2], &sign)));
    let refresh = measure(refreshes, || drop(cluster.run::<Dkls23>(&[1, 2, 3], &Task::Refresh)));
    println!("{{\"keygen\":{keygen:?},\"sign\":{sign:?},\"refresh\":{refresh:?}}}");
}

fn measure(times: usize, mut run: impl FnMut()) -> Vec<f64> {
    (0..times)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect()
}
