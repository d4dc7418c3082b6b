//! The code in proto/src/generated/ is what the .proto files give.

use std::path::Path;

/// What the build script of the tests has generated.
const GENERATED: [(&str, &[u8]); 2] = [
    ("quorate.v1.rs", include_bytes!(concat!(env!("OUT_DIR"), "/quorate.v1.rs"))),
    ("quorate.v1.bin", include_bytes!(concat!(env!("OUT_DIR"), "/quorate.v1.bin"))),
];

#[test]
fn the_generated_code_is_that_of_the_proto_files() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/src/generated");
    let mut stale = Vec::new();
    for (name, content) in GENERATED {
        if !std::fs::read(folder.join(name)).is_ok_and(|found| found == content) {
            std::fs::write(folder.join(name), content).unwrap();
            stale.push(name);
        }
    }
    assert!(
        stale.is_empty(),
        "the .proto files have changed: {stale:?} in proto/src/generated/ was made anew; commit it"
    );
}
