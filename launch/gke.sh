#!/usr/bin/env bash
# Submits a training job on a TPU slice of GKE: fills launch/gke_jobset.yaml in and applies it.
#
#     launch/gke.sh [--dry-run] train CONFIG --run /bucket/runs/NAME [--dotted.override VALUE ...]
#     launch/gke.sh [--dry-run] watch | delete
#
# NAME                 of the job
# IMAGE                with labram-jax in it (launch/Dockerfile), by its digest: name@sha256:..., as a tag may move
# BUCKET               with a hierarchical namespace; every pod sees it twice: as /bucket, the folder of runs, and as
#                      /readonly, for corpora that are read in place
# ACCELERATOR          such as tpu-v5-lite-podslice
# TOPOLOGY             such as 16x16
# HOSTS, CHIPS         hosts of the slice and TPU chips of one host: 64 and 4 for a v5e of 16x16
# SERVICE_ACCOUNT      of Kubernetes, that may use the bucket (default: default)
# RETRIES              how often the job starts again by itself (default: 100; preemption counts too)
# CACHE_MB             of each host's disk that /readonly may take for shards; all corpora read there should fit
#                      (default: 50000)
#
# With --dry-run the job is printed and not submitted.
set -euo pipefail

fail() {
    echo "launch/gke.sh: $1" >&2
    exit 2
}

run() {
    if [ "$dry" = 1 ]; then
        printf '%q ' "$@"
        echo
    else
        "$@"
    fi
}

need() { # need VARIABLE PATTERN WHAT: the variable is set, and is what can stand in the job
    [ -n "${!1:-}" ] || fail "set $1 (the head of this file says what it is)."
    [[ ${!1} =~ ^($2)$ ]] || fail "$1 must be $3."
}

dry=0
if [ "${1:-}" = --dry-run ]; then
    dry=1
    shift
fi
action=${1:-}
[[ $action =~ ^(train|watch|delete)$ ]] || fail "say what to do: train CONFIG --run /bucket/runs/NAME, watch or delete."
need NAME '[a-z]([-a-z0-9]{0,40}[a-z0-9])?' "of small letters, digits and dashes, at most 42, a letter first"
case $action in
    watch)
        run kubectl logs --follow --container=train "job/$NAME-train-0"
        exit
        ;;
    delete)
        run kubectl delete jobset "$NAME"
        exit
        ;;
esac
[ $# -gt 1 ] || fail "name a configuration: train CONFIG --run /bucket/runs/NAME."
: "${SERVICE_ACCOUNT:=default}" "${RETRIES:=100}" "${CACHE_MB:=50000}"
need IMAGE '[a-z0-9][-_./:a-zA-Z0-9]*@sha256:[0-9a-f]{64}' "an image by its digest: name@sha256:... (docs/launch.md)"
need BUCKET '[a-z0-9][-_.a-z0-9]+' "a bucket's name, without gs:// and folders"
need ACCELERATOR '[a-z0-9][-a-z0-9]*' "a name such as tpu-v5-lite-podslice"
need TOPOLOGY '[0-9]+x[0-9]+(x[0-9]+)?' "chips by chips, such as 16x16"
need SERVICE_ACCOUNT '[a-z0-9][-.a-z0-9]*' "a name of Kubernetes"
for variable in HOSTS CHIPS RETRIES CACHE_MB; do
    need "$variable" '[0-9]+' "a whole number"
done

# The command's words as a list of JSON, which YAML takes as it is. Kubernetes reads $$ in it as $.
ARGUMENTS=
for word in "$@"; do
    [[ $word != *[[:cntrl:]]* ]] || fail "a word of the command holds a line break or another control character."
    word=${word//\\/\\\\}
    word=${word//\"/\\\"}
    word=${word//\$/\$\$}
    ARGUMENTS+=${ARGUMENTS:+, }\"$word\"
done
ARGUMENTS="[$ARGUMENTS]"

job=$(<"$(dirname "$0")/gke_jobset.yaml")
# The command comes last: what stands in it is not filled in.
for variable in NAME IMAGE BUCKET ACCELERATOR TOPOLOGY HOSTS CHIPS SERVICE_ACCOUNT RETRIES CACHE_MB ARGUMENTS; do
    value=${!variable}
    job=${job//"\${$variable}"/"$value"}
done
if [ "$dry" = 1 ]; then
    echo "$job"
else
    kubectl apply --filename=- <<<"$job"
fi
