//! Generates the code of the .proto files, without a protoc on the machine: structure/generated.rs compares it with what is
//! in the repository.

use std::path::PathBuf;

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=../proto/quorate");
    let descriptors = protox::compile(
        [
            "quorate/v1/admin.proto",
            "quorate/v1/coordinator.proto",
            "quorate/v1/router.proto",
            "quorate/v1/user_party.proto",
        ],
        ["../proto"],
    )?;
    let path = PathBuf::from(std::env::var("OUT_DIR")?).join("quorate.v1.bin");
    std::fs::write(path, descriptors.encode_to_vec())?;
    // Frames are passed on as they come: `Bytes` are not copied out of the connection's buffer.
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
