#!/bin/bash
# `make tables` with the packages of an image: bash deploy/tables.sh --profile demo --engine ray
set -euo pipefail
# Python runs in the background: bash acts on a signal only between foreground commands.
trap 'kill -TERM $(jobs -p) 2>/dev/null; wait; exit 143' TERM INT HUP
for n in ${NUMBERS:-1 2 3 4 5}; do
  python -m repro table "table$n" "$@" &
  wait $!
done
