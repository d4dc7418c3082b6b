#!/usr/bin/env bash
# The servers that tests run against: PostgreSQL, Redis and RabbitMQ from the installed binaries, private to one run.
#
#   tests/services.sh COMMAND...                  starts all three, runs the command, stops them
#   tests/services.sh run SERVICE FOLDER PORT     becomes one server (postgres, redis or rabbitmq) on that folder and port
#   tests/services.sh check                       fails, and says how to install them, if programs are missing
#   tests/services.sh install                     installs what is missing (Debian; needs root)
#
# A server that TEST_POSTGRES_URL, TEST_REDIS_URL or TEST_RABBITMQ_URL names is used instead of a private one. Only `install`
# changes the machine.
set -euo pipefail

postgres_bin() { find /usr/lib/postgresql/*/bin -maxdepth 0 2>/dev/null | sort -V | tail -1; }
rabbitmq_server() { ls /usr/lib/rabbitmq/bin/rabbitmq-server 2>/dev/null || command -v rabbitmq-server || true; }

missing() {
  [ -n "${TEST_POSTGRES_URL:-}" ] || [ -n "$(postgres_bin)" ] || echo postgresql
  [ -n "${TEST_REDIS_URL:-}" ] || command -v redis-server >/dev/null || echo redis-server
  [ -n "${TEST_RABBITMQ_URL:-}" ] || [ -n "$(rabbitmq_server)" ] || echo rabbitmq-server
  # For processes whose clocks are wrong.
  compgen -G '/usr/lib/*/faketime/libfaketime.so.1' >/dev/null || echo libfaketime
}

check() {
  local packages
  packages=$(missing)
  [ -n "$packages" ] || return 0
  echo "tests need programs that are not installed: ${packages//$'\n'/ }. On Debian, install them with: sudo make services" >&2
  exit 1
}

install() {
  local packages
  packages=$(missing)
  [ -n "$packages" ] || return 0
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "only root on Debian can install ${packages//$'\n'/ }: run \`sudo make services\`, or install them by your system's own means" >&2
    exit 1
  fi
  echo "installing ${packages//$'\n'/ }"
  # Only the programs are wanted: nothing is started.
  [ -e /usr/sbin/policy-rc.d ] || { printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d; chmod +x /usr/sbin/policy-rc.d; trap 'rm -f /usr/sbin/policy-rc.d' EXIT; }
  # shellcheck disable=SC2086 # several packages
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $packages >/dev/null
}

# PostgreSQL refuses to run as root.
as_postgres() { if [ "$(id -u)" = 0 ]; then setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; else "$@"; fi; }

run() {
  local service=$1 folder=$2 port=$3
  mkdir -p "$folder"
  case $service in
    postgres)
      local bin
      bin=$(postgres_bin)
      [ "$(id -u)" != 0 ] || chown postgres: "$folder"
      cd "$folder"
      [ -e "$folder/data/PG_VERSION" ] || as_postgres "$bin/initdb" -D "$folder/data" -A trust -U postgres -E UTF8 --no-sync >/dev/null
      # What is killed here is the server and never the machine: what it has written to files is there.
      local settings=(-c listen_addresses=127.0.0.1 -c "unix_socket_directories=" -c fsync=off -c max_connections=400)
      if [ "$(id -u)" = 0 ]; then
        exec setpriv --reuid=postgres --regid=postgres --clear-groups "$bin/postgres" -D "$folder/data" -p "$port" "${settings[@]}"
      fi
      exec "$bin/postgres" -D "$folder/data" -p "$port" "${settings[@]}" ;;
    redis)
      exec redis-server --bind 127.0.0.1 --port "$port" --save '' --appendonly no --dir "$folder" ;;
    rabbitmq)
      export HOME=$folder RABBITMQ_NODENAME="quorate-$port@localhost" RABBITMQ_NODE_PORT=$port
      export RABBITMQ_DIST_PORT=$((port + 1)) RABBITMQ_NODE_IP_ADDRESS=127.0.0.1
      export RABBITMQ_MNESIA_BASE=$folder/mnesia RABBITMQ_LOG_BASE=$folder/log RABBITMQ_CONFIG_FILE=$folder/own
      export RABBITMQ_ENABLED_PLUGINS_FILE=$folder/plugins RABBITMQ_CONF_ENV_FILE=$folder/none.conf RABBITMQ_PID_FILE=$folder/pid
      export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-setcookie quorate"
      exec "$(rabbitmq_server)" ;;
    *) echo "no such service: $service" >&2; exit 1 ;;
  esac
}

# Ports that nobody listens on, all different, and none of those that the system gives to outgoing connections.
free_ports() {
  python3 -c 'import random, socket, sys
def free(port):
    with socket.socket() as s:
        try: s.bind(("127.0.0.1", port))
        except OSError: return False
        return True
ports = [p for p in random.sample(range(10000, 32000, 2), 200) if free(p) and free(p + 1)]
print(*ports[:int(sys.argv[1])])' "$1"
}

answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

started=()
folder=
stop() {
  disown -a
  for pid in "${started[@]}"; do kill -INT -- "-$pid" 2>/dev/null || kill "-$pid" 2>/dev/null || true; done
  sleep 0.3
  for pid in "${started[@]}"; do kill -KILL -- "-$pid" 2>/dev/null || true; done
  [ -z "$folder" ] || rm -rf "$folder"
}

start() {
  local service=$1 port=$2
  setsid "$0" run "$service" "$folder/$service" "$port" > "$folder/$service.log" 2>&1 < /dev/null &
  started+=($!)
}

await() {
  local service=$1 port=$2
  for _ in $(seq 600); do answers "$port" && return 0; sleep 0.1; done
  echo "$service did not start:" >&2
  tail -20 "$folder/$service.log" >&2
  exit 1
}

with_services() {
  check
  trap stop EXIT
  trap 'exit 130' INT TERM
  folder=$(mktemp -d "${TMPDIR:-/tmp}/quorate-services.XXXXXX")
  chmod 755 "$folder"
  local postgres redis rabbitmq
  read -r postgres redis rabbitmq < <(free_ports 3)
  [ -n "${TEST_POSTGRES_URL:-}" ] || start postgres "$postgres"
  [ -n "${TEST_REDIS_URL:-}" ] || start redis "$redis"
  [ -n "${TEST_RABBITMQ_URL:-}" ] || start rabbitmq "$rabbitmq"
  [ -n "${TEST_POSTGRES_URL:-}" ] || { await postgres "$postgres"; export TEST_POSTGRES_URL="postgres://postgres@127.0.0.1:$postgres/postgres"; }
  [ -n "${TEST_REDIS_URL:-}" ] || { await redis "$redis"; export TEST_REDIS_URL="redis://127.0.0.1:$redis"; }
  [ -n "${TEST_RABBITMQ_URL:-}" ] || { await rabbitmq "$rabbitmq"; export TEST_RABBITMQ_URL="amqp://guest:guest@127.0.0.1:$rabbitmq"; }
  "$@"
}

case ${1:-} in
  '') sed -n '2,10p' "$0"; exit 1 ;;
  check) check ;;
  install) install ;;
  run) shift; run "$@" ;;
  *) with_services "$@" ;;
esac
