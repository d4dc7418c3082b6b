#!/usr/bin/env bash
# An image that stands in for rust:1.95.0-bookworm where no registry can be reached: this machine's Rust, and Debian's C compiler on
# what standin.sh has made.
#
#   standin-rust.sh NAME     makes the image NAME
set -euo pipefail

name=$1
here="$(cd "$(dirname "$0")" && pwd)"
rustup=${RUSTUP_HOME:-$HOME/.rustup} cargo=${CARGO_HOME:-$HOME/.cargo}
toolchain=$(basename "$(rustc --print sysroot)")
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT

docker image inspect quorate-standin:base >/dev/null 2>&1 || "$here/standin.sh" quorate-standin:services
mkdir -p "$context/rustup/toolchains" "$context/cargo/bin"
cp -r "$rustup/toolchains/$toolchain" "$context/rustup/toolchains/"
rm -rf "$context/rustup/toolchains/$toolchain/share"
printf 'version = "12"\ndefault_toolchain = "%s"\nprofile = "minimal"\n' "$toolchain" > "$context/rustup/settings.toml"
cp -a "$cargo/bin/." "$context/cargo/bin/"
cp -r /etc/ssl/certs/ca-certificates.crt "$context/"
docker build -q -t "$name" -f "$here/standin-rust.Dockerfile" "$context" >/dev/null
