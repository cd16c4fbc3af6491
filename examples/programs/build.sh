#!/bin/sh
# Rebuilds the objects beside the sources: build/O1 and build/O2, with BTF, without DWARF.
#
#     ./build.sh [NAME.c …]
#
# OUT=DIRECTORY puts them somewhere else.  Needs clang with the BPF target and llvm-strip (Debian's clang 14
# made the committed ones).  A program that says `cpu: vN` in its first comment is compiled for that
# instruction set, the others for v3.
set -eu
cd "$(dirname "$0")"
clang=${CLANG:-clang}
strip=${LLVM_STRIP:-llvm-strip}
out=${OUT:-build}
[ $# -gt 0 ] || set -- *.c
for level in O1 O2; do
	mkdir -p "$out/$level"
	for source; do
		object=$out/$level/${source%.c}.o
		cpu=$(sed -n 's/.*cpu: \(v[0-9]\).*/\1/p;5q' "$source")
		"$clang" -target bpf -"$level" -mcpu="${cpu:-v3}" -g -Wall -Wextra -Werror -Wno-unused-const-variable \
			-Wno-address-of-packed-member -fdebug-prefix-map="$PWD"=. -I include -c "$source" -o "$object"
		"$strip" -g "$object"
	done
done
