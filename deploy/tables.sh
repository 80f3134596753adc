#!/bin/bash
# `make tables` with the packages of an image: bash deploy/tables.sh --profile demo --engine ray
set -euo pipefail
for n in 1 2 3 4 5; do
  python -m repro table "table$n" "$@"
done
