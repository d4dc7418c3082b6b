#!/bin/bash
# What the entry points of the real images do for docker-compose.yml: a database server makes its data at the first start and
# runs the scripts beside it; RabbitMQ is what runs if nothing else is named.
set -eu

if [ "${1:-}" = postgres ]; then
  if [ ! -s "$PGDATA/PG_VERSION" ]; then
    # shellcheck disable=SC2086 # several arguments on purpose
    initdb -D "$PGDATA" -U postgres --pwfile="$POSTGRES_PASSWORD_FILE" -E UTF8 --auth-local=trust ${POSTGRES_INITDB_ARGS:-} >/dev/null
    echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
    pg_ctl -D "$PGDATA" -w -o "-c listen_addresses=''" start >/dev/null
    for script in /docker-entrypoint-initdb.d/*.sh; do "$script"; done
    pg_ctl -D "$PGDATA" -w stop >/dev/null
  fi
  exec "$@" -c listen_addresses='*' -D "$PGDATA"
fi
if [ $# = 0 ]; then
  export HOME=/var/lib/rabbitmq
  exec /usr/lib/rabbitmq/bin/rabbitmq-server
fi
exec "$@"
