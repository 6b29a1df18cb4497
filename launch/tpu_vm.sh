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
# BUCKET               with a hierarchical namespace; every host sees it twice: as ~/bucket, the folder of runs, and as
#                      ~/readonly, for corpora that are read in place
# COMMIT               of this repository, which every host installs (for train)
# SPOT=0               on demand instead of spot
# RETRIES=5            how often a failure is tried again; preemption does not count
# CACHE_MB=50000       of each host's disk that ~/readonly may take for shards; all corpora read there should fit
#
# With --dry-run it prints what it would do. Stopped and started again, it goes on with the slice and the training that
# are there. A slice costs until `delete`.
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
[[ $NAME =~ ^[a-z][-a-z0-9]*$ ]] || fail "NAME must be of small letters, digits and dashes, a letter first."
[[ $BUCKET =~ ^[a-z0-9][-_.a-z0-9]+$ ]] || fail "BUCKET must be a bucket's name, without gs:// and folders."
: "${RETRIES:=5}" "${CACHE_MB:=50000}"
[[ $RETRIES,$CACHE_MB =~ ^[0-9]+,[0-9]+$ ]] || fail "RETRIES and CACHE_MB must be whole numbers."
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

on() { # on WORKER WORD...: runs a command there; the remote shell gets every word as it is
    local worker=$1 words
    words=$(printf '%q ' "${@:2}")
    run "${vm[@]}" ssh "$NAME" "${where[@]}" --worker="$worker" --command="${words% }"
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

install() {
    local source=${TMPDIR:-/tmp}/labram-jax-$commit.tar.gz
    run git archive --format=tar.gz --output="$source" "$commit"
    run "${vm[@]}" scp "$source" launch/tpu_vm_host.sh "$NAME:" "${where[@]}" --worker=all
    on all bash tpu_vm_host.sh "$commit" "$BUCKET" "$CACHE_MB"
}

start() { # on every host, unless it trains already; the code at its end is left in a file
    # shellcheck disable=SC2016 # the host expands it
    local train='venv/bin/labram-jax "$@" >labram.log 2>&1; echo $? >labram.exit'
    # shellcheck disable=SC2016
    local apart='rm -f labram.exit; nohup flock -n labram.lock "$@" >/dev/null 2>&1 </dev/null &'
    on all bash -c "$apart" bash bash -c "$train" bash "$@"
}

finish() { # prints the code at the end of training, or "lost" where no host has answered for a while
    local told misses=0
    while [ "$misses" -lt 5 ]; do
        sleep 60
        told=$(on 0 bash -c "cat labram.exit 2>/dev/null || echo running" 2>/dev/null) || told=
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
        on 0 tail -n 40 -f labram.log
        exit
        ;;
    delete)
        delete
        exit
        ;;
esac
[ -n "${COMMIT:-}" ] || fail "set COMMIT (the head of this file says what it is)."
# Looked up once: after preemption the same commit is installed, also where COMMIT is a branch that has moved on.
commit=$(git rev-parse --verify --quiet "$COMMIT^{commit}") || fail "COMMIT must be a commit of this repository."
if [ "$dry" = 1 ]; then
    create
    install
    start "$@"
    on 0 cat labram.exit
    echo "# with the code: 0, 2, 65 or 130: ends; 75, or a slice that is gone: all of this again;"
    echo "# another: all of this again, at most $RETRIES times"
    echo "# tpu_vm_host.sh, on every host:"
    cat launch/tpu_vm_host.sh
    exit
fi
failures=0
while :; do
    ensure
    code=lost
    if install && start "$@"; then
        echo "training at commit $commit: launch/tpu_vm.sh watch shows the log"
        code=$(finish)
    fi
    case $code in
        0) exit 0 ;;
        2 | 65 | 130) # a mistake in the command, damaged data, or someone's wish: the same would happen again
            echo "launch/tpu_vm.sh: training ended with code $code: launch/tpu_vm.sh watch shows why." >&2
            exit "$code"
            ;;
        75) echo "stopped with a checkpoint; going on" ;;
        *)
            failures=$((failures + 1))
            echo "failure $failures: ${code/lost/no answer from the slice}" >&2
            [ "$failures" -le "$RETRIES" ] || exit 1
            sleep 60
            ;;
    esac
done
