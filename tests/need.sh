# Sourced by the scripts that set tests up.

# need CHECK PACKAGE: installs Debian's PACKAGE when the command CHECK fails and we may; one at a time on a machine.
need() {
    sh -c "$1" >/dev/null 2>&1 && return
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "missing: $2 (install it, then run $0 again)" >&2
        exit 1
    fi
    (
        flock 8
        sh -c "$1" >/dev/null 2>&1 && exit
        export DEBIAN_FRONTEND=noninteractive
        apt-get install -y -q --no-install-recommends "$2" >&2 ||
            { apt-get update -q >&2 && apt-get install -y -q --no-install-recommends "$2" >&2; } ||
            {
                echo "missing: $2, and apt-get cannot install it; $0 needs it" >&2
                exit 1
            }
    ) 8>"${TMPDIR:-/tmp}/rekindle-tests-install.lock"
}
