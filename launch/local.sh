#!/usr/bin/env bash
# Trains with several processes on this machine, which talk over loopback: the smallest job of several hosts.
#
#     launch/local.sh PROCESSES CONFIG [--dotted.override VALUE ...]
#
# Each process is one `labram-jax train`. The first one's output is shown, the others write to process-N.log in the
# current folder. If one fails, all are ended and its exit code is passed on.
set -euo pipefail

if [ $# -lt 2 ] || ! [[ $1 =~ ^[1-9][0-9]*$ ]]; then
    sed -n '4s/^# *//p' "$0" >&2
    exit 2
fi
processes=$1
shift
command=${LABRAM_JAX:-labram-jax}
export LABRAM_PROCESSES=$processes
export LABRAM_COORDINATOR=127.0.0.1:${LABRAM_PORT:-$((20000 + RANDOM % 20000))}

trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
for ((process = 1; process < processes; process++)); do
    LABRAM_PROCESS=$process "$command" train "$@" >"process-$process.log" 2>&1 &
done
LABRAM_PROCESS=0 "$command" train "$@" &

for ((process = 0; process < processes; process++)); do
    wait -n || exit $?
done
