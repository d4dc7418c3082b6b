#!/usr/bin/env bash
# ./deploy.sh COMMAND: runs Quorate with compose; docs/deploy.md explains it.
#
#   init, build, build-no-cache         write .env and secrets/ with fresh keys, overwriting nothing; build the image
#   up, down, restart                   start everything and wait until it is healthy; stop it, data stays; both
#   infra up|down, mpc up|down|restart  the same for PostgreSQL, Redis and RabbitMQ; for Quorate's own processes
#   status, health                      which containers run; what services and roles say of themselves
#   logs|logs-tail|shell [service]      what was logged; and what comes; a shell in a container
#   test-api                            create an account and sign with it, from this machine
#   backup|restore FOLDER               the databases into a new folder; and back, into a deployment without data
#                                       (FOLDER without party_3, where a party's database can't be had)
#   clean                               remove containers and all data; asks first
#
# `quorate deployment` does all but calls of the engine: the program of the image, or that of QUORATE_PROGRAM.
set -euo pipefail && shopt -s inherit_errexit
export LC_ALL=C COMPOSE_PROJECT_NAME
caller=$PWD called=$* && umask 077
CDPATH='' cd -- "$(dirname -- "$0")"

services=(postgres redis rabbitmq)
roles=(session-coordinator message-router server-party-1 server-party-2 server-party-3 server-party-api account-service)
replicas=(session-coordinator-2 message-router-2 account-service-2)

say() { printf '%s\n' "$*"; }
fail() { printf 'deploy.sh: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
value() { # name, default: what the shell or .env says
  local found=${!1:-}
  [ -n "$found" ] || [ ! -e .env ] || found=$(sed -n "s/^$1=//p" .env | tail -n 1)
  printf '%s' "${found:-${2:-}}"
}

# `docker compose`, or `docker-compose`. What only REPLICAS=2 starts is in reach too: `up` names what to start.
compose_seconds=600 # how long it may take; 0 where its user ends it
compose() {
  local program=(docker-compose)
  if docker compose version >/dev/null 2>&1; then program=(docker compose); fi
  timeout --foreground -k 10 "$compose_seconds" "${program[@]}" -f docker-compose.yml --profile replicas "$@"
}

containers() { docker ps "$@" --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME"; }
container() { containers -q "${@:2}" --filter "label=com.docker.compose.service=$1" | sed -n 1p; } # -a: or an ended one
volumes() { docker volume ls -q --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME"; }
image_is_here() { docker image inspect "$1" >/dev/null 2>&1; }

# Each service and what the engine says of its health; and that again and again, until the reader has seen enough.
states() { containers -a --format '{{.Label "com.docker.compose.service"}} {{.Status}}'; }
snapshots() { exec 9>&-; while states || sleep 1; echo; do sleep 0.5; done 2>/dev/null; } # it ends after its reader
is_healthy() { states | grep -q "^$1 .*(healthy)"; }
api_address() { say "$(value PUBLISH_ADDRESS 127.0.0.1):$(value ACCOUNT_PORT 4000)"; }
all_roles() { printf '%s\n' "${roles[@]}"; [ "$(value REPLICAS 1)" != 2 ] || printf '%s\n' "${replicas[@]}"; }

need_engine() {
  have docker || fail "docker is missing: install Docker Engine 20.10 or later"
  [ -n "$(docker version --format '{{.Server.Version}}' 2>/dev/null)" ] ||
    fail "the Docker engine does not answer: start it, or join the group that may use it"
}

# Two folders with one project name would take each other's containers over. A folder that is gone was moved to here.
need_compose() {
  local other && need_engine
  docker compose version >/dev/null 2>&1 || have docker-compose ||
    fail "compose is missing: install the compose plugin, or docker-compose 1.29 or later"
  other=$(containers -a --format '{{.Label "com.docker.compose.project.working_dir"}}' |
    grep -vxF -e "$PWD" -e "$(pwd -P)" | sort -u | sed -n 1p || true)
  [ -z "$other" ] || { [ ! -e "$other/docker-compose.yml" ] && [ -x "$(dirname "$other")" ]; } ||
    fail "containers of $COMPOSE_PROJECT_NAME belong to $other: run this there, or change COMPOSE_PROJECT_NAME in .env"
}
need_image() {
  image_is_here "$image" ||
    fail "there is no image $image: run ./deploy.sh build, or set QUORATE_IMAGE in .env to one that you have pulled"
}
pull() { # setting, image
  image_is_here "$2" || timeout --foreground 900 docker pull "$2" ||
    fail "there is no image $2, and it can't be pulled: set $1 in .env to one that is here or can be pulled"
}

# Runs `quorate deployment` as the user who calls this, in a container that sees nothing but what is mounted for it.
seconds=60 network=none mounts=(-v "$PWD:/deployment:ro")
program() { # arguments
  local run=(docker run --rm -i --network "$network" --read-only --cap-drop ALL --security-opt no-new-privileges:true)
  # Secrets belong to the user of the containers: root reads them and gives them away.
  [ "$(id -u)" != 0 ] || run+=(--cap-add CHOWN --cap-add DAC_OVERRIDE --cap-add FOWNER)
  run+=(--user "$(id -u):$(id -g)" "${mounts[@]}" -w /deployment --entrypoint /quorate "$image")
  [ -z "${QUORATE_PROGRAM:-}" ] || run=("$QUORATE_PROGRAM")
  timeout --foreground -k 5 "$seconds" "${run[@]}" deployment "$@" 9>&-
}
ask() { # the same; what the program refuses, it explains itself
  local code=0 && program "$@" || code=$?
  [ "$code" -le 1 ] || fail "the image $image does not run here, or is of another version: it says why above"
  [ "$code" = 0 ] || exit 1
}

# Facts about the engine for the program: one a line, its kind first.
# shellcheck disable=SC2046 # ids of networks
facts() {
  local names root && docker version --format 'engine {{.Server.Version}}'
  docker compose version >/dev/null 2>&1 || say "docker-compose $(docker-compose version --short)"
  docker info --format 'security {{.SecurityOptions}}'
  docker network inspect -f 'network {{.Name}}{{range .IPAM.Config}} {{.Subnet}}{{end}}' $(docker network ls -q) || :
  containers --format 'published {{.Ports}}'
  sed 's/^ */socket /' /proc/net/tcp /proc/net/tcp6 2>/dev/null || :
  # Of the shell's variables, those that compose or this script would take.
  names=$(grep -aohE '^[A-Z_0-9]+=|\$\{[A-Z_0-9]+' .env docker-compose.yml | tr -dc 'A-Z0-9_\n' | sort -u | tr '\n' '|')
  printenv | grep -E "^(${names}REPLICAS|UP_SECONDS)=" | sed 's/^/shell /' || :
  root=$(docker info --format '{{.DockerRootDir}}')
  [ ! -d "$root" ] || say "space $(df --output=avail -k "$root" | tail -n 1 | tr -d ' ') $root"
}

# Of the data: whether the image of PostgreSQL fits it, and the versions of the databases. The program knows how to ask.
facts_of_data() {
  local volume=${COMPOSE_PROJECT_NAME}_postgres-data
  volumes | grep -qxF "$volume" || return 0
  program postgres-data | timeout --foreground -k 5 900 docker run --rm -i --network none --cap-drop ALL \
    --cap-add DAC_READ_SEARCH --user 0 -v "$volume:/data:ro" --entrypoint sh "$(value POSTGRES_IMAGE postgres:15.19)" ||
    say postgres
  ! is_healthy postgres || program postgres-schemas | timeout 120 docker exec -i "$(container postgres)" sh
}

# Everything that can be known is checked before anything is changed. Components lie in the image.
prepare() { # options of the check
  local lines line && need_whole_data && need_compose
  [ "${1:-}${QUORATE_PROGRAM:-}" = "--infrastructure${QUORATE_PROGRAM:-.}" ] || need_image
  { facts; facts_of_data; } | ask check --folder . --engine ${QUORATE_PROGRAM:+--no-plugins} "$@"
  pull POSTGRES_IMAGE "$(value POSTGRES_IMAGE postgres:15.19)"
  pull REDIS_IMAGE "$(value REDIS_IMAGE redis:7.4.5)"
  pull RABBITMQ_IMAGE "$(value RABBITMQ_IMAGE rabbitmq:3.13.7)"
  # The files that containers read, and what compose needs besides .env.
  lines=$(mounts+=(-v "$PWD/secrets:/deployment/secrets") && ask files)
  for line in $lines; do export "${line?}"; done
}

init() {
  [ ! -e .env ] || fail ".env is there already and not overwritten: accounts would be lost with the old keys"
  [ -n "${QUORATE_PROGRAM:-}" ] || { need_engine; image_is_here "$image" || build; }
  mounts=(-v "$PWD:/deployment") # but not these two
  for file in deploy.sh docker-compose.yml; do mounts+=(-v "$PWD/$file:/deployment/$file:ro"); done
  { ! have docker || volumes 2>/dev/null || true; } | sed 's/^/volume /' |
    ask init --project "$COMPOSE_PROJECT_NAME" --image "${QUORATE_IMAGE:-}" --engine
}

build() { # options of `docker build`
  local prebuilt id target && need_engine
  prebuilt=$(value PREBUILT)
  [ -e Dockerfile ] || fail "the sources are not here: run ./deploy.sh build in a clone of them"
  target=(--target quorate --build-arg "RUST_IMAGE=$(value RUST_IMAGE rust:1.95.0-bookworm)")
  if [ -n "$prebuilt" ]; then
    [[ $prebuilt =~ ^dist(/|$) && $prebuilt != *..* && -x $prebuilt/root/quorate ]] ||
      fail "PREBUILT=$prebuilt: give dist, or a folder in it, with root/quorate: make dist makes it"
    target=(--target prebuilt --build-arg "PREBUILT=$prebuilt")
  fi
  made=$(mktemp -d)
  trap 'rm -rf "$made"' EXIT
  docker build "$@" --iidfile "$made/id" "${target[@]}" . ||
    fail "no image was made, and $image is what it was. Without a registry, set RUST_IMAGE to an image with Rust, or" \
      "run make dist, then PREBUILT=dist ./deploy.sh build"
  id=$(cat "$made/id")
  # It gets its name, and another one loses it, once it is known to run.
  docker run --rm "$id" --help >/dev/null || fail "what was built does not run, and $image is what it was"
  docker tag "$id" "$image"
  say "built $image: $(docker image inspect -f '{{.Size}}' "$image" | awk '{ printf "%.1f MB", $1 / 1000000 }')"
}

start() { # services: starts these and what they need, and waits until they are healthy
  local options=() compose_seconds && compose_seconds=$(value UP_SECONDS 120)
  local until=$((SECONDS + compose_seconds))
  # With COORDINATOR_PORT or ROUTER_PORT, what is published besides; it comes from the program.
  compose ${PUBLISHED:+-f /dev/stdin} up -d --no-build "$@" <<<"${PUBLISHED:-}" || options=(--compose-failed)
  wait_for $((until > SECONDS ? until - SECONDS : 0)) "${options[@]}" "$@"
  [ ${#options[@]} = 0 ] || fail "compose has failed, and says why above. To make a network anew: ./deploy.sh restart"
}

wait_for() { # seconds, options and services: shows what those that are not healthy at the end have logged last
  local missing service
  if missing=$(seconds=$(($1 + 30)) program wait --seconds "$@" < <(snapshots)); then return; fi
  for service in $missing; do
    say "--- $service said last:" >&2
    compose logs --no-color --tail 5 "$service" >&2 || true
  done
  fail "not healthy: ${missing//$'\n'/ }. docs/deploy.md, 'When it does not start', tells what to do"
}

# Makes the databases and their roles, and takes back what a party has done to its own that keeps others from it.
mend_databases() {
  timeout 60 docker exec "$(container postgres)" /docker-entrypoint-initdb.d/10-quorate.sh >/dev/null ||
    fail "PostgreSQL does not make the databases: it says why above, and ./deploy.sh logs postgres more"
}
start_services() { start "${services[@]}"; mend_databases; }

start_all() {
  local wanted
  start_services
  mapfile -t wanted < <(all_roles)
  # What was without its services is unhealthy until its next check, and compose waits for nothing that is.
  program wait --seconds 30 --recovery "${wanted[@]}" < <(snapshots)
  # What an earlier REPLICAS=2 has left.
  [ ${#wanted[@]} != ${#roles[@]} ] || ! states | grep -qE '^(session|message|account).*-2 ' ||
    compose rm -sf "${replicas[@]}"
  start "${wanted[@]}"
  say "up and healthy: the API is at http://$(api_address)"
}

# The state of every service by the engine, and by the role itself: it is asked as its container's health check asks it.
health() {
  local service said id test ill=0 && need_compose
  for service in "${services[@]}" $(all_roles); do
    said=$(states | sed -n "s/^$service //p")
    is_healthy "$service" || ill=1
    id=$(container "$service")
    if [ -n "$id" ] && [[ " ${services[*]} " != *" $service "* ]]; then
      read -ra test < <(docker inspect -f '{{join .Config.Healthcheck.Test " "}}' "$id")
      said=$(timeout 10 docker exec "$id" "${test[@]:1}" 2>&1) || ill=1
    fi
    say "$service: ${said:-is not there}"
  done
  [ "$ill" = 0 ] || fail "not all is well: ./deploy.sh up starts what does not run, ./deploy.sh logs SERVICE says more"
}

need_container() { # a service; -a if it need not run. A name that is misspelt would show nothing
  need_compose
  [[ $1 = -* ]] || [ -n "$(container "$@")" ] || fail "no container of $1 runs: ./deploy.sh status lists all"
}

need_whole_data() { [ ! -e .restoring ] || fail "a restore did not end: ./deploy.sh clean, then restore again"; }

# Sets `folder`, and `databases`: all, or those without that of a party which keeps it from being read.
read_words() { # FOLDER; nothing, or: without, a database
  [[ "$# ${2:-}" =~ ^(1 |3 without)$ && $1 != -* ]] ||
    fail "give FOLDER, or FOLDER without DATABASE: for backup a new folder, for restore one that backup has made"
  need_compose
  need_image
  case $1 in /*) folder=${1%/} ;; *) folder=$caller/${1%/} ;; esac
  databases=$(ask databases ${2:+--without "$3"})
}

# All databases as of one time: the roles are stopped. Each is read and restored by its own role, and not as text: what
# a hostile party has put into its own must not run. Keys that users seal to are left out: a backup would keep them.
backup() { # FOLDER; nothing, or: without, a database
  local folder databases postgres name service && need_whole_data
  read_words "$@"
  [ ! -e "$folder" ] || fail "$folder is there already: a backup overwrites nothing"
  is_healthy postgres || fail "PostgreSQL does not run: ./deploy.sh infra up"
  mend_databases
  postgres=$(container postgres) stopped=()
  unfinished=$(mktemp -d "$folder.XXXXXX") || fail "$folder can't be made"
  for service in "${roles[@]}" "${replicas[@]}"; do [ -z "$(container "$service")" ] || stopped+=("$service"); done
  trap end_backup EXIT
  # Not before what runs has ended: compose would go on stopping what is started again.
  trap 'exit 143' TERM HUP
  [ ${#stopped[@]} = 0 ] || compose stop "${stopped[@]}"
  for name in $databases; do
    { timeout --foreground 3600 docker exec "$postgres" \
        pg_dump -Fc --exclude-table-data=sealing_keys -U "$name" "$name" > "$unfinished/$name.dump" &&
      timeout --foreground 3600 docker exec -i "$postgres" pg_restore -f /dev/null < "$unfinished/$name.dump"; } ||
      fail "$name was not backed up: it says why above. To do without a party's: ./deploy.sh backup $1 without $name"
  done
  (cd "$unfinished" && sha256sum -- *.dump > SHA256SUMS)
  mv -T "$unfinished" "$folder"; unfinished=
  trap 'say "deploy.sh: interrupted; the backup is made: ./deploy.sh up waits for the roles" >&2; exit 130' INT
  say "the backup is whole${2:+, but for the database $3}: keep .env and secrets/, which are not in $1, apart from it"
  [ ${#stopped[@]} = 0 ] || { compose start "${stopped[@]}"; wait_for "$(value UP_SECONDS 120)" "${stopped[@]}"; }
  trap - EXIT
}

# A half-done backup is removed, and the services that ran run again.
end_backup() {
  trap '' INT TERM HUP
  [ -z "$unfinished" ] || { rm -rf "$unfinished"; say "no backup was made" >&2; }
  [ ${#stopped[@]} = 0 ] || compose start "${stopped[@]}" || say "the roles do not run: ./deploy.sh up starts them" >&2
}

# Into a deployment without data. Until .restoring is removed nothing is started on what may be half there.
restore() { # FOLDER; nothing, or: without, a database
  local folder databases name && need_whole_data
  read_words "$@"
  (cd "$folder" && sha256sum --quiet -c SHA256SUMS) || fail "$folder is not a complete backup: it says why above"
  for name in $databases; do
    grep -q " $name.dump$" "$folder/SHA256SUMS" ||
      fail "$folder is not a complete backup; if it was made without $name: ./deploy.sh restore $1 without $name"
  done
  # Before services are made anew with the settings of the backup.
  [ -z "$(volumes)" ] || fail "a restore overwrites nothing, and there is data of $COMPOSE_PROJECT_NAME"
  prepare --infrastructure
  start_services
  : > .restoring
  for name in $databases; do
    timeout --foreground 3600 docker exec -i "$(container postgres)" pg_restore -1 -U "$name" -d "$name" \
      < "$folder/$name.dump" ||
      fail "$name was not restored: it says why above. ./deploy.sh clean, then restore again, or FOLDER without $name"
  done
  rm .restoring
  say "restored: ./deploy.sh up${2:+. The party of $3 begins anew: its peers must readmit it (docs/deploy.md)}"
}

clean() {
  need_compose
  say "This removes all containers AND ALL DATA of $COMPOSE_PROJECT_NAME: every key that was not backed up is gone."
  read -rp "Type 'delete everything' to go on: " answer || true
  [ "${answer:-}" = 'delete everything' ] || fail "nothing was removed"
  compose down -v --remove-orphans && rm -f .restoring
}

case ${1:-help} in
  help | -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' deploy.sh; exit ;;
  init | build | build-no-cache) ;;
  *) [ -e .env ] || fail "there is no .env: run ./deploy.sh init; if there was one, restore it from a backup" ;;
esac
for file in .env secrets .deploy.lock; do
  [ ! -L "$file" ] || fail "$file is a symbolic link, which containers can't follow: put it here itself"
  [ ! -e "$file" ] || [ -r "$file" ] || fail "$file can't be read: run this as the user who ran init, or as root"
done
COMPOSE_PROJECT_NAME=$(value COMPOSE_PROJECT_NAME quorate) image=$(value QUORATE_IMAGE quorate:local)
[[ $COMPOSE_PROJECT_NAME =~ ^[a-z0-9][a-z0-9_-]*$ ]] || fail "COMPOSE_PROJECT_NAME=$COMPOSE_PROJECT_NAME is invalid"
# .env is what compose is to read, and nothing else.
unset COMPOSE_ENV_FILES COMPOSE_DISABLE_ENV_FILE COMPOSE_FILE COMPOSE_PROFILES
# Two at once would get into each other's way.
case $1 in init | up | down | restart | infra | mpc | backup | restore | clean)
  have flock || fail "flock is missing: install util-linux"
  exec 9>.deploy.lock
  flock -n 9 || fail "another deploy.sh is at work here: wait for its end"
  trap 'printf "deploy.sh: interrupted: run ./deploy.sh %s again\n" "$called" >&2; exit 130' INT ;;
esac
# An unknown argument must not be taken for all: `restart server-party-2` would restart everything.
case "$*" in
  init) init ;;
  build | "build "*) build "${@:2}" ;;
  build-no-cache | "build-no-cache "*) build --no-cache "${@:2}" ;;
  up | "mpc up") prepare; start_all ;;
  down) need_compose; compose down --remove-orphans ;;
  restart) prepare; compose down --remove-orphans; start_all ;;
  status) need_compose; compose ps -a ;;
  health) health ;;
  logs | "logs "*) need_container "${2:--}" -a; compose_seconds=0 compose logs --no-color "${@:2}" ;;
  logs-tail | "logs-tail "*) need_container "${2:--}" -a; compose_seconds=0 compose logs -f --tail 100 "${@:2}" ;;
  shell | "shell "*)
    need_container "${2:-account-service}"
    # shellcheck disable=SC2046 # nothing, or one word
    compose_seconds=0 compose exec $([ -t 0 ] || say -T) "${2:-account-service}" /bin/sh ;;
  test-api)
    need_engine && need_image && seconds=300 network=host mounts=(--tmpfs /deployment)
    value MPC_API_KEY | ask test-api --address "$(api_address)" ;;
  "infra up") prepare --infrastructure; start_services; say "the services are up" ;;
  "infra down") need_compose; compose stop "${services[@]}" ;;
  "mpc down") need_compose; compose stop "${roles[@]}" "${replicas[@]}" ;;
  "mpc restart") prepare; compose stop "${roles[@]}" "${replicas[@]}"; start_all ;;
  "backup "*) backup "${@:2}" ;;
  "restore "*) restore "${@:2}" ;;
  clean) clean ;;
  *) fail "there is no command: $* (./deploy.sh help lists all)" ;;
esac
