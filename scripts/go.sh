#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
# Runs go: the one in the PATH where it is 1.21 or newer, so that GOTOOLCHAIN works, else what scripts/setup.sh fetched.
#
# `go.sh --usable` runs nothing; it succeeds where there is such a go.
set -eu

# switches_toolchains GO: whether it is 1.21 or newer.
switches_toolchains() {
	minor=$(GOTOOLCHAIN=local "$1" env GOVERSION 2>/dev/null | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
	[ -n "$minor" ] && [ "$minor" -ge 21 ]
}

for go in go "${XDG_CACHE_HOME:-$HOME/.cache}/otel_ebpf/go/bin/go"; do
	if command -v "$go" >/dev/null && switches_toolchains "$go"; then
		[ "${1-}" != --usable ] || exit 0
		exec "$go" "$@"
	fi
done
[ "${1-}" = --usable ] || echo "go.sh: no Go >= 1.21: run scripts/setup.sh" >&2
exit 127
