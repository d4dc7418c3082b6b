#!/usr/bin/env bash
# Runs Quorate with compose. `./deploy.sh help` lists the commands; docs/deploy.md explains them. An operator needs this file and
# docker-compose.yml, and nothing else: hence its length.
set -euo pipefail
shopt -s inherit_errexit
# Letters and their order are the same for everybody: names of files and a hash depend on them.
export LC_ALL=C
caller=$PWD
CDPATH='' cd -- "$(dirname -- "$0")"
umask 077

# Words of more than one use.
services=(postgres redis rabbitmq)
roles=(session-coordinator message-router server-party-1 server-party-2 server-party-3 server-party-api account-service)
replicas=(session-coordinator-2 message-router-2 account-service-2)
parties=(party-1 party-2 party-3 user-party)
databases=(control party_1 party_2 party_3 user_party)
passwords=(POSTGRES_PASSWORD RABBITMQ_PASSWORD REDIS_PASSWORD JWT_SECRET_KEY MPC_API_KEY)
images=(POSTGRES_IMAGE REDIS_IMAGE RABBITMQ_IMAGE)
ports=(ACCOUNT_PORT COORDINATOR_PORT ROUTER_PORT PARTY_API_PORT ACCOUNT_2_PORT)
# Of what docker-compose.yml does not read; the other defaults are there.
declare -A defaults=([COMPOSE_PROJECT_NAME]=quorate [REPLICAS]=1 [UP_SECONDS]=120 [RUST_IMAGE]=rust:1.95-bookworm)

say() { printf '%s\n' "$*"; }
fail() { printf 'deploy.sh: %s\n' "$*" >&2; exit 1; }

usage() {
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
  mpc up|down|restart   Quorate's own processes; up starts what they need
  backup FOLDER     the databases into a new folder; the roles stop while it is made
  restore FOLDER    what backup has made, into a deployment without data
                    (both: FOLDER without party_3, where a party's database can't be had)
  clean             remove containers and all data; asks first
HELP
}

# Whoever asks for help may have no right to read the settings.
case ${1:-help} in help | -h | --help) usage; exit ;; esac

# ---------------------------------------------------------------- settings

for file in .env .deploy.lock; do
  [ ! -e "$file" ] || [ -r "$file" ] || fail "$file can't be read: run this as whoever ran init, or as root"
done

in_env_file() { [ ! -e .env ] || sed -n "s/^$1=//p" .env | tail -n 1; }

# A value of .env; what is not there, of the environment, as compose has it; or the default.
value() {
  local name=$1 found
  if [ -n "${!name:-}" ]; then printf '%s' "${!name}"; return; fi
  found=$(in_env_file "$name")
  printf '%s' "${found:-${defaults[$name]:-}}"
}

read_defaults() {
  local setting name
  [ -r docker-compose.yml ] || fail "docker-compose.yml is not here, or can't be read: it belongs beside deploy.sh"
  while read -r setting; do
    name=${setting%%:*}
    defaults[$name]=${setting#"$name"}
    defaults[$name]=${defaults[$name]#:-}
  done < <(grep -oE '\$\{[A-Z_0-9]+(:-[^}]*)?' docker-compose.yml | cut -c 3- | sort -u)
  # It is made here.
  unset 'defaults[SECRETS_HASH]'
  [ "$(value REPLICAS)" != 2 ] ||
    defaults+=([QUORATE_COORDINATORS]='http://session-coordinator:8081,http://session-coordinator-2:8081'
      [QUORATE_ROUTERS]='http://message-router:8082,http://message-router-2:8082')
}

read_defaults
COMPOSE_PROJECT_NAME=$(value COMPOSE_PROJECT_NAME)
export COMPOSE_PROJECT_NAME
# .env is what compose is to read, and nothing else.
unset COMPOSE_ENV_FILES COMPOSE_DISABLE_ENV_FILE COMPOSE_FILE COMPOSE_PROFILES

# Two at once would get into each other's way.
lock() {
  have flock || fail "flock is missing: install util-linux"
  exec 9>.deploy.lock
  flock -n 9 || fail "another deploy.sh is at work here: wait for its end"
}

have() { command -v "$1" >/dev/null 2>&1; }

# How long compose may take for one command, in seconds; 0 where its user ends it.
compose_seconds=600

# `docker compose`, or `docker-compose` where there is no other. All services are in reach, those too that do not run with
# REPLICAS=1: `up` is told which to start.
compose() {
  local with=(-f docker-compose.yml --profile replicas) program=(docker-compose)
  local coordinators routers
  coordinators=$(value QUORATE_COORDINATORS) routers=$(value QUORATE_ROUTERS)
  local -x QUORATE_COORDINATORS=$coordinators QUORATE_ROUTERS=$routers
  if docker compose version >/dev/null 2>&1; then program=(docker compose); fi
  timeout --foreground -k 10 "$compose_seconds" "${program[@]}" "${with[@]}" "$@"
}

# The container of a service, if it runs; with -a, also if it does not.
container() {
  local service=$1
  shift
  docker ps -q "$@" --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" --filter "label=com.docker.compose.service=$service" | sed -n 1p
}

# What a container's health check says of a service.
state_of() {
  local id
  id=$(container "$1" -a)
  [ -z "$id" ] ||
    docker inspect -f '{{if and .State.Running .State.Health}}{{.State.Health.Status}}{{else}}{{.State.Status}}{{end}}' "$id" 2>/dev/null || true
}

# What a service is a process of: `quorate serve ROLE`.
role_of() {
  case $1 in
    session-coordinator*) say coordinator ;;
    message-router*) say router ;;
    server-party-api) say party-api ;;
    server-party-*) say party ;;
    account-service*) say account ;;
  esac
}

# Which roles there are, with the replicas.
all_roles() {
  printf '%s\n' "${roles[@]}"
  [ "$(value REPLICAS)" != 2 ] || printf '%s\n' "${replicas[@]}"
}

# Where published ports are reached from this machine.
here() {
  local address
  address=$(value PUBLISH_ADDRESS)
  case $address in 0.0.0.0 | '') say 127.0.0.1 ;; *) say "$address" ;; esac
}

# ---------------------------------------------------------------- checks, before anything is changed

at_least() { [ "$(printf '%s\n%s\n' "$1" "${2#v}" | sort -V | head -n 1)" = "$1" ]; }

# compose reads .env too: what the two would read differently is refused.
check_env_file() {
  [ -e .env ] || return 0
  local line name
  ! have iconv || iconv -f UTF-8 -t UTF-8 .env >/dev/null 2>&1 || fail ".env is not in UTF-8, which compose reads: mend the line, a comment perhaps"
  line=$(grep -anvE '^(#.*|[A-Za-z_][A-Za-z0-9_]*=[^"'"'"'\\$#`[:space:][:cntrl:]]*)?$' .env | cut -d: -f1 | sed -n 1p || true)
  if [ -n "$line" ]; then
    # What stands there may be a secret: only what looks like a setting's name is shown.
    name=$(sed -n "${line}s/^\([A-Z][A-Z0-9_]*\)[[:space:]]*=..*/ (\1)/p" .env)
    fail "line $line of .env is not NAME=value$name: no spaces, quotes, \$, line ends of Windows, or comments behind a value"
  fi
  name=$(grep -aoE '^[A-Za-z_][A-Za-z0-9_]*=' .env | sort | uniq -d | sed -n '1s/=$//p')
  [ -z "$name" ] || fail "$name stands in .env twice: remove one of the two"
  # compose takes the shell's variables first, even empty ones: an exported ENVIRONMENT or ALLOWED_IPS would switch checks off.
  for name in $(grep -aoE '^[A-Za-z_][A-Za-z0-9_]*=' .env | tr -d =); do
    ! printenv "$name" >/dev/null || [ "$(printenv "$name")" = "$(in_env_file "$name")" ] ||
      fail "$name is set in this shell to something else than in .env, and compose would take that: unset $name, or change .env"
  done
  check_project_name
}

check_project_name() {
  case $COMPOSE_PROJECT_NAME in
    [!a-z0-9]* | *[!a-z0-9_-]*) fail "COMPOSE_PROJECT_NAME is $COMPOSE_PROJECT_NAME: lower-case letters, digits, '-' and '_', and a letter or digit first" ;;
  esac
}

# Two folders with one project name would take each other's containers over. One that is gone was moved to here.
check_folder() {
  local other
  other=$(docker ps -aq --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" |
    xargs -r docker inspect -f '{{index .Config.Labels "com.docker.compose.project.working_dir"}}' | grep -vxF -e "$PWD" -e "$(pwd -P)" | sort -u | sed -n 1p || true)
  [ -z "$other" ] || { [ ! -e "$other/docker-compose.yml" ] && [ -x "$(dirname "$other")" ]; } ||
    fail "containers of $COMPOSE_PROJECT_NAME belong to $other: run deploy.sh there, or set another COMPOSE_PROJECT_NAME (and other ports, and EDGE_SUBNET) in .env"
}

need_env() { [ -e .env ] || fail "there is no .env: run ./deploy.sh init; if there was one, restore it from a backup"; }

check_engine() {
  check_env_file
  have docker || fail "docker is missing: install Docker Engine 20.10 or later"
  local version
  version=$(docker version --format '{{.Server.Version}}' 2>/dev/null || true)
  [ -n "$version" ] || fail "the Docker engine does not answer: start it, or join the group that may use it"
  at_least 20.10 "$version" || fail "Docker Engine $version is too old: 20.10 or later is needed"
}

check_tools() {
  check_engine
  case $(docker info --format '{{.SecurityOptions}}' 2>/dev/null || true) in
    *name=rootless* | *name=userns*)
      fail "this Docker engine gives containers other user numbers than this machine has (rootless, or userns-remap): they could not read secrets/. Use one without that" ;;
  esac
  check_folder
  docker compose version >/dev/null 2>&1 && return
  have docker-compose || fail "compose is missing: install the compose plugin, or docker-compose 1.29 or later"
  local version
  version=$(docker-compose version --short)
  at_least 1.29.0 "$version" || fail "docker-compose $version is too old: 1.29.0 or later is needed"
}

check_settings() {
  check_names
  check_passwords
  check_public_keys
  check_publishing
  check_numbers
  check_subnet
  check_secret_files
}

check_password() { # what it is; how long it must be; the text
  [ -n "$3" ] || fail "$1 is not set: give it $2 characters or more (openssl rand -hex 32)"
  [ "${#3}" -ge "$2" ] || fail "$1 is too short: give it $2 characters or more"
  case $3 in
    *[!A-Za-z0-9_.~-]*) fail "$1 has other characters than letters, digits, '_', '.', '~' and '-': no quotes, no spaces" ;;
    change-me*) [ "$(value ENVIRONMENT)" != production ] || fail "$1 is the example's: choose one (openssl rand -hex 32)" ;;
  esac
}

check_passwords() {
  local name length
  for name in "${passwords[@]}"; do
    case $name in JWT_SECRET_KEY) length=32 ;; *) length=16 ;; esac
    check_password "$name in .env" "$length" "$(value "$name")"
  done
}

check_public_keys() {
  local name keys many
  for name in QUORATE_ORIGINATORS QUORATE_PARTY_KEYS QUORATE_USER_PARTY_KEY; do
    keys=$(value "$name")
    [ -n "$keys" ] || fail "$name in .env is not set: ./deploy.sh init writes it; without it start anew, or restore .env from a backup"
    case $name in QUORATE_ORIGINATORS) many=+ ;; QUORATE_PARTY_KEYS) many='{3}' ;; *) many='{1}' ;; esac
    [[ ,$keys =~ ^(,[0-9a-f]{64})$many$ ]] ||
      fail "$name in .env is not what ./deploy.sh init wrote: public keys of 64 hex characters, with commas between, one for each that is meant"
  done
}

octet='(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])'

check_publishing() {
  local address
  address=$(value PUBLISH_ADDRESS)
  [[ $address =~ ^($octet\.){3}$octet$ ]] || fail "PUBLISH_ADDRESS in .env is no address like 127.0.0.1"
  case $(value ENVIRONMENT) in
    development) return ;;
    production) ;;
    *) fail "ENVIRONMENT in .env is production or development" ;;
  esac
  case $address in
    127.*) ;;
    *) fail "PUBLISH_ADDRESS in .env is not this machine's own: in production, publish on 127.0.0.1 and put a proxy with TLS before it" ;;
  esac
  [ -n "$(value TRUSTED_PROXIES)" ] ||
    fail "TRUSTED_PROXIES in .env is empty: in production, name the proxy that has TLS; this machine is the first address of EDGE_SUBNET"
}

check_number() { # a setting, the least and the most that it may be
  local number
  number=$(value "$1")
  case $number in *[!0-9]* | '' | 0?* | ???????????*) fail "$1 in .env is no number from $2 to $3" ;; esac
  if [ "$number" -lt "$2" ] || [ "$number" -gt "$3" ]; then fail "$1 in .env is no number from $2 to $3"; fi
}

check_numbers() {
  local name
  for name in "${ports[@]}"; do check_number "$name" 1 65535; done
  # Compose needs it for stopping what is made anew.
  check_number UP_SECONDS 20 3600
  check_number QUORATE_UID 1 2147483647
  check_number QUORATE_GID 0 2147483647
  case $(value REPLICAS) in 1 | 2) ;; *) fail "REPLICAS in .env is 1 or 2" ;; esac
  case $(value QUORATE_NAMESPACE) in
    *[!A-Za-z0-9._-]*) fail "QUORATE_NAMESPACE in .env has other characters than letters, digits, dots, dashes and underscores" ;;
  esac
}

# Which files of ours there are in secrets/.
secret_files() {
  local party
  say secrets/control/postgres_password
  say secrets/account/originator
  for party in "${parties[@]}"; do
    printf "secrets/$party/%s\n" identity master_key postgres_password rabbitmq_password
  done
}

check_secret_files() {
  local file party
  [ -d secrets ] || fail "secrets/ is missing: restore it from a backup; no other keys open what parties have stored"
  for file in secrets secrets/*/ secrets/*/*; do
    [ ! -e "$file" ] || [ -r "$file" ] || fail "$file can't be read: run this as whoever ran init, or as root"
  done
  for file in $(secret_files); do
    [ ! -d "$file" ] || fail "$file is a folder, and a file is wanted: restore it from a backup"
    case $file in
      *_password)
        [ -s "$file" ] || fail "$file is missing: restore it from a backup, or make another (openssl rand -hex 32)"
        check_password "$file" 16 "$(cat "$file")" ;;
      */originator) [ -s "$file" ] || fail "$file is missing: restore it from a backup" ;;
      *) [ -s "$file" ] || fail "$file is missing: restore it from a backup; no other file opens that party's shares" ;;
    esac
  done
  [ "$(id -u)" = 0 ] || [ "$(value QUORATE_UID)" = "$(stat -c %u secrets/account/originator)" ] ||
    fail "QUORATE_UID in .env is not who owns secrets/: containers could not read them"
  for file in master_key identity; do
    # With or without a line's end.
    [ "$(for party in "${parties[@]}"; do say "$(cat "secrets/$party/$file")"; done | sort -u | wc -l)" = "${#parties[@]}" ] ||
      fail "two parties have the same $file in secrets/: each needs its own"
  done
}

# An address as a number.
number_of() {
  local part
  IFS=. read -ra part <<< "$1"
  say "$(((part[0] << 24) + (part[1] << 16) + (part[2] << 8) + part[3]))"
}

# The network that leads out; compose would find out with containers stopped already.
check_subnet() {
  local subnet number wrong
  subnet=$(value EDGE_SUBNET)
  wrong="EDGE_SUBNET in .env is no network: give one like 10.213.99.0/24, of 16 addresses or more, by its first address"
  [[ $subnet =~ ^($octet\.){3}$octet/(1[6-9]|2[0-8])$ ]] || fail "$wrong"
  number=$(number_of "${subnet%/*}")
  [ $((number & ((1 << (32 - ${subnet#*/})) - 1))) = 0 ] || fail "$wrong"
}

# Whether two networks of IPv4 have addresses in common.
overlap() {
  local bits=$((${1#*/} < ${2#*/} ? ${1#*/} : ${2#*/}))
  [ $(($(number_of "${1%/*}") >> (32 - bits))) = $(($(number_of "${2%/*}") >> (32 - bits))) ]
}

# Addresses that another network of the engine has.
check_overlap() {
  local mine name subnet subnets
  mine=$(value EDGE_SUBNET)
  while read -r name subnets; do
    [ "$name" != "${COMPOSE_PROJECT_NAME}_edge" ] || continue
    for subnet in $subnets; do
      case $subnet in *:*) continue ;; esac
      ! overlap "$mine" "$subnet" ||
        fail "EDGE_SUBNET in .env has addresses of the network $name ($subnet): give another, and its first address to TRUSTED_PROXIES"
    done
  done < <(docker network ls -q | xargs -r docker network inspect -f '{{.Name}}{{range .IPAM.Config}} {{.Subnet}}{{end}}')
}

# A proxy on this machine is seen as the first address of EDGE_SUBNET.
note_proxies() {
  local subnet first proxy proxies
  subnet=$(value EDGE_SUBNET)
  first=${subnet%/*}
  first=${first%.*}.$((${first##*.} + 1))
  proxies=$(value TRUSTED_PROXIES)
  for proxy in ${proxies//,/ }; do
    case $proxy in *[!0-9./]*) continue ;; */*) ;; *) proxy+=/32 ;; esac
    if overlap "$first/32" "$proxy"; then return; fi
  done
  [ "$(value ENVIRONMENT)" != production ] ||
    say "note: TRUSTED_PROXIES does not name $first, the first address of EDGE_SUBNET, which a proxy on this machine has here: it would not be believed" >&2
}

# What nobody reads may be a misspelt setting, and ALLOWED_IPS that is misspelt lets everybody in.
check_names() {
  local name
  for name in $(grep -aoE '^[A-Za-z_][A-Za-z0-9_]*=' .env | tr -d = | sort -u); do
    case $name in
      PREBUILT | COMPOSE_HTTP_TIMEOUT | COMPOSE_PARALLEL_LIMIT) ;;
      CRYPTO_MASTER_KEY | QUORATE_IDENTITY_KEY | QUORATE_ORIGINATOR_KEY)
        fail "$name in .env is read by nobody here: keys lie in secrets/, one folder for each party (docs/deploy.md, What is where)" ;;
      *)
        case " ${!defaults[*]} ${passwords[*]} " in *" $name "*) ;; *) fail "$name in .env is read by nobody here: check its spelling (.env.example has all that is), or remove it" ;; esac ;;
    esac
  done
}

# The program reads settings as its processes will, and says what is wrong with them. By standard input: secrets are among them.
ask_program() { # where they come from, an option or nothing, lines NAME=value
  local from=$1 option=$2 image said code=0
  shift 2
  image=$(value QUORATE_IMAGE)
  said=$(printf '%s\n' "$@" | timeout --foreground -k 5 60 docker run --rm -i --network none --read-only --cap-drop ALL --user 65534:65534 \
    "$image" check ${option:+"$option"} - 2>&1) || code=$?
  case $code in
    0) say "$said" ;;
    1) fail "what $from says can't be used: ${said#quorate: }" ;;
    *) fail "the image $image does not run here, or is of another version than this deploy.sh: $said" ;;
  esac
}

check_with_program() {
  local name party i=0 settings=() pinned said
  for name in "${!defaults[@]}" "${passwords[@]}"; do
    case $name in *_IMAGE | QUORATE_UID | QUORATE_GID) ;; *) settings+=("$name=$(value "$name")") ;; esac
  done
  said=$(ask_program .env --plugins "${settings[@]}")
  check_schemas "$said"
  said=$(ask_program secrets/account/originator "" "QUORATE_ORIGINATOR_KEY=$(cat secrets/account/originator)")
  name=$(sed -n 's/^QUORATE_ORIGINATOR_KEY: public key //p' <<< "$said")
  [[ ,$(value QUORATE_ORIGINATORS), == *",$name,"* ]] ||
    fail "secrets/account/originator is not a key of QUORATE_ORIGINATORS in .env: restore the one or the other from a backup"
  IFS=, read -ra pinned <<< "$(value QUORATE_PARTY_KEYS),$(value QUORATE_USER_PARTY_KEY)"
  for party in "${parties[@]}"; do
    said=$(ask_program "secrets/$party" "" "QUORATE_IDENTITY_KEY=$(cat "secrets/$party/identity")" "CRYPTO_MASTER_KEY=$(cat "secrets/$party/master_key")")
    grep -qxF "QUORATE_IDENTITY_KEY: public key ${pinned[i]}" <<< "$said" ||
      fail "secrets/$party/identity is not the key that .env names for $party (QUORATE_PARTY_KEYS, QUORATE_USER_PARTY_KEY): restore the one or the other from a backup"
    i=$((i + 1))
  done
}

# A program does not start on databases that a newer one has brought up to date. What a party's own database says is believed of
# that party only: two can still sign without the third.
check_schemas() { # what the program says of itself
  local name newest found newer=()
  [ "$(state_of postgres)" = healthy ] || return 0
  for name in "${databases[@]}"; do
    case $name in control) newest=${1#*schemas: control } newest=${newest%%,*} ;; *) newest=${1#*, party } newest=${newest%%$'\n'*} ;; esac
    # Where nothing has run yet there is no such table; and a party that was taken over may make its own wait, or say anything.
    found=$(timeout -k 1 15 docker exec -e 'PGOPTIONS=-c statement_timeout=5s -c lock_timeout=3s' "$(container postgres)" \
      psql -qXtA -U "$name" -c "SELECT max(version) FROM _sqlx_migrations" "$name" 2>/dev/null || true)
    if [[ $found =~ ^[0-9]{1,9}$ ]] && [ "$found" -gt "$newest" ]; then newer+=("$name"); fi
  done
  [ ${#newer[@]} != 0 ] || return 0
  if [ ${#newer[@]} = 1 ] && [ "${newer[0]}" != control ]; then
    say "note: the database ${newer[0]} says that it is of a newer version than $(value QUORATE_IMAGE): that party will not start" >&2
  else
    fail "databases are of a newer version of Quorate than $(value QUORATE_IMAGE): ${newer[*]}. Take an image of that version or a later one"
  fi
}

# PostgreSQL does not start on the data of another major version.
check_postgres_image() {
  local volume=${COMPOSE_PROJECT_NAME}_postgres-data image said
  docker volume inspect "$volume" >/dev/null 2>&1 || return 0
  image=$(value POSTGRES_IMAGE)
  # Whose data it is; whom the image runs PostgreSQL as; both versions.
  # shellcheck disable=SC2016 # it is for the container's shell
  said=$(timeout --foreground -k 5 60 docker run --rm --network none --cap-drop ALL --cap-add DAC_READ_SEARCH --user 0 \
    -v "$volume:/var/lib/postgresql/data:ro" --entrypoint sh "$image" -c 'cd /var/lib/postgresql/data && test -e PG_VERSION || exit 0
      echo "$(stat -c %u PG_VERSION) $(id -u postgres) $(cat PG_VERSION) $(postgres --version)"' ||
    say "note: it could not be seen whether the image $image fits the data that is there" >&2)
  [[ $said =~ ^([0-9]+)\ ([0-9]+)\ ([0-9]+)\ .*PostgreSQL\)\ ([0-9]+) ]] || return 0
  [ "${BASH_REMATCH[3]}" = "${BASH_REMATCH[4]}" ] ||
    fail "POSTGRES_IMAGE in .env is PostgreSQL ${BASH_REMATCH[4]}, and the data is of ${BASH_REMATCH[3]}: take an image of ${BASH_REMATCH[3]}; to move, back up, clean and restore"
  [ "${BASH_REMATCH[1]}" = "${BASH_REMATCH[2]}" ] ||
    fail "POSTGRES_IMAGE in .env runs PostgreSQL as user ${BASH_REMATCH[2]}, and the data is user ${BASH_REMATCH[1]}'s: take an image of the same kind as before; to move, back up, clean and restore"
}

# Ports that something else has already, or that two of ours would have.
check_ports() {
  local name port ours other
  local -A taken=()
  ours=$(docker ps --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" --format '{{.Ports}}')
  for name in "${ports[@]}"; do
    [ "$name" != ACCOUNT_2_PORT ] || [ "$(value REPLICAS)" = 2 ] || continue
    port=$(value "$name")
    other=${taken[$port]:-}
    [ -z "$other" ] || fail "$name in .env is the port of another role too, $other: each needs its own"
    taken[$port]=$name
    case $ours in *":$port->"*) continue ;; esac
    if timeout 2 bash -c "exec 3<>'/dev/tcp/$(here)/$port'" 2>/dev/null; then
      fail "port $port is in use by another program: stop it, or set $name in .env"
    fi
  done
}

# Since 28 the engine drops what neighbours send to the address of a container.
note_neighbours() {
  local version
  version=$(docker version --format '{{.Server.Version}}')
  [ "$(value ENVIRONMENT)" != production ] || at_least 28 "$version" ||
    say "note: with Docker Engine $version, machines of this one's own network can get past PUBLISH_ADDRESS: docs/deploy.md, Firewall" >&2
}

check_space() {
  local root free
  root=$(docker info --format '{{.DockerRootDir}}' 2>/dev/null || true)
  [ -n "$root" ] && [ -d "$root" ] || return 0
  free=$(df -Pk "$root" | awk 'NR == 2 { print int($4 / 1024) }')
  [ "$free" -ge 512 ] || fail "only $free MiB are free at $root: databases need room; make some"
}

image_is_here() { docker image inspect "$(value QUORATE_IMAGE)" >/dev/null 2>&1; }

check_image() {
  image_is_here ||
    fail "there is no image $(value QUORATE_IMAGE): run ./deploy.sh build, or set QUORATE_IMAGE in .env to one that can be pulled, and pull it"
}

# Those of the services come from a registry.
pull_images() {
  local name image
  for name in "${images[@]}"; do
    image=$(value "$name")
    docker image inspect "$image" >/dev/null 2>&1 || timeout --foreground 900 docker pull "$image" ||
      fail "there is no image $image, and it can't be pulled: set $name in .env to one that is here or can be pulled"
  done
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
  # What an interrupted one has left to do.
  if [ -e secrets ] && [ -e .env.new ] && [ ! -e .env ]; then
    mv .env.new .env
    say "made .env and secrets/, which an earlier init had begun"
    return
  fi
  local made=()
  [ ! -e .env ] || made+=(.env)
  [ ! -e secrets ] || made+=(secrets/)
  [ ${#made[@]} = 0 ] || fail "${made[*]} is there already, and is not overwritten: whoever loses it loses accounts. Move it away if you want new ones"
  local volumes=''
  if have docker; then volumes=$(docker volume ls -q --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" 2>/dev/null | tr '\n' ' ' || true); fi
  [ -z "$volumes" ] ||
    fail "there is data of $COMPOSE_PROJECT_NAME on this machine, which new secrets would not open: restore its .env and secrets/; or make another deployment beside it (COMPOSE_PROJECT_NAME=other ./deploy.sh init, then other ports, EDGE_SUBNET and TRUSTED_PROXIES in .env); or remove the data for good (docker volume rm ${volumes% })"
  have openssl || fail "openssl is missing"
  check_project_name
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
    random_hex > "$dir/$party/rabbitmq_password"
    if [ "$party" = user-party ]; then user=$public; else keys=${keys:+$keys,}$public; fi
  done
  random_hex > "$dir/control/postgres_password"
  local originator uid gid
  originator=$(new_key "$dir/account/originator")
  # Containers run as whoever may read the secrets: as you, or if you are root as a user without rights.
  uid=$(id -u) gid=$(id -g)
  if [ "$uid" = 0 ]; then uid=10001 gid=10001; chown -R "$uid:$gid" "$dir"; fi
  # By standard input: arguments can be seen by others.
  settings_without_values > .env.new
  sed -i -f - .env.new <<SED
s/^POSTGRES_PASSWORD=.*/POSTGRES_PASSWORD=$(random_hex)/
s/^RABBITMQ_PASSWORD=.*/RABBITMQ_PASSWORD=$(random_hex)/
s/^REDIS_PASSWORD=.*/REDIS_PASSWORD=$(random_hex)/
s/^JWT_SECRET_KEY=.*/JWT_SECRET_KEY=$(random_hex)/
s/^MPC_API_KEY=.*/MPC_API_KEY=$(random_hex)/
s/^ENVIRONMENT=.*/ENVIRONMENT=production/
s/^QUORATE_ORIGINATORS=.*/QUORATE_ORIGINATORS=$originator/
s/^QUORATE_PARTY_KEYS=.*/QUORATE_PARTY_KEYS=$keys/
s/^QUORATE_USER_PARTY_KEY=.*/QUORATE_USER_PARTY_KEY=$user/
s/^QUORATE_UID=.*/QUORATE_UID=$uid/
s/^QUORATE_GID=.*/QUORATE_GID=$gid/
s/^COMPOSE_PROJECT_NAME=.*/COMPOSE_PROJECT_NAME=$COMPOSE_PROJECT_NAME/
SED
  chmod 600 .env.new
  find "$dir" -type f -exec chmod 400 {} +
  mv "$dir" secrets
  mv .env.new .env
  say "made .env and secrets/: keep copies of both somewhere safe, secrets/party-N/ of each party apart from the others'"
  say "next: ./deploy.sh build, then ./deploy.sh up"
}

# The example; where it is not, the settings that have no default.
settings_without_values() {
  if [ -e .env.example ]; then cat .env.example; return; fi
  printf '%s=\n' POSTGRES_PASSWORD RABBITMQ_PASSWORD REDIS_PASSWORD JWT_SECRET_KEY MPC_API_KEY ENVIRONMENT QUORATE_ORIGINATORS \
    QUORATE_PARTY_KEYS QUORATE_USER_PARTY_KEY QUORATE_UID QUORATE_GID COMPOSE_PROJECT_NAME
  say TRUSTED_PROXIES=10.213.99.1
}

bytes() { printf '%b' "$(printf '%s' "$1" | sed 's/../\\x&/g')"; }

# A user as RabbitMQ keeps it: four bytes of salt, and SHA-256 of salt and password. The salt follows from both, so that the file
# changes only when a password does.
rabbitmq_user() { # name, password
  local salt digest
  salt=$(printf '%s:%s' "$1" "$2" | sha256sum | cut -c 1-8)
  digest=$( (bytes "$salt"; printf '%s' "$2") | sha256sum | cut -c 1-64)
  printf '{"name":"%s","password_hash":"%s","hashing_algorithm":"rabbit_password_hashing_sha256","tags":""}' \
    "$1" "$(bytes "$salt$digest" | base64 -w0)"
}

rabbitmq_rights() { # name, what may be made and deleted, written to, read from
  printf '{"user":"%s","vhost":"/","configure":"^(%s)$","write":"^(%s)$","read":"^(%s)$"}' "$@"
}

# Who may do what at RabbitMQ, read at its every start. A party has its own queue of plans and its dead letters, tells that it is
# there, and hears what has been given up; what the others have it can neither read nor fill nor delete.
rabbitmq_definitions() {
  local namespace all users rights party key own password i=0 keys
  namespace=$(value QUORATE_NAMESPACE)
  all=${namespace//./[.]}
  users=$(rabbitmq_user quorate "$(value RABBITMQ_PASSWORD)")
  rights=$(rabbitmq_rights quorate "${all}[.].*|amq[.]gen.*" "${all}[.].*|amq[.]gen.*|amq[.]default" "${all}[.].*|amq[.]gen.*")
  IFS=, read -ra keys <<< "$(value QUORATE_PARTY_KEYS)"
  for party in "${parties[@]}"; do
    if [ "$party" = user-party ]; then key=$(value QUORATE_USER_PARTY_KEY); else key=${keys[i]} i=$((i + 1)); fi
    own="${all}[.]party[.]${key}([.]dead)?|amq[.]gen.*"
    password=$(cat "secrets/$party/rabbitmq_password")
    users+=,$(rabbitmq_user "$party" "$password")
    rights+=,$(rabbitmq_rights "$party" "$own" "$own|${all}[.]topic[.]presence" "$own|${all}[.]topic[.]cancelled")
  done
  local topic exchanges=''
  for topic in presence cancelled reports frames; do
    exchanges+=${exchanges:+,}$(printf '{"name":"%s","vhost":"/","type":"fanout","durable":true,"auto_delete":false,"internal":false,"arguments":{}}' "$namespace.topic.$topic")
  done
  printf '{"vhosts":[{"name":"/"}],"users":[%s],"permissions":[%s],"exchanges":[%s]}\n' "$users" "$rights" "$exchanges"
}

postgres_roles() {
  cat <<'SH'
#!/bin/sh
# A database and a role for each party, which sees no other. It runs when the server has no data yet and at every `deploy.sh up`:
# what an interrupted start has left out is made up for, and passwords are those that were given to the containers. They are in
# statements, which the server must not log where one fails.
set -eu
failed=0 last=
for name in control party_1 party_2 party_3 user_party; do
  # One party that takes all connections must not shut out the others.
  case $name in control) connections=80 ;; *) connections=25 ;; esac
  psql -q -X -v ON_ERROR_STOP=1 --username postgres --dbname postgres <<SQL || failed=$((failed + 1)) last=$name
SET log_min_error_statement = panic;
SET lock_timeout = '5s';
\set password \`cat /run/secrets/${name}_postgres_password\`
SELECT 'CREATE ROLE $name' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '$name') \gexec
ALTER ROLE $name LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS CONNECTION LIMIT $connections PASSWORD :'password';
SELECT 'CREATE DATABASE $name OWNER $name' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '$name') \gexec
ALTER DATABASE $name ALLOW_CONNECTIONS true CONNECTION LIMIT -1;
REVOKE ALL ON DATABASE $name FROM PUBLIC;
SQL
done
psql -q -X -v ON_ERROR_STOP=1 --username postgres --dbname postgres <<'SQL'
SET log_min_error_statement = panic;
\set password `cat /run/secrets/postgres_password`
ALTER ROLE postgres PASSWORD :'password';
REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC;
SQL
# A party can hold its own up. The others go on.
case $failed$last in
  0) ;;
  1control) exit 1 ;;
  1*) echo "note: the database $last is held up, perhaps by its party" >&2 ;;
  *) exit 1 ;;
esac
SH
}

# What services need of .env and of each other, as files. They are written anew only if something has changed: running containers
# have the old ones.
share_secrets() {
  local name new=secrets/shared.new
  rm -rf "$new"
  mkdir -p "$new"
  for name in "${passwords[@]}"; do
    printf '%s' "$(value "$name")" > "$new/${name,,}"
  done
  # Whoever fills it up is held back before the container is killed for its memory.
  cat > "$new/rabbitmq.conf" <<'CONF'
load_definitions = /etc/rabbitmq/definitions.json
vm_memory_high_watermark.absolute = 400MiB
disk_free_limit.absolute = 200MB
log.console = true
log.file = false
CONF
  rabbitmq_definitions > "$new/rabbitmq-definitions.json"
  postgres_roles > "$new/postgres-roles.sh"
  if diff -rq "$new" secrets/shared >/dev/null 2>&1; then
    rm -rf "$new"
  else
    rm -rf secrets/shared
    mv "$new" secrets/shared
  fi
  # Read inside containers by users whose numbers differ from image to image; here nobody gets past the folder.
  chmod 444 secrets/shared/* secrets/*/postgres_password
  secret_files | xargs chmod u+r
  chmod 555 secrets/shared/postgres-roles.sh
  if [ "$(id -u)" = 0 ]; then
    chown -R "$(value QUORATE_UID):$(value QUORATE_GID)" secrets
  fi
  chmod 700 secrets secrets/*/
  # With another secret containers are made anew.
  SECRETS_HASH=$({ secret_files; printf '%s\n' secrets/shared/*; } | xargs sha256sum | sha256sum | cut -c 1-16)
  export SECRETS_HASH
}

# ---------------------------------------------------------------- running

check_restored() {
  [ ! -e .restoring ] || fail "a restore has not come to its end, and databases may be half there: ./deploy.sh clean, then restore again"
}

prepare() {
  check_restored
  check_tools
  check_settings
  check_overlap
  note_neighbours
  check_space
  # The services have images of their own, and no ports on this machine.
  if [ "${1:-}" != infra ]; then
    check_ports
    check_image
  fi
  if image_is_here; then check_with_program; fi
  # Of what the program can read.
  [ "${1:-}" = infra ] || note_proxies
  pull_images
  check_postgres_image
  share_secrets
}

# Starts these and what they need, and waits until they are healthy.
start() {
  local failed='' until=$((SECONDS + $(value UP_SECONDS))) compose_seconds
  compose_seconds=$(value UP_SECONDS)
  compose up -d --no-build "$@" || failed=1
  wait_for "$until" "$failed" "$@"
}

# Waits until these are healthy. Says of those that are not what they said last.
wait_for() { # until when, whether compose has failed, services
  local until=$1 failed=$2 service missing waiting
  shift 2
  while :; do
    missing=() waiting=
    for service in "$@"; do
      case $(state_of "$service") in
        healthy) ;;
        starting) missing+=("$service") waiting=1 ;;
        *) missing+=("$service") ;;
      esac
    done
    [ ${#missing[@]} -gt 0 ] || break
    # Where compose has failed, nothing comes up that it has not started.
    if [ -n "$failed" ] && [ -z "$waiting" ]; then break; fi
    [ "$SECONDS" -lt "$until" ] || break
    sleep 0.5
  done
  for service in "${missing[@]}"; do
    [ -n "$(container "$service" -a)" ] || continue
    say "--- $service said last:" >&2
    compose logs --no-color --tail 5 "$service" >&2 || true
  done
  [ ${#missing[@]} = 0 ] ||
    fail "not healthy: ${missing[*]}. docs/deploy.md, 'When it does not start', tells what to do"
  [ -z "$failed" ] ||
    fail "compose has failed, and says why above: what runs may not be what .env says. If a network is to be made anew: ./deploy.sh restart"
}

start_services() {
  start "${services[@]}"
  mend_databases
}

# Makes the databases and their roles, and takes back what a party has done to its own that would keep others from it.
mend_databases() {
  timeout 60 docker exec "$(container postgres)" /docker-entrypoint-initdb.d/10-quorate.sh >/dev/null ||
    fail "PostgreSQL does not make the parties' databases and roles: it says why above; ./deploy.sh logs postgres tells more"
}

# What was without its services is unhealthy until its next check, and compose waits for nothing that is: this does.
await_recovery() {
  local until=$((SECONDS + 30)) service ill
  while [ "$SECONDS" -lt "$until" ]; do
    ill=
    for service in $(all_roles); do [ "$(state_of "$service")" != unhealthy ] || ill=1; done
    [ -n "$ill" ] || return 0
    sleep 0.5
  done
}

start_roles() {
  local service
  await_recovery
  # What an earlier REPLICAS=2 has left.
  for service in "${replicas[@]}"; do
    if [ "$(value REPLICAS)" != 2 ] && [ -n "$(container "$service" -a)" ]; then compose rm -s -f "$service"; fi
  done
  # shellcheck disable=SC2046 # names, one a line
  start $(all_roles)
}

# Everything, once all checks are passed.
start_all() {
  local began=$SECONDS
  start_services
  start_roles
  say "up and healthy after $((SECONDS - began)) s: the API is at http://$(here):$(value ACCOUNT_PORT)"
}

cmd_status() {
  check_tools
  compose ps -a
}

# What every service and every role says of itself.
cmd_health() {
  check_tools
  local service id state answer ill=0
  for service in "${services[@]}"; do
    state=$(state_of "$service")
    say "$service: ${state:-is not there}"
    [ "$state" = healthy ] || ill=1
  done
  # shellcheck disable=SC2046 # names, one a line
  for service in $(all_roles); do
    id=$(container "$service")
    if [ -z "$id" ]; then say "$service: does not run"; ill=1; continue; fi
    answer=$(timeout 10 docker exec "$id" /quorate healthcheck "$(role_of "$service")" 2>&1) || ill=1
    say "$service: $(grep -m 1 '^{' <<< "$answer" || head -n 1 <<< "$answer")"
  done
  [ "$ill" = 0 ] || fail "not all is well: ./deploy.sh up starts what does not run, ./deploy.sh logs SERVICE says more"
}

cmd_build() {
  check_engine
  local image prebuilt made id
  image=$(value QUORATE_IMAGE)
  prebuilt=$(value PREBUILT)
  [ -e Dockerfile ] || fail "the sources are not here: run ./deploy.sh build in a clone of them; the image serves this folder too"
  made=$(mktemp -d)
  # shellcheck disable=SC2064 # the folder of now
  trap "rm -rf '$made'" EXIT
  if [ -n "$prebuilt" ]; then
    # What was built outside, by `make dist`.
    case $prebuilt in
      *..*) fail "PREBUILT=$prebuilt: dist is wanted, or a folder in it" ;;
      dist | dist/*) ;;
      *) fail "PREBUILT=$prebuilt: the engine gets to see dist, and folders in it: make dist" ;;
    esac
    [ -x "$prebuilt/root/quorate" ] || fail "PREBUILT=$prebuilt: there is no root/quorate in it: make dist"
    docker build "$@" --iidfile "$made/id" --target prebuilt --build-arg "PREBUILT=$prebuilt" . || fail "no image was made: it says why above. $image is what it was"
  else
    docker build "$@" --iidfile "$made/id" --target quorate --build-arg "RUST_IMAGE=$(value RUST_IMAGE)" . ||
      fail "no image was made: it says why above. Without a registry, name an image with Rust that is here (RUST_IMAGE in .env), or build outside (make dist, then PREBUILT=dist ./deploy.sh build). $image is what it was"
  fi
  id=$(cat "$made/id")
  # It gets its name, and another one loses it, once it is known to run.
  docker run --rm "$id" --help >/dev/null || fail "what was built does not run: it says why above. $image is what it was"
  docker tag "$id" "$image"
  say "built $image: $(docker image inspect -f '{{.Size}}' "$image" | awk '{ printf "%.1f MB", $1 / 1000000 }')"
}

# What is misspelt is told from what does not run.
check_service() { # its name, and -a if it need not run
  local known=("${services[@]}" "${roles[@]}" "${replicas[@]}") name=$1
  shift
  case " ${known[*]} " in *" $name "*) ;; *) fail "there is no service $name: ${known[*]}" ;; esac
  [ -n "$(container "$name" "$@")" ] || fail "$name does not run: ./deploy.sh up starts it"
}

cmd_shell() {
  check_tools
  local service=${1:-account-service} compose_seconds=0
  check_service "$service"
  if [ -t 0 ]; then compose exec "$service" /bin/sh; else compose exec -T "$service" /bin/sh; fi
}

# Before logs are shown; who reads them ends it.
check_logs() {
  check_tools
  compose_seconds=0
  case ${1:--} in -*) ;; *) check_service "$1" -a ;; esac
}

# A call of the API: method, path, body. Sets `status` and `body`.
call() {
  local method=$1 path=$2 data=${3:-} answer
  # The key goes in by standard input: arguments can be seen by others.
  answer=$(printf 'header = "X-API-Key: %s"\n' "$(value MPC_API_KEY)" |
    curl -q -sS --noproxy '*' -m 90 -K - -X "$method" -H 'Content-Type: application/json' ${data:+--data "$data"} \
      -w '\n%{http_code}' "http://$(here):$(value ACCOUNT_PORT)$path") || fail "$method $path: no answer: ./deploy.sh health tells what is wrong"
  status=${answer##*$'\n'}
  body=${answer%$'\n'*}
}

field() { printf '%s' "$body" | sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }

# What the API should have answered.
expect() { # a status; what it means if it is another
  [ "$status" != 403 ] || fail "$2: $status: $body. Calls from this machine come from the first address of EDGE_SUBNET, $(value EDGE_SUBNET): is it in ALLOWED_IPS?"
  [ "$status" = "$1" ] || fail "$2: $status: $body"
}

cmd_test_api() {
  have curl || fail "curl is missing"
  check_env_file
  local status body account
  call GET /health
  expect 200 "GET /health"
  say "health: $(field status)"
  call POST /api/v1/accounts '{"user_id":"deploy.sh test-api"}'
  expect 201 "an account was not made"
  account=$(field id)
  say "account $account: $(field ethereum_address)"
  call POST "/api/v1/accounts/$account/sign" "{\"message\":\"$(random_hex)\"}"
  expect 200 "nothing was signed"
  say "signature: $(field signature)"
}

# A path as whoever called this means it.
from_caller() { case $1 in /*) say "$1" ;; *) say "$caller/$1" ;; esac; }

# The databases, all as of one time: with the roles stopped. Each by its own role, and so when it is restored: what a party that
# was taken over has put into its own must not run with the rights of another. Nor is it text for psql, which runs commands that
# stand in it, in a container that has all passwords: pg_restore knows statements only.
cmd_backup() {
  check_restored
  check_tools
  local folder postgres name service
  case ${1:--} in -*) fail "backup FOLDER: a folder that is not there yet" ;; esac
  leave_out "${@:2}"
  folder=$(from_caller "${1%/}")
  [ -d "$(dirname "$folder")" ] || fail "there is no folder $(dirname "$folder") to make $(basename "$folder") in"
  [ ! -e "$folder" ] || fail "$folder is there already: a backup overwrites nothing"
  [ "$(state_of postgres)" = healthy ] || fail "PostgreSQL does not run: ./deploy.sh infra up"
  mend_databases
  postgres=$(container postgres)
  stopped=()
  unfinished=$(mktemp -d "$folder.XXXXXX") || fail "$folder can't be made"
  for service in "${roles[@]}" "${replicas[@]}"; do [ -z "$(container "$service")" ] || stopped+=("$service"); done
  trap end_backup EXIT
  # Not before what runs has ended: compose would go on stopping what is started again.
  trap 'exit 143' TERM
  trap 'exit 129' HUP
  [ ${#stopped[@]} = 0 ] || compose stop "${stopped[@]}"
  for name in "${databases[@]}"; do
    { timeout --foreground 3600 docker exec "$postgres" pg_dump -Fc -U "$name" "$name" > "$unfinished/$name.dump" &&
      timeout --foreground 3600 docker exec -i "$postgres" pg_restore -f /dev/null < "$unfinished/$name.dump"; } ||
      fail "$name was not backed up: it says why above; nothing is kept. To do without a party's: ./deploy.sh backup $1 without $name"
  done
  (cd "$unfinished" && sha256sum -- *.dump > SHA256SUMS)
  mv -T "$unfinished" "$folder"
  unfinished=
  trap 'say "deploy.sh: interrupted; the backup is made, and the roles start: ./deploy.sh up waits for them" >&2; exit 130' INT
  say "the backup is whole${2:+, but for the database $3}: the databases are in $1; .env and secrets/ are not: keep them apart from it${2:+
restore it by: ./deploy.sh restore $1 without $3}"
  [ ${#stopped[@]} = 0 ] || { compose start "${stopped[@]}"; wait_for $((SECONDS + $(value UP_SECONDS))) '' "${stopped[@]}"; }
  trap - EXIT
}

# Nothing half-done stays, and what ran runs again.
end_backup() {
  trap '' INT TERM HUP
  if [ -n "$unfinished" ]; then rm -rf "$unfinished"; say "no backup was made" >&2; fi
  [ ${#stopped[@]} = 0 ] || compose start "${stopped[@]}" || say "the roles do not run: ./deploy.sh up starts them" >&2
}

# Without one party's database the others are backed up and restored: a party that was taken over must not keep them from it.
leave_out() { # nothing, or: without, a database
  local name kept=()
  [ $# != 0 ] || return 0
  case "$1/${2:-}" in without/party_* | without/user_party) ;; *) fail "FOLDER, or FOLDER without DATABASE: party_1, party_2, party_3 or user_party" ;; esac
  for name in "${databases[@]}"; do [ "$name" = "$2" ] || kept+=("$name"); done
  [ ${#kept[@]} -lt ${#databases[@]} ] || fail "there is no database $2: ${databases[*]}"
  databases=("${kept[@]}")
}

# Into a deployment without data.
cmd_restore() {
  local folder name postgres
  case ${1:--} in -*) fail "restore FOLDER: what ./deploy.sh backup has made" ;; esac
  leave_out "${@:2}"
  folder=$(from_caller "${1%/}")
  [ -d "$folder" ] || fail "there is no folder $folder"
  for name in "${databases[@]}"; do
    grep -qs " $name.dump$" "$folder/SHA256SUMS" ||
      fail "$folder is no whole backup: $name.dump is not in its SHA256SUMS. If it was made without that: ./deploy.sh restore $1 without $name"
  done
  (cd "$folder" && sha256sum --quiet -c SHA256SUMS) || fail "$folder is no whole backup: it says why above"
  check_restored
  check_tools
  # Before services are made anew with the settings of the backup.
  [ -z "$(docker volume ls -q --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME")" ] ||
    fail "there is data of $COMPOSE_PROJECT_NAME, and a restore overwrites nothing: ./deploy.sh clean removes it"
  prepare infra
  start_services
  postgres=$(container postgres)
  # Until it is removed nothing is started on what may be half there.
  : > .restoring
  for name in "${databases[@]}"; do
    timeout --foreground 3600 docker exec -i "$postgres" pg_restore -1 -U "$name" -d "$name" < "$folder/$name.dump" ||
      fail "$name was not restored: it says why above. Mend that, then ./deploy.sh clean, and restore again; or without a party's: ./deploy.sh restore $1 without $name"
  done
  rm .restoring
  say "restored: ./deploy.sh up${2:+
the party of $3 begins anew: accounts can be made once its peers have readmitted it (docs/deploy.md, What to back up, and how)}"
}

cmd_clean() {
  check_tools
  say "This removes all containers AND ALL DATA of $COMPOSE_PROJECT_NAME: databases, with every party's shares, and queues."
  say "What was not backed up is gone: every key with it. .env and secrets/ stay."
  local answer=''
  printf "Type 'delete everything' to go on: "
  read -r answer || true
  [ "$answer" = 'delete everything' ] || fail "nothing was removed"
  compose down -v --remove-orphans
  rm -f .restoring
}

called=$*

# What is not asked for must not be taken for everything: `restart server-party-2` would restart all.
at_most() { # how many words, the words
  local many=$1
  shift
  [ $# -le "$many" ] || fail "too much on the command line: ${*:many + 1}"
}

case $1 in
  build | build-no-cache | logs | logs-tail) ;;
  infra | mpc | shell) at_most 2 "$@" ;;
  backup | restore) at_most 4 "$@" ;;
  *) at_most 1 "$@" ;;
esac
case $1 in up | down | restart | status | health | logs | logs-tail | shell | test-api | infra | mpc | backup | restore | clean) need_env ;; esac
case $1 in
  init | up | down | restart | infra | mpc | backup | restore | clean)
    lock
    trap 'printf "deploy.sh: interrupted: run ./deploy.sh %s again\n" "$called" >&2; exit 130' INT ;;
esac
case $1 in
  init) init ;;
  build) shift; cmd_build "$@" ;;
  build-no-cache) shift; cmd_build --no-cache "$@" ;;
  up) prepare; start_all ;;
  down) check_tools; compose down --remove-orphans ;;
  restart) prepare; compose down --remove-orphans; start_all ;;
  status) cmd_status ;;
  health) cmd_health ;;
  logs) shift; check_logs "$@"; compose logs --no-color "$@" ;;
  logs-tail) shift; check_logs "$@"; compose logs -f --tail 100 "$@" ;;
  shell) shift; cmd_shell "$@" ;;
  test-api) cmd_test_api ;;
  infra)
    case ${2:-} in
      up) prepare infra; start_services; say "the services are up. What runs of the roles has the secrets of its start: ./deploy.sh mpc up gives it new ones" ;;
      down) check_tools; compose stop "${services[@]}" ;;
      *) fail "infra up, or infra down" ;;
    esac ;;
  mpc)
    case ${2:-} in
      up) prepare; start_services; start_roles; say "all roles are up" ;;
      down) check_tools; compose stop "${roles[@]}" "${replicas[@]}" ;;
      restart) prepare; compose stop "${roles[@]}" "${replicas[@]}"; start_services; start_roles; say "all roles are up" ;;
      *) fail "mpc up, mpc down, or mpc restart" ;;
    esac ;;
  backup) shift; cmd_backup "$@" ;;
  restore) shift; cmd_restore "$@" ;;
  clean) cmd_clean ;;
  *) usage >&2; fail "there is no command $1" ;;
esac
