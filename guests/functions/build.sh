#!/bin/sh
# build.sh OUT: puts the functions with AWS's own runtime clients together in OUT, one directory each, ready to deploy.
# Does nothing when nothing has changed since the last time.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
exec 9>"$out/.lock"
flock 9
. "$here/../../tests/need.sh"

need "command -v gcc" gcc
need "/usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))'" python3
need "python3 -c 'import ensurepip, venv'" python3-venv

sources=$(cd "$here" && find awslambdaric lambda-runtime -type f -not -path '*/target/*' | LC_ALL=C sort | tr '\n' ' ')
now=$(cd "$here" && cat $sources | sha256sum)
[ "$(cat "$out/.built" 2>/dev/null)" = "$now" ] && exit 0

rm -rf "$out/awslambdaric" "$out/lambda-runtime"
[ -x "$out/.venv/bin/pip" ] || python3 -m venv "$out/.venv"
# The packages are for the interpreter of the functions, which need not be the one of the environment.
version=$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
"$out/.venv/bin/pip" install -q --disable-pip-version-check --only-binary :all: --python-version "$version" \
    --target "$out/awslambdaric" -r "$here/awslambdaric/requirements.txt"
cp "$here/awslambdaric/bootstrap" "$here/awslambdaric/app.py" "$out/awslambdaric/"

(cd "$here/lambda-runtime" && cargo build -q --locked --target-dir "$out/.cargo")
mkdir "$out/lambda-runtime"
cp "$out/.cargo/debug/bootstrap" "$out/lambda-runtime/"
echo "$now" >"$out/.built"
