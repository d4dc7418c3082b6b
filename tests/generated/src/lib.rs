//! The code in proto/src/generated/ is what the .proto files give: the build script generates it, and the test compares. The
//! crate depends on none of ours, so that it runs while they do not compile.

/// What the build script has generated, by file name.
pub const GENERATED: [(&str, &[u8]); 2] = [
    ("quorate.v1.bin", include_bytes!(concat!(env!("OUT_DIR"), "/quorate.v1.bin"))),
    ("quorate.v1.rs", include_bytes!(concat!(env!("OUT_DIR"), "/quorate.v1.rs"))),
];

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::*;

    /// With UPDATE_GENERATED set, which `make proto` does, the files are brought up to date instead.
    #[test]
    fn the_generated_code_is_that_of_the_proto_files() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto/src/generated");
        if std::env::var_os("UPDATE_GENERATED").is_some() {
            for (name, content) in GENERATED {
                std::fs::write(folder.join(name), content).unwrap();
            }
        }
        let mut names: Vec<_> =
            std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, GENERATED.map(|(name, _)| name), "files in proto/src/generated/");
        for (name, content) in GENERATED {
            let is_current = std::fs::read(folder.join(name)).unwrap() == content;
            assert!(
                is_current,
                "proto/src/generated/{name} is not what the .proto files give: run `make proto`"
            );
        }
    }
}
