#!/usr/bin/env bash
# Submits a training job on a TPU slice of GKE: fills launch/gke_jobset.yaml in and applies it.
#
#     launch/gke.sh [--dry-run] train CONFIG --run /bucket/runs/NAME [--dotted.override VALUE ...]
#     launch/gke.sh [--dry-run] watch | delete
#
# NAME                 of the job
# IMAGE                with labram-jax in it (launch/Dockerfile)
# BUCKET               with a hierarchical namespace; every pod sees it as /bucket, the folder of runs
# ACCELERATOR          such as tpu-v5-lite-podslice
# TOPOLOGY             such as 16x16
# HOSTS, CHIPS         hosts of the slice and TPU chips of one host: 64 and 4 for a v5e of 16x16
# SERVICE_ACCOUNT      of Kubernetes, that may use the bucket (default: default)
# RETRIES              how often the job starts again by itself (default: 100; preemption counts too)
#
# With --dry-run the job is printed and not submitted.
set -euo pipefail

fail() {
    echo "launch/gke.sh: $1" >&2
    exit 2
}

show=()
if [ "${1:-}" = --dry-run ]; then
    show=(echo)
    shift
fi
action=${1:-}
[[ $action =~ ^(train|watch|delete)$ ]] || fail "say what to do: train CONFIG --run /bucket/runs/NAME, watch or delete."
[ -n "${NAME:-}" ] || fail "set NAME (the head of this file says what it is)."
case $action in
    watch)
        ${show[@]+"${show[@]}"} kubectl logs --follow --container=train "job/$NAME-train-0"
        exit
        ;;
    delete)
        ${show[@]+"${show[@]}"} kubectl delete jobset "$NAME"
        exit
        ;;
esac
[ $# -gt 1 ] || fail "name a configuration: train CONFIG --run /bucket/runs/NAME."

# The command's words as a list of JSON, which YAML takes as it is.
ARGUMENTS=
for word in "$@"; do
    word=${word//\\/\\\\}
    word=${word//\"/\\\"}
    ARGUMENTS+=${ARGUMENTS:+, }\"$word\"
done
ARGUMENTS="[$ARGUMENTS]"
: "${SERVICE_ACCOUNT:=default}" "${RETRIES:=100}"

job=$(<"$(dirname "$0")/gke_jobset.yaml")
for variable in NAME IMAGE BUCKET ACCELERATOR TOPOLOGY HOSTS CHIPS SERVICE_ACCOUNT RETRIES ARGUMENTS; do
    [ -n "${!variable:-}" ] || fail "set $variable (the head of this file says what it is)."
    value=${!variable}
    job=${job//"\${$variable}"/"$value"}
done
if [ ${#show[@]} -gt 0 ]; then
    echo "$job"
else
    kubectl apply --filename=- <<<"$job"
fi
