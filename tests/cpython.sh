#!/bin/sh
# Installs CPython's own tests for the machine's /usr/bin/python3, which they are compared with.
set -eu
. "$(dirname "$0")/need.sh"
need "test -x /usr/bin/python3" python3
version=$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
need "test -e /usr/lib/python$version/test/test_os.py" "libpython$version-testsuite"
need "command -v openssl" openssl
