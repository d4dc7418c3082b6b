//! Compiles the .proto files without a protoc on the machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=quorate");
    let descriptors = protox::compile(["quorate/v1/coordinator.proto", "quorate/v1/router.proto"], ["."])?;
    // Frames are passed on as they come: `Bytes` are not copied out of the connection's buffer.
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
