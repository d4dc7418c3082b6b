#!/usr/bin/env bash
# Runs docker-compose.yml for real: init, bad input, up, health, an account, signatures, a user's share, changed secrets, killed
# containers, two replicas, restart, backup, down; and holds two builds of program and components in different folders against
# each other.
#
# On a Docker engine; starts one where there is none and that is possible (root, Debian's packages). Where no registry can be
# reached, images made of Debian's packages stand in for PostgreSQL, Redis and RabbitMQ. COMPOSE_BUILDS=1 leaves the second build
# away; COMPOSE_FROM_SOURCES=1 has the image built in a container, as `./deploy.sh build` does it, and compares that program too;
# COMPOSE_IF_POSSIBLE=1 ends well, and says so, where no engine can be had.
set -euo pipefail

top="$(cd "$(dirname "$0")/../.." && pwd)"
work=$(mktemp -d)
passed=0
image=quorate:compose-test
service_images=()
started_engine=
small_engine=
export COMPOSE_PROJECT_NAME=quorate-compose-test

say() { printf '== %s (%s)\n' "$*" "$(date -u +%H:%M:%S)"; }
ok() { passed=$((passed + 1)); printf 'ok: %s\n' "$*"; }
die() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }

clean_up() {
  local code=$?
  if [ -e "$work/deployment/.env" ]; then
    if [ "$code" != 0 ]; then (cd "$work/deployment" && ./deploy.sh logs 2>&1 | tail -n 60) || true; fi
    (cd "$work/deployment" && echo 'delete everything' | ./deploy.sh clean >/dev/null 2>&1) || true
  fi
  [ -z "$started_engine" ] || kill "$started_engine" 2>/dev/null || true
  [ -z "$small_engine" ] || end_small_engine || true
  rm -rf "$work" "$top/dist/compose-test"
  if [ "$code" = 0 ]; then echo "$passed passed, 0 failed"; else echo "$passed passed, 1 failed"; fi
}

engine() {
  docker info >/dev/null 2>&1 && return
  if ! command -v dockerd >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing an engine"
    if apt-get update -qq; then
      DEBIAN_FRONTEND=noninteractive apt-get install -qq -y docker.io docker-compose debootstrap busybox-static >/dev/null || true
    fi
  fi
  if command -v dockerd >/dev/null && [ "$(id -u)" = 0 ]; then
    say "starting an engine"
    dockerd >"$work/dockerd.log" 2>&1 &
    started_engine=$!
    for _ in $(seq 60); do docker info >/dev/null 2>&1 && return; sleep 0.5; done
    tail -5 "$work/dockerd.log" >&2
  fi
  not_here "no Docker engine answers, and none can be started here: start one, and try again"
}

not_here() { # what is missing
  if [ "${COMPOSE_IF_POSSIBLE:-}" = 1 ]; then
    echo "compose-test DID NOT RUN: $1"
    trap - EXIT
    [ -z "$started_engine" ] || kill "$started_engine"
    rm -rf "$work"
    exit 0
  fi
  die "$1"
}

packages() { # command=package...
  local pair missing=()
  for pair; do command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}"); done
  [ ${#missing[@]} != 0 ] || return 0
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then not_here "missing: ${missing[*]} (Debian's names): install them, and try again"; fi
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
}

# The images of the services: the real ones, or stand-ins.
find_service_images() {
  local name
  for name in postgres:15.19 redis:7.4.5 rabbitmq:3.13.7; do
    if ! docker image inspect "$name" >/dev/null 2>&1 && ! timeout 120 docker pull -q "$name" >/dev/null 2>&1; then
      say "no registry: images of Debian's packages stand in for the services'"
      packages debootstrap=debootstrap
      "$top/tests/compose/standin.sh" quorate-standin:services
      service_images=(POSTGRES_IMAGE REDIS_IMAGE RABBITMQ_IMAGE)
      return
    fi
  done
}

# The components in the image.
components=(plugins/dkls23.wasm plugins/frost-ed25519.wasm plugins/frost-secp256k1-tr.wasm)

# Two builds in different folders: the same bytes.
same_bytes() {
  say "a second build, in another folder"
  local other=$work/another/place file
  mkdir -p "$other"
  (cd "$top" && git ls-files --cached --others --exclude-standard -z | tar --null --files-from=- --create) | tar --directory="$other" --extract
  make -C "$other" --no-print-directory CARGO_TARGET_DIR="$work/other-target" QUORATE_PLUGINS="$work/other-plugins" dist DIST="$work/other-dist" >"$work/other.log" 2>&1 ||
    { tail -20 "$work/other.log"; die "the second build"; }
  for file in quorate "${components[@]}"; do
    cmp "$work/dist/root/$file" "$work/other-dist/root/$file" || die "$file is not the same in two builds"
  done
  (cd "$work/dist/root" && sha256sum quorate "${components[@]}")
  ok "program and components have the same hash, built in two folders"
  rm -rf "$other" "$work/other-target"
}

# The image: of what was built outside, or from the sources.
build_image() {
  local size program good rust
  export QUORATE_IMAGE=$image
  if [ "${COMPOSE_FROM_SOURCES:-}" != 1 ]; then
    # A folder that the engine gets to see, and nobody else has.
    mkdir -p "$top/dist"
    cp -r "$work/dist" "$top/dist/compose-test"
    export PREBUILT=dist/compose-test
    (cd "$top" && ./deploy.sh build && ./deploy.sh build-no-cache)
    good=$(docker image inspect -f '{{.Id}}' "$image")
    chmod -R go= "$top"/dist/compose-test/root/lib*
    if (cd "$top" && ./deploy.sh build) >"$work/out" 2>&1; then die "an image is made of what users can't run"; fi
    [ "$(docker image inspect -f '{{.Id}}' "$image")" = "$good" ] || die "an image that does not run takes the place of one that does"
    ok "what does not run takes no image's place"
    unset PREBUILT
    rm -rf "$top/dist/compose-test"
    rmdir --ignore-fail-on-non-empty "$top/dist"
  else
    say "the image from the sources"
    rust=rust:1.95.0-bookworm
    if ! timeout 300 docker pull -q "$rust" >/dev/null 2>&1; then
      say "no registry: this machine's Rust in an image of Debian's packages stands in for Rust's"
      "$top/tests/compose/standin-rust.sh" quorate-standin:rust
      rust=quorate-standin:rust
    fi
    (cd "$top" && RUST_IMAGE=$rust ./deploy.sh build) >"$work/image.log" 2>&1 || { tail -20 "$work/image.log"; die "the image from the sources"; }
    program=$(docker create "$image")
    docker cp "$program:/quorate" "$work/program" && docker cp "$program:/plugins" "$work/plugins"
    docker rm "$program" >/dev/null
    for file in "${components[@]}"; do
      cmp "$work/$file" "$work/dist/root/$file" || die "$file is not the same, built in a container"
    done
    ok "built in a container, the components have the same hash"
    # C code is in the program too: that takes the same compiler.
    if [ "$(cc --version | head -n 1)" = "$(docker run --rm "$rust" cc --version | head -n 1)" ]; then
      cmp "$work/program" "$work/dist/root/quorate" || die "the program is not the same, built in a container"
      ok "built in a container, the program has the same hash"
    fi
  fi
  unset QUORATE_IMAGE
  size=$(docker image inspect -f '{{.Size}}' "$image")
  [ "$size" -le 100000000 ] || die "the image has $size bytes"
  ok "the image has $((size / 1000000)) MB"
}

key() { # [PORT]: the last of the keys of the role at this port
  local name=MPC_API_KEY
  case ${1:-4000} in 8081) name=MPC_OPERATOR_API_KEY ;; 8083) name=MPC_SHARES_API_KEY ;; esac
  sed -n "s/^$name=\(.*,\)*//p" .env
}

api() { # METHOD PORT PATH [BODY]: prints the body; fails unless the status is 2xx. A body may be longer than an argument.
  printf '%s' "${4:-}" | curl -sS -f -m 90 -X "$1" -H "X-API-Key: $(key "$2")" -H 'Content-Type: application/json' ${4:+--data @-} "http://127.0.0.1:$2$3"
}

field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

# Signs until it works, for at most a minute.
signs() {
  local until=$((SECONDS + 60))
  until api POST "${2:-4000}" "/api/v1/accounts/$1/sign" "{\"message\":\"$(openssl rand -hex 32)\"}" >"$work/signed" 2>/dev/null; do
    [ "$SECONDS" -lt "$until" ] || die "nothing is signed"
    sleep 0.5
  done
}

quorate() { docker run --rm -i --user "$(id -u):$(id -g)" -v "$work/user:/user" -w /user quorate:compose-test "$@"; }

with_a_user() {
  mkdir -p "$work/user"
  local recipient claim made account session party digest
  recipient=$(quorate share new-recipient recipient) claim=$(quorate share new-claim claim)
  made=$(api POST 4000 /api/v1/accounts "{\"user_id\":\"user\",\"user_share\":true,\"recipient_key\":\"$recipient\",\"claim_hash\":\"$claim\"}")
  account=$(field id <<< "$made") session=$(field session_id <<< "$made")
  field user_share <<< "$made" | quorate share open --key recipient --out share >/dev/null
  api POST 8083 /api/v1/shares/confirm "{\"session_id\":\"$session\",\"claim\":\"$(cat "$work/user/claim")\"}" >/dev/null
  api GET 8083 /api/v1/shares/key >"$work/user/to"
  party=$(sed -n 's/^QUORATE_USER_PARTY_KEY=//p' .env)
  digest=$(openssl rand -hex 32)
  local sealed
  sealed=$(quorate share seal --share share --to to --party "$party" --account "$account" --message "$digest")
  api POST 4000 "/api/v1/accounts/$account/sign" "{\"message\":\"$digest\",\"user_share\":\"$sealed\"}" | field signers | grep -q 3
}

no_secret_in_the_logs() {
  local secret
  ./deploy.sh logs >"$work/logs" 2>&1
  grep -q "party ready" "$work/logs" || die "logs"
  for secret in $(sed -n 's/^[A-Z_]*\(PASSWORD\|SECRET_KEY\|API_KEY\)=//p' .env | tr , ' ') $(find secrets -type f ! -path '*/shared/*' -exec cat {} \; -exec echo \;); do
    if grep -qF -- "$secret" "$work/logs"; then die "a secret is in the logs"; fi
  done
  ok "no secret is in the logs"
}

# The container of a service that runs.
running() { docker ps -q --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" --filter "label=com.docker.compose.service=$1"; }

# A server on this machine, of which nobody knows.
listen() { # port, address
  local until=$((SECONDS + 30))
  python3 -m http.server "$1" --bind "$2" >/dev/null 2>&1 & listener=$!
  until (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; do
    [ "$SECONDS" -lt "$until" ] || die "nothing listens on port $1"
    sleep 0.1
  done
}

# The address of this machine in a network.
gateway() { docker network inspect -f '{{range .IPAM.Config}}{{or .Gateway .Subnet}}{{end}}' "$1" | sed 's,0/[0-9]*$,1,'; }

# Whether a container gets an answer from such a server.
gets_out() { # container, address, port
  local answer
  answer=$(docker exec "$1" /bin/sh -c "printf 'GET / HTTP/1.0\r\n\r\n' | nc -w 2 $2 $3" 2>&1 || true)
  [[ $answer == *SimpleHTTP* ]]
}

refused() { # what is wrong with it; then: what is to be said
  local said
  if said=$(./deploy.sh up 2>&1); then die "up worked with $1"; fi
  grep -qF "$2" <<< "$said" || die "with $1 it says: $said"
  ok "with $1, up says what to do"
}

# What a command of the script says, in a file; shown if it fails.
quietly() { ./deploy.sh "$@" >"$work/out" 2>&1 || die "$*: $(cat "$work/out")"; }

in_env_file() { sed -i "s|^$1=.*|$1=$2|" .env; } # a name, its value from now on

# With another line in .env.
refused_with() { # the line; what is to be said
  local name=${1%%[ =]*}
  cp .env "$work/env"
  sed -i "s|^$name=.*|$1|" .env
  refused "$1" "$2"
  cp "$work/env" .env
}

# With another value in the shell than in .env.
refused_with_exported() { # name, value
  export "$1=$2"
  refused "$1=$2 in the shell" "$1 is set in this shell to something else than in .env"
  unset "$1"
}

# From the two files that an operator has: with the program of the image, with another, and after an init that was interrupted.
first_init() {
  refused "no .env" "there is no .env: run ./deploy.sh init"
  complains "the sources are not here" init
  [ -z "$(find . -name '.env*' -o -name 'secrets*')" ] || die "an init without an image leaves something"
  QUORATE_PROGRAM=$work/dist/root/quorate ./deploy.sh init
  [ "$(grep -c '^QUORATE_IMAGE=quorate:local$' .env)" = 1 ] || die "init has not written the default image"
  rm -r .env secrets
  QUORATE_IMAGE=$image ./deploy.sh init
  mv .env .env.new
  complains "there is no .env" up
  QUORATE_IMAGE=$image ./deploy.sh init | grep -q "an earlier init had begun" || die "an interrupted init is not completed"
  in_env_file COORDINATOR_PORT 8081
  in_env_file ROUTER_PORT 8082
  [ "$(sed -n 's/^QUORATE_IMAGE=//p' .env)" = "$image" ] || die "init has not written the image"
  ok "init needs an image or a program, and completes what was interrupted"
}

# With another file among the secrets.
refused_with_secret() { # the file; what to do with it; what is wrong then; what is to be said
  # The same file comes back: a container that runs has it open.
  mv "$1" "$work/secret"
  cp -p "$work/secret" "$1"
  chmod u+w "$1"
  $2 "$1"
  refused "$3" "$4"
  rm -f "$1"
  mv "$work/secret" "$1"
}

# An engine whose volumes have next to no room.
end_small_engine() {
  kill "$small_engine" 2>/dev/null || true
  wait "$small_engine" 2>/dev/null || true
  small_engine=
  umount "$work/small"
}

no_space() {
  if [ "$(id -u)" != 0 ]; then say "not root: no engine without space is tried"; return; fi
  mkdir "$work/small"
  mount -t tmpfs -o size=300m none "$work/small"
  # In a network of its own: without a bridge it would take away that of the other engine.
  unshare --net dockerd --data-root "$work/small" --exec-root "$work/small-run" --pidfile "$work/small.pid" -H "unix://$work/small.sock" \
    --bridge none --iptables=false --ip-forward=false >"$work/small.log" 2>&1 &
  small_engine=$!
  for _ in $(seq 60); do docker -H "unix://$work/small.sock" info >/dev/null 2>&1 && break; sleep 0.5; done
  # There is no image on it.
  QUORATE_PROGRAM=$work/dist/root/quorate DOCKER_HOST=unix://$work/small.sock complains "MiB are free at $work/small" infra up
  ok "with no space for volumes, infra up says what to do"
  end_small_engine
}

# A compose, or an engine, of long ago: nothing but its version is asked for.
too_old() {
  local docker=$work/old/docker
  mkdir "$work/old"
  # shellcheck disable=SC2016 # the script's own arguments
  printf '#!/bin/sh\n[ "$1" != compose ] || exit 1\nexec %s "$@"\n' "$(command -v docker)" > "$docker"
  printf '#!/bin/sh\necho 1.25.0\n' > "$work/old/docker-compose"
  chmod +x "$work/old"/*
  PATH=$work/old:$PATH refused "an old compose" "docker-compose 1.25.0 is too old"
  # shellcheck disable=SC2016 # the script's own arguments
  printf '#!/bin/sh\n[ "$1" != version ] || { echo engine 19.03.1; exit; }\nexec %s "$@"\n' "$(command -v docker)" > "$docker"
  PATH=$work/old:$PATH refused "an old engine" "Docker Engine 19.03.1 is too old"
}

copy_of_party_2() { # a party's file
  local name=${1##*/}
  cat "secrets/party-2/$name" > "$1"
}

short() { echo short > "$1"; }

another_key() { openssl rand -hex 32 > "$1"; }

no_line_end() { printf '%s' "$(cat "$1")" > "$work/key" && cat "$work/key" > "$1"; }

bad_input() {
  local subnet
  refused_with QUORATE_IMAGE=quorate:no-such-image "there is no image quorate:no-such-image"
  refused_with REDIS_PASSWORD= "REDIS_PASSWORD in .env is not set"
  refused_with REDIS_PASSWORD=short "REDIS_PASSWORD in .env is too short"
  refused_with REDIS_PASSWORD=change-me-redis-now "is the example's"
  refused_with 'MPC_API_KEY="with-quotes-and-more"' "of .env is not NAME=value"
  refused_with 'MPC_API_KEY=with-slashes/and-more' "MPC_API_KEY in .env has other characters"
  refused_with 'MPC_API_KEY = 0123456789abcdef' "of .env is not NAME=value"
  refused_with "MPC_OPERATOR_API_KEY=$(key)" "MPC_OPERATOR_API_KEY and MPC_API_KEY in .env have the same value"
  refused_with 'ENVIRONMENT=production # for now' "of .env is not NAME=value"
  refused_with $'ENVIRONMENT=production\r' "of .env is not NAME=value"
  refused_with PUBLISH_ADDRESS=127.0.0.256 "PUBLISH_ADDRESS in .env is not an address"
  refused_with QUORATE_GID=99999999999 "QUORATE_GID in .env is not a number from"
  refused_with UP_SECONDS=1 "UP_SECONDS in .env is not a number from 20"
  refused_with PUBLISH_ADDRESS=0.0.0.0 "PUBLISH_ADDRESS in .env is not this machine's own"
  refused_with TRUSTED_PROXIES= "TRUSTED_PROXIES in .env is empty"
  refused_with ROUTER_PORT=http "ROUTER_PORT in .env is not a number"
  refused_with ROUTER_PORT=4000 "ROUTER_PORT in .env is the port of another role too, ACCOUNT_PORT"
  refused_with ROUTER_PORT=70000 "ROUTER_PORT in .env is not a number from 1 to 65535"
  refused_with "QUORATE_PARTY_KEYS=$(sed -n 's/^QUORATE_PARTY_KEYS=\([^,]*\).*/\1/p' .env)" "QUORATE_PARTY_KEYS in .env is not what ./deploy.sh init wrote"
  refused_with QUORATE_USER_PARTY_KEY=abc "QUORATE_USER_PARTY_KEY in .env is not what ./deploy.sh init wrote"
  for subnet in 10.213.99.1/24 10.213.99.0 10.213.99.0/30 10.213.990.0/24 fd00::/64; do
    refused_with "EDGE_SUBNET=$subnet" "EDGE_SUBNET in .env is not a network"
  done
  refused_with ENVIRONMENT=staging "ENVIRONMENT in .env is neither production nor development"
  refused_with_exported ENVIRONMENT development
  refused_with_exported REDIS_PASSWORD ""
  # What .env does not name, compose takes from the shell all the same.
  cp .env "$work/env"
  sed -i '/^PUBLISH_ADDRESS=/d' .env
  refused_with_exported PUBLISH_ADDRESS 0.0.0.0
  cp "$work/env" .env
  COMPOSE_PROJECT_NAME=Quorate complains "COMPOSE_PROJECT_NAME=Quorate is invalid" clean
  mv .env "$work/real" && ln -s "$work/real" .env
  refused "a symbolic link" ".env is a symbolic link"
  rm .env && mv "$work/real" .env
  echo ALLOWED_IP=10.0.0.0/8 >> .env
  refused "ALLOWED_IPS misspelt" "ALLOWED_IP in .env is not a setting of this deployment"
  sed -i '$d' .env
  echo replicas=2 >> .env
  refused "a name in small letters" "replicas in .env is not a setting of this deployment"
  sed -i '$d' .env
  echo REDIS_PASSWORD=0123456789abcdef >> .env
  refused "a setting twice" "REDIS_PASSWORD stands in .env twice"
  sed -i '$d' .env
  echo CRYPTO_MASTER_KEY=0000 >> .env
  refused "a key in .env" "keys lie in secrets/, one folder for each party"
  sed -i '$d' .env
  printf '# caf\351\n' >> .env
  refused "a line that is not in UTF-8" ".env is not in UTF-8"
  LC_ALL=C sed -i '$d' .env
  printf '# caf\303\251\n' >> .env
  in_env_file REPLICAS 3
  refused "a comment in UTF-8 and three replicas" "REPLICAS in .env is neither 1 nor 2"
  refused_with_secret secrets/party-1/master_key no_line_end "a key without a line's end and three replicas" "one finding must be mended"
  in_env_file REPLICAS 1
  sed -i '$d' .env
  mv secrets "$work/secrets"
  refused "no secrets" "secrets/ is missing"
  mv "$work/secrets" secrets
  refused_with_secret secrets/party-2/identity "rm -f" "a missing identity" "secrets/party-2/identity is missing"
  refused_with_secret secrets/party-1/identity copy_of_party_2 "one identity for two parties" "the same identity"
  refused_with_secret secrets/party-1/master_key copy_of_party_2 "one master key for two parties" "the same master_key"
  listen 8082 127.0.0.1
  refused "port 8082 in use" "port 8082 is in use"
  kill "$listener"
  exec 8>.deploy.lock
  flock 8
  refused "another deploy.sh at work" "another deploy.sh is at work here"
  exec 8>&-
  too_old
  no_space
  ./deploy.sh init >"$work/again" 2>&1 && die "init ran twice"
  grep -q "not overwritten" "$work/again" || die "init: $(cat "$work/again")"
  ok "init overwrites nothing"
  [ -z "$(docker ps -aq --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME")" ] || die "something was started"
  [ -z "$(docker volume ls -q --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME")" ] || die "a volume was made"
  ok "after all of that, nothing was started or made"
}

status_of() { # a key, a port
  local path=accounts/00000000-0000-4000-8000-000000000000
  case ${2:-4000} in 8081) path=parties ;; 8083) path=shares/key ;; esac
  printf 'header = "X-API-Key: %s"\n' "$1" | curl -s -m 10 -K - -o /dev/null -w '%{http_code}' "http://127.0.0.1:${2:-4000}/api/v1/$path"
}

# Every file in /run/secrets of any container is one of these: presented as a key, none opens a port. Nor does the key of another port.
no_secret_is_a_key() {
  local port other file tried=0
  for port in 4000 8081 8083; do
    [ "$(status_of "$(key "$port")" "$port")" != 401 ] || die "the key of port $port is refused"
    for other in 4000 8081 8083; do
      [ "$port" = "$other" ] || [ "$(status_of "$(key "$other")" "$port")" = 401 ] || die "the key of port $other opens port $port"
    done
    while read -r file; do
      [ "$(status_of "$(tr -d '\r\n' <"$file")" "$port")" = 401 ] || die "$file opens port $port"
      tried=$((tried + 1))
    done < <(find secrets -type f ! -name '*.sh' ! -name '*.json' ! -name '*.conf')
  done
  [ "$tried" -gt 60 ] || die "only $tried secrets were tried"
  ok "no secret of a container opens a port: $tried were tried as keys"
}

# Containers that run, of these services or of all, with the times of their starts: who stays, and who is made or started anew.
containers() {
  local service
  if [ $# = 0 ]; then docker ps -q --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME"; else for service; do running "$service"; done; fi |
    xargs -r docker inspect -f '{{.Id}} {{.State.StartedAt}}' | sort
}

all_roles=(session-coordinator message-router server-party-1 server-party-2 server-party-3 server-party-api account-service)

# All of these run, and since then they were started anew.
anew() { # what containers said before; services
  local before=$1
  shift
  [ "$(containers "$@" | wc -l)" = $# ] || die "not all of these run: $*"
  [ -z "$(comm -12 <(printf '%s\n' "$before") <(containers "$@"))" ] || die "not all of these were started anew: $*"
}

# Party 3 gets in at PostgreSQL with its password, and the superuser with that of .env.
passwords_at_postgres() {
  local user file
  while read -r user file; do
    docker exec -e PGPASSWORD="$(cat "$file")" "$(running postgres)" psql -qXtA -h 127.0.0.1 -U "$user" -d "$user" -c 'SELECT 1' >/dev/null 2>&1 || die "$user does not get in at PostgreSQL"
  done <<END
party_3 secrets/party-3/postgres_password
account secrets/account/postgres_password
coordinator secrets/coordinator/postgres_password
END
  # Nobody else than the superuser gets into this one.
  docker exec -e PGPASSWORD="$(sed -n 's/^POSTGRES_PASSWORD=//p' .env)" "$(running postgres)" psql -qXtA -h 127.0.0.1 -U postgres -d postgres -c 'SELECT 1' >/dev/null 2>&1 ||
    die "the superuser does not get in at PostgreSQL"
}

# An image of another PostgreSQL.
postgres_16() {
  docker build -q -t quorate-standin:postgres-16 - >/dev/null <<END
FROM $(sed -n 's/^POSTGRES_IMAGE=//p' .env)
USER root
RUN printf '#!/bin/sh\necho "postgres (PostgreSQL) 16.1"\n' > /usr/local/bin/postgres && chmod 755 /usr/local/bin/postgres
END
}

newer_schema() { # a database
  in_postgres -d "$1" -c "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, '', TRUE, '', 0)"
}

older_schema() { in_postgres -d "$1" -c 'DELETE FROM _sqlx_migrations WHERE version = 9999'; }

# What can't be used, while everything runs: nothing is stopped for it.
nothing_is_stopped() { # an account
  say "wrong settings under what runs"
  local before one two three user
  before=$(containers)
  refused_with ALLOWED_IPS=10.0.0.0/33 "ALLOWED_IPS in .env can't be used"
  refused_with TRUSTED_PROXIES=the-proxy "TRUSTED_PROXIES in .env can't be used"
  refused_with TRUSTED_PROXIES=10.08 "TRUSTED_PROXIES in .env can't be used"
  refused_with QUORATE_SIGN_TIMEOUT_MS=0 "QUORATE_SIGN_TIMEOUT_MS in .env can't be used"
  refused_with QUORATE_LOG=quorate=loud "QUORATE_LOG in .env can't be used"
  refused_with "EDGE_SUBNET=$(docker network inspect -f '{{(index .IPAM.Config 0).Subnet}}' bridge)" "EDGE_SUBNET in .env has addresses of the network"
  refused_with QUORATE_PLUGIN_FILES=/plugins/other.wasm "a setting in .env is invalid: QUORATE_PLUGIN_FILES: /plugins/other.wasm"
  refused_with QUORATE_PLUGIN_FILES=/etc/passwd "this is not a WebAssembly component"
  refused_with QUORATE_IMAGE="$(sed -n 's/^REDIS_IMAGE=//p' .env)" "does not run here, or is of another version"
  IFS=, read -r one two three <<< "$(sed -n 's/^QUORATE_PARTY_KEYS=//p' .env)"
  user=$(sed -n 's/^QUORATE_USER_PARTY_KEY=//p' .env)
  refused_with "QUORATE_PARTY_KEYS=$two,$one,$three" "secrets/party-1/identity is not the key that .env names for party-1"
  refused_with "QUORATE_PARTY_KEYS=$one,$one,$three" "QUORATE_PARTY_KEYS in .env can't be used"
  refused_with "QUORATE_PARTY_KEYS=$one,$two,$user" "QUORATE_USER_PARTY_KEY in .env can't be used"
  refused_with "QUORATE_ORIGINATORS=$user" "secrets/account/originator is not a key of QUORATE_ORIGINATORS"
  refused_with_secret secrets/party-1/master_key short "a master key that is none" "secrets/party-1/master_key holds no key of 64 hex characters"
  refused_with_secret secrets/user-party/identity another_key "another identity" "secrets/user-party/identity is not the key that .env names for user-party"
  refused_with_secret secrets/account/originator short "an originator's key that is none" "secrets/account/originator holds no key of 64 hex characters"
  refused_with_secret secrets/party-2/postgres_password short "a short password in a file" "secrets/party-2/postgres_password is too short"
  postgres_16
  refused_with POSTGRES_IMAGE=quorate-standin:postgres-16 "POSTGRES_IMAGE in .env is PostgreSQL 16, and the data is of 15"
  docker rmi quorate-standin:postgres-16 >/dev/null
  newer_schema account
  refused "a newer schema" "databases are of a newer version of Quorate than $image: account"
  older_schema account
  newer_schema party_1
  newer_schema party_2
  refused "two parties' newer schemas" "databases are of a newer version of Quorate than $image: party_1 party_2"
  complains "databases are of a newer version" restart
  complains "databases are of a newer version" mpc restart
  older_schema party_1
  # One that holds itself up.
  in_postgres -d party_2 -c 'ALTER TABLE _sqlx_migrations RENAME TO kept' -c 'CREATE VIEW _sqlx_migrations AS SELECT 9999 AS version FROM pg_sleep(60)'
  in_postgres -d postgres -c 'ALTER DATABASE party_3 CONNECTION LIMIT 0'
  quietly up
  in_postgres -d party_2 -c 'DROP VIEW _sqlx_migrations' -c 'ALTER TABLE kept RENAME TO _sqlx_migrations'
  [ "$(in_postgres -d postgres -c "SELECT datconnlimit FROM pg_database WHERE datname = 'party_3'" | tr -d ' \n')" = -1 ] || die "a party's database takes nobody"
  quietly up
  grep -q "note: the database party_2 says that it is of a newer version" "$work/out" || die "up says: $(cat "$work/out")"
  older_schema party_2
  complains "there is no command: restart server-party-2" restart server-party-2
  complains "no container of server-party-4" shell server-party-4
  complains "no container of account-service-2" logs account-service-2
  # What an operator has who took two files and no example.
  cp .env "$work/env"
  grep -E '^([A-Z]+_PASSWORD|JWT_SECRET_KEY|MPC_(SHARES_|OPERATOR_)?API_KEY|ENVIRONMENT|QUORATE_(ORIGINATORS|PARTY_KEYS|USER_PARTY_KEY|[UG]ID|IMAGE)|[A-Z]+_IMAGE|COMPOSE_PROJECT_NAME|TRUSTED_PROXIES|COORDINATOR_PORT|ROUTER_PORT)=' "$work/env" > .env
  quietly up
  cp "$work/env" .env
  [ "$(containers)" = "$before" ] || die "something was stopped or made anew"
  signs "$1"
  ok "a wrong setting stops nothing that runs; what is left out of .env is as in the example"
  # The sources lie elsewhere than what runs.
  (cd "$top" && PREBUILT=dist/nothing complains "with root/quorate: make dist makes it" build)
}

complains() { # what is to be said, a command
  local said wanted=$1
  shift
  if said=$(./deploy.sh "$@" 2>&1 </dev/null); then die "$* worked"; fi
  grep -qF "$wanted" <<< "$said" || die "$* says: $said"
}

who_may_call() { # an account
  cp .env "$work/env"
  # A proxy on this machine that nobody believes.
  in_env_file TRUSTED_PROXIES 192.0.2.1,2001:db8::1
  quietly up
  grep -q "note: TRUSTED_PROXIES does not name 10.213.99.1" "$work/out" || die "up says: $(cat "$work/out")"
  in_env_file TRUSTED_PROXIES 192.0.2.1,10.213.0.0/16
  in_env_file ALLOWED_IPS 192.0.2.7
  quietly up
  grep -q "note: TRUSTED_PROXIES" "$work/out" && die "up says: $(cat "$work/out")"
  complains "is it in ALLOWED_IPS" test-api
  cp "$work/env" .env
  quietly up
  signs "$1"
  ok "who may call is what .env says; up notes a proxy that would not be believed, test-api an address that may not call"
}

# Another folder with the same project name, with secrets of its own or with the same.
other_folder() {
  local here=$PWD
  mkdir "$work/elsewhere"
  cp docker-compose.yml deploy.sh "$work/elsewhere"
  cd "$work/elsewhere"
  if QUORATE_IMAGE=$image ./deploy.sh init >"$work/out" 2>&1; then die "init for data of another folder"; fi
  grep -q "there is data of .*docker volume rm ${COMPOSE_PROJECT_NAME}_" "$work/out" || die "init says: $(cat "$work/out")"
  cp -a "$here/.env" "$here/secrets" .
  refused "the project of another folder" "belong to $here"
  if echo 'delete everything' | ./deploy.sh clean >"$work/out" 2>&1; then die "clean of another folder's project"; fi
  cd "$here"
  ok "no folder takes over what belongs to another"
  rm -r "$work/elsewhere"
  mv "$here" "$work/moved"
  cd "$work/moved"
  ./deploy.sh health >/dev/null || die "a folder that was moved is taken for another"
  cd "$work"
  mv "$work/moved" "$here"
  cd "$here"
  ok "a folder that was moved is the same deployment"
}

changed_secrets() { # an account
  say "changed secrets"
  local old name file
  old=$(key)
  # Both are valid while callers go over from one to the other.
  in_env_file MPC_API_KEY "$old,$(openssl rand -hex 32)"
  ./deploy.sh up
  [ "$(status_of "$old") $(status_of "$(key)")" = "404 404" ] || die "two keys: $(status_of "$old") $(status_of "$(key)")"
  ok "an old key and a new one are valid at once"
  in_env_file MPC_API_KEY "$(key)"
  for name in MPC_SHARES_API_KEY MPC_OPERATOR_API_KEY POSTGRES_PASSWORD REDIS_PASSWORD JWT_SECRET_KEY; do
    sed -i "s/^$name=.*/$name=$(openssl rand -hex 32)/" .env
  done
  for file in secrets/party-1/postgres_password secrets/party-2/rabbitmq_password secrets/coordinator/rabbitmq_password secrets/account/postgres_password secrets/coordinator/postgres_password; do
    chmod u+w "$file"
    openssl rand -hex 32 > "$file"
  done
  ./deploy.sh up
  [ "$(status_of "$old")" = 401 ] || die "the old key: $(status_of "$old")"
  [ "$(status_of "$(key)")" = 404 ] || die "the new key: $(status_of "$(key)")"
  signs "$1"
  # A party's own password, with its processes only.
  chmod u+w secrets/party-3/postgres_password
  openssl rand -hex 32 > secrets/party-3/postgres_password
  ./deploy.sh mpc restart
  signs "$1"
  passwords_at_postgres
  ok "changed passwords and keys reach services and roles; the old key is refused"
  no_secret_is_a_key
  no_secret_in_the_logs
  # Some versions of compose can't make a network anew that containers are in.
  in_env_file EDGE_SUBNET 10.213.97.0/24
  if ./deploy.sh up >"$work/out" 2>&1; then
    ok "another network is made under what runs"
  else
    grep -q "./deploy.sh restart" "$work/out" || die "another network: $(cat "$work/out")"
    ok "another network under what runs: up says what to do"
  fi
  in_env_file EDGE_SUBNET 10.213.99.0/24
  ./deploy.sh up
  signs "$1"
}

rabbitmqctl() { docker exec -i -e HOME=/var/lib/rabbitmq "$(running rabbitmq)" rabbitmqctl -q "$@"; }

# The broker is asked what it would let party 1 do, and with which password. What it may do shows that the question is the right one.
rights_at_rabbitmq() {
  local own other presence what kind name may asked=() wanted=() said
  IFS=, read -r own other _ <<< "$(sed -n 's/^QUORATE_PARTY_KEYS=//p' .env)"
  presence=quorate.topic.presence
  local own_presence=$presence.$own other_presence=$presence.$other
  own=quorate.party.$own other=quorate.party.$other
  rabbitmqctl authenticate_user party-1 <secrets/party-1/rabbitmq_password >/dev/null 2>&1 || die "RabbitMQ does not let party 1 in"
  rabbitmqctl authenticate_user party-1 <secrets/party-2/rabbitmq_password >/dev/null 2>&1 && die "RabbitMQ lets party 2 in as party 1"
  while read -r may what kind name; do
    wanted+=("$may $what $kind $name")
    asked+=("{$what, $kind, <<\"$name\">>}")
  done <<END
may read queue $own
may write exchange $own_presence
may read exchange quorate.topic.cancelled
may configure queue quorate.listener.party-1.1
not configure queue $own
not write queue $own
not write exchange $own.dead
not write exchange quorate.queues
not write exchange $other_presence
not read exchange $own_presence
not configure queue quorate.listener.party-2.1
not read queue $other
not write queue $other
not configure queue $other
not read queue $other.dead
not write exchange $other.dead
not write exchange amq.default
not configure exchange quorate.topic.cancelled
not write exchange quorate.topic.cancelled
not write exchange quorate.topic.frames
not read exchange quorate.topic.frames
not read exchange quorate.topic.reports
END
  said=$(rabbitmqctl eval "{ok, U} = rabbit_access_control:check_user_login(<<\"party-1\">>, []),
    [io:format(\"~s ~s ~s ~s~n\", [try rabbit_access_control:check_resource_access(U, {resource, <<\"/\">>, K, N}, P, #{}) of ok -> may
      catch exit:{amqp_error, access_refused, _, _} -> 'not' end, P, K, N]) || {P, K, N} <- [$(IFS=,; printf '%s' "${asked[*]}")]], ok.")
  [ "$said" = "$(printf '%s\n' "${wanted[@]}" ok)" ] || die "what party 1 may do at RabbitMQ: $said"
}

in_postgres() { docker exec -i "$(running postgres)" psql -q -X -t -v ON_ERROR_STOP=1 -U postgres "$@"; }

refusing_database() { # an account
  say "a database that refuses"
  docker kill "$(running server-party-2)" "$(running account-service)" >/dev/null
  in_env_file UP_SECONDS 20
  # A superuser's limit comes back with the next `up`: the processes see a role without rights.
  in_postgres -d party_2 -c 'ALTER SCHEMA public RENAME TO elsewhere'
  refused "a database that refuses" "PostgreSQL at postgres:5432/party_2 can't be used"
  signs "$1"
  ok "with one party that does not start, the account signs"
  in_env_file UP_SECONDS 120
  in_postgres -d party_2 -c 'ALTER SCHEMA elsewhere RENAME TO public'
  in_postgres -d postgres -c 'ALTER ROLE party_2 NOLOGIN SUPERUSER'
  quietly up
  signs "$1"
  [ "$(in_postgres -d postgres -c "SELECT count(*) FROM pg_roles WHERE rolsuper AND rolname <> 'postgres'" | tr -d ' \n')" = 0 ] || die "a party is superuser"
  ok "up mends what is amiss with the databases' roles"
}

# A role that does not answer for a while, into which `up` runs.
recovering_role() { # an account
  local router until=$((SECONDS + 60))
  router=$(running message-router)
  docker kill -s STOP "$router" >/dev/null
  until [ "$(docker inspect -f '{{.State.Health.Status}}' "$router")" = unhealthy ]; do
    [ "$SECONDS" -lt "$until" ] || die "a router that does not answer is healthy"
    sleep 0.5
  done
  (sleep 12; docker kill -s CONT "$router" >/dev/null) &
  ./deploy.sh up
  [ "$(running message-router)" = "$router" ] || die "a router was made anew that only had to be waited for"
  signs "$1"
  ok "up waits for a role that was ill and recovers"
}

back_up_and_restore() { # an account
  say "backup, and restore into nothing"
  # What a party that was taken over leaves for whoever restores it.
  in_postgres -d party_3 -c 'SET ROLE party_3' -c $'CREATE TABLE "x\n\\! touch /tmp/taken\n" ()'
  in_postgres -d party_3 -c 'CREATE TABLE not_its_own ()'
  complains "./deploy.sh backup backup without party_3" backup backup
  [ -z "$(find . -maxdepth 1 -name 'backup*')" ] || die "half a backup stays"
  # The roles run again, by themselves.
  signs "$1"
  complains "no party has a database party_4" backup backup without party_4
  ./deploy.sh backup backup-2 without party_3
  [ "$(find backup-2 -name '*.dump' | wc -l)" = 5 ] || die "a backup without a party's database: $(ls backup-2)"
  in_postgres -d party_3 -c 'DROP TABLE not_its_own'
  ./deploy.sh backup backup-3 >"$work/out" 2>&1 & interrupted=$!
  sleep 2
  kill -TERM "$interrupted"
  wait "$interrupted" && die "an interrupted backup ended well"
  [ -z "$(find . -maxdepth 1 -name 'backup-3*')" ] || die "half a backup stays"
  signs "$1"
  ok "a backup that fails or is interrupted leaves nothing, and what ran runs; one party's database can be left out"
  complains "give FOLDER, or FOLDER without DATABASE" backup --now
  complains "give FOLDER, or FOLDER without DATABASE" backup backup party_3
  complains "$PWD/nowhere/backup can't be made" backup nowhere/backup
  ./deploy.sh backup backup/
  [ "$(head -qc 5 backup/*.dump)" = PGDMPPGDMPPGDMPPGDMPPGDMPPGDMP ] || die "a backup is text"
  [ -z "$(find backup ! -perm 700 ! -perm 600)" ] || die "a backup that others can read"
  complains "a backup overwrites nothing" backup backup
  complains "a restore overwrites nothing" restore backup
  signs "$1"
  ok "a backup is whole or not there, and nothing is overwritten"
  echo 'delete everything' | ./deploy.sh clean >/dev/null
  cp backup/* "$work"
  head -c 2000 "$work/party_2.dump" > backup/party_2.dump
  complains "is not a complete backup" restore backup
  (cd backup && sha256sum -- *.dump > SHA256SUMS)
  complains "party_2 was not restored" restore backup
  refused "a restore that did not come to its end" "./deploy.sh clean, then restore again"
  echo 'delete everything' | ./deploy.sh clean >/dev/null
  cp "$work/party_2.dump" "$work/SHA256SUMS" backup
  ./deploy.sh restore backup
  ./deploy.sh up
  signs "$1"
  ok "restored from a backup, the account signs"
  [ "$(in_postgres -d party_3 -c "SELECT count(*) FROM pg_tables WHERE tablename LIKE 'x%touch%'" | tr -d ' \n')" = 1 ] || die "a table is not restored"
  ! docker exec "$(running postgres)" ls /tmp/taken >/dev/null 2>&1 || die "a backup ran a command where it was restored"
  ok "a party's database runs no command where it is restored"
  echo 'delete everything' | ./deploy.sh clean >/dev/null
  complains "./deploy.sh restore backup-2 without party_3" restore backup-2
  complains "backup-4 is not a complete backup" restore backup-4
  ./deploy.sh restore backup-2 without party_3
  ./deploy.sh up
  signs "$1"
  ok "restored without one party's database, the account signs"
}

main() {
  trap clean_up EXIT
  engine
  packages busybox=busybox-static python3=python3 curl=curl openssl=openssl
  docker compose version >/dev/null 2>&1 || packages docker-compose=docker-compose
  say "building"
  make -C "$top" --no-print-directory dist DIST="$work/dist" >"$work/build.log" 2>&1 || { tail -20 "$work/build.log"; die "make dist"; }
  [ "${COMPOSE_BUILDS:-2}" = 1 ] || same_bytes
  find_service_images

  build_image

  # An operator has two files and an image.
  mkdir "$work/deployment"
  cd "$work/deployment"
  cp "$top/docker-compose.yml" "$top/deploy.sh" .
  first_init
  local name
  for name in "${service_images[@]}"; do in_env_file "$name" quorate-standin:services; done
  bad_input
  refused_with POSTGRES_IMAGE=127.0.0.1:1/no/such:image "set POSTGRES_IMAGE in .env"

  say "up"
  local began=$SECONDS
  ./deploy.sh up
  [ "$((SECONDS - began))" -le "${UP_AT_MOST:-60}" ] || die "up took $((SECONDS - began)) s"
  ok "healthy after $((SECONDS - began)) s, data made anew"
  ./deploy.sh status
  ./deploy.sh health
  ok "health"
  say "memory of the idle system"
  docker ps -q --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" | xargs docker stats --no-stream --format '{{.Name}} {{.MemUsage}}' | sort | tee "$work/memory"
  local memory
  memory=$(grep -vE 'postgres|redis|rabbitmq' "$work/memory" | awk '{ v = $2; u = v; gsub(/[0-9.]/, "", u); gsub(/[^0-9.]/, "", v); s += v * (u == "GiB" ? 1024 : u == "KiB" ? 1 / 1024 : 1) } END { printf "%d", s }')
  [ "$memory" -le 300 ] || die "the idle system takes $memory MiB without the three services"
  ok "the idle system takes $memory MiB without the three services"

  ./deploy.sh test-api
  ok "test-api"
  local account
  account=$(api POST 4000 /api/v1/accounts '{"user_id":"compose"}' | field id)
  signs "$account"
  with_a_user
  ok "a user's share is made, confirmed and signed with"

  say "what can be reached"
  # Databases and parties lie in networks that lead nowhere.
  local id address heard=''
  for service in postgres server-party-1; do
    id=$(running "$service")
    [ -z "$(docker port "$id")" ] || die "$service has published ports"
  done
  id=$(running server-party-1)
  listen 8099 0.0.0.0
  for address in $(gateway bridge) $(gateway "${COMPOSE_PROJECT_NAME}_data") $(gateway "${COMPOSE_PROJECT_NAME}_roles") $(gateway "${COMPOSE_PROJECT_NAME}_edge"); do
    ! gets_out "$id" "$address" 8099 || die "a party gets out to $address"
    if gets_out "$(running account-service)" "$address" 8099; then heard=yes; fi
  done
  kill "$listener"
  [ -n "$heard" ] || die "nobody gets out: that a party does not proves nothing"
  docker exec "$id" /bin/sh -c '! echo x > /x' 2>/dev/null || die "the root is not read-only"
  address=$(docker exec "$id" id -u)
  [ "$address" != 0 ] || die "it runs as root"
  id=$(running postgres)
  docker exec "$id" sh -c "PGPASSWORD=\$(cat /run/secrets/party_1_postgres_password) psql -h 127.0.0.1 -U party_1 -d party_2 -c 'SELECT 1'" >/dev/null 2>&1 && die "a party sees another's database"
  docker exec "$id" sh -c "PGPASSWORD=\$(cat /run/secrets/coordinator_postgres_password) psql -h 127.0.0.1 -U coordinator -d account -c 'SELECT 1'" >/dev/null 2>&1 &&
    die "the coordinator sees the account service's database"
  rights_at_rabbitmq
  ok "parties have their own secrets, databases and queues and no others', nothing published, no way out, no root"
  # Each has the secrets of its own and no others.
  for service in server-party-1 server-party-2 server-party-3; do
    [ "$(docker exec "$(running "$service")" ls /run/secrets | tr '\n' ' ')" = "identity master_key postgres_password rabbitmq_password redis_password " ] || die "the secrets of $service"
    docker exec "$(running "$service")" cat /run/secrets/identity | cmp - "secrets/${service#server-}/identity" || die "another's identity"
  done
  [ -z "$(find secrets -type d ! -perm 700)" ] || die "folders of secrets that others can look into: $(find secrets -type d ! -perm 700)"
  [ -z "$(find secrets/party-* secrets/account -type f ! -name postgres_password ! -perm 400)" ] || die "secrets that others can read"
  [ "$(stat -c %a .env)" = 600 ] || die ".env can be read by others"
  [ "$(find secrets -printf '%u\n' | sort -u | wc -l)" = 1 ] || die "secrets have several owners"
  [ "$(echo 'id -u' | ./deploy.sh shell server-party-1)" = "$(sed -n 's/^QUORATE_UID=//p' .env)" ] || die "shell"
  timeout 5 ./deploy.sh logs-tail account-service >"$work/tail" 2>&1 || true
  [ -s "$work/tail" ] || die "logs-tail"
  ./deploy.sh help >"$work/help"
  grep -q 'test-api' "$work/help" || die "help"
  ok "secrets have the right owner and mode; shell, logs-tail and help"
  no_secret_in_the_logs

  say "killed containers"
  for service in server-party-1 session-coordinator message-router account-service redis rabbitmq postgres; do
    if [ "$(id -u)" = 0 ]; then
      # As a crash: the engine starts it again.
      kill -KILL "$(docker inspect -f '{{.State.Pid}}' "$(running "$service")")"
    else
      # What is killed by the engine's own command stays down.
      docker kill "$(running "$service")" >/dev/null
      quietly up
    fi
    signs "$account"
    ok "$service was killed: the account signs"
  done

  nothing_is_stopped "$account"
  who_may_call "$account"
  other_folder
  changed_secrets "$account"
  refusing_database "$account"

  say "two replicas"
  in_env_file REPLICAS 2
  ./deploy.sh up
  signs "$account"
  signs "$account" 4001
  docker stop -t 1 "$(running session-coordinator)" "$(running message-router)" >/dev/null
  signs "$account" 4001
  ok "with one coordinator and one router of two, the account signs"
  in_env_file REPLICAS 1
  ./deploy.sh up
  [ -z "$(containers account-service-2 session-coordinator-2 message-router-2)" ] || die "replicas are left"

  say "restart, parts, down"
  local before
  before=$(containers)
  ./deploy.sh restart
  anew "$before" postgres redis rabbitmq "${all_roles[@]}"
  signs "$account"
  ok "restart"
  before=$(containers)
  ./deploy.sh mpc restart
  anew "$before" "${all_roles[@]}"
  [ "$(comm -12 <(printf '%s\n' "$before") <(containers) | wc -l)" = 3 ] || die "mpc restart restarts services"
  signs "$account"
  ./deploy.sh mpc down
  [ -z "$(containers "${all_roles[@]}")" ] || die "mpc down leaves roles"
  complains "not all is well" health
  ./deploy.sh infra down
  [ -z "$(containers)" ] || die "infra down leaves services"
  ./deploy.sh infra up
  ./deploy.sh mpc up
  signs "$account"
  ok "infra and mpc"
  ./deploy.sh down
  [ -z "$(docker ps -aq --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME")" ] || die "down leaves something"
  ./deploy.sh up
  signs "$account"
  ok "down and up: nothing is lost"
  recovering_role "$account"
  back_up_and_restore "$account"
  echo no | ./deploy.sh clean >/dev/null 2>&1 && die "clean did not ask"
  signs "$account"
  echo 'delete everything' | ./deploy.sh clean >/dev/null
  [ -z "$(docker volume ls -q --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME")" ] || die "clean leaves data"
  ok "clean asks first"
}

main
