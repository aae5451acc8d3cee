#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
# Boots Debian's cloud kernels under QEMU and runs the tests of tests/vm/init in them: run.sh [--arm64] [KERNEL...]
#
# --arm64 emulates an arm64 machine, which runs the HTTP test only. KERNEL is a series such as 6.1 or 6.12 (default:
# both). Needs no root and no KVM. Everything the guest needs is in its initramfs. Results go to
# build/test-results/vm-KERNEL.xml or arm64-vm-KERNEL.xml (JUnit); where a kernel or tool is missing, a line that begins
# with SKIPPED says so.
# BUILD_DIR (default: build) holds bin/ and targets/, ARM64_BUILD_DIR (default: build-arm64) what was built by the preset
# arm64; TIMEOUT (default: 240, arm64: 900) is in seconds for each kernel.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
build=${BUILD_DIR:-$root/build}
results=$build/test-results
if [ "${1-}" = --arm64 ]; then
	shift
	suite=arm64-vm arch=arm64 tests=http servers=go1.19,go1.27,go1.27-stripped
	of_arch=-arm64 # in names of targets
	cross=${ARM64_BUILD_DIR:-$root/build-arm64}
	bin=$cross/bin work=$cross/vm sysroot=$cross/sysroot busybox=$cross/sysroot/bin/busybox
	tools="qemu-system-aarch64 qemu-aarch64-static readelf" packages="qemu-system-arm qemu-user-static binutils"
	# max would spend its time on emulated pointer authentication.
	machine="qemu-system-aarch64 -machine virt -cpu cortex-a72" console=ttyAMA0 limit=900
else
	suite=vm arch=amd64 tests=http,correlation,bpf servers=go1.24 of_arch=
	bin=$build/bin work=$build/vm sysroot='' busybox=$(command -v busybox || true)
	tools="qemu-system-x86_64 busybox" packages="qemu-system-x86 busybox-static"
	machine="qemu-system-x86_64 -cpu max" console=ttyS0 limit=240
fi
mkdir -p "$work" "$results"
[ $# -gt 0 ] || set -- 6.1 6.12

for tool in $tools cpio apt-get dpkg-deb; do
	if ! command -v "$tool" >/dev/null; then
		echo "SKIPPED: $suite: $tool is missing (apt-get install $packages cpio)"
		exit 0
	fi
done
if [ "$arch" = arm64 ]; then
	if [ ! -x "$busybox" ]; then
		echo "SKIPPED: $suite: no arm64 packages in $cross: run scripts/arm64-sysroot.sh $cross"
		exit 0
	fi
	export APT_CONFIG="$cross/apt.conf"
fi

# kernel SERIES: path of the newest kernel of that series, from the cache where the registry is out of reach.
kernel() {
	series=$(printf '%s' "$1" | sed 's/\./\\./g')
	package=$(apt-cache search --names-only "^linux-image-$series\\.[0-9].*-cloud-$arch\$" | cut -d' ' -f1 |
		grep -v unsigned | sort -V | tail -1)
	image=$work/$package/vmlinuz
	if [ -n "$package" ] && [ ! -f "$image" ]; then
		fresh=$(mktemp -d "$work/download.XXXXXX")
		if (cd "$fresh" && apt-get -q download "$package" && dpkg-deb -x ./*.deb tree) >"$work/download.log" 2>&1; then
			mkdir -p "$work/$package"
			mv "$fresh"/tree/boot/vmlinuz-* "$image"
		fi
		rm -rf "$fresh"
	fi
	[ -f "$image" ] || image=$(find "$work" -path "*/linux-image-$1.*/vmlinuz" | sort -V | tail -1)
	printf '%s' "$image"
}

# libraries_of PROGRAM: paths of the shared libraries that it needs, the loader's own among them, in the sysroot.
libraries_of() {
	if [ "$arch" = amd64 ]; then
		ldd "$1" 2>/dev/null || true
	elif readelf -l "$1" | grep -q 'program interpreter'; then
		qemu-aarch64-static -L "$sysroot" -E LD_TRACE_LOADED_OBJECTS=1 "$1"
	fi | grep -o '/[^ ]*' || true
}

# add PROGRAM...: copies programs to /bin of the guest, and the shared libraries they name to the same paths.
add() {
	for program in "$@"; do
		[ -f "$program" ] || continue
		cp "$program" "$tree/bin/"
		libraries_of "$program" | while read -r library; do
			[ -f "$tree$library" ] && continue
			mkdir -p "$tree$(dirname "$library")"
			cp -L "$sysroot$library" "$tree$library"
		done
	done
}

# add_as NAME PROGRAM: a static one.
add_as() {
	[ ! -f "$2" ] || cp "$2" "$tree/bin/$1"
}

tree=$(mktemp -d "$work/initramfs.XXXXXX")
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree/bin" "$tree/proc" "$tree/sys" "$tree/dev" "$tree/tmp"
cp "$busybox" "$tree/bin/busybox"
cp "$root/tests/vm/init" "$tree/init"
chmod +x "$tree/init"
add "$bin/otel-ebpf-trace"
for server in $(echo "$servers" | tr , ' '); do
	add_as "server-$server" "$build/targets/server$of_arch-$server"
done
add_as client "$build/targets/client$of_arch"
if [ "$arch" = amd64 ]; then
	add "$bin/bpf_tests" "$bin/burner-agent" "$bin/context_reader" "$build/targets/burner-go1.24"
	# Programs that publish contexts: bpf_tests starts them where they were built.
	if [ -d "$build/sdk_targets" ]; then
		mkdir -p "$tree$build"
		cp -r "$build/sdk_targets" "$tree$build/"
		add "$build"/sdk_targets/*
		rm -f "$tree"/bin/sdk_* "$tree"/bin/libsdk_*
	fi
fi
(cd "$tree" && find . | cpio -o -H newc --quiet --owner 0:0) >"$work/initramfs.cpio"

# xml TEXT: escaped.
xml() { printf '%s' "$1" | tr -d '\000-\010\013-\037' | sed 's/&/\&amp;/g; s/</\&lt;/g; s/>/\&gt;/g; s/"/\&quot;/g'; }

# output_of NAME: what a check of the guest printed when it failed.
output_of() { tr -d '\r' <"$log" | sed -n "s/^$1| //p" | tail -40; }

status=0
for series in "$@"; do
	image=$(kernel "$series")
	if [ -z "$image" ]; then
		echo "SKIPPED: $suite $series: no kernel package: $(tail -1 "$work/download.log" 2>/dev/null || echo 'run apt-get update')"
		continue
	fi
	log=$work/console-$series.log
	recorded=$work/recorded-$series
	rm -rf "$recorded" "$recorded.tar.gz"
	mkdir "$recorded"
	echo "$suite $series: booting $(basename "$(dirname "$image")")"
	# shellcheck disable=SC2086  # a program and its options
	timeout "${TIMEOUT:-$limit}" $machine -accel tcg -smp 2 -m 1G -nographic -no-reboot -nic none \
		-kernel "$image" -initrd "$work/initramfs.cpio" \
		-serial mon:stdio -serial "file:$recorded.tar.gz" \
		-append "console=$console quiet panic=-1 init=/init TESTS=$tests SERVERS=$servers" </dev/null >"$log" 2>&1 || echo "VERDICT failed vm-timeout" >>"$log"
	if [ -s "$recorded.tar.gz" ]; then
		tar -x -z -f "$recorded.tar.gz" -C "$recorded" 2>>"$log" || echo "VERDICT failed recorded-samples" >>"$log"
		/usr/bin/python3 "$root/tests/vm/judge.py" "$recorded" >>"$log" 2>&1 || echo "VERDICT failed judge" >>"$log"
	fi

	verdicts=$(tr -d '\r' <"$log" | grep -a '^VERDICT \(passed\|failed\|skipped\) ' || true)
	printf '%s\n' "$verdicts" | grep -q '^VERDICT passed end-reached$' ||
		verdicts="$verdicts
VERDICT failed end-reached the guest did not reach the end of its tests, see $log"
	failed=$(printf '%s\n' "$verdicts" | grep -c '^VERDICT failed' || true)
	skipped=$(printf '%s\n' "$verdicts" | grep -c '^VERDICT skipped' || true)
	{
		echo '<?xml version="1.0" encoding="UTF-8"?>'
		echo "<testsuite name=\"$suite-$series\" tests=\"$(printf '%s\n' "$verdicts" | grep -c VERDICT)\"" \
			"failures=\"$failed\" skipped=\"$skipped\">"
		printf '%s\n' "$verdicts" | while read -r _ verdict name reason; do
			[ -n "$verdict" ] || continue
			echo "<testcase classname=\"$suite-$series\" name=\"$series $(xml "$name")\">"
			case $verdict in
			failed) echo "<failure message=\"$(xml "$reason")\">$(xml "$(output_of "$name")")</failure>" ;;
			skipped) echo "<skipped message=\"$(xml "$reason")\"/>" ;;
			esac
			echo '</testcase>'
		done
		echo '</testsuite>'
	} >"$results/$suite-$series.xml"
	printf '%s\n' "$verdicts" | sed -n "s/^VERDICT \(passed\|failed\|skipped\) /$suite $series: \1: /p"
	if [ "$failed" != 0 ]; then
		status=1
		echo "$suite $series: the guest's console is in $log"
	fi
done
exit $status
