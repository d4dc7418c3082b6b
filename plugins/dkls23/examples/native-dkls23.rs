//! The benchmark's baseline: DKLs23 without the sandbox.

fn main() {
    quorate_plugin_testkit::print_native_times::<quorate_dkls23::Dkls23>();
}
