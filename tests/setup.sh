#!/bin/sh
# Installs what the tests across crates need and the machine lacks: Python clients in target/venv,
# Node clients in target/node-clients. Does nothing when everything is already there.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
mkdir -p "$target"
exec 9>"$target/.test-setup.lock"
flock 9

. "$root/tests/need.sh"

need "command -v python3" python3
need "python3 -c 'import ensurepip, venv'" python3-venv
need "command -v node" nodejs
need "command -v npm" npm

# A stamp holds what was installed, so that a changed pin installs again.
stamp() { [ -f "$1" ] && cmp -s "$1" "$2"; }

venv=$target/venv
if ! stamp "$venv/.installed" "$root/tests/requirements.txt"; then
    [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
    "$venv/bin/pip" install -q --disable-pip-version-check -r "$root/tests/requirements.txt"
    cp "$root/tests/requirements.txt" "$venv/.installed"
fi

# npm installs next to a package.json, so the pins are copied out of the source tree.
clients=$target/node-clients
if ! stamp "$clients/.installed" "$root/tests/node/package-lock.json"; then
    mkdir -p "$clients"
    cp "$root/tests/node/package.json" "$root/tests/node/package-lock.json" "$clients/"
    npm ci --prefix "$clients" --silent --no-audit --no-fund
    cp "$root/tests/node/package-lock.json" "$clients/.installed"
fi
