#!/usr/bin/env bash
# Runs docker-compose.yml for real: init, up, health, an account, signatures, a user's share, killed containers, two replicas,
# restart, down; and holds two builds of program and components in different folders against each other.
#
# On a Docker engine; starts one where there is none and that is possible (root, Debian's packages). Where no registry can be
# reached, images made of Debian's packages stand in for PostgreSQL, Redis and RabbitMQ. COMPOSE_BUILDS=1 leaves the second build
# away; COMPOSE_IF_POSSIBLE=1 ends well, and says so, where no engine can be had.
set -euo pipefail

top="$(cd "$(dirname "$0")/../.." && pwd)"
work=$(mktemp -d)
passed=0
started_engine=
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
  rm -rf "$work"
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
  if [ "${COMPOSE_IF_POSSIBLE:-}" = 1 ]; then
    echo "compose-test DID NOT RUN: no Docker engine answers here, and none can be started"
    trap - EXIT
    rm -rf "$work"
    exit 0
  fi
  die "no Docker engine answers, and none can be started here: start one, and try again"
}

packages() {
  local missing=()
  command -v busybox >/dev/null || missing+=(busybox-static)
  command -v docker-compose >/dev/null || docker compose version >/dev/null 2>&1 || missing+=(docker-compose)
  command -v debootstrap >/dev/null || missing+=(debootstrap)
  [ ${#missing[@]} = 0 ] && return
  [ "$(id -u)" = 0 ] || die "as root: apt-get install ${missing[*]}"
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
}

# The images of the services: the real ones, or stand-ins.
service_images() {
  local image
  for image in postgres:15 redis:7 rabbitmq:3.13; do
    if ! docker image inspect "$image" >/dev/null 2>&1 && ! timeout 120 docker pull -q "$image" >/dev/null 2>&1; then
      say "no registry: images of Debian's packages stand in for the services'"
      "$top/tests/compose/standin.sh" quorate-standin:services
      export POSTGRES_IMAGE=quorate-standin:services REDIS_IMAGE=quorate-standin:services RABBITMQ_IMAGE=quorate-standin:services
      return
    fi
  done
}

# Two builds in different folders: the same bytes.
same_bytes() {
  say "a second build, in another folder"
  local other=$work/another/place file
  mkdir -p "$other"
  (cd "$top" && git ls-files --cached --others --exclude-standard -z | tar --null --files-from=- --create) | tar --directory="$other" --extract
  make -C "$other" --no-print-directory CARGO_TARGET_DIR="$work/other-target" QUORATE_PLUGINS="$work/other-plugins" dist DIST="$work/other-dist" >"$work/other.log" 2>&1 ||
    { tail -20 "$work/other.log"; die "the second build"; }
  for file in quorate plugins/dkls23.wasm; do
    cmp "$work/dist/root/$file" "$work/other-dist/root/$file" || die "$file is not the same in two builds"
  done
  (cd "$work/dist/root" && sha256sum quorate plugins/dkls23.wasm)
  ok "program and component have the same hash, built in two folders"
  rm -rf "$other" "$work/other-target"
}

key() { sed -n 's/^MPC_API_KEY=//p' .env; }

api() { # METHOD PORT PATH [BODY]: prints the body; fails unless the status is 2xx. A body may be longer than an argument.
  printf '%s' "${4:-}" | curl -sS -f -m 90 -X "$1" -H "X-API-Key: $(key)" -H 'Content-Type: application/json' ${4:+--data @-} "http://127.0.0.1:$2$3"
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
  local recipient made account session to digest
  recipient=$(quorate share new-recipient recipient)
  made=$(api POST 4000 /api/v1/accounts "{\"user_id\":\"user\",\"user_share\":true,\"recipient_key\":\"$recipient\"}")
  account=$(field id <<< "$made") session=$(field session_id <<< "$made")
  field user_share <<< "$made" | quorate share open --key recipient --out share >/dev/null
  api POST 8083 /api/v1/shares/confirm "{\"session_id\":\"$session\"}" >/dev/null
  to=$(api GET 8083 /api/v1/shares/key | field key)
  digest=$(openssl rand -hex 32)
  local sealed
  sealed=$(quorate share seal --share share --to "$to" --account "$account" --message "$digest")
  api POST 4000 "/api/v1/accounts/$account/sign" "{\"message\":\"$digest\",\"user_share\":\"$sealed\"}" | field signers | grep -q 3
}

# The container of a service that runs.
running() { docker ps -q --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" --filter "label=com.docker.compose.service=$1"; }

refused() { # what is wrong with it; then: what is to be said
  local said
  if said=$(./deploy.sh up 2>&1); then die "up worked with $1"; fi
  grep -q "$2" <<< "$said" || die "with $1 it says: $said"
  ok "with $1, up says what to do and changes nothing"
}

bad_input() {
  refused "no image" "there is no image"
  local image
  image=$QUORATE_IMAGE
  cp .env "$work/env"
  sed -i 's/^REDIS_PASSWORD=.*/REDIS_PASSWORD=/' .env; refused "no REDIS_PASSWORD" "REDIS_PASSWORD is not set"
  sed -i 's/^REDIS_PASSWORD=.*/REDIS_PASSWORD=short/' .env; refused "a short REDIS_PASSWORD" "REDIS_PASSWORD in .env is too short"
  sed -i 's/^REDIS_PASSWORD=.*/REDIS_PASSWORD=change-me-redis-now/' .env; refused "an example's password" "is the example's"
  cp "$work/env" .env
  mv secrets/party-2/identity "$work/identity"; refused "a missing identity" "secrets/party-2/identity is missing"
  mv "$work/identity" secrets/party-2/identity
  cp -p secrets/party-1/master_key "$work/master_key"
  chmod u+w secrets/party-1/master_key; cat secrets/party-2/master_key > secrets/party-1/master_key
  refused "one master key for two parties" "the same master_key"
  cat "$work/master_key" > secrets/party-1/master_key; chmod 400 secrets/party-1/master_key
  python3 -m http.server 8082 --bind 127.0.0.1 >/dev/null 2>&1 & local other=$!
  sleep 1; refused "port 8082 in use" "port 8082 is in use"
  kill $other
  ./deploy.sh init >"$work/again" 2>&1 && die "init ran twice"
  grep -q "is not overwritten" "$work/again" || die "init: $(cat "$work/again")"
  ok "init overwrites nothing"
  [ -z "$(docker ps -aq --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME")" ] || die "something was started"
  QUORATE_IMAGE=$image
}

main() {
  trap clean_up EXIT
  engine
  packages
  say "building"
  make -C "$top" --no-print-directory dist DIST="$work/dist" >"$work/build.log" 2>&1 || { tail -20 "$work/build.log"; die "make dist"; }
  [ "${COMPOSE_BUILDS:-2}" = 1 ] || same_bytes
  service_images

  # An operator has two files, the example of the settings, and an image.
  mkdir "$work/deployment"
  cd "$work/deployment"
  cp "$top/docker-compose.yml" "$top/deploy.sh" "$top/.env.example" .
  export QUORATE_IMAGE=quorate:no-such-image
  ./deploy.sh init
  bad_input
  export QUORATE_IMAGE=quorate:compose-test
  (cd "$top" && cp -r "$work/dist" "$top/dist" 2>/dev/null; cd "$top" && PREBUILT=dist ./deploy.sh build; rm -rf "$top/dist")
  local size
  size=$(docker image inspect -f '{{.Size}}' "$QUORATE_IMAGE")
  [ "$size" -le 100000000 ] || die "the image has $size bytes"
  ok "the image has $((size / 1000000)) MB"

  say "up"
  local began=$SECONDS
  ./deploy.sh up
  [ "$((SECONDS - began))" -le "${UP_AT_MOST:-60}" ] || die "up took $((SECONDS - began)) s"
  ok "healthy after $((SECONDS - began)) s, data made anew"
  ./deploy.sh status
  ./deploy.sh health
  ok "health"
  say "memory of the idle system"
  docker stats --no-stream --format '{{.Name}} {{.MemUsage}}' | sort
  local memory
  memory=$(docker stats --no-stream --format '{{.Name}} {{.MemUsage}}' | grep -vE 'postgres|redis|rabbitmq' | awk '{ v = $2; u = v; gsub(/[0-9.]/, "", u); gsub(/[^0-9.]/, "", v); s += v * (u == "GiB" ? 1024 : u == "KiB" ? 1 / 1024 : 1) } END { printf "%d", s }')
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
  local id address
  for service in postgres server-party-1; do
    id=$(running "$service")
    [ -z "$(docker port "$id")" ] || die "$service has published ports"
  done
  id=$(running server-party-1)
  docker exec "$id" /bin/sh -c 'cat /run/secrets/identity >/dev/null && ! ls /run/secrets | grep -q originator' || die "a party's secrets"
  docker exec "$id" /bin/sh -c '! nc -w 2 10.213.99.1 22 </dev/null' 2>/dev/null || die "a party gets out"
  docker exec "$id" /bin/sh -c '! echo x > /x' 2>/dev/null || die "the root is not read-only"
  address=$(docker exec "$id" id -u)
  [ "$address" != 0 ] || die "it runs as root"
  id=$(running postgres)
  docker exec "$id" sh -c "PGPASSWORD=\$(cat /run/secrets/party_1_postgres_password) psql -h 127.0.0.1 -U party_1 -d party_2 -c 'SELECT 1'" >/dev/null 2>&1 && die "a party sees another's database"
  ok "parties have their own secrets and databases and no others', nothing published, no root"
  printf 'exit\n' | ./deploy.sh shell server-party-1 >/dev/null 2>&1 || true
  ./deploy.sh logs server-party-1 | grep -q "the party is there" || die "logs"
  for service in $(sed -n 's/^\(POSTGRES_PASSWORD\|JWT_SECRET_KEY\|MPC_API_KEY\)=//p' .env) $(cat secrets/party-1/master_key); do
    ./deploy.sh logs | grep -q "$service" && die "a secret is in the logs"
  done
  ok "no secret is in the logs"

  say "killed containers"
  for service in server-party-1 session-coordinator message-router account-service redis rabbitmq postgres; do
    if [ "$(id -u)" = 0 ]; then
      # As a crash: the engine starts it again.
      kill -KILL "$(docker inspect -f '{{.State.Pid}}' "$(running "$service")")"
    else
      # What is killed by the engine's own command stays down.
      docker kill "$(running "$service")" >/dev/null
      ./deploy.sh up >/dev/null
    fi
    signs "$account"
    ok "$service was killed: the account signs"
  done

  say "two replicas"
  echo 'REPLICAS=2' >> .env
  ./deploy.sh up
  signs "$account"
  signs "$account" 4001
  docker stop -t 1 "$(running session-coordinator)" "$(running message-router)" >/dev/null
  signs "$account" 4001
  ok "with one coordinator and one router of two, the account signs"
  sed -i '$d' .env

  say "restart, parts, down"
  ./deploy.sh restart
  signs "$account"
  ok "restart"
  ./deploy.sh mpc restart
  signs "$account"
  ./deploy.sh mpc down
  ./deploy.sh infra down
  ./deploy.sh infra up
  ./deploy.sh mpc up
  signs "$account"
  ok "infra and mpc"
  ./deploy.sh down
  [ -z "$(docker ps -aq --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME")" ] || die "down leaves something"
  ./deploy.sh up
  signs "$account"
  ok "down and up: nothing is lost"
  echo no | ./deploy.sh clean >/dev/null 2>&1 && die "clean did not ask"
  signs "$account"
  echo 'delete everything' | ./deploy.sh clean >/dev/null
  [ -z "$(docker volume ls -q --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME")" ] || die "clean leaves data"
  ok "clean asks first"
}

main
