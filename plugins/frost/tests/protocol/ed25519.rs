use ed25519_dalek::VerifyingKey;
use quorate_frost::FrostEd25519;
use quorate_plugin_sdk::{PublicKeyInfo, Signature};
use ring::signature::{ED25519, UnparsedPublicKey};

use crate::{item, keygen, refresh, sign};

pub(crate) fn assert_valid(key: &PublicKeyInfo, message: &[u8], signature: &Signature) {
    let bytes: [u8; 32] = key.public_key.as_slice().try_into().unwrap();
    let dalek = VerifyingKey::from_bytes(&bytes).unwrap();
    dalek.verify_strict(message, &ed25519_dalek::Signature::from_bytes(&signature.bytes)).unwrap();
    UnparsedPublicKey::new(&ED25519, bytes).verify(message, &signature.bytes).unwrap();
    assert_eq!(signature.recovery_id, None);
}

#[test]
fn several_quorums_sign_messages_of_any_length_for_one_key_before_and_after_a_refresh() {
    let (mut cluster, mut key) = keygen::<FrostEd25519>(3, 5);
    for _ in 0..2 {
        for signers in [[1, 2, 3], [1, 3, 5], [2, 4, 5], [3, 4, 5]] {
            for message in [&b""[..], b"a message", &[7; 32 << 10]] {
                let [signature] = &sign::<FrostEd25519>(&mut cluster, &signers, vec![item(message)])[..]
                else {
                    panic!()
                };
                assert_valid(&key, message, signature);
            }
        }
        let refreshed = refresh::<FrostEd25519>(&mut cluster);
        assert_eq!(refreshed.public_key, key.public_key);
        assert_ne!(refreshed.verifying_shares, key.verifying_shares);
        key = refreshed;
    }
}

#[test]
fn the_largest_and_the_smallest_group_make_a_key_and_sign() {
    for (threshold, parties) in [(2, 2), (16, 16), (9, 16)] {
        let (mut cluster, key) = keygen::<FrostEd25519>(threshold, parties);
        let signers: Vec<u16> = (parties - threshold + 1..=parties).collect();
        let signatures = sign::<FrostEd25519>(&mut cluster, &signers, vec![item(b"m")]);
        assert_valid(&key, b"m", &signatures[0]);
        assert_eq!(refresh::<FrostEd25519>(&mut cluster).public_key, key.public_key);
    }
}

#[test]
fn a_batch_has_a_signature_of_each_message_and_equal_messages_have_different_ones() {
    let (mut cluster, key) = keygen::<FrostEd25519>(2, 3);
    let messages: Vec<Vec<u8>> = (0..64).map(|number: u8| vec![number / 2; 10]).collect();
    let items = messages.iter().map(|message| item(message)).collect();
    let signatures = sign::<FrostEd25519>(&mut cluster, &[1, 3], items);
    assert_eq!(signatures.len(), 64);
    for (message, signature) in messages.iter().zip(&signatures) {
        assert_valid(&key, message, signature);
    }
    assert!(signatures.chunks(2).all(|pair| pair[0] != pair[1]));
}
