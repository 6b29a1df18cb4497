#!/usr/bin/env bash
# Trains on a Cloud TPU slice: asks for a queued resource, installs, runs on all hosts, goes on after preemption.
#
#     launch/tpu_vm.sh [--dry-run] train CONFIG --run bucket/runs/NAME [--dotted.override VALUE ...]
#     launch/tpu_vm.sh [--dry-run] watch | delete
#
# PROJECT, ZONE        where
# NAME                 of the queued resource and of its slice
# ACCELERATOR          such as v5litepod-256
# RUNTIME              software of the hosts, such as v2-alpha-tpuv5-lite
# BUCKET               with a hierarchical namespace; every host mounts it as ~/bucket, the folder of runs
# SPOT=0               on demand instead of spot
# RETRIES=5            how often a failure is tried again; preemption does not count
#
# Stopped and started again, it goes on with the slice and the training that are there. A slice costs until `delete`.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
    echo "launch/tpu_vm.sh: $1" >&2
    exit 2
}

run() {
    if [ "$dry" = 0 ]; then
        "$@"
        return
    fi
    local word
    for word in "$@"; do
        [[ $word =~ ^[A-Za-z0-9@%+=:,./_-]+$ ]] || word="'${word//\'/\'\\\'\'}'"
        printf '%s ' "$word"
    done
    echo
}

dry=0
if [ "${1:-}" = --dry-run ]; then
    dry=1
    shift
fi
action=${1:-}
[[ $action =~ ^(train|watch|delete)$ ]] || fail "say what to do: train CONFIG --run bucket/runs/NAME, watch or delete."
[ "$action" != train ] || [ $# -gt 1 ] || fail "name a configuration: train CONFIG --run bucket/runs/NAME."
for variable in PROJECT ZONE NAME ACCELERATOR RUNTIME BUCKET; do
    [ -n "${!variable:-}" ] || fail "set $variable (the head of this file says what it is)."
done
where=("--project=$PROJECT" "--zone=$ZONE")
queue=(gcloud compute tpus queued-resources)
vm=(gcloud compute tpus tpu-vm)

state() {
    "${queue[@]}" describe "$NAME" "${where[@]}" --format='value(state.state)' 2>/dev/null || true
}

create() {
    local tier=(--spot)
    [ "${SPOT:-1}" = 1 ] || tier=()
    run "${queue[@]}" create "$NAME" "${where[@]}" --node-id="$NAME" --accelerator-type="$ACCELERATOR" \
        --runtime-version="$RUNTIME" ${tier[@]+"${tier[@]}"}
}

delete() {
    run "${queue[@]}" delete "$NAME" "${where[@]}" --force --quiet
}

on() { # on WORKER COMMAND
    run "${vm[@]}" ssh "$NAME" "${where[@]}" --worker="$1" --command="$2"
}

ensure() { # returns when the slice is there
    while :; do
        case $(state) in
            ACTIVE) return ;;
            "")
                failures=0
                create || true
                ;;
            FAILED | SUSPENDED) delete || true ;;
            *) echo "waiting for $NAME: $(state)" ;;
        esac
        sleep 60
    done
}

fuse=https://github.com/GoogleCloudPlatform/gcsfuse/releases/download/v3.6.0/gcsfuse_3.6.0_amd64.deb
install() {
    local source=${TMPDIR:-/tmp}/labram-jax-$NAME.tar.gz
    run git archive --format=tar.gz --output="$source" HEAD
    run "${vm[@]}" scp "$source" "$NAME:labram-jax.tar.gz" "${where[@]}" --worker=all
    on all "set -e
        flock -n labram.lock true || exit 0 # it trains already
        if ! command -v gcsfuse >/dev/null; then
            curl -fsSLo gcsfuse.deb $fuse
            sudo apt-get install -y build-essential ./gcsfuse.deb
        fi
        mkdir -p bucket labram-jax
        mountpoint -q bucket || gcsfuse --implicit-dirs $BUCKET bucket
        tar xzf labram-jax.tar.gz -C labram-jax
        python3 -m pip install --user --quiet uv
        .local/bin/uv venv --quiet --allow-existing --python 3.12 venv
        .local/bin/uv pip install --quiet --python venv './labram-jax[tpu,cloud]'"
}

start() { # on every host, unless it trains already; the code at its end is left in a file
    local train
    train=$(printf '%q ' venv/bin/labram-jax "$@")
    train=$(printf '%q' "rm -f labram.exit; $train>labram.log 2>&1; echo \$? >labram.exit")
    on all "nohup flock -n labram.lock bash -c $train >/dev/null 2>&1 </dev/null &"
}

finish() { # prints the code at the end of training, or "lost" where no host has answered for a while
    local told misses=0
    while [ "$misses" -lt 5 ]; do
        sleep 60
        told=$(on 0 "cat labram.exit 2>/dev/null || echo running" 2>/dev/null) || told=
        case $told in
            running) misses=0 ;;
            "") misses=$((misses + 1)) ;;
            *) echo "$told" && return ;;
        esac
    done
    echo lost
}

case $action in
    watch)
        on 0 "tail -n 40 -f labram.log"
        exit
        ;;
    delete)
        delete
        exit
        ;;
esac
if [ "$dry" = 1 ]; then
    create
    install
    start "$@"
    on 0 "cat labram.exit"
    exit
fi
failures=0
while :; do
    ensure
    code=lost
    if install && start "$@"; then
        echo "training: launch/tpu_vm.sh watch shows the log"
        code=$(finish)
    fi
    case $code in
        0) exit 0 ;;
        2) fail "training refused what it was given: launch/tpu_vm.sh watch shows why." ;;
        75) echo "stopped with a checkpoint; going on" ;;
        *)
            failures=$((failures + 1))
            echo "failure $failures: ${code/lost/no answer from the slice}" >&2
            [ "$failures" -le "${RETRIES:-5}" ] || exit 1
            sleep 60
            ;;
    esac
done
