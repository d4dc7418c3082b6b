//! The benchmark's baseline: FROST for Taproot without the sandbox.

fn main() {
    quorate_plugin_testkit::print_native_times::<quorate_frost::FrostSecp256k1Taproot>();
}
