#!/bin/sh
# build.sh OUT: builds the programs that have to be built into the directory OUT, and installs the tools of the others.
# Does nothing when nothing has changed since the last time.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
exec 9>"$out/.lock"
flock 9
. "$here/../../tests/need.sh"

need "command -v busybox" busybox-static
need "command -v git" git
need "command -v openssl" openssl
need "command -v gcc" gcc
need "command -v go" golang-go
need "command -v javac" openjdk-17-jdk-headless

sources=$(cd "$here" && find . -type f -not -path './rust-tokio/target/*' | LC_ALL=C sort | tr '\n' ' ')
now=$(cd "$here" && cat $sources | sha256sum)
[ "$(cat "$out/.built" 2>/dev/null)" = "$now" ] && exit 0

export GOCACHE="$out/.go" GOFLAGS=-mod=mod GOTOOLCHAIN=local
(cd "$here/go/static" && CGO_ENABLED=0 go build -o "$out/go-static" .)
(cd "$here/go/server" && CGO_ENABLED=0 go build -o "$out/go-server" .)
(cd "$here/go/cgo" && CGO_ENABLED=1 go build -o "$out/go-cgo" .)
rm -rf "$out/java" "$out/java-server"
javac -d "$out/java" "$here/java/Main.java"
javac -d "$out/java-server" "$here/java-server/Server.java"
(cd "$here/rust-tokio" && cargo build -q --locked --target-dir "$out/.cargo")
cp "$out/.cargo/debug/rust-tokio" "$out/rust-tokio"
echo "$now" >"$out/.built"
