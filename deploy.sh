#!/usr/bin/env bash
# Runs Quorate with compose. `./deploy.sh help` lists the commands; docs/deploy.md explains them.
set -euo pipefail
cd "$(dirname "$0")"
umask 077

# Words of more than one use.
services=(postgres redis rabbitmq)
roles=(session-coordinator message-router server-party-1 server-party-2 server-party-3 server-party-api account-service)
parties=(party-1 party-2 party-3 user-party)

say() { printf '%s\n' "$*"; }
fail() { printf 'deploy.sh: %s\n' "$*" >&2; exit 1; }

# ---------------------------------------------------------------- settings

# A value of .env; the environment goes first, as it does for compose.
value() {
  local name=$1 default=${2:-}
  if [ -n "${!name:-}" ]; then printf '%s' "${!name}"; return; fi
  local found=''
  [ ! -e .env ] || found=$(sed -n "s/^$name=//p" .env | tail -n 1)
  printf '%s' "${found:-$default}"
}

COMPOSE_PROJECT_NAME=$(value COMPOSE_PROJECT_NAME quorate)
export COMPOSE_PROJECT_NAME

# Two at once would get into each other's way.
lock() {
  exec 9>.deploy.lock
  flock -n 9 || fail "another deploy.sh is at work here: wait for its end"
}

have() { command -v "$1" >/dev/null 2>&1; }

# `docker compose`, or `docker-compose` where there is no other.
compose() {
  local with=(-f docker-compose.yml)
  local replicas
  replicas=$(value REPLICAS 1)
  if [ "$replicas" = 2 ]; then
    with+=(--profile replicas)
    QUORATE_COORDINATORS=$(value QUORATE_COORDINATORS http://session-coordinator:8081,http://session-coordinator-2:8081)
    QUORATE_ROUTERS=$(value QUORATE_ROUTERS http://message-router:8082,http://message-router-2:8082)
    export QUORATE_COORDINATORS QUORATE_ROUTERS
  fi
  if docker compose version >/dev/null 2>&1; then
    docker compose "${with[@]}" "$@"
  else
    docker-compose "${with[@]}" "$@"
  fi
}

# The container of a service, running or not.
container() {
  docker ps -aq --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" --filter "label=com.docker.compose.service=$1" | head -n 1
}

# What a container's health check says of a service.
state_of() {
  local id
  id=$(container "$1")
  [ -z "$id" ] || docker inspect -f '{{if .State.Health}}{{.State.Health.Status}}{{else}}{{.State.Status}}{{end}}' "$id" 2>/dev/null || true
}

# Which roles there are, with the replicas.
all_roles() {
  printf '%s\n' "${roles[@]}"
  [ "$(value REPLICAS 1)" != 2 ] || printf '%s\n' session-coordinator-2 message-router-2 account-service-2
}

# ---------------------------------------------------------------- checks, before anything is changed

check_tools() {
  have docker || fail "docker is missing: install Docker Engine 20.10 or later"
  docker info >/dev/null 2>&1 || fail "the Docker engine does not answer: start it, or join the group that may use it"
  if ! docker compose version >/dev/null 2>&1; then
    have docker-compose || fail "compose is missing: install the compose plugin, or docker-compose 1.29 or later"
    local version
    version=$(docker-compose version --short)
    [ "$(printf '%s\n1.29.0\n' "$version" | sort -V | head -n 1)" = 1.29.0 ] ||
      fail "docker-compose $version is too old: 1.29.0 or later is needed"
  fi
}

check_settings() {
  [ -e .env ] || fail "there is no .env: run ./deploy.sh init"
  local name length
  for name in POSTGRES_PASSWORD RABBITMQ_PASSWORD REDIS_PASSWORD JWT_SECRET_KEY MPC_API_KEY; do
    case $name in JWT_SECRET_KEY) length=32 ;; *) length=16 ;; esac
    [ -n "$(value "$name")" ] || fail "$name is not set in .env: give it $length characters or more (openssl rand -hex 32)"
    [ "$(value "$name" | wc -c)" -ge "$length" ] || fail "$name in .env is too short: give it $length characters or more"
    case $(value "$name") in
      *[!A-Za-z0-9_.~-]*) fail "$name in .env has other characters than letters, digits, '_', '.', '~' and '-': no quotes, no spaces" ;;
      change-me*) [ "$(value ENVIRONMENT production)" != production ] || fail "$name in .env is the example's: choose one (openssl rand -hex 32)" ;;
    esac
  done
  for name in QUORATE_ORIGINATORS QUORATE_PARTY_KEYS; do
    [ -n "$(value "$name")" ] || fail "$name is not set in .env: ./deploy.sh init writes it; without it start anew, or restore .env from a backup"
  done
  case $(value PUBLISH_ADDRESS 127.0.0.1)/$(value ENVIRONMENT production) in
    127.*/* | */development) ;;
    *) fail "PUBLISH_ADDRESS in .env is not this machine's own: in production, publish on 127.0.0.1 and put a proxy with TLS before it" ;;
  esac
  for name in UP_SECONDS:120 ACCOUNT_PORT:4000 ACCOUNT_2_PORT:4001 COORDINATOR_PORT:8081 ROUTER_PORT:8082 PARTY_API_PORT:8083 QUORATE_UID:10001; do
    case $(value "${name%:*}" "${name#*:}") in
      *[!0-9]* | '' | 0) fail "${name%:*} in .env is no number above 0; nothing may stand behind it" ;;
    esac
  done
  case $(value REPLICAS 1) in 1 | 2) ;; *) fail "REPLICAS in .env is 1 or 2" ;; esac
  case $(value ENVIRONMENT production) in production | development) ;; *) fail "ENVIRONMENT in .env is production or development" ;; esac
  [ -s secrets/control/postgres_password ] || fail "secrets/control/postgres_password is missing: restore it from a backup"
  local party file
  for party in "${parties[@]}"; do
    for file in identity master_key postgres_password; do
      [ -s "secrets/$party/$file" ] || fail "secrets/$party/$file is missing: restore it from a backup; no other file opens that party's shares"
    done
  done
  [ -s secrets/account/originator ] || fail "secrets/account/originator is missing: restore it from a backup"
  local keys
  keys=$(cat secrets/*/master_key)
  [ "$(printf '%s\n' "$keys" | sort -u | wc -l)" = "${#parties[@]}" ] ||
    fail "two parties have the same master_key in secrets/: each needs its own"
  [ "$(for party in "${parties[@]}"; do cat "secrets/$party/identity"; echo; done | sort -u | wc -l)" = "${#parties[@]}" ] ||
    fail "two parties have the same identity in secrets/: each needs its own"
}

# Ports that something else has already.
check_ports() {
  local name port
  for name in ACCOUNT_PORT:4000 COORDINATOR_PORT:8081 ROUTER_PORT:8082 PARTY_API_PORT:8083 ACCOUNT_2_PORT:4001; do
    [ "$name" != ACCOUNT_2_PORT:4001 ] || [ "$(value REPLICAS 1)" = 2 ] || continue
    port=$(value "${name%:*}" "${name#*:}")
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && [ -z "$(docker ps -q --filter "publish=$port")" ]; then
      fail "port $port is in use by another program: stop it, or set ${name%:*} in .env"
    fi
  done
}

check_space() {
  local root free
  root=$(docker info --format '{{.DockerRootDir}}' 2>/dev/null || true)
  [ -n "$root" ] && [ -d "$root" ] || return 0
  free=$(df -Pk "$root" | awk 'NR == 2 { print int($4 / 1024) }')
  [ "$free" -ge 512 ] || fail "only $free MiB are free at $root: databases need room; make some"
}

check_image() {
  local image
  image=$(value QUORATE_IMAGE quorate:local)
  docker image inspect "$image" >/dev/null 2>&1 ||
    fail "there is no image $image: run ./deploy.sh build, or set QUORATE_IMAGE in .env to one that can be pulled, and pull it"
}

# ---------------------------------------------------------------- init

random_hex() { openssl rand -hex 32; }

hex() { od -An -v -tx1 | tr -d ' \n'; }

# An Ed25519 key: writes its seed to a file, and says its public key.
new_key() {
  local file=$1 der
  der=$(openssl genpkey -algorithm ed25519 -outform DER | base64 -w0)
  printf '%s' "$der" | base64 -d | tail -c 32 | hex > "$file"
  printf '%s' "$der" | base64 -d | openssl pkey -inform DER -pubout -outform DER | tail -c 32 | hex
}

init() {
  local made=()
  [ ! -e .env ] || made+=(.env)
  [ ! -e secrets ] || made+=(secrets/)
  [ ${#made[@]} = 0 ] || fail "${made[*]} is there already, and is not overwritten: whoever loses it loses accounts. Move it away if you want new ones"
  [ -e .env.example ] || fail ".env.example is missing: it lies beside this script"
  have openssl || fail "openssl is missing"
  # Under another name until all is there: an init that is interrupted leaves nothing that counts.
  local dir=secrets.new
  rm -rf "$dir" .env.new
  mkdir -p "$dir/account" "$dir/control" "$dir/shared"
  local party keys='' user='' public
  for party in "${parties[@]}"; do
    mkdir -p "$dir/$party"
    public=$(new_key "$dir/$party/identity")
    random_hex > "$dir/$party/master_key"
    random_hex > "$dir/$party/postgres_password"
    if [ "$party" = user-party ]; then user=$public; else keys=${keys:+$keys,}$public; fi
  done
  random_hex > "$dir/control/postgres_password"
  local originator uid gid
  originator=$(new_key "$dir/account/originator")
  # Containers run as whoever may read the secrets: as you, or if you are root as a user without rights.
  uid=$(id -u) gid=$(id -g)
  if [ "$uid" = 0 ]; then uid=10001 gid=10001; chown -R "$uid:$gid" "$dir"; fi
  sed -e "s/^POSTGRES_PASSWORD=.*/POSTGRES_PASSWORD=$(random_hex)/" \
    -e "s/^RABBITMQ_PASSWORD=.*/RABBITMQ_PASSWORD=$(random_hex)/" \
    -e "s/^REDIS_PASSWORD=.*/REDIS_PASSWORD=$(random_hex)/" \
    -e "s/^JWT_SECRET_KEY=.*/JWT_SECRET_KEY=$(random_hex)/" \
    -e "s/^MPC_API_KEY=.*/MPC_API_KEY=$(random_hex)/" \
    -e "s/^ENVIRONMENT=.*/ENVIRONMENT=production/" \
    -e "s/^QUORATE_ORIGINATORS=.*/QUORATE_ORIGINATORS=$originator/" \
    -e "s/^QUORATE_PARTY_KEYS=.*/QUORATE_PARTY_KEYS=$keys/" \
    -e "s/^QUORATE_USER_PARTY_KEY=.*/QUORATE_USER_PARTY_KEY=$user/" \
    -e "s/^QUORATE_UID=.*/QUORATE_UID=$uid/" \
    -e "s/^QUORATE_GID=.*/QUORATE_GID=$gid/" \
    .env.example > .env.new
  chmod 600 .env.new
  find "$dir" -type f -exec chmod 400 {} +
  mv .env.new .env
  mv "$dir" secrets
  say "made .env and secrets/: keep copies of both somewhere safe, secrets/party-N/ of each party apart from the others'"
  say "next: ./deploy.sh build, then ./deploy.sh up"
}

# What services need of .env and of each other, as files: written at every start.
share_secrets() {
  local name
  rm -rf secrets/shared
  mkdir -p secrets/shared
  for name in POSTGRES_PASSWORD RABBITMQ_PASSWORD REDIS_PASSWORD JWT_SECRET_KEY MPC_API_KEY; do
    printf '%s' "$(value "$name")" > "secrets/shared/${name,,}"
  done
  printf 'default_user = quorate\ndefault_pass = %s\nlog.console = true\nlog.file = false\n' "$(value RABBITMQ_PASSWORD)" > secrets/shared/rabbitmq.conf
  cat > secrets/shared/postgres-init.sh <<'SH'
#!/bin/sh
# Runs once, when the database server has no data yet: a database and a role for each party, which sees no other.
set -eu
for name in control party_1 party_2 party_3 user_party; do
  # One party that takes all connections must not shut out the others.
  case $name in control) connections=80 ;; *) connections=25 ;; esac
  password=$(cat "/run/secrets/${name}_postgres_password")
  psql -v ON_ERROR_STOP=1 --username postgres --dbname postgres <<SQL
CREATE ROLE $name LOGIN CONNECTION LIMIT $connections PASSWORD '$password';
CREATE DATABASE $name OWNER $name;
REVOKE ALL ON DATABASE $name FROM PUBLIC;
SQL
done
psql -v ON_ERROR_STOP=1 --username postgres --dbname postgres -c 'REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC'
SH
  # Read inside containers by users whose numbers differ from image to image; here nobody gets past the folder.
  chmod 444 secrets/shared/*
  chmod 555 secrets/shared/postgres-init.sh
  chmod 444 secrets/*/postgres_password
  if [ "$(id -u)" = 0 ]; then
    chown -R "$(value QUORATE_UID 10001):$(value QUORATE_GID 10001)" secrets
  fi
  chmod 700 secrets secrets/*/
  # With another secret containers are made anew.
  SECRETS_HASH=$(find secrets -type f -print0 | sort -z | xargs -0 cat | sha256sum | cut -c 1-16)
  export SECRETS_HASH
}

# ---------------------------------------------------------------- running

prepare() {
  check_tools
  check_settings
  check_ports
  check_space
  # The services have images of their own.
  [ "${1:-}" = infra ] || check_image
  share_secrets
}

# Waits until all of these are healthy, and says of those that are not what they said last.
await_health() {
  local until=$((SECONDS + $(value UP_SECONDS 120))) service missing
  while :; do
    missing=()
    for service in "$@"; do
      [ "$(state_of "$service")" = healthy ] || missing+=("$service")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$SECONDS" -ge "$until" ]; then
      say "not healthy: ${missing[*]}" >&2
      for service in "${missing[@]}"; do
        say "--- $service said last:" >&2
        compose logs --no-color --tail 5 "$service" >&2 || true
      done
      fail "not everything has started: docs/deploy.md, 'When it does not start', tells what to do"
    fi
    sleep 0.5
  done
}

# What does not come up is named by what waits for it.
start() {
  compose up -d --no-build "$@" || true
}

cmd_up() {
  local began=$SECONDS
  prepare
  start
  # shellcheck disable=SC2046 # names, one a line
  await_health "${services[@]}" $(all_roles)
  say "up and healthy after $((SECONDS - began)) s: the API is at http://$(value PUBLISH_ADDRESS 127.0.0.1):$(value ACCOUNT_PORT 4000)"
}

cmd_status() {
  check_tools
  compose ps
}

cmd_health() {
  check_tools
  local name port service ill=0 answer
  for name in ACCOUNT_PORT:4000:account-service COORDINATOR_PORT:8081:session-coordinator ROUTER_PORT:8082:message-router PARTY_API_PORT:8083:server-party-api; do
    IFS=: read -r name port service <<< "$name"
    port=$(value "$name" "$port")
    answer=$(curl -s -m 5 "http://$(here):$port/health" || true)
    say "$service: ${answer:-does not answer}"
    case $answer in *'"status":"ok"'* | *'"status":"degraded"'*) ;; *) ill=1 ;; esac
  done
  local party
  for party in server-party-1 server-party-2 server-party-3; do
    answer=$(state_of "$party")
    say "$party: ${answer:-is not there}"
    [ "$answer" = healthy ] || ill=1
  done
  return $ill
}

# Where published ports are reached from this machine.
here() {
  local address
  address=$(value PUBLISH_ADDRESS 127.0.0.1)
  case $address in 0.0.0.0 | '') say 127.0.0.1 ;; *) say "$address" ;; esac
}

cmd_build() {
  check_tools
  local image prebuilt
  image=$(value QUORATE_IMAGE quorate:local)
  prebuilt=$(value PREBUILT)
  if [ -n "$prebuilt" ]; then
    # What was built outside, by `make dist`.
    [ -x "$prebuilt/root/quorate" ] || fail "PREBUILT=$prebuilt: there is no root/quorate in it: make dist"
    docker build "$@" --target prebuilt --build-arg "PREBUILT=$prebuilt" -t "$image" .
  else
    docker build "$@" --target quorate -t "$image" .
  fi
  say "built $image: $(docker image inspect -f '{{.Size}}' "$image" | awk '{ printf "%.1f MB", $1 / 1000000 }')"
}

cmd_shell() {
  check_tools
  local service=${1:-account-service}
  if [ -t 0 ]; then compose exec "$service" /bin/sh; else compose exec -T "$service" /bin/sh; fi
}

cmd_logs() {
  check_tools
  compose logs --no-color "$@"
}

cmd_logs_tail() {
  check_tools
  compose logs -f --tail 100 "$@"
}

# A call of the API: method, path, body. Sets `status` and `body`.
call() {
  local method=$1 path=$2 data=${3:-} answer
  # The key goes in by standard input: arguments can be seen by others.
  answer=$(printf 'header = "X-API-Key: %s"\n' "$(value MPC_API_KEY)" |
    curl -sS -m 90 -K - -X "$method" -H 'Content-Type: application/json' ${data:+--data "$data"} \
      -w '\n%{http_code}' "http://$(here):$(value ACCOUNT_PORT 4000)$path") || fail "$method $path: no answer: ./deploy.sh health tells what is wrong"
  status=${answer##*$'\n'}
  body=${answer%$'\n'*}
}

field() { printf '%s' "$body" | sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }

cmd_test_api() {
  have curl || fail "curl is missing"
  [ -e .env ] || fail "there is no .env: run ./deploy.sh init"
  local status body account
  call GET /health
  [ "$status" = 200 ] || fail "GET /health: $status: $body"
  say "health: $(field status)"
  call POST /api/v1/accounts '{"user_id":"deploy.sh test-api"}'
  [ "$status" = 201 ] || fail "an account was not made: $status: $body"
  account=$(field id)
  say "account $account: $(field ethereum_address)"
  call POST "/api/v1/accounts/$account/sign" "{\"message\":\"$(random_hex)\"}"
  [ "$status" = 200 ] || fail "nothing was signed: $status: $body"
  say "signature: $(field signature)"
}

cmd_clean() {
  check_tools
  say "This removes all containers AND ALL DATA of this deployment: databases, with every party's shares, and queues."
  say "What was not backed up is gone: every key with it. .env and secrets/ stay."
  local answer=''
  printf "Type 'delete everything' to go on: "
  read -r answer || true
  [ "$answer" = 'delete everything' ] || fail "nothing was removed"
  compose down -v --remove-orphans
}

help() {
  cat <<'HELP'
./deploy.sh COMMAND

  init              write .env with fresh secrets and secrets/ with every party's keys; never overwrites
  build             build the image (PREBUILT=folder: of a program that was built outside)
  build-no-cache    the same, from nothing
  up                start everything, and wait until it is healthy
  down              stop everything; data stays
  restart           down, then up
  status            which containers run
  health            how every role is
  logs [service]    what was logged
  logs-tail [service]   the same, and what comes
  shell [service]   a shell in a container
  test-api          make an account and sign with it, from this machine
  infra up|down     PostgreSQL, Redis and RabbitMQ only
  mpc up|down|restart   Quorate's own processes only
  clean             remove containers and all data; asks first
HELP
}

case ${1:-help} in init | up | down | restart | infra | mpc | clean) lock ;; esac
case ${1:-help} in
  init) init ;;
  build) shift; cmd_build "$@" ;;
  build-no-cache) shift; cmd_build --no-cache "$@" ;;
  up) cmd_up ;;
  down) check_tools; compose down --remove-orphans ;;
  restart) check_tools; check_settings; compose down --remove-orphans; cmd_up ;;
  status) cmd_status ;;
  health) cmd_health ;;
  logs) shift; cmd_logs "$@" ;;
  logs-tail) shift; cmd_logs_tail "$@" ;;
  shell) shift; cmd_shell "$@" ;;
  test-api) cmd_test_api ;;
  infra)
    case ${2:-} in
      up) prepare infra; start "${services[@]}"; await_health "${services[@]}"; say "the services are up" ;;
      down) check_tools; compose stop "${services[@]}" ;;
      *) fail "infra up, or infra down" ;;
    esac ;;
  mpc)
    # shellcheck disable=SC2046 # names, one a line
    case ${2:-} in
      up) prepare; start $(all_roles); await_health $(all_roles); say "all roles are up" ;;
      down) check_tools; compose stop $(all_roles) ;;
      restart) prepare; compose stop $(all_roles); start $(all_roles); await_health $(all_roles); say "all roles are up" ;;
      *) fail "mpc up, mpc down, or mpc restart" ;;
    esac ;;
  clean) cmd_clean ;;
  help | -h | --help) help ;;
  *) help >&2; fail "there is no command $1" ;;
esac
