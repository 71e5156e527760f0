#!/usr/bin/env bash
# A real Apache Kafka on loopback, for tests and for trying: one broker or three, KRaft mode.
#   scripts/kafka.sh start [--brokers 3] [--dir var/kafka] [--port 9092] [--secure] | stop | status
# (--dir as at start). Broker N listens on port + N - 1, its controller on port + 100 + N - 1. With
# --secure also on port + 200 + N - 1, for TLS and SASL: certificate in DIR/ca.pem, users `waylog`
# (may do anything) and `guest` (may do nothing), both with the password `secret`.
set -euo pipefail
cd "$(dirname "$0")/.."
what=${1:-status}
shift || true
brokers=1
dir=var/kafka
port=9092
secure=
while [ $# -gt 0 ]; do
    case $1 in
    --brokers) brokers=$2; shift ;;
    --dir) dir=$2; shift ;;
    --port) port=$2; shift ;;
    --secure) secure=1 ;;
    *) echo "unknown option $1; see the head of scripts/kafka.sh" >&2; exit 2 ;;
    esac
    shift
done
jars=var/kafka-jars
topic_tool() { java -cp "$jars/*" org.apache.kafka.tools.TopicCommand "$@" 2>/dev/null; }

get_jars() {
    cmp -s scripts/kafka/pom.xml "$jars/.pom" && return
    local need=()
    command -v java >/dev/null || need+=(openjdk-17-jre-headless)
    command -v mvn >/dev/null || need+=(maven)
    if [ ${#need[@]} -gt 0 ]; then
        local as_root=()
        [ "$(id -u)" = 0 ] || as_root=(sudo)
        "${as_root[@]}" apt-get update -qq
        DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends \
            "${need[@]}" >/dev/null
    fi
    mkdir -p "$jars"
    if ! mvn -q -B -f scripts/kafka/pom.xml dependency:copy-dependencies \
        -DoutputDirectory="$PWD/$jars" -DincludeScope=runtime >"$jars/.maven.log" 2>&1; then
        echo "Apache Kafka's jars cannot be had: see $jars/.maven.log" >&2
        exit 69
    fi
    cp scripts/kafka/pom.xml "$jars/.pom"
}

alive() { [ -s "$1" ] && kill -0 "$(cat "$1")" 2>/dev/null; }

make_certificate() {
    [ -s "$dir/ca.pem" ] && return
    keytool -genkeypair -alias broker -keyalg RSA -validity 3650 -dname CN=localhost \
        -ext san=dns:localhost,ip:127.0.0.1 -storetype PKCS12 -keystore "$dir/broker.p12" \
        -storepass secret 2>/dev/null
    keytool -exportcert -rfc -alias broker -keystore "$dir/broker.p12" -storepass secret \
        >"$dir/ca.pem" 2>/dev/null
}

# settings N VOTERS REPLICATION: what broker N runs with.
settings() {
    local n=$1 voters=$2 replication=$3
    local plain=PLAINTEXT://127.0.0.1:$((port + n - 1)) control=CONTROLLER://127.0.0.1:$((port + 99 + n))
    local safe=${secure:+,SASL_SSL://127.0.0.1:$((port + 199 + n))}
    cat <<P
process.roles=broker,controller
node.id=$n
controller.quorum.voters=$voters
listeners=$plain,$control$safe
advertised.listeners=$plain$safe
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL
controller.listener.names=CONTROLLER
log.dirs=$where/$n
offsets.topic.replication.factor=$replication
transaction.state.log.replication.factor=$replication
transaction.state.log.min.isr=$((replication < 3 ? 1 : 2))
default.replication.factor=$replication
min.insync.replicas=$((replication < 3 ? 1 : 2))
offsets.topic.num.partitions=5
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
P
    [ -n "$secure" ] || return 0
    local jaas='org.apache.kafka.common.security.plain.PlainLoginModule required'
    cat <<P
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:waylog
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_ssl.plain.sasl.jaas.config=$jaas user_waylog="secret" user_guest="secret";
ssl.keystore.type=PKCS12
ssl.keystore.location=$where/broker.p12
ssl.keystore.password=secret
P
}

start() {
    get_jars
    mkdir -p "$dir"
    where=$(cd "$dir" && pwd)
    [ -z "$secure" ] || make_certificate
    local n voters=''
    for ((n = 1; n <= brokers; n++)); do
        voters+=${voters:+,}$n@127.0.0.1:$((port + 99 + n))
    done
    local replication=$((brokers < 3 ? 1 : 3))
    [ -s "$dir/cluster" ] || head -c 16 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n' >"$dir/cluster"
    for ((n = 1; n <= brokers; n++)); do
        alive "$dir/$n.pid" && continue
        settings "$n" "$voters" "$replication" >"$dir/$n.properties"
        if [ ! -e "$dir/$n/meta.properties" ]; then
            java -cp "$jars/*" kafka.tools.StorageTool format -t "$(cat "$dir/cluster")" \
                -c "$dir/$n.properties" >"$dir/$n.format.log" 2>&1 ||
                { tail -5 "$dir/$n.format.log" >&2; exit 1; }
        fi
        setsid java -Xms256m -Xmx512m -cp "$jars/*:scripts/kafka" kafka.Kafka "$dir/$n.properties" \
            >>"$dir/$n.log" 2>&1 </dev/null &
        echo $! >"$dir/$n.pid"
    done
    local deadline=$((SECONDS + 120))
    until topic_tool --bootstrap-server "127.0.0.1:$port" --list >/dev/null; do
        if [ $SECONDS -gt $deadline ] || ! alive "$dir/1.pid"; then
            echo "Kafka did not start: see $dir/1.log" >&2
            tail -5 "$dir/1.log" >&2
            exit 1
        fi
    done
    echo "Kafka: $brokers broker(s), first on 127.0.0.1:$port"
}

stop() {
    local pidfile pid
    for pidfile in "$dir"/*.pid; do
        alive "$pidfile" || continue
        kill "$(cat "$pidfile")"
        # One that a test has paused hears it only now.
        kill -CONT "$(cat "$pidfile")"
    done
    for pidfile in "$dir"/*.pid; do
        [ -e "$pidfile" ] || continue
        pid=$(cat "$pidfile")
        for ((i = 0; i < 300; i++)); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
        kill -9 "$pid" 2>/dev/null || true
        rm -f "$pidfile"
    done
}

status() {
    local pidfile any=1
    for pidfile in "$dir"/*.pid; do
        alive "$pidfile" || continue
        echo "broker $(basename "$pidfile" .pid): process $(cat "$pidfile")"
        any=0
    done
    [ $any = 0 ] || echo "no broker runs in $dir"
    return $any
}

case $what in
start | stop | status) "$what" ;;
*) echo "start, stop or status" >&2; exit 2 ;;
esac
