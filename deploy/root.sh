#!/usr/bin/env bash
# Lays out what is in the image, besides licences: root.sh PROGRAM PLUGINS FOLDER makes FOLDER/root. The same input gives the same files.
set -euo pipefail
# A user without rights reads it, also where another user built it.
umask 022

program=$1 plugins=$2 folder=$3
root=$folder/root
busybox=$(command -v busybox || true)
certificates=/etc/ssl/certs/ca-certificates.crt

missing() { echo "root.sh: $1" >&2; exit 1; }
if [ -z "$busybox" ] || ldd "$busybox" >/dev/null 2>&1; then missing "a static busybox is missing (Debian: busybox-static)"; fi
[ -e "$certificates" ] || missing "$certificates is missing (Debian: ca-certificates)"

rm -rf "$root"
mkdir -p "$root"/{bin,etc/ssl/certs,plugins,data,tmp}
install -m 755 "$program" "$root/quorate"
install -m 644 "$plugins"/{dkls23,frost-ed25519,frost-secp256k1-tr}.wasm "$root/plugins/"
install -m 644 "$certificates" "$root/etc/ssl/certs/"
# The libraries that the program is linked with, the loader among them, where it looks for them.
ldd "$program" | grep -o '/[^ )]*' | sort -u | while read -r library; do
  mkdir -p "$root/$(dirname "$library")"
  install -m 755 "$(readlink -f "$library")" "$root/$library"
done
# A shell, to look around with.
install -m 755 "$busybox" "$root/bin/busybox"
for applet in sh ls cat ps id env nc; do ln -s busybox "$root/bin/$applet"; done
echo 'quorate:x:10001:10001::/:/bin/sh' > "$root/etc/passwd"
echo 'quorate:x:10001:' > "$root/etc/group"
