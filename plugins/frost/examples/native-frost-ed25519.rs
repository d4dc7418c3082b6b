//! The benchmark's baseline: FROST for Ed25519 without the sandbox.

fn main() {
    quorate_plugin_testkit::print_native_times::<quorate_frost::FrostEd25519>();
}
