#!/usr/bin/env bash
# Trains with several processes on this machine, which talk over loopback: the smallest job of several hosts.
#
#     launch/local.sh [--dry-run] PROCESSES CONFIG [--dotted.override VALUE ...]
#
# Each process is one `labram-jax train`; the first one's output is shown, the others write to process-N.log in the
# current folder. When one fails, all end with its message and its exit code. Ctrl-C or a SIGTERM saves a checkpoint
# and ends with code 75; the same command goes on from there. With --dry-run it prints what it would run.
# LABRAM_JAX: the command, if it is not `labram-jax`. LABRAM_PORT: the port on which the processes meet.
set -euo pipefail

dry=0
if [ "${1:-}" = --dry-run ]; then
    dry=1
    shift
fi
if [ $# -lt 2 ] || ! [[ $1 =~ ^[1-9][0-9]*$ ]]; then
    sed -n '4s/^# *//p' "$0" >&2
    exit 2
fi
processes=$1
shift
job=(env "LABRAM_PROCESSES=$processes" "LABRAM_COORDINATOR=127.0.0.1:${LABRAM_PORT:-$((20000 + RANDOM % 10000))}")
train=("${LABRAM_JAX:-labram-jax}" train "$@")

if [ "$dry" = 1 ]; then
    printf '%q ' "${job[@]}" LABRAM_PROCESS=0 "${train[@]}"
    echo "&"
    for ((process = 1; process < processes; process++)); do
        printf '%q ' "${job[@]}" "LABRAM_PROCESS=$process" "${train[@]}"
        echo ">process-$process.log 2>&1 &"
    done
    echo "wait # for all, and end with the code of one that failed"
    exit
fi

ids=()
trap 'kill -TERM "${ids[@]}" 2>/dev/null || true' INT TERM
"${job[@]}" LABRAM_PROCESS=0 "${train[@]}" &
ids+=($!)
for ((process = 1; process < processes; process++)); do
    "${job[@]}" "LABRAM_PROCESS=$process" "${train[@]}" >"process-$process.log" 2>&1 &
    ids+=($!)
done

status=0
for id in "${ids[@]}"; do
    code=0
    wait "$id" || code=$?
    while kill -0 "$id" 2>/dev/null; do # a signal has ended the wait, and not the process
        code=0
        wait "$id" || code=$?
    done
    [ "$code" -eq 0 ] || status=$code
done
exit "$status"
