//! The component `frost-secp256k1-tr`: all of it is in `quorate-frost`.

quorate_plugin_sdk::export!(quorate_frost::FrostSecp256k1Taproot);
