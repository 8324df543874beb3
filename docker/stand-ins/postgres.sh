#!/bin/sh
# Start PostgreSQL as the official image does. POSTGRES_USER, POSTGRES_PASSWORD and POSTGRES_DB set up an empty PGDATA.
set -eu
bin=$(echo /usr/lib/postgresql/*/bin)
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    secret=$(mktemp)
    printf %s "$POSTGRES_PASSWORD" > "$secret"
    "$bin/initdb" --pgdata "$PGDATA" --username "$POSTGRES_USER" --pwfile "$secret" --auth-local trust --auth-host scram-sha-256
    rm "$secret"
    # initdb allows only loopback clients, but in a cluster the clients are other pods. `all` means every IPv4 and IPv6 address.
    printf '\nhost all all all scram-sha-256\n' >> "$PGDATA/pg_hba.conf"
    "$bin/pg_ctl" --pgdata "$PGDATA" --wait --options "-c listen_addresses=" start
    "$bin/createdb" --host /var/run/postgresql --username "$POSTGRES_USER" "$POSTGRES_DB"
    "$bin/pg_ctl" --pgdata "$PGDATA" --wait stop
fi
exec "$bin/postgres" -D "$PGDATA" "$@"
