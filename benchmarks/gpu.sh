#!/bin/sh
# Training and ranking at Amazon-Book's full size on the GPU at hand, in one command; says so and ends where there is none.
#
#   benchmarks/gpu.sh [DATA_PATH]
#
# DATA_PATH holds amazon-book/amazon-book.train.inter and its evaluation sets. Where it does not, or is not given, data of
# that size are generated. PYTHON names the interpreter, gpu.json receives the figures.
set -eu
data=
if [ -n "${1:-}" ] && [ -f "$1/amazon-book/amazon-book.train.inter" ]; then
    data=$(cd "$1" && pwd)
fi
cd "$(dirname "$0")/.."
exec "${PYTHON:-python}" -m benchmarks.gpu --json gpu.json ${data:+--data_path "$data"}
