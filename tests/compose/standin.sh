#!/usr/bin/env bash
# Images that stand in for postgres:15.19, redis:7.4.5 and rabbitmq:3.13.7 where no registry can be reached: Debian's packages, with the
# entry points and the users of the real ones as far as docker-compose.yml relies on them.
#
#   standin.sh NAME     makes the image NAME, which serves as all three
set -euo pipefail

name=$1
here="$(cd "$(dirname "$0")" && pwd)"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/quorate"
archive=$cache/standin-1.tar

if [ ! -e "$archive" ]; then
  command -v debootstrap >/dev/null || { echo "standin.sh: debootstrap is missing" >&2; exit 1; }
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  # shellcheck source=/dev/null
  suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
  debootstrap --variant=minbase "$suite" "$folder" >/dev/null
  # Whatever lets this machine reach the packages.
  cp -r /etc/apt/apt.conf.d/. "$folder/etc/apt/apt.conf.d/"
  cp /etc/resolv.conf "$folder/etc/resolv.conf"
  # Only the programs are wanted: nothing is started.
  printf '#!/bin/sh\nexit 101\n' > "$folder/usr/sbin/policy-rc.d"
  chmod +x "$folder/usr/sbin/policy-rc.d"
  DEBIAN_FRONTEND=noninteractive chroot "$folder" sh -c \
    'apt-get update -qq && apt-get install -qq -y --no-install-recommends postgresql redis-server rabbitmq-server >/dev/null && apt-get clean'
  ln -sf /usr/lib/postgresql/*/bin/* "$folder/usr/local/bin/" 2>/dev/null || true
  chroot "$folder" sh -c 'ln -sf /usr/lib/postgresql/*/bin/* /usr/local/bin/'
  rm -rf "$folder"/var/lib/postgresql/* "$folder"/var/lib/rabbitmq/* "$folder"/var/lib/apt/lists/*
  mkdir -p "$cache"
  tar --create --file "$archive.new" --directory "$folder" --exclude ./proc --exclude ./sys --exclude ./dev .
  mv "$archive.new" "$archive"
  docker rmi -f quorate-standin:base >/dev/null 2>&1 || true
fi

docker image inspect quorate-standin:base >/dev/null 2>&1 || docker import "$archive" quorate-standin:base >/dev/null
docker build -q -t "$name" -f "$here/standin.Dockerfile" "$here" >/dev/null
