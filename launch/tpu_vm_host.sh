#!/usr/bin/env bash
# Makes a host of a TPU slice ready, in its home folder: mounts the bucket, and installs labram-jax at one commit.
# launch/tpu_vm.sh copies this there, beside labram-jax-COMMIT.tar.gz, and runs it on every host:
#
#     bash tpu_vm_host.sh COMMIT BUCKET CACHE_MB
#
# A host that trains is left alone, and one that has the commit already does not ask the internet for anything.
set -euo pipefail
commit=$1 bucket=$2 cache_mb=$3
gcsfuse=3.6.0
cd "$HOME"

if ! flock -n labram.lock true; then
    echo "labram-jax trains here already, at commit $(cat commit)"
    exit
fi

if ! command -v gcsfuse >/dev/null; then
    releases=https://github.com/GoogleCloudPlatform/gcsfuse/releases/download
    curl -fsSLo gcsfuse.deb "$releases/v$gcsfuse/gcsfuse_${gcsfuse}_amd64.deb"
    sudo apt-get install -y build-essential ./gcsfuse.deb
fi
mkdir -p bucket readonly shards
# A run changes under all hosts at once, so that nothing may be remembered of it; on TPU hosts gcsfuse would by default.
mountpoint -q bucket || gcsfuse --implicit-dirs --metadata-cache-ttl-secs=0 --metadata-cache-negative-ttl-secs=0 \
    "$bucket" bucket
# Corpora are read 20 to 100 kB at a time at random places of shards of up to 512 MB, where every read from a bucket is
# a request: the first one in a shard fetches all of it to the disk, as later ones will want it.
mountpoint -q readonly || gcsfuse -o ro --implicit-dirs --metadata-cache-ttl-secs=60 --cache-dir="$PWD/shards" \
    --file-cache-max-size-mb="$cache_mb" --file-cache-cache-file-for-range-read=true \
    --file-cache-enable-parallel-downloads=true "$bucket" readonly

[ "$(cat commit 2>/dev/null)" != "$commit" ] || exit 0
rm -rf commit labram-jax venv
mkdir labram-jax
tar xzf "labram-jax-$commit.tar.gz" -C labram-jax
pins=labram-jax/constraints.txt
python3 -m pip install --user --quiet --constraint "$pins" uv
.local/bin/uv venv --quiet --python 3.12.12 venv
.local/bin/uv pip install --quiet --python venv --constraint "$pins" --build-constraint "$pins" \
    './labram-jax[tpu,cloud]'
echo "$commit" >commit
