//! FROST with all parties in one native process. Ed25519 signatures are verified by ring, and by ed25519-dalek, which is stricter but
//! computes on the curve with the code of the plugin; those for Taproot by libsecp256k1.
#![allow(clippy::unwrap_used, missing_docs)]

mod ed25519;
mod faults;
mod prepared;
mod repair;
mod stored_shares;
mod taproot;

use quorate_plugin_sdk::{
    HashFunction, Outcome, Protocol, PublicKeyInfo, SignItem, SignTask, Signature, Task,
};
use quorate_plugin_testkit::Cluster;

/// The length of the prefix that binds a package to its session and sender.
const BINDING_BYTES: usize = 32;

fn keygen_task(scheme: &str) -> Task {
    Task::Keygen { scheme: scheme.into() }
}

fn item(message: &[u8]) -> SignItem {
    let message = message.to_vec();
    SignItem { message, hash: HashFunction::None, path: vec![], merkle_root: None, presignature: None }
}

fn sign_task(scheme: &str, items: Vec<SignItem>) -> Task {
    Task::Sign(SignTask { scheme: scheme.into(), items })
}

fn keygen<P: Protocol>(threshold: u16, parties: u16) -> (Cluster, PublicKeyInfo) {
    let mut cluster = Cluster::new(threshold, parties);
    let all = cluster.all();
    let scheme = P::describe().schemes[0];
    let Outcome::Key(key) = cluster.run::<P>(&all, &keygen_task(scheme)) else { panic!() };
    (cluster, key)
}

fn refresh<P: Protocol>(cluster: &mut Cluster) -> PublicKeyInfo {
    let all = cluster.all();
    let Outcome::Refreshed(key) = cluster.run::<P>(&all, &Task::Refresh) else { panic!() };
    key
}

fn sign<P: Protocol>(cluster: &mut Cluster, signers: &[u16], items: Vec<SignItem>) -> Vec<Signature> {
    let task = sign_task(P::describe().schemes[0], items);
    let Outcome::Signatures(signatures) = cluster.run::<P>(signers, &task) else { panic!() };
    signatures
}
