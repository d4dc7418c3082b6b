use std::collections::BTreeMap;

use bitcoin::TapNodeHash;
use bitcoin::hashes::{Hash, sha256, sha256d};
use bitcoin::key::TapTweak;
use bitcoin::secp256k1::{Message, Secp256k1, XOnlyPublicKey, schnorr};
use frost_secp256k1_tr::Identifier;
use frost_secp256k1_tr::keys::dkg::round1::Package;
use frost_secp256k1_tr::keys::{EvenY, PublicKeyPackage, Tweak};
use quorate_frost::FrostSecp256k1Taproot;
use quorate_plugin_sdk::{HashFunction, Outcome, PublicKeyInfo, SignItem, Signature};
use quorate_plugin_testkit::Cluster;

use crate::{BINDING_BYTES, item, keygen, keygen_task, refresh, sign};

const DIGEST: [u8; 32] = [0x5a; 32];
pub(crate) const ROOT: [u8; 32] = [0x77; 32];

pub(crate) fn assert_valid(key: XOnlyPublicKey, digest: [u8; 32], signature: &Signature) {
    let signature = schnorr::Signature::from_slice(&signature.bytes).unwrap();
    let secp = Secp256k1::verification_only();
    secp.verify_schnorr(&signature, &Message::from_digest(digest), &key).unwrap();
}

pub(crate) fn account_key(key: &PublicKeyInfo) -> XOnlyPublicKey {
    XOnlyPublicKey::from_slice(&key.public_key).unwrap()
}

/// The output key of BIP-341 for the account's key as internal key.
pub(crate) fn output_key(key: &PublicKeyInfo, root: [u8; 32]) -> XOnlyPublicKey {
    let root = TapNodeHash::from_byte_array(root);
    account_key(key).tap_tweak(&Secp256k1::verification_only(), Some(root)).0.to_x_only_public_key()
}

fn with_root() -> SignItem {
    SignItem { merkle_root: Some(ROOT), ..item(&DIGEST) }
}

/// A keygen, and whether the library's output key had an even y before it was normalised.
fn keygen_with_parity() -> (Cluster, PublicKeyInfo, bool) {
    let mut cluster = Cluster::new(2, 3);
    let mut packages = BTreeMap::new();
    let ended = cluster.run_with::<FrostSecp256k1Taproot>(&[1, 2, 3], &keygen_task("bip340"), |hop| {
        if hop.message.round == 1 {
            let package = Package::deserialize(&hop.message.payload[BINDING_BYTES..]).unwrap();
            packages.insert(Identifier::try_from(hop.message.from.number()).unwrap(), package);
        }
        Some(hop)
    });
    let Ok(Outcome::Key(key)) = &ended[&1] else { panic!("{ended:?}") };
    let commitments = packages.iter().map(|(party, package)| (*party, package.commitment())).collect();
    let public = PublicKeyPackage::from_dkg_commitments(&commitments).unwrap().tweak::<&[u8]>(None);
    let encoded = public.verifying_key().serialize().unwrap();
    assert_eq!(encoded[1..], key.public_key);
    (cluster, key.clone(), public.has_even_y())
}

#[test]
fn keys_of_either_parity_sign_with_and_without_a_root_after_a_refresh_and_after_a_repair() {
    let (mut even, mut odd) = (0, 0);
    while even < 20 || odd < 20 {
        let (mut cluster, key, is_even) = keygen_with_parity();
        *(if is_even { &mut even } else { &mut odd }) += 1;
        let spend = |cluster: &mut Cluster, signers: &[u16]| {
            let items = vec![item(&DIGEST), with_root()];
            let signatures = sign::<FrostSecp256k1Taproot>(cluster, signers, items);
            assert_valid(account_key(&key), DIGEST, &signatures[0]);
            assert_valid(output_key(&key, ROOT), DIGEST, &signatures[1]);
        };
        spend(&mut cluster, &[1, 3]);
        let refreshed = refresh::<FrostSecp256k1Taproot>(&mut cluster);
        assert_eq!(refreshed.public_key, key.public_key);
        spend(&mut cluster, &[1, 3]);
        let repaired = cluster.repair::<FrostSecp256k1Taproot>(&refreshed, &[3], &[1, 2]);
        assert_eq!(repaired.public_key, key.public_key);
        spend(&mut cluster, &[1, 3]);
    }
}

#[test]
fn messages_are_hashed_as_asked() {
    let (mut cluster, key) = keygen::<FrostSecp256k1Taproot>(3, 5);
    let message = b"a message";
    for (signers, hash, digest) in [
        ([1, 2, 3], HashFunction::Sha256, sha256::Hash::hash(message).to_byte_array()),
        ([2, 3, 5], HashFunction::Sha256d, sha256d::Hash::hash(message).to_byte_array()),
    ] {
        let item = SignItem { hash, ..item(message) };
        let signatures = sign::<FrostSecp256k1Taproot>(&mut cluster, &signers, vec![item]);
        assert_valid(account_key(&key), digest, &signatures[0]);
    }
}
