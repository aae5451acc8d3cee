#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
# Installs what this project needs on Debian 12 or newer, and nothing that is there already:
# setup.sh [--tests] [--vm-arm64]
#
# Without options: what the library, the examples and the demo are built from. --vm-arm64: what builds them for arm64 and
# emulates such a machine; the packages that are linked come by scripts/arm64-sysroot.sh. Go is taken from the PATH where it is
# 1.21 or newer; else a toolchain comes from the Go module proxy into ~/.cache/otel_ebpf (see scripts/go.sh).
set -eu

# The release that scripts/go.sh runs where the machine has no Go that can switch toolchains by itself.
go_release=1.26.8

build_packages="ca-certificates git g++ make cmake ninja-build pkg-config ccache python3 clang bpftool
	libbpf-dev libelf-dev libdw-dev libzydis-dev libfmt-dev libexpected-dev nlohmann-json3-dev libcli11-dev
	zlib1g-dev libprotozero-dev libcurl4-openssl-dev catch2"
# clang-19 is the newest that BPF headers are tested with; s390x stands for every big-endian machine;
# binutils read arm64 code, which checks what is made of it; reports and flame graphs are opened in Chromium.
test_packages="python3-pytest wrk busybox-static cpio qemu-system-x86 qemu-user-static g++-s390x-linux-gnu
	binutils-aarch64-linux-gnu clang-19 libclang-rt-19-dev protobuf-compiler chromium"
vm_arm64_packages="g++-aarch64-linux-gnu qemu-system-arm qemu-user-static cpio"

root=$(cd "$(dirname "$0")/.." && pwd)
packages=$build_packages
for option; do
	case $option in
	--tests) packages="$packages $test_packages" ;;
	--vm-arm64) packages="$packages $vm_arm64_packages" ;;
	*) echo "usage: $0 [--tests] [--vm-arm64]" >&2; exit 2 ;;
	esac
done

say() { echo "setup: $*"; }

as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		say "needs root to install packages: run as root, or install sudo" >&2
		exit 1
	fi
}

missing_packages() {
	for package in "$@"; do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || printf ' %s' "$package"
	done
}

install_packages() {
	missing=$(missing_packages "$@")
	if [ -z "$missing" ]; then
		return
	fi
	say "installing$missing"
	as_root apt-get -qq update
	# shellcheck disable=SC2086  # a list
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $missing >/dev/null
}

if ! command -v dpkg-query >/dev/null; then
	say "not a Debian system; install the counterparts of:" $packages
	exit 1
fi
# shellcheck disable=SC2086
install_packages $packages
say "packages are complete"

if "$root/scripts/go.sh" --usable; then
	say "Go: $("$root/scripts/go.sh" version)"
	exit 0
fi

# Debian 12 has Go 1.19, which can download modules but no toolchains; a toolchain is a module, though.
if ! command -v go >/dev/null; then
	install_packages golang-go
fi
case $(uname -m) in
x86_64) machine=amd64 ;;
aarch64) machine=arm64 ;;
*) say "no Go toolchain for $(uname -m) in the module proxy; put Go >= 1.21 in the PATH" >&2; exit 1 ;;
esac
cache=${XDG_CACHE_HOME:-$HOME/.cache}/otel_ebpf
mkdir -p "$cache"
say "Go: downloading $go_release from the Go module proxy"
# -modcacherw: a cache that `rm -r` can delete.
answer=$(cd "$cache" && GOFLAGS="-mod=mod -modcacherw" GOMODCACHE="$cache/modules" \
	go mod download -json "golang.org/toolchain@v0.0.1-go$go_release.linux-$machine") || {
	say "Go: download failed: $answer" >&2
	exit 1
}
folder=$(printf '%s' "$answer" | python3 -c 'import json, sys; print(json.load(sys.stdin)["Dir"])')
# Modules carry no execute permission.
find "$folder/bin" "$folder/pkg/tool" -type f -exec chmod +x {} +
ln -sfn "$folder" "$cache/go"
say "Go: $("$root/scripts/go.sh" version) in $cache/go"
