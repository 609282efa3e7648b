#!/bin/sh
# Installs perf, with which the host's tracepoints are read.
set -eu
. "$(dirname "$0")/need.sh"
need "command -v perf" linux-perf
