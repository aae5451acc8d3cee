#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
# Builds the programs that tests attach to: build-targets.sh OUTDIR
#
#   server-goX.Y, server-goX.Y-stripped   tests/targets/server, by each Go release, with and without symbols
#   burner-goX.Y, burner-goX.Y-stripped   tests/targets/burner, likewise
#   labels-goX.Y                          tests/targets/labels, by each Go release
#   xnet-goX.Y, xnet-goX.Y-stripped       tests/targets/xnet, which needs modules from the Go proxy
#   server-arm64-goX.Y, ...-stripped      tests/targets/server for arm64
#   client, client-arm64                  tests/targets/client
#   burn-goX.Y, ...-stripped, ...-pie     tests/targets/burn, which uses the CPU in known functions
#   burn-goX.Y-external-pie               likewise, stripped, linked by the C linker
#   burn-cpp, burn-cpp-pie, ...           the same in C++
#   context-reader                        examples/03-context-map/readers/go, which needs modules from the Go proxy
#   bad-*                                 files and programs that an agent has to refuse
#
# Skips what is up to date. A toolchain that can't be had costs its programs only, with a line that begins with SKIPPED.
set -eu

[ $# -eq 1 ] || { echo "usage: $0 OUTDIR" >&2; exit 2; }
root=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
exec 9>"$out/.lock"
flock 9

# The releases that the library is held to: oldest supported, one of the swiss-map age, the usual one, newest.
releases="1.19.13 1.24.9 1.26.8 1.27.3"

if [ -x "$root/scripts/go.sh" ]; then
	go=$root/scripts/go.sh
elif command -v go >/dev/null; then
	go=go
else
	go=
fi
local_version=
[ -z "$go" ] || local_version=$(GOTOOLCHAIN=local "$go" env GOVERSION 2>/dev/null || true)

# toolchain RELEASE: the value of GOTOOLCHAIN for it; the machine's own Go serves for every patch of its release.
toolchain() {
	case $local_version in
	go"${1%.*}" | go"${1%.*}".*) echo local ;;
	*) echo "go$1" ;;
	esac
}

# up_to_date FILE FOLDER: whether FILE is newer than every source in FOLDER and this script.
up_to_date() {
	[ -f "$1" ] && [ -z "$(find "$2" "$0" -type f -newer "$1" -print -quit)" ]
}

# build_go NAME FOLDER RELEASE [LDFLAGS]. The module file names the release, as that of a program written for it would:
# it chooses the defaults of GODEBUG, and with them how ServeMux routes.
build_go() {
	up_to_date "$out/$1" "$2" && return 0
	if [ -z "$go" ]; then
		echo "SKIPPED: build $1: no go in PATH"
		return 0
	fi
	mod=$out/.$1.mod
	sed "s/^go .*/go ${3%.*}/" "$2/go.mod" >"$mod"
	[ ! -f "$2/go.sum" ] || cp "$2/go.sum" "${mod%.mod}.sum"
	if log=$(cd "$2" && GOTOOLCHAIN=$(toolchain "$3") CGO_ENABLED=0 \
		"$go" build -buildvcs=false -modfile="$mod" -ldflags="${4-}" -o "$out/$1" . 2>&1); then
		touch "$out/$1" # go leaves an identical file as it is
		echo "built $1"
	else
		rm -f "$out/$1"
		echo "SKIPPED: build $1: $(printf '%s' "$log" | tail -1)"
	fi
	rm -f "$mod" "${mod%.mod}.sum"
}

for release in $releases; do
	for program in server burner burn; do
		name=$program-go${release%.*}
		build_go "$name" "$root/tests/targets/$program" "$release"
		build_go "$name-stripped" "$root/tests/targets/$program" "$release" "-s -w"
	done
	build_go "labels-go${release%.*}" "$root/tests/targets/labels" "$release"
done
(
	export GOFLAGS=-buildmode=pie
	build_go burn-go1.26-pie "$root/tests/targets/burn" 1.26.8 "-s -w"
)
# Linked by the C linker, which leaves pointers to relocations. Not built where there is no C compiler.
for release in 1.19.13 1.27.3; do
	name=burn-go${release%.*}-external-pie
	up_to_date "$out/$name" "$root/tests/targets/burn" && continue
	mod=$out/.$name.mod
	sed "s/^go .*/go ${release%.*}/" "$root/tests/targets/burn/go.mod" >"$mod"
	if [ -n "$go" ] && log=$(cd "$root/tests/targets/burn" && GOTOOLCHAIN=$(toolchain "$release") CGO_ENABLED=1 \
		"$go" build -buildvcs=false -modfile="$mod" -buildmode=pie -ldflags="-linkmode=external -s -w" \
		-o "$out/$name" . 2>&1); then
		touch "$out/$name"
		echo "built $name"
	else
		echo "SKIPPED: build $name: $(printf '%s' "${log:-no go in PATH}" | tail -1)"
	fi
	rm -f "$mod" "${mod%.mod}.sum"
done
build_go xnet-go1.26 "$root/tests/targets/xnet" 1.26.8
build_go xnet-go1.26-stripped "$root/tests/targets/xnet" 1.26.8 "-s -w"
(
	export GOARCH=arm64
	for release in $releases; do
		build_go "server-arm64-go${release%.*}" "$root/tests/targets/server" "$release"
		build_go "server-arm64-go${release%.*}-stripped" "$root/tests/targets/server" "$release" "-s -w"
	done
)
build_go client "$root/tests/targets/client" 1.26.8
build_go context-reader "$root/examples/03-context-map/readers/go" 1.26.8
(
	export GOARCH=arm64
	build_go client-arm64 "$root/tests/targets/client" 1.26.8
)

# build_cxx NAME SOURCE FLAGS...
build_cxx() {
	name=$1 source=$2
	shift 2
	up_to_date "$out/$name" "$source" && return 0
	${CXX:-c++} -O1 -fno-omit-frame-pointer "$@" -o "$out/$name" "$source"
	echo "built $name"
}
burn=$root/tests/targets/burn.cpp
build_cxx burn-cpp "$burn" -no-pie
build_cxx burn-cpp-pie "$burn" -pie -fPIE
build_cxx burn-cpp-dynsym "$burn" -pie -fPIE -rdynamic -s # functions in .dynsym only
build_cxx burn-cpp-stripped "$burn" -pie -fPIE -s

if ! up_to_date "$out/bad-not-go" "$root/tests/targets/not_go.c"; then
	${CC:-cc} -O1 -o "$out/bad-not-go" "$root/tests/targets/not_go.c"
fi
if ! up_to_date "$out/bad-empty" "$0"; then
	# ELF32, little-endian, ET_EXEC, EM_386, entry 0x8048054, one program header at 52.
	{
		printf '\177ELF\001\001\001\0\0\0\0\0\0\0\0\0'
		printf '\002\0\003\0\001\0\0\0\124\200\004\010\064\0\0\0\0\0\0\0\0\0\0\0\064\0\040\0\001\0\050\0\0\0\0\0'
		printf '\001\0\0\0\0\0\0\0\0\200\004\010\0\200\004\010\124\0\0\0\124\0\0\0\005\0\0\0\0\020\0\0'
	} >"$out/bad-elf32"
	chmod +x "$out/bad-elf32"
	seq 1 20000 | gzip -n9 >"$out/bad-garbage"
	: >"$out/bad-empty"
fi
whole=$out/server-go1.24
if [ -f "$whole" ] && ! { up_to_date "$out/bad-truncated-half" "$whole"; }; then
	head -c 100 "$whole" >"$out/bad-truncated-header"
	head -c "$(($(wc -c <"$whole") / 2))" "$whole" >"$out/bad-truncated-half"
	chmod +x "$out"/bad-truncated-*
fi
