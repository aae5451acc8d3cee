#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
# Shows the main job: spans of two running Go programs that know nothing of it. Sets up, builds, and ends by itself.
#
# JOBS (default 2) is passed to the build.
set -euo pipefail
cd "$(dirname "$0")/.."

work=build/demo
shop=$work/shop
trace=build/bin/otel-ebpf-trace
watch=build/bin/settle-watch
profile=build/bin/otel-ebpf-profile
report=$work/report.html
started=() # PIDs of what has to end with the demo

bold='' dim='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR-}" ] && [ "${TERM-dumb}" != dumb ]; then
	bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'
fi
title() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
note() { printf '%s%s%s\n' "$dim" "$*" "$plain"; }

give_up() {
	echo "demo: $*" >&2
	exit 1
}

clean_up() {
	local pid
	for pid in "${started[@]}"; do
		kill "$pid" 2>/dev/null || true
	done
	wait
}
trap clean_up EXIT

as_root=()
if [ "$(id -u)" -ne 0 ]; then
	command -v sudo >/dev/null || give_up "eBPF needs root: run as root, or install sudo"
	as_root=(sudo)
fi

# quietly NAME COMMAND...: its output goes to a file, of which the end is shown when it fails.
quietly() {
	local log=$work/$1.log
	shift
	"$@" >"$log" 2>&1 || {
		tail -n 30 "$log" >&2
		give_up "failed: $* (all of it: $log)"
	}
}

# wait_for PATTERN FILE PID: until a line of the file matches.
wait_for() {
	local i
	for ((i = 0; i < 150; i++)); do
		! grep -q "$1" "$2" || return 0
		kill -0 "$3" 2>/dev/null || break
		sleep 0.1
	done
	cat "$2" >&2
	give_up "no line '$1' in $2"
}

# service NAME ARGUMENTS...: starts a service of the shop; sets pid and address.
service() {
	OTEL_SERVICE_NAME=$1 "$shop" "$@" >"$work/$1.out" 2>"$work/$1.err" &
	pid=$!
	started+=("$pid")
	wait_for '^listening' "$work/$1.out" "$pid"
	address=$(awk '/^listening/ { print $2; exit }' "$work/$1.out")
}

mkdir -p "$work"
title "Set-up and build"
scripts/setup.sh
if [ ! -f build/CMakeCache.txt ] && command -v ninja >/dev/null; then
	export CMAKE_GENERATOR=${CMAKE_GENERATOR-Ninja}
fi
quietly configure cmake --preset default
note "building $trace, $watch and $profile"
quietly build cmake --build build -j"${JOBS:-2}" --target otel-ebpf-trace settle-watch otel-ebpf-profile
note "building $shop"
quietly shop env CGO_ENABLED=0 scripts/go.sh -C examples/shop build -buildvcs=false -o "$PWD/$shop" .
began=$SECONDS

title "A shop in two Go programs, without a line of tracing in them"
service bank
bank_pid=$pid bank=$address
service store -bank "http://$bank"
store_pid=$pid store=$address
note "store: PID $store_pid, $store    bank: PID $bank_pid, $bank"

title "otel-ebpf-trace: spans of net/http, and of the shop's own ledger through a probe pack"
note "$trace --pid $store_pid --pid $bank_pid --output console --duration 4"
"${as_root[@]}" "$trace" --pid "$store_pid" --pid "$bank_pid" --output console --duration 4 2>"$work/trace.err" &
trace_pid=$!
wait_for '^attached' "$work/trace.err" "$trace_pid"
"$shop" load -n 8 -c 2 -rate 3 "http://$store" >"$work/load.out"
wait "$trace_pid" || { cat "$work/trace.err" >&2; give_up "otel-ebpf-trace failed"; }
grep -v '^attached' "$work/trace.err"
note "customers: $(cat "$work/load.out")"

title "settle-watch: the same probe pack in a tool of 100 lines, with a BPF program of its own"
note "$watch $bank_pid 3"
"${as_root[@]}" "$watch" "$bank_pid" 3 2>"$work/watch.err" &
watch_pid=$!
wait_for '^attached' "$work/watch.err" "$watch_pid"
"$shop" load -n 200 -c 8 -rate 80 "http://$store" >"$work/load.out"
wait "$watch_pid" || { cat "$work/watch.err" >&2; give_up "settle-watch failed"; }
note "customers: $(cat "$work/load.out")"

title "otel-ebpf-profile: where the CPU time of each request went"
note "$profile --pid $store_pid --pid $bank_pid --spans --hz 199 --output report.html:$report --duration 6"
rm -f "$report"
: >"$work/profile.err" # is looked into before the profiler has it
"${as_root[@]}" "$profile" --pid "$store_pid" --pid "$bank_pid" --spans --hz 199 --output "report.html:$report" \
	--duration 6 2>"$work/profile.err" &
profile_pid=$!
wait_for '^profiling' "$work/profile.err" "$profile_pid"
"$shop" load -n 80 -c 4 -rate 20 "http://$store" >"$work/load.out"
wait "$profile_pid" || { cat "$work/profile.err" >&2; give_up "otel-ebpf-profile failed"; }
grep -v '^profiling' "$work/profile.err"
note "customers: $(cat "$work/load.out")"
cat <<END

  ${bold}Open file://$PWD/$report in a browser.$plain
  The traces on top sell pianos: choose one. Pale bars are wall time, orange is CPU time. The bank's POST /pay
  is long and has none: it waits. The store's POST /checkout/{item} has 50 ms, and the flame graph below says in what:
  shortestTour, the widest function of the shop. "All CPU time" shows the same for all requests.
END

title "That took $((SECONDS - began)) s, and the shop never noticed. To try next:"
sudo=${as_root[*]:+"sudo "}
cat <<END
  $shop bank -listen 127.0.0.1:8081 &
  $shop store -listen 127.0.0.1:8080 -bank http://127.0.0.1:8081 &
  $sudo$trace --exe $shop        every process that runs the shop; Ctrl-C ends it
  $shop load -rate 20 -n 1000 http://127.0.0.1:8080

  $trace --plan --exe $shop      where probes would go, at what cost; needs no root
  $sudo$trace --exe $shop --output jsonl:spans.jsonl
  less examples/02-settle-watch/main.cpp    a tool of your own
  less examples/packs/ledger/README.md      a probe pack of your own
END
