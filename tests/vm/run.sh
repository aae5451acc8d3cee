#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
# Boots Debian's cloud kernels under QEMU and runs the HTTP test of tests/vm/init in them: run.sh [KERNEL...]
#
# KERNEL is a series such as 6.1 or 6.12 (default: both). Needs no root and no KVM. Everything the guest needs is in
# its initramfs. Results go to build/test-results/vm-KERNEL.xml (JUnit); where a kernel or tool is missing, a line that
# begins with SKIPPED says so.
# BUILD_DIR (default: build) holds bin/ and targets/; TIMEOUT (default: 240) is in seconds for each kernel.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
build=${BUILD_DIR:-$root/build}
work=$build/vm
results=$build/test-results
mkdir -p "$work" "$results"
[ $# -gt 0 ] || set -- 6.1 6.12

for tool in qemu-system-x86_64 busybox cpio apt-get dpkg-deb; do
	if ! command -v "$tool" >/dev/null; then
		echo "SKIPPED: vm: $tool is missing (apt-get install qemu-system-x86 busybox-static cpio)"
		exit 0
	fi
done

# kernel SERIES: path of the newest kernel of that series, from the cache where the registry is out of reach.
kernel() {
	series=$(printf '%s' "$1" | sed 's/\./\\./g')
	package=$(apt-cache search --names-only "^linux-image-$series\\.[0-9].*-cloud-amd64\$" | cut -d' ' -f1 |
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

# add PROGRAM...: copies programs to /bin of the guest, and the shared libraries they name to the same paths.
add() {
	for program in "$@"; do
		[ -f "$program" ] || continue
		cp "$program" "$tree/bin/"
		{ ldd "$program" 2>/dev/null || true; } | grep -o '/[^ ]*' | while read -r library; do
			[ -f "$tree$library" ] && continue
			mkdir -p "$tree$(dirname "$library")"
			cp -L "$library" "$tree$library"
		done
	done
}

tree=$(mktemp -d "$work/initramfs.XXXXXX")
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree/bin" "$tree/proc" "$tree/sys" "$tree/dev" "$tree/tmp"
cp "$(command -v busybox)" "$tree/bin/busybox"
cp "$root/tests/vm/init" "$tree/init"
chmod +x "$tree/init"
add "$build/bin/otel-ebpf-trace" "$build/bin/bpf_tests" "$build/targets/server-go1.24" "$build/targets/client"
add "$build/bin/burner-agent" "$build/bin/context_reader" "$build/targets/burner-go1.24"
# Programs that publish contexts: bpf_tests starts them where they were built.
if [ -d "$build/sdk_targets" ]; then
	mkdir -p "$tree$build"
	cp -r "$build/sdk_targets" "$tree$build/"
	add "$build"/sdk_targets/*
	rm -f "$tree"/bin/sdk_* "$tree"/bin/libsdk_*
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
		echo "SKIPPED: vm $series: no kernel package: $(tail -1 "$work/download.log" 2>/dev/null || echo 'run apt-get update')"
		continue
	fi
	log=$work/console-$series.log
	recorded=$work/recorded-$series
	rm -rf "$recorded" "$recorded.tar.gz"
	mkdir "$recorded"
	echo "vm $series: booting $(basename "$(dirname "$image")")"
	timeout "${TIMEOUT:-240}" qemu-system-x86_64 -accel tcg -cpu max -smp 2 -m 1G -nographic -no-reboot -nic none \
		-kernel "$image" -initrd "$work/initramfs.cpio" \
		-serial mon:stdio -serial "file:$recorded.tar.gz" \
		-append "console=ttyS0 quiet panic=-1 init=/init" </dev/null >"$log" 2>&1 || echo "VERDICT failed vm-timeout" >>"$log"
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
		echo "<testsuite name=\"vm-$series\" tests=\"$(printf '%s\n' "$verdicts" | grep -c VERDICT)\"" \
			"failures=\"$failed\" skipped=\"$skipped\">"
		printf '%s\n' "$verdicts" | while read -r _ verdict name reason; do
			[ -n "$verdict" ] || continue
			echo "<testcase classname=\"vm-$series\" name=\"$series $(xml "$name")\">"
			case $verdict in
			failed) echo "<failure message=\"$(xml "$reason")\">$(xml "$(output_of "$name")")</failure>" ;;
			skipped) echo "<skipped message=\"$(xml "$reason")\"/>" ;;
			esac
			echo '</testcase>'
		done
		echo '</testsuite>'
	} >"$results/vm-$series.xml"
	printf '%s\n' "$verdicts" | sed -n "s/^VERDICT \(passed\|failed\|skipped\) /vm $series: \1: /p"
	if [ "$failed" != 0 ]; then
		status=1
		echo "vm $series: the guest's console is in $log"
	fi
done
exit $status
