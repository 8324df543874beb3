#!/bin/sh
# Starts PostgreSQL as the official image does: POSTGRES_USER, POSTGRES_PASSWORD and POSTGRES_DB for an empty PGDATA.
set -eu
bin=$(echo /usr/lib/postgresql/*/bin)
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    secret=$(mktemp)
    printf %s "$POSTGRES_PASSWORD" > "$secret"
    "$bin/initdb" --pgdata "$PGDATA" --username "$POSTGRES_USER" --pwfile "$secret" --auth-local trust --auth-host scram-sha-256
    rm "$secret"
    # initdb lets in loopback clients only; in a cluster, clients are other pods. The address `all` is every IPv4 and IPv6 address.
    printf '\nhost all all all scram-sha-256\n' >> "$PGDATA/pg_hba.conf"
    "$bin/pg_ctl" --pgdata "$PGDATA" --wait --options "-c listen_addresses=" start
    "$bin/createdb" --host /var/run/postgresql --username "$POSTGRES_USER" "$POSTGRES_DB"
    "$bin/pg_ctl" --pgdata "$PGDATA" --wait stop
fi
exec "$bin/postgres" -D "$PGDATA" "$@"
