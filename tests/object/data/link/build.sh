#!/bin/sh
# Build the objects beside the sources: ./build.sh [clang]
set -e
cd "$(dirname "$0")"
for source in *.bpf.c; do
	"${1:-clang-19}" -g -O2 -target bpf -mcpu=v3 -fdebug-compilation-dir=. -c "$source" -o "${source%.c}.o"
done
