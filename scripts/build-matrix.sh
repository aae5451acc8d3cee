#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
# Builds tests/targets/server in every way that Go programs are built: build-matrix.sh [--all-go] [--list] OUTDIR [CELL...]
#
#   OUTDIR/server-RELEASE-VARIANT   such as server-go1.27.4-pie-stripped
#
# Without --all-go: the last patch of each minor release plain and stripped, the oldest and the newest in all variants.
# With it: the first and the last patch of each minor in all variants. --list prints the cells and builds none.
# A cell that can't be had costs nothing else: a line SKIPPED: build CELL: REASON. What is up to date stays.
set -eu

all_go=false list=false
while :; do
	case ${1-} in
	--all-go) all_go=true ;;
	--list) list=true ;;
	*) break ;;
	esac
	shift
done
root=$(cd "$(dirname "$0")/.." && pwd)
server=$root/tests/targets/server

variants="plain stripped no-dwarf uncompressed-dwarf gnu-stripped trimpath pie pie-stripped cgo cgo-stripped cgo-static
	cgo-pie cgo-pie-stripped external race amd64-v3 boringcrypto nodwarf5 noswissmap mapsplitgroup stamped vendored
	replaced replaced-by-folder packed c-shared"

# The cells to build, one a line.
cells() {
	releases=$(grep -v '^#' "$root/tests/targets/releases")
	ends=$(echo "$releases" | sed -n '1p;$p')
	echo "$releases" | while read -r minor first last; do
		patches=$last names='plain stripped'
		! $all_go || patches="$first $last"
		case $ends in
		*"$minor "*) names=$variants ;;
		*) ! $all_go || names=$variants ;;
		esac
		for patch in $patches; do
			for name in $names; do echo "go$patch-$name"; done
		done
	done
}

if $list; then
	cells
	exit
fi
[ $# -ge 1 ] || { echo "usage: $0 [--all-go] [--list] OUTDIR [CELL...]" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
shift
[ $# -gt 0 ] || set -- $(cells)
exec 9>"$out/.lock"
flock 9

# skip REASON: for the cell at hand.
skip() { echo "SKIPPED: build $cell: $1"; }

# configure VARIANT MINOR: sets what `go build` gets; false, and a line, where the release doesn't know it.
configure() {
	tree='' flags='' ldflags='' tags='' experiment='' level='' cgo=0
	case $1 in
	plain | gnu-stripped | packed) ;;
	stripped) ldflags='-s -w' ;;
	no-dwarf) ldflags=-w ;;
	uncompressed-dwarf) ldflags=-compressdwarf=false ;;
	trimpath) flags=-trimpath ;;
	pie) flags=-buildmode=pie ;;
	pie-stripped) flags=-buildmode=pie ldflags='-s -w' ;;
	cgo) cgo=1 ;;
	cgo-stripped) cgo=1 ldflags='-s -w' ;;
	cgo-static) cgo=1 tags=netgo,osusergo ldflags='-linkmode=external -extldflags=-static' ;;
	cgo-pie) cgo=1 flags=-buildmode=pie ;;
	cgo-pie-stripped) cgo=1 flags=-buildmode=pie ldflags='-s -w' ;;
	external) cgo=1 tags=netgo,osusergo,without_c ldflags=-linkmode=external ;;
	race) cgo=1 flags=-race ;;
	amd64-v3) level=v3 ;;
	boringcrypto) cgo=1 experiment=boringcrypto ;;
	nodwarf5) experiment=nodwarf5 ; came "$2" 25 || return ;;
	noswissmap) experiment=noswissmap ; came "$2" 24 && went "$2" 25 || return ;;
	mapsplitgroup) experiment=mapsplitgroup ; came "$2" 27 || return ;;
	stamped) tree=stamped ; came "$2" 24 || return ;;
	vendored) tree=vendored tags=xnet flags=-mod=vendor ;;
	replaced | replaced-by-folder) tree=$1 tags=xnet ;;
	c-shared) cgo=1 tags=shared flags=-buildmode=c-shared ;;
	*) skip "there is no variant $1" ; return 1 ;;
	esac
}
came() { [ "${1#*.}" -ge "$2" ] || { skip "came with Go 1.$2" ; return 1; }; }
went() { [ "${1#*.}" -le "$2" ] || { skip "went after Go 1.$2" ; return 1; }; }

# make_tree KIND MINOR: a copy of the program with modules of its own, in $work.
make_tree() {
	case $1 in
	'')
		rm -rf "$work/server"
		cp -r "$server" "$work/server"
		sed -i "s/^go .*/go $2/" "$work/server/go.mod"
		rm "$work"/server/xnet.*
		return
		;;
	stamped)
		make_tree '' "$2"
		(
			cd "$work/server"
			git init -q . && git add . &&
				git -c user.name=matrix -c user.email=matrix@localhost commit -q -m matrix && git tag v1.2.3
		)
		return
		;;
	esac
	make_tree '' "$2"
	sed "s/^go .*/go $2/" "$server/xnet.mod" >"$work/server/go.mod"
	cp "$server/xnet.sum" "$work/server/go.sum"
	cd "$work/server"
	case $1 in
	vendored) run_go mod vendor ;;
	replaced)
		sed -i 's/net v0.7.0/net v0.6.0/' go.mod
		echo 'replace golang.org/x/net => golang.org/x/net v0.7.0' >>go.mod
		;;
	replaced-by-folder)
		run_go mod vendor
		mkdir local
		mv vendor/golang.org/x/net local/net
		rm -r vendor
		printf 'module golang.org/x/net\n\ngo 1.17\n\nrequire golang.org/x/text v0.7.0\n' >local/net/go.mod
		echo 'replace golang.org/x/net => ./local/net' >>go.mod
		;;
	esac
}

# The toolchain's own command: another release's may not know the experiment.
run_go() {
	goroot=$(GOTOOLCHAIN=$release "$root/scripts/go.sh" env GOROOT) || return
	GOTOOLCHAIN=local GOROOT=$goroot GOFLAGS='' CGO_ENABLED=$cgo GOEXPERIMENT=$experiment GOAMD64=$level \
		"$goroot/bin/go" "$@"
}

build() { # FILE
	vcs=false
	[ "$tree" != stamped ] || vcs=true
	cd "$work/server"
	# shellcheck disable=SC2086  # $flags is a list
	run_go build -buildvcs=$vcs $flags -tags="$tags" -ldflags="$ldflags" -o "$1" .
}

# finish VARIANT: what is done with the file after Go built it.
finish() {
	case $1 in
	gnu-stripped) strip "$work/built" ;;
	packed)
		python3 -c 'import sys, zlib; sys.stdout.buffer.write(zlib.compress(sys.stdin.buffer.read(), 1))' \
			<"$work/built" >"$work/packed"
		${CC:-cc} -O1 -static-pie -fPIE -DPACKED="\"$work/packed\"" -DUNPACKED_BYTES="$(wc -c <"$work/built")" \
			-o "$work/built" "$root/tests/targets/packer.c" -lz
		;;
	c-shared) ${CC:-cc} -O1 -o "$out/shared_host-$cell" "$root/tests/targets/shared_host.c" -ldl ;;
	esac
}

# up_to_date FILE: whether it is newer than all that it is made from.
up_to_date() {
	[ -f "$1" ] && [ -z "$(find "$server" "$root/tests/targets/packer.c" "$root/tests/targets/shared_host.c" "$0" \
		-type f -newer "$1" -print -quit)" ]
}

work=$out/.work
trap 'rm -rf "$work"' EXIT
for cell in "$@"; do
	release=${cell%%-*} variant=${cell#*-}
	minor=$(echo "${release#go}" | cut -d. -f1,2)
	configure "$variant" "$minor" || continue
	! up_to_date "$out/server-$cell" || continue
	rm -rf "$work" "$out/server-$cell"
	mkdir "$work"
	if log=$( (make_tree "$tree" "$minor" && build "$work/built" && finish "$variant") 2>&1); then
		mv "$work/built" "$out/server-$cell"
		echo "built $cell"
	else
		skip "$(printf '%s' "$log" | tail -1)"
	fi
done
