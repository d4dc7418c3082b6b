//! What an item's protocol run is bound to.

use sha2::{Digest, Sha256};

use crate::SignItem;

/// The execution id of an item:
/// `SHA-256("quorate item 1" ‖ execution id ‖ index ‖ SHA-256(item))`.
pub(super) fn execution_id(session: &[u8; 32], index: u16, item: &SignItem) -> [u8; 32] {
    Sha256::new()
        .chain_update(b"quorate item 1")
        .chain_update(session)
        .chain_update(index.to_be_bytes())
        .chain_update(item_hash(item))
        .finalize()
        .into()
}

/// The hash of all that an item says: each field after its length.
fn item_hash(item: &SignItem) -> [u8; 32] {
    let SignItem { message, hash, path, merkle_root, presignature } = item;
    let path: Vec<u8> = path.iter().flat_map(|child| child.to_be_bytes()).collect();
    let fields: [&[u8]; 5] = [
        message,
        &[*hash as u8],
        &path,
        merkle_root.as_ref().map_or(&[], |root| root.as_slice()),
        presignature.as_ref().map_or(&[], |name| name.as_bytes()),
    ];
    let mut all = Sha256::new_with_prefix(b"quorate sign item 1");
    for field in fields {
        all.update((field.len() as u64).to_be_bytes());
        all.update(field);
    }
    all.finalize().into()
}
