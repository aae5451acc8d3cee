#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
# Unpacks Debian's arm64 packages for a cross build, and installs nothing: arm64-sysroot.sh FOLDER
#
#   FOLDER/sysroot     headers and libraries that the agent is built from, and what they need at run time
#   FOLDER/apt.conf    APT_CONFIG=FOLDER/apt.conf apt-get download PACKAGE fetches an arm64 package
#
# The packages come from this machine's apt sources. Needs no root, no foreign architecture in dpkg, about 20 MB of
# downloads and 140 MB. Does nothing where the folder is complete: delete it to have newer packages.
set -eu

# The last is for a test guest.
packages="libbpf-dev libelf-dev libdw-dev libzydis-dev libfmt-dev libexpected-dev zlib1g-dev libprotozero-dev libcli11-dev
	libcurl4-openssl-dev libstdc++6 busybox-static"

[ $# -eq 1 ] || { sed -n '4,10s/^# \{0,1\}//p' "$0" >&2; exit 2; }
mkdir -p "$1"
folder=$(cd "$1" && pwd)
exec 9>"$folder/.lock"
flock 9
stamp=$folder/sysroot/.packages
[ "$(cat "$stamp" 2>/dev/null)" != "$packages" ] || exit 0

# An apt of its own, which thinks that nothing is installed.
apt=$folder/apt
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
: >"$apt/status"
cat >"$folder/apt.conf" <<END
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Sandbox::User "";
Acquire::Languages "none";
Dir::State "$apt";
Dir::State::lists "$apt/lists";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
END
export APT_CONFIG="$folder/apt.conf"
apt-get -qq update
# shellcheck disable=SC2086  # a list
apt-get -qq install -y --download-only --no-install-recommends $packages >"$apt/log" 2>&1 || {
	cat "$apt/log" >&2
	echo "arm64-sysroot.sh: packages for arm64 can't be had from the apt sources of this machine" >&2
	exit 1
}

rm -rf "$folder/sysroot"
mkdir "$folder/sysroot"
for package in "$apt"/cache/archives/*.deb; do
	dpkg-deb -x "$package" "$folder/sysroot"
done
# Absolute links would point out of the folder.
find "$folder/sysroot" -type l -lname '/*' | while read -r link; do
	ln -sfr "$folder/sysroot$(readlink "$link")" "$link"
done
rm -rf "$apt"/cache
mkdir -p "$apt/cache/archives/partial"
printf '%s' "$packages" >"$stamp"
echo "arm64-sysroot.sh: $(find "$folder/sysroot" -name '*.so*' -type f | wc -l) libraries in $folder/sysroot"
