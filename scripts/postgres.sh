# Sourced by scripts that need a throw-away Postgres: start_postgres DIR sets DATABASE_URL;
# stop_postgres ends it. As root the server runs as an ordinary user, as Postgres demands.
pg_bin=$(dirname "$(ls /usr/lib/postgresql/*/bin/initdb 2>/dev/null | sort -V | tail -1 || command -v initdb)")

as_pg() {
    if [ "$(id -u)" = 0 ]; then
        runuser -u postgres -- "$@"
    else
        "$@"
    fi
}

start_postgres() {
    pg_dir=$1
    mkdir -p "$pg_dir"
    chmod 700 "$pg_dir"
    [ "$(id -u)" != 0 ] || chown postgres "$pg_dir"
    as_pg "$pg_bin/initdb" -D "$pg_dir/data" -U waylog -A trust -E UTF8 --locale=C.UTF-8 >/dev/null
    local port
    for port in $(shuf -i 20000-29999 -n 20); do
        # fsync stays on: tests kill this server too.
        if as_pg "$pg_bin/pg_ctl" -D "$pg_dir/data" -w -s -l "$pg_dir/log" start -o "-p $port \
            -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=200 \
            -c synchronous_commit=${PG_SYNCHRONOUS_COMMIT:-off}" 2>/dev/null; then
            DATABASE_URL=postgres://waylog@127.0.0.1:$port/postgres
            return 0
        fi
    done
    echo "no private Postgres could be started; its log:" >&2
    tail -5 "$pg_dir/log" >&2
    return 1
}

stop_postgres() {
    [ -n "${pg_dir:-}" ] || return 0
    as_pg "$pg_bin/pg_ctl" -D "$pg_dir/data" -m fast -s stop || true
}
