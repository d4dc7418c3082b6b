//! The crates that stand in for `sha2` in components hash as it does.
#![allow(clippy::unwrap_used, missing_docs)]

use hmac::Mac as _;

/// A message of every length up to some blocks more than are collected for one call, cut in two at several places.
fn messages() -> impl Iterator<Item = (Vec<u8>, usize)> {
    (0..=800_usize).flat_map(|length| {
        let message: Vec<u8> = (0..length).map(|i| (i * 37 + 11).to_le_bytes()[0]).collect();
        [0, 1, 63, 64, 65, 511, 512]
            .into_iter()
            .filter(move |cut| *cut <= length)
            .map(move |cut| (message.clone(), cut))
    })
}

macro_rules! hashes_alike {
    ($guest:ident, $original:ident) => {
        use $original::Digest as _;
        for (message, cut) in messages() {
            let (first, second) = message.split_at(cut);
            macro_rules! compare {
                ($name:ident) => {
                    let mut guest = $guest::$name::default();
                    guest.update(first);
                    // A clone goes on from where it was taken.
                    let mut copy = guest.clone();
                    guest.update(second);
                    copy.update(second);
                    let expected = $original::$name::digest(&message);
                    assert_eq!(guest.finalize_reset()[..], expected[..], "{} bytes", message.len());
                    assert_eq!(copy.finalize()[..], expected[..], "{} bytes of a clone", message.len());
                    guest.update(&message);
                    assert_eq!(guest.finalize()[..], expected[..], "{} bytes after a reset", message.len());
                };
            }
            compare!(Sha224);
            compare!(Sha256);
            compare!(Sha512);
        }
    };
}

#[test]
fn the_crates_that_stand_in_for_sha2_hash_as_it_does() {
    {
        hashes_alike!(guest_0_10, original_0_10);
    }
    {
        hashes_alike!(guest_0_11, original_0_11);
    }
}

#[test]
fn a_state_that_was_stored_goes_on() {
    use guest_0_11::digest::common::hazmat::SerializableState as _;
    use original_0_11::Digest as _;
    for (message, cut) in messages() {
        let (first, second) = message.split_at(cut);
        let stored = guest_0_11::Sha256::new_with_prefix(first).serialize();
        let mut resumed = guest_0_11::Sha256::deserialize(&stored).unwrap();
        resumed.update(second);
        let original = original_0_11::Sha256::new_with_prefix(first).serialize();
        assert_eq!(stored, original, "{} bytes", first.len());
        assert_eq!(resumed.finalize()[..], original_0_11::Sha256::digest(&message)[..]);
    }
}

#[test]
fn a_mac_over_them_is_the_same() {
    let (mut guest, mut original) = (
        hmac::Hmac::<guest_0_10::Sha256>::new_from_slice(b"key").unwrap(),
        hmac::Hmac::<original_0_10::Sha256>::new_from_slice(b"key").unwrap(),
    );
    for part in [&[1; 7][..], &[2; 700]] {
        guest.update(part);
        original.update(part);
    }
    assert_eq!(guest.finalize().into_bytes(), original.finalize().into_bytes());
}
