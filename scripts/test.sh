#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
# Builds everything and runs all tests that this machine can run: test.sh [OPTION...]
#
#   --quick        unit, bpf and lint only
#   --no-vm        leaves out the tests that boot other kernels
#   --vm-arm64     further boots arm64 kernels, emulated, with an agent built for arm64
#   --all-go       Go programs of the first and last patch of every release, in all variants (hours)
#   --filter TEXT  only tests whose name contains TEXT
#
# Results are in build/test-results: JUnit XML and the output of each suite. The last line is
# `N passed, N failed, N skipped`; the exit code is 1 when a test failed. JOBS (default 2) is passed to the builds.
# OTEL_EBPF_FUZZ_SECONDS (default 60) is what each fuzzer runs.
set -uo pipefail
cd "$(dirname "$0")/.."

quick=false vm=true vm_arm64=false all_go= filter=
while [ $# -gt 0 ]; do
	case $1 in
	--quick) quick=true ;;
	--no-vm) vm=false ;;
	--all-go) all_go=--all-go ;;
	--vm-arm64) vm_arm64=true ;;
	--filter) filter=${2:?--filter needs a text}; shift ;;
	*) sed -n '4,10s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
	esac
	shift
done

jobs=${JOBS:-2}
matrix_limit=2400 live_limit=2400
if [ -n "$all_go" ]; then
	export OTEL_EBPF_ALL_GO=1
	matrix_limit=28800 live_limit=10800
fi
build=$PWD/build
results=$build/test-results
export OTEL_EBPF_TEST_TARGETS=$build/targets
export PYTHONDONTWRITEBYTECODE=1
# For the first configuration; an existing build folder keeps what it has.
if command -v ninja >/dev/null; then export CMAKE_GENERATOR=${CMAKE_GENERATOR-Ninja}; fi
if command -v ccache >/dev/null; then
	export CMAKE_C_COMPILER_LAUNCHER=${CMAKE_C_COMPILER_LAUNCHER-ccache}
	export CMAKE_CXX_COMPILER_LAUNCHER=${CMAKE_CXX_COMPILER_LAUNCHER-ccache}
fi
umount "$results/bpffs" 2>/dev/null # of a run that was killed
rm -rf "$results"
mkdir -p "$results"
# A bpffs of the tests' own: they leave no pins behind, and see none of others.
bpffs=$results/bpffs
mkdir "$bpffs"
if mount -t bpf otel_ebpf_tests "$bpffs" 2>/dev/null; then
	export OTEL_EBPF_BPF_FS_PATH=$bpffs
	trap 'umount "$bpffs"' EXIT
fi
started=$SECONDS

# run SUITE TIMEOUT_S COMMAND...: one line on the terminal, everything else in the results.
run() {
	local suite=$1 limit=$2 begin=$EPOCHREALTIME status=0
	shift 2
	[ ! -t 1 ] || printf '%-14s ...\r' "$suite"
	timeout --kill-after=10 "$limit" "$@" >"$results/$suite.log" 2>&1 </dev/null || status=$?
	[ $status -ne 124 ] || echo "no end after $limit s" >>"$results/$suite.log"
	echo "$status $(awk "BEGIN { print $EPOCHREALTIME - $begin }")" >"$results/$suite.status"
	python3 scripts/summarize_tests.py "$results" "$suite"
}

# A step is a suite that holds no tests: it is seen and counted only when it fails.
step() {
	local begin=$SECONDS
	if run "$@" >/dev/null; then
		printf '%-14s%36s%7d s\n' "$1" "" $((SECONDS - begin))
	else
		printf '%-14s%5s\n' "$1" FAILED
		return 1
	fi
}

catch_tests() { # SUITE BINARY
	run "$1" 600 "$2" -r junit -o "$results/$1.xml" ${filter:+"*$filter*"}
}

ctest_label() { # LABEL [TIMEOUT_S]
	run "$1" "${2:-900}" ctest --test-dir build -L "^$1\$" -j"$jobs" --output-junit "$results/$1.xml" \
		--output-on-failure --no-tests=ignore ${filter:+-R "$filter"}
}

# Debian's Python, where python3-pytest is. Its exit code 5 means that the filter chose no test.
pytest_folder() { # SUITE TIMEOUT_S
	run "$1" "$2" sh -c '"$@" || [ $? -eq 5 ]' pytest /usr/bin/python3 -m pytest -p no:cacheprovider -q \
		"tests/$1" --junitxml="$results/$1.xml" ${filter:+-k "$filter"}
}

finish() {
	echo "$((SECONDS - started)) s in all"
	python3 scripts/summarize_tests.py "$results"
	exit
}

if $quick; then setup_options=; else setup_options=--tests; fi
if $vm_arm64; then setup_options="$setup_options --vm-arm64"; fi
step setup 1800 scripts/setup.sh $setup_options || finish
step configure 300 cmake --preset default || finish
if $quick; then
	# -k: what does build is tested all the same.
	step build 1800 cmake --build build -j"$jobs" --target unit_tests bpf_tests
else
	step build 2400 cmake --build build -j"$jobs" -- -k $([ -f build/build.ninja ] && echo 0)
fi
step targets 900 scripts/build-targets.sh "$OTEL_EBPF_TEST_TARGETS"

if ! $quick; then
	step matrix-targets $matrix_limit scripts/build-matrix.sh $all_go "$OTEL_EBPF_TEST_TARGETS/matrix"
fi

catch_tests unit build/bin/unit_tests
catch_tests bpf build/bin/bpf_tests
ctest_label lint
if ! $quick; then
	ctest_label headers
	ctest_label compile_fail
	ctest_label packaging
	catch_tests hostile build/bin/hostile_tests
	ctest_label fuzz $((600 + 6 * ${OTEL_EBPF_FUZZ_SECONDS:-60})) # two at a time
	step asan-build 1800 sh -c "cmake --preset asan && cmake --build build-asan -j$jobs --target unit_tests" &&
		catch_tests asan build-asan/bin/unit_tests
	pytest_folder differential 900
	pytest_folder live $live_limit
	if $vm && [ -z "$filter" ]; then
		run vm 1200 tests/vm/run.sh
	fi
fi
if $vm_arm64; then
	step arm64-build 2400 sh -c "scripts/arm64-sysroot.sh build-arm64 && cmake --preset arm64 &&
		cmake --build --preset arm64 -j$jobs" && run arm64-vm 2400 tests/vm/run.sh --arm64
fi
finish
