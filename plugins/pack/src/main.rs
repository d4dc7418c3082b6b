//! Turns a plugin's core module into a component and prints its digest.
//!
//! `quorate-pack MODULE.wasm COMPONENT.wasm`. The contract is embedded in the module by the SDK; the component
//! gets no adapter, so a module that imports anything but the contract (WASI, say) is refused here already.

use std::path::Path;
use std::process::ExitCode;

use sha2::{Digest, Sha256};
use wit_component::ComponentEncoder;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [module, component] = arguments.as_slice() else {
        eprintln!("usage: quorate-pack MODULE.wasm COMPONENT.wasm");
        return ExitCode::from(2);
    };
    match pack(Path::new(module), Path::new(component)) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("quorate-pack: {}: {error}", Path::new(module).display());
            ExitCode::FAILURE
        }
    }
}

fn pack(module: &Path, component: &Path) -> Result<String, String> {
    let bytes = std::fs::read(module).map_err(|e| e.to_string())?;
    let encoded = ComponentEncoder::default()
        .validate(true)
        .module(&bytes)
        .and_then(|encoder| encoder.encode())
        .map_err(|e| format!("{e:#}"))?;
    // Written beside and renamed, so that a host that watches the folder never reads half a component.
    let partial = component.with_extension("partial");
    std::fs::write(&partial, &encoded).map_err(|e| format!("{}: {e}", partial.display()))?;
    std::fs::rename(&partial, component).map_err(|e| format!("{}: {e}", component.display()))?;
    let digest: String = Sha256::digest(&encoded).iter().map(|b| format!("{b:02x}")).collect();
    Ok(format!("{} {} bytes sha256:{digest}", component.display(), encoded.len()))
}
