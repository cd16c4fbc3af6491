#!/bin/sh
# Rebuilds the objects beside the sources: build/O1 and build/O2, with BTF, without DWARF.
#
#     ./build.sh [NAME.c …]
#
# Needs clang with the BPF target and llvm-strip (Debian's clang 14 made the committed ones).  A program
# that begins with a comment line `cpu: vN` is compiled for that instruction set, the others for v3.
set -eu
cd "$(dirname "$0")"
clang=${CLANG:-clang}
strip=${LLVM_STRIP:-llvm-strip}
[ $# -gt 0 ] || set -- *.c
for level in O1 O2; do
	mkdir -p "build/$level"
	for source; do
		object=build/$level/${source%.c}.o
		cpu=$(sed -n 's/.*cpu: \(v[0-9]\).*/\1/p;5q' "$source")
		"$clang" -target bpf -"$level" -mcpu="${cpu:-v3}" -g -Wall -Wextra -Werror -Wno-unused-const-variable \
			-Wno-address-of-packed-member -fdebug-prefix-map="$PWD"=. -I include -c "$source" -o "$object"
		"$strip" -g "$object"
	done
done
