#!/usr/bin/env bash
# make run-cluster: many machines on one: 3 Kafka brokers, 2 nodes that take uploads, 2 that show the
# map, 2 that store, 1 that tells other systems, one Postgres, and the simulator. For trying; each
# run starts afresh in var/cluster. Ctrl-C stops everything.
set -euo pipefail
cd "$(dirname "$0")/.."
waylog=${CARGO_TARGET_DIR:-target}/release/waylog
. scripts/postgres.sh
began=$SECONDS
say() { printf '[%3d s] %s\n' $((SECONDS - began)) "$1"; }

say 'looking for what is missing'
scripts/setup.sh run
say 'building the pages and the program (a first build takes some minutes)'
scripts/build.sh

rm -rf var/cluster
mkdir -p var/cluster
chmod 755 var var/cluster
pids=()
stop() {
    trap '' INT TERM
    # The simulator first, so that it does not complain about the nodes' end.
    for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
        kill -TERM "${pids[i]}" 2>/dev/null || true
        wait "${pids[i]}" 2>/dev/null || true
    done
    scripts/kafka.sh stop --dir var/cluster/kafka
    stop_postgres
    exit "${1:-0}"
}
trap 'echo; say "stopping"; stop 0' INT TERM
trap 'stop 1' ERR

say 'starting Postgres and three brokers'
start_postgres "$PWD/var/cluster/pg"
scripts/kafka.sh start --brokers 3 --dir var/cluster/kafka --port "${KAFKA_PORT:-9092}"
WAYLOG__ADMIN_KEY=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
first=${KAFKA_PORT:-9092}
export WAYLOG__ADMIN_KEY
export WAYLOG__DATABASE__URL=$DATABASE_URL
export WAYLOG__STREAM__BACKEND=kafka
export WAYLOG__STREAM__KAFKA__BROKERS=127.0.0.1:$first,127.0.0.1:$((first + 1)),127.0.0.1:$((first + 2))
port=${PORT:-8080}
# Links lead to the first node that shows the map.
export WAYLOG__HTTP__PUBLIC_URL=http://127.0.0.1:$((port + 3))

# node NAME OFFSET ROLES
node() {
    WAYLOG__HTTP__LISTEN=127.0.0.1:$((port + $2)) WAYLOG__DATA_DIR=var/cluster/$1 \
        WAYLOG__STREAM__KAFKA__GROUP_INSTANCE_ID=$1 \
        "$waylog" serve --roles "$3" >"var/cluster/$1.log" 2>&1 &
    pids+=($!)
    printf '    %-14s http://127.0.0.1:%d   %s\n' "$1" $((port + $2)) "$3"
}
say 'starting the nodes; each logs to var/cluster/NAME.log'
node ingest-1 1 ingest,dispatch
url=http://127.0.0.1:$((port + 1))
"$waylog" demo --url "$url" --wait-ready
node ingest-2 2 ingest,dispatch
node map-1 3 live-map,dispatch
node map-2 4 live-map,dispatch
node analytics-1 5 analytics
node analytics-2 6 analytics
node notify-1 7 notifications
for ((offset = 2; offset <= 7; offset++)); do
    "$waylog" demo --url "http://127.0.0.1:$((port + offset))" --wait-ready
done
WAYLOG_API_KEY=$WAYLOG__ADMIN_KEY "$waylog" simulate --url "$url" \
    --couriers "${COURIERS:-100}" --history 0 --state var/cluster/simulate &
pids+=($!)
"$waylog" demo --url "$url"
say 'running: kill any node or broker and see what happens; Ctrl-C stops'
echo "    export WAYLOG_URL=$url WAYLOG_API_KEY=$WAYLOG__ADMIN_KEY"
echo "    $waylog stream groups"
while kill -0 "${pids[-1]}" 2>/dev/null; do sleep 1; done
say 'the simulator has ended; stopping the others'
stop 1
