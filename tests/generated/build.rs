//! Generates the code of the .proto files, without a protoc on the machine.

use std::path::PathBuf;

use prost::Message;

const PROTO: &str = "../../proto";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed={PROTO}/quorate");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(format!("{PROTO}/quorate/v1"))? {
        files.push(entry?.path());
    }
    files.sort();
    let descriptors = protox::compile(files, [PROTO])?;
    let path = PathBuf::from(std::env::var("OUT_DIR")?).join("quorate.v1.bin");
    std::fs::write(path, descriptors.encode_to_vec())?;
    // Frames are passed on as they come: `Bytes` are not copied out of the connection's buffer.
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
