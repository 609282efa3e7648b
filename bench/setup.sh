#!/bin/sh
# Installs the packages that some benchmark functions import, below target/bench-packages. A benchmark
# does without what is not there, and says so. Does nothing when everything is already there.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
packages=${CARGO_TARGET_DIR:-$root/target}/bench-packages
mkdir -p "$packages"

if [ ! -d "$packages/python/boto3" ]; then
    rm -rf "$packages/python.new"
    timeout 300 python3 -m pip install -q --disable-pip-version-check --no-warn-conflicts --root-user-action=ignore \
        --python-version 3.11 --only-binary=:all: --no-compile --target "$packages/python.new" 'boto3>=1.35,<2' \
        && /usr/bin/python3 -m compileall -q --invalidation-mode unchecked-hash "$packages/python.new" \
        && mv "$packages/python.new" "$packages/python" || echo 'boto3 is not installed: the standard library stands in' >&2
fi
if [ ! -d "$packages/nodejs/node_modules/express" ]; then
    mkdir -p "$packages/nodejs"
    echo '{}' >"$packages/nodejs/package.json"
    timeout 300 npm install --prefix "$packages/nodejs" --silent --no-audit --no-fund 'express@^5' \
        || echo "express is not installed: Node's own modules stand in" >&2
fi
# Numba does not fit into the 50 MB that an upload may have; functions see the machine's own.
if ! /usr/bin/python3 -c 'import numba' 2>/dev/null && [ "$(id -u)" = 0 ]; then
    timeout 600 apt-get install -y -q --no-install-recommends python3-numba >/dev/null \
        || echo 'numba is not installed: plain Python stands in' >&2
fi
