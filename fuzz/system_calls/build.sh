#!/bin/sh
# build.sh OUT: builds the guest that calls every system call into the directory OUT.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../../tests/need.sh"
need "command -v gcc" gcc
need "test -e /usr/lib/x86_64-linux-gnu/libc.a" libc6-dev
mkdir -p "$1"
gcc -O1 -Wall -Wextra -Werror -static -pthread -o "$1/calls" "$here/calls.c"
